package cuda

import (
	"math"
	"strings"

	"stepflow/gpu"
)

// group is the work of launches that are done together, in place of the first of them.
type group struct {
	first, last int // launches
	work        work
}

// fusing tells which launches one piece of work can do.
type fusing struct {
	most int // launches of a piece
	// alike gives equal keys for launches that may be done together; of two that follow each other in a group, next
	// reports whether they may, where that is not all.
	alike func(x *gpu.Launch) any
	next  func(x, y *gpu.Launch) bool
	bind  func(b *binder, list []*gpu.Launch) work
}

// fusingOf finds what may be done together with launches of a kernel; nil for nothing.
func fusingOf(kernel string) *fusing {
	switch {
	case kernel == "zero":
		return &fusedZeros
	case strings.HasPrefix(kernel, "adamw"):
		return &fusedUpdates
	}
	return nil
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

// fuse finds the launches of each segment that can be done together, and binds their work. A launch joins a group if
// all that it waits for comes before the group's first: done there, it does not overtake them.
func fuse(b *binder, p *gpu.Program) map[int]*group {
	all := map[int]*group{}
	for _, s := range p.Segments {
		open := map[any][]int{} // launches of the group that the next launch of a key may join
		bind := func(list []int) {
			if len(list) < 2 {
				return
			}
			g := &group{first: list[0], last: list[len(list)-1]}
			var launches []*gpu.Launch
			for _, i := range list {
				all[i] = g
				launches = append(launches, &p.Launches[i])
			}
			g.work = fusingOf(launches[0].Kernel).bind(b, launches)
		}
		for i := s.Lo; i < s.Hi; i++ {
			x := &p.Launches[i]
			f := fusingOf(x.Kernel)
			if f == nil {
				continue
			}
			key := f.alike(x)
			list := open[key]
			if n := len(list); n > 0 && (n == f.most || waits(x, list[0]-s.Lo) ||
				f.next != nil && !f.next(&p.Launches[list[n-1]], x)) {
				bind(list)
				list = nil
			}
			open[key] = append(list, i)
		}
		for _, list := range open {
			bind(list)
		}
	}
	return all
}

// waits reports whether x waits for the launch with this index in its segment, or for a later one.
func waits(x *gpu.Launch, first int) bool {
	return len(x.Deps) > 0 && int(x.Deps[len(x.Deps)-1]) >= first
}
