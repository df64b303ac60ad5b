package cpu

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"stepflow/gpu"
)

// queue runs the collectives of a program beside its other launches, in their order, on a goroutine of its own. A launch that
// depends on a collective waits for it, and a run for all of them.
type queue struct {
	loaded  *loaded
	run     map[int]func() error // by launch
	needs   []int                // launch → the last collective that it depends on, -1 for none
	number  []int                // launch → how many collectives had been begun in the run when it was
	timings []gpu.Timing         // by launch; of collectives only
	failed  atomic.Bool

	mu      sync.Mutex
	changed sync.Cond
	begun   []int // launches of the run under way
	ended   int   // how many of them have ended
	timed   bool
	base    time.Time
	closed  bool
	err     error // after which nothing more runs
	done    sync.WaitGroup
}

// newQueue prepares the queue of a program; nil where it has no collectives.
func newQueue(l *loaded, runs map[int]func() error) *queue {
	if len(runs) == 0 {
		return nil
	}
	n := len(l.program.Launches)
	q := &queue{loaded: l, run: runs, needs: make([]int, n), number: make([]int, n), timings: make([]gpu.Timing, n),
		begun: make([]int, 0, len(runs))}
	q.changed.L = &q.mu
	for i := range q.needs {
		q.needs[i] = -1
	}
	for _, s := range l.program.Segments {
		for i := s.Lo; i < s.Hi; i++ {
			for _, d := range l.program.Launches[i].Deps {
				if at := s.Lo + int(d); runs[at] != nil {
					q.needs[i] = at // the last, since dependencies are in order
				}
			}
		}
	}
	q.done.Add(1)
	go q.work()
	return q
}

// work runs what is begun.
func (q *queue) work() {
	defer q.done.Done()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for q.ended == len(q.begun) && !q.closed {
			q.changed.Wait()
		}
		if q.closed {
			return
		}
		i, skip, timed, base := q.begun[q.ended], q.err != nil, q.timed, q.base
		q.mu.Unlock()
		var err error
		if !skip {
			start := time.Since(base)
			err = q.run[i]()
			if timed {
				q.timings[i] = gpu.Timing{Launch: i, Start: start, Duration: time.Since(base) - start}
			}
		}
		q.mu.Lock()
		if err != nil {
			x := &q.loaded.program.Launches[i]
			q.err = fmt.Errorf("rank %d: %s %s: %w", q.loaded.comm.Rank(), x.Kernel, x.Name, err)
			q.failed.Store(true)
		}
		q.ended++
		q.changed.Broadcast()
	}
}

// start begins a run.
func (q *queue) start(timed bool, base time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.begun, q.ended, q.timed, q.base = q.begun[:0], 0, timed, base
}

// begin hands a collective over.
func (q *queue) begin(launch int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.begun = append(q.begun, launch)
	q.number[launch] = len(q.begun)
	q.changed.Broadcast()
}

// before waits for the collectives that a launch of a run from lo on depends on.
func (q *queue) before(launch, lo int) {
	if at := q.needs[launch]; at >= lo {
		q.wait(q.number[at])
	}
}

// wait waits until the first n collectives of the run have ended.
func (q *queue) wait(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.ended < n {
		q.changed.Wait()
	}
}

// end waits for all collectives of the run and returns what went wrong.
func (q *queue) end() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.ended < len(q.begun) {
		q.changed.Wait()
	}
	return q.err
}

// merge adds the timings of the run's collectives to those from an index on, in the order of launches.
func (q *queue) merge(list []gpu.Timing, from int) []gpu.Timing {
	for _, i := range q.begun {
		at, _ := slices.BinarySearchFunc(list[from:], i, func(t gpu.Timing, i int) int { return t.Launch - i })
		list = slices.Insert(list, from+at, q.timings[i])
	}
	return list
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.changed.Broadcast()
	q.mu.Unlock()
	q.done.Wait()
}
