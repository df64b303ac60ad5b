package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"

	"stepflow/gpu"
)

// pool runs loops on a fixed number of goroutines, the caller's included. Which of them runs which
// iteration is not fixed, so an iteration must not depend on it.
type pool struct {
	workers []*worker
	// Of the program that runs, never where none does: once it is stopped, the iterations that are left are passed
	// over.
	stopping *gpu.Stopping
	never    *gpu.Stopping
	current  atomic.Pointer[loop]
	epoch    atomic.Uint64 // counts the loops that were started
	wake     []chan struct{}
	quit     chan struct{}
	done     sync.WaitGroup
}

// loop is a body with its counters. It is made once, when a launch is bound, and started any number
// of times: a step allocates nothing.
type loop struct {
	body func(w *worker, i int)
	left atomic.Int64 // iterations not yet taken; an iteration's number is what is left behind it
	_    [cacheLine]byte
	open atomic.Int64 // iterations that have not ended: the one that waits reads it again and again
	_    [cacheLine]byte
}

const cacheLine = 64

// Whoever waits looks this often before it leaves its processor to others for a moment, and an idle
// worker does that this often before it sleeps: some tens of microseconds in all, so that a training
// step, whose launches follow each other closely, never waits for a wake-up.
const (
	looks  = 64
	yields = 64
)

func newPool(threads int) *pool {
	p := &pool{quit: make(chan struct{}), never: new(gpu.Stopping)}
	p.stopping = p.never
	for i := 0; i < threads; i++ {
		p.workers = append(p.workers, &worker{})
		if i > 0 {
			c := make(chan struct{}, 1)
			p.wake = append(p.wake, c)
			p.done.Add(1)
			go p.work(p.workers[i], c)
		}
	}
	return p
}

func (p *pool) work(own *worker, wake chan struct{}) {
	defer p.done.Done()
	var last uint64
	for {
		e := p.epoch.Load()
		for i := 0; e == last && i < yields*looks; i++ {
			wait(i)
			e = p.epoch.Load()
		}
		if e == last {
			select {
			case <-wake:
			case <-p.quit:
				return
			}
			continue
		}
		last = e
		p.take(p.current.Load(), own)
	}
}

// stopped reports whether what is computed is of no use any more. A body asks where one iteration may take long, as
// those of attention do, which grow with the square of the sequence.
func (p *pool) stopped() bool { return p.stopping.Stopped() }

// take runs iterations until none is left. A worker that comes late to a loop finds none, or helps
// with its next start: the counters alone decide.
func (p *pool) take(l *loop, own *worker) {
	for {
		i := l.left.Add(-1)
		if i < 0 {
			return
		}
		if !p.stopped() {
			l.body(own, int(i))
		}
		l.open.Add(-1)
	}
}

// run runs iterations n-1 to 0 of the loop, in no fixed order, and returns when all have ended.
func (p *pool) run(l *loop, n int) {
	if n <= 1 || len(p.wake) == 0 {
		for i := n - 1; i >= 0 && !p.stopped(); i-- {
			l.body(p.workers[0], i)
		}
		return
	}
	l.open.Store(int64(n))
	l.left.Store(int64(n))
	p.current.Store(l)
	p.epoch.Add(1)
	for _, c := range p.wake {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	p.take(l, p.workers[0])
	for i := 0; l.open.Load() != 0; i++ {
		wait(i)
	}
}

// wait passes a moment: the i-th of a waiting time.
func wait(i int) {
	if i%looks == looks-1 {
		runtime.Gosched()
	} else {
		pause()
	}
}

func (p *pool) close() {
	close(p.quit)
	p.done.Wait()
}
