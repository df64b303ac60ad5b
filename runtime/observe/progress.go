package observe

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Progress tells how far a part of a block has come that may take long, so that nobody thinks that it hangs. Nil tells nobody.
type Progress struct {
	mu    sync.Mutex
	done  int
	now   string // what is being done; "" for nothing worth a word
	end   context.CancelFunc
	ended chan struct{}
}

// The first word comes soon, and later ones at growing intervals.
const soon, seldom = 10 * time.Second, time.Minute

// Progress begins to tell how far something has come, of so many pieces. It is over with End.
func (b *Block) Progress(ctx context.Context, doing string, of int) *Progress {
	return b.progress(ctx, doing, of, soon)
}

func (b *Block) progress(ctx context.Context, doing string, of int, pause time.Duration) *Progress {
	told, cancel := context.WithCancel(ctx)
	p := &Progress{end: cancel, ended: make(chan struct{})}
	began := time.Now()
	go func() {
		defer close(p.ended)
		for {
			select {
			case <-told.Done():
				return
			case <-time.After(pause):
			}
			p.mu.Lock()
			text := fmt.Sprintf("%s: %d of %d after %s", doing, p.done, of, time.Since(began).Round(time.Second))
			if p.now != "" {
				text += "; now " + p.now
			}
			p.mu.Unlock()
			if told.Err() == nil {
				b.Notice(ctx, "%s", text)
			}
			pause = min(2*pause, seldom)
		}
	}()
	return p
}

// Now says what is being done, until the piece is done.
func (p *Progress) Now(format string, args ...any) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = fmt.Sprintf(format, args...)
}

// Done says that a piece is done.
func (p *Progress) Done() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	p.now = ""
}

// End ends it. Nothing is told any more.
func (p *Progress) End() {
	if p != nil {
		p.end()
		<-p.ended
	}
}
