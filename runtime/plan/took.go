package plan

import (
	"cmp"
	"slices"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/observe"
	"stepflow/tracing"
)

// tracedCompilations is how many compilations the trace of a run shows, the longest.
const tracedCompilations = 20

// took notes how long the plan took to make, and its parts.
func (p *Plan) took(start, loaded time.Time) {
	parts := slices.Clone(p.fold.compiled)
	slices.SortStableFunc(parts, func(a, b observe.Past) int { return cmp.Compare(b.Took, a.Took) })
	parts = parts[:min(len(parts), tracedCompilations)]
	slices.SortStableFunc(parts, func(a, b observe.Past) int { return a.Start.Compare(b.Start) })
	load := observe.Past{Name: tracing.SpanLoad, Start: start, Took: loaded.Sub(start)}
	p.Took = observe.Past{Name: tracing.SpanPlan, Start: start, Took: time.Since(start),
		Parts: append([]observe.Past{load}, parts...)}
}

// compiles notes what was compiled for a block since there were so many programs.
func (f *Fold) compiles(a addr.Addr, since int) {
	for _, x := range f.world.Programs.Made[since:] {
		of := a.String()
		if x.Name != "" {
			of += ", " + x.Name
		}
		x.Name = tracing.SpanCompile + " " + of
		f.compiled = append(f.compiled, x)
	}
}
