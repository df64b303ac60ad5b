package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// pool runs the iterations of a loop on a fixed number of goroutines, the caller's included.
// Which goroutine runs which iteration is not fixed, so an iteration must not depend on it.
type pool struct {
	packs []*packs // one a worker
	job   atomic.Pointer[job]
	wake  []chan struct{}
	quit  chan struct{}
	done  sync.WaitGroup
}

type job struct {
	n    int64
	next atomic.Int64 // iteration to take
	done atomic.Int64 // iterations that have ended
	f    func(p *packs, i int)
}

// spins bounds how often an idle worker looks for work before it sleeps: some tens of microseconds,
// so that a training step, whose launches follow each other closely, never waits for a wake-up.
const spins = 2000

func newPool(threads int) *pool {
	p := &pool{quit: make(chan struct{})}
	for i := 0; i < threads; i++ {
		p.packs = append(p.packs, newPacks())
		if i > 0 {
			c := make(chan struct{}, 1)
			p.wake = append(p.wake, c)
			p.done.Add(1)
			go p.work(p.packs[i], c)
		}
	}
	return p
}

func (p *pool) work(own *packs, wake chan struct{}) {
	defer p.done.Done()
	var last *job
	for {
		j := p.job.Load()
		for i := 0; j == last && i < spins; i++ {
			if i%16 == 15 {
				runtime.Gosched()
			}
			j = p.job.Load()
		}
		if j == last {
			select {
			case <-wake:
			case <-p.quit:
				return
			}
			continue
		}
		last = j
		if j != nil {
			j.run(own)
		}
	}
}

func (j *job) run(own *packs) {
	for {
		i := j.next.Add(1) - 1
		if i >= j.n {
			return
		}
		j.f(own, int(i))
		j.done.Add(1)
	}
}

// each calls f for i in [0, n) and returns when all have ended.
func (p *pool) each(n int, f func(p *packs, i int)) {
	if n <= 1 || len(p.wake) == 0 {
		for i := 0; i < n; i++ {
			f(p.packs[0], i)
		}
		return
	}
	j := &job{n: int64(n), f: f}
	p.job.Store(j)
	for _, c := range p.wake {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	j.run(p.packs[0])
	// A helper that comes late finds nothing to take; only iterations under way are waited for.
	for j.done.Load() != j.n {
		runtime.Gosched()
	}
}

func (p *pool) close() {
	close(p.quit)
	p.done.Wait()
}
