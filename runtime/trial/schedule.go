package trial

import (
	"context"
	"fmt"
	"slices"

	"stepflow/dsl"
)

// start lets all runs of a file begin as soon as they may.
func (f *File) start(ctx context.Context) {
	slots := make(chan struct{}, max(f.suite.o.Parallelism, 1))
	for i, r := range f.Runs {
		before := f.before(i)
		go func() {
			defer close(r.done)
			for _, b := range before {
				<-b.done
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			r.begin(ctx, before)
		}()
	}
}

// before lists the runs that must have ended before one begins: all before it. A parallel run waits only for those
// before it that are not parallel, that it names, or that have the same state, unless both only plan.
func (f *File) before(i int) (list []*Run) {
	r := f.Runs[i]
	for _, b := range f.Runs[:i] {
		changed := b.StateKey == r.StateKey && (b.Command == dsl.TestApply || r.Command == dsl.TestApply)
		if !r.Parallel || !b.Parallel || changed || slices.Contains(r.Uses, b.Name) {
			list = append(list, b)
		}
	}
	return list
}

// begin runs a run, unless one before it ended in an error.
func (r *Run) begin(ctx context.Context, before []*Run) {
	r.Status = Skip
	if ctx.Err() != nil {
		r.Why = "the tests were interrupted"
		return
	}
	for _, b := range before {
		if b.Status == Error {
			r.Why = fmt.Sprintf("run.%s, which comes before it, ended in an error", b.Name)
		} else if b.Why != "" {
			r.Why = b.Why
		}
		if r.Why != "" {
			return
		}
	}
	r.within(ctx, before)
}
