package observe

import (
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	told := make(chan string, 100)
	o := &Observer{Emit: func(e Event) { told <- e.Message }}
	ctx, b := o.Block(t.Context(), Place{}, "")
	p := b.progress(ctx, "counting", 3, time.Millisecond)
	p.Done()
	p.Now("number %d", 2)
	for s := range told {
		if strings.HasPrefix(s, "counting: 1 of 3 after ") && strings.HasSuffix(s, "s; now number 2") {
			break
		}
	}
	p.Done()
	for s := range told {
		if strings.HasPrefix(s, "counting: 2 of 3 after ") && !strings.Contains(s, "now") {
			break
		}
	}
	p.End()
	for len(told) > 0 {
		<-told
	}
	time.Sleep(5 * time.Millisecond)
	if len(told) > 0 {
		t.Errorf("after its end: %s", <-told)
	}
	var none *Progress
	none.Now("nothing")
	none.Done()
	none.End()
}
