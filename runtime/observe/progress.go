package observe

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Progress tells how far a long part of a block has come, so that nobody thinks that it hangs. A nil Progress does nothing.
type Progress struct {
	mu    sync.Mutex
	done  int
	now   string // what is being done; "" if nothing is said of it
	end   context.CancelFunc
	ended chan struct{}
}

// The first notice comes soon, and later ones at growing intervals.
const soon, seldom = 10 * time.Second, time.Minute

// Progress begins to tell how many of so many pieces are done, until End.
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

// End stops it: no notice comes after End returns.
func (p *Progress) End() {
	if p != nil {
		p.end()
		<-p.ended
	}
}
