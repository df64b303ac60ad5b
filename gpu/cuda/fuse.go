package cuda

import (
	"math"

	"stepflow/gpu"
)

// group is the work of launches that are done together, in place of the first of them.
type group struct {
	launches    []int
	first, last int // of them
	work        work
}

// fusing tells which launches one piece of work can do.
type fusing struct {
	most int // launches of a piece
	// alike gives equal keys for launches that may be done together; next, where it is set, reports of two that would
	// follow each other in a group whether they may.
	alike func(x *gpu.Launch) any
	next  func(x, y *gpu.Launch) bool
	bind  func(b *binder, list []*gpu.Launch) work
}

// fusible lists the kernels of which many launches can be done together.
var fusible = map[string]*fusing{
	"zero":             &fusedZeros,
	"adamw":            &fusedUpdates,
	"adamw_master":     &fusedUpdates,
	"adamw_stochastic": &fusedUpdates,
}

// fusedZeros clears buffers that lie one after the other in the arena, with the bytes between them, which are nobody's.
var fusedZeros = fusing{
	most:  math.MaxInt,
	alike: func(*gpu.Launch) any { return "zero" },
	next: func(x, y *gpu.Launch) bool {
		return y.Out[0].Offset == gpu.Align(x.Out[0].Offset+x.Out[0].Span(), Alignment)
	},
	bind: func(b *binder, list []*gpu.Launch) work {
		from, to := list[0].Out[0], list[len(list)-1].Out[0]
		n := to.Offset + to.Span() - from.Offset
		c := flatCall("zero", gpu.BF16, n/gpu.BF16.Size(), b.at(from))
		c.Spans = []Span{{b.at(from), n}}
		return work{c}
	},
}

// fusedUpdates moves as many tensors as a call takes, whatever their decay.
var fusedUpdates = fusing{
	most: len(tensors{}.At),
	alike: func(x *gpu.Launch) any {
		a := x.Attrs
		a.WeightDecay = 0
		coef := x.In[len(x.In)-2].Offset
		return [...]any{x.Kernel, a, x.In[0].Type.DType, x.In[1].Type.DType, coef}
	},
	bind: func(b *binder, list []*gpu.Launch) work {
		w := b.updates(list)
		var spans []Span
		for _, x := range list {
			spans = append(spans, b.spans(x)...)
		}
		w.touch(spans)
		return w
	},
}

// fuse finds the launches of each segment that can be done together, and binds their work. The groups are found by each
// of their launches.
func fuse(b *binder, p *gpu.Program) map[int]*group {
	all := map[int]*group{}
	for _, s := range p.Segments {
		open := map[any][]int{} // by their keys, the launches that the next of a key may join
		for i := s.Lo; i < s.Hi; i++ {
			x := &p.Launches[i]
			f := fusible[x.Kernel]
			if f == nil {
				continue
			}
			key := f.alike(x)
			if !f.joins(p, s, open[key], x) {
				b.group(p, open[key], all)
				open[key] = nil
			}
			open[key] = append(open[key], i)
		}
		for _, list := range open {
			b.group(p, list, all)
		}
	}
	return all
}

// joins reports whether a launch may be done with those of a list. All that it waits for must come before the first of
// them: done there, it does not overtake it.
func (f *fusing) joins(p *gpu.Program, s gpu.Segment, list []int, x *gpu.Launch) bool {
	n := len(list)
	if n == 0 || n == f.most || f.next != nil && !f.next(&p.Launches[list[n-1]], x) {
		return false
	}
	waits := len(x.Deps) > 0 && s.Lo+int(x.Deps[len(x.Deps)-1]) >= list[0] // dependencies are in order
	return !waits
}

// group binds the work of a list of launches, and adds it to all where there are several.
func (b *binder) group(p *gpu.Program, list []int, all map[int]*group) {
	if len(list) < 2 {
		return
	}
	g := &group{launches: list, first: list[0], last: list[len(list)-1]}
	var launches []*gpu.Launch
	for _, i := range list {
		all[i] = g
		launches = append(launches, &p.Launches[i])
	}
	g.work = fusible[launches[0].Kernel].bind(b, launches)
}
