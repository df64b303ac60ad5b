package main

import (
	"fmt"
	"slices"

	"stepflow/dsl/addr"
	"stepflow/runtime/observe"
)

// ending tells what an interrupt does to the blocks that run.
type ending struct {
	interrupt *interrupt
	apply     string           // the command that goes on
	running   []*observe.Event // that began the blocks that run
	saved     bool             // the one that saves has a checkpoint to go on from
	jobs      []addr.Addr      // blocks that run in jobs
}

func (e *ending) event(x observe.Event) {
	switch x.Kind {
	case observe.BlockStart:
		if x.Job {
			e.jobs = append(e.jobs, x.Addr)
			break
		}
		e.running = append(e.running, &x)
		e.saved = e.saved || x.FromStep > 0
	case observe.BlockDone, observe.BlockFailed:
		e.jobs = slices.DeleteFunc(e.jobs, func(a addr.Addr) bool { return a == x.Addr })
		e.running = slices.DeleteFunc(e.running, func(b *observe.Event) bool { return b.Addr == x.Addr })
		e.saved = e.saved && e.block() != nil && e.block().Saves
	case observe.Saved:
		e.saved = true
	default:
		return
	}
	e.say()
}

// block returns what began the block that saves, or else another that runs; nil between blocks.
func (e *ending) block() (block *observe.Event) {
	for _, b := range e.running {
		if block == nil || b.Saves {
			block = b
		}
	}
	return block
}

// say sets what is said at a signal.
func (e *ending) say() {
	how := "ending"
	switch b := e.block(); {
	case b == nil && len(e.jobs) > 0:
		how = "no longer following the jobs"
	case b == nil:
	case b.Saves:
		how = "finishing the step and saving a checkpoint"
	default:
		how = fmt.Sprintf("ending %s, which starts over with the next apply", b.Addr)
	}
	e.interrupt.hold("Interrupted: " + how + ". Once more stops at once.")
}

// next says what the next apply does.
func (e *ending) next() string {
	switch b := e.block(); {
	case b == nil:
		return "Run " + e.apply + " again to go on."
	case e.saved:
		return "Run " + e.apply + " again to go on from there."
	default:
		return fmt.Sprintf("Run %s again: %s starts over, and what ended before it is kept.", e.apply, b.Addr)
	}
}
