package plan

import (
	"cmp"
	"slices"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/observe"
	"stepflow/tracing"
)

// tracedBlocks is how many blocks the trace of a plan shows, those that took longest.
const tracedBlocks = 100

// took notes how long the plan took to make, and its parts.
func (p *Plan) took(start, loaded time.Time) {
	parts := slices.Clone(p.fold.took)
	slices.SortStableFunc(parts, func(a, b observe.Past) int { return cmp.Compare(b.Took, a.Took) })
	parts = parts[:min(len(parts), tracedBlocks)]
	slices.SortStableFunc(parts, func(a, b observe.Past) int { return a.Start.Compare(b.Start) })
	load := observe.Past{Name: tracing.SpanLoad, Start: start, Took: loaded.Sub(start)}
	p.Took = observe.Past{Name: tracing.SpanPlan, Start: start, Took: time.Since(start),
		Parts: append([]observe.Past{load}, parts...)}
}

// noteTime notes how long it took to plan a block, and to compile the programs made since there were so many.
func (f *Fold) noteTime(a addr.Addr, start time.Time, programs int) {
	of := a.String()
	x := observe.Past{Name: tracing.SpanPlan + " " + of, Start: start, Took: time.Since(start)}
	for _, p := range f.world.Programs.Made[programs:] {
		name := tracing.SpanCompile + " " + of
		if p.Name != "" {
			name += ", " + p.Name
		}
		p.Name = name
		x.Parts = append(x.Parts, p)
	}
	f.took = append(f.took, x)
}
