package graph

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"stepflow/gpu"
)

// TestPlaceIsLowestFit compares the tree with the definition: every span, from the largest on, at the
// lowest offset at which it meets none that was placed.
func TestPlaceIsLowestFit(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for range 300 {
		time := 1 + r.IntN(60)
		spans := make([]*span, r.IntN(120))
		for i := range spans {
			first := r.IntN(time)
			spans[i] = &span{first: first, last: min(first+r.IntN(1+r.IntN(time)), time-1), bytes: int64(1+r.IntN(5)) * 64}
		}
		size, bound := place(spans), aliveAtOnce(spans)

		order := slices.Clone(spans)
		slices.SortStableFunc(order, func(a, b *span) int {
			return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.first, b.first))
		})
		var end, most int64
		for i, s := range order {
			alive := slices.DeleteFunc(slices.Clone(order[:i]), func(p *span) bool { return p.first > s.last || p.last < s.first })
			slices.SortFunc(alive, func(a, b *span) int { return cmp.Compare(a.offset, b.offset) })
			var at int64
			for _, p := range alive {
				if at+s.bytes > p.offset {
					at = max(at, p.offset+p.bytes)
				}
			}
			if s.offset != at {
				t.Fatalf("span %+v of %d lies at %d, the lowest offset that is free is %d", *s, len(spans), s.offset, at)
			}
			end = max(end, at+s.bytes)
		}
		for now := range time {
			var live int64
			for _, s := range spans {
				if s.first <= now && now <= s.last {
					live += s.bytes
				}
			}
			most = max(most, live)
		}
		if size != end || bound != most {
			t.Fatalf("size %d, bound %d; the spans end at %d, and %d bytes are alive at once", size, bound, end, most)
		}
	}
}

// TestDependComparesEveryPair compares the trees with the definition: a launch waits for every access
// of overlapping bytes that no write has covered since, unless both read.
func TestDependComparesEveryPair(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 2))
	operand := func() gpu.Operand {
		return gpu.Operand{Offset: int64(r.IntN(40)) * 4, Type: f32(1+r.IntN(3), 1+r.IntN(4))}
	}
	type access struct {
		gpu.Operand
		launch int
		write  bool
	}
	for range 300 {
		launches := make([]gpu.Launch, r.IntN(60))
		for i := range launches {
			l := &launches[i]
			for range r.IntN(4) {
				l.In = append(l.In, operand())
				if o := &l.In[len(l.In)-1]; r.IntN(4) == 0 {
					o.Stride = o.Type.Shape.Cols() + r.IntN(3)
				}
			}
			for range 1 + r.IntN(2) {
				l.Out = append(l.Out, operand())
			}
			if r.IntN(3) == 0 {
				l.Scratch = operand()
			}
		}
		depend(launches)

		var live []access
		for i, l := range launches {
			var mine []access
			for _, o := range l.In {
				mine = append(mine, access{o, i, false})
			}
			for _, o := range append(slices.Clone(l.Out), l.Scratch) {
				if o.Span() > 0 {
					mine = append(mine, access{o, i, true})
				}
			}
			var want []int32
			for _, a := range live {
				if slices.ContainsFunc(mine, func(m access) bool { return gpu.Overlap(a.Operand, m.Operand) && (a.write || m.write) }) {
					want = append(want, int32(a.launch))
				}
			}
			slices.Sort(want)
			if want = slices.Compact(want); !slices.Equal(l.Deps, want) {
				t.Fatalf("launch %d waits for %v, not %v", i, l.Deps, want)
			}
			live = slices.DeleteFunc(live, func(a access) bool {
				return slices.ContainsFunc(mine, func(m access) bool { return m.write && m.Covers(a.Operand) })
			})
			live = append(live, mine...)
		}
	}
}

// TestDependOnColumns checks launches that read and write columns of few matrices: whatever touches a byte waits, through
// others or not, for who touched it before, unless both read.
func TestDependOnColumns(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	operand := func() gpu.Operand {
		const rows, cols = 3, 6
		o := gpu.Operand{Offset: int64(r.IntN(2)) * 4 * 10, Type: f32(rows, cols)}
		if r.IntN(3) > 0 {
			lo := 2 * r.IntN(3)
			o.Offset, o.Stride, o.Type = o.Offset+int64(4*lo), cols, f32(rows, 2)
		}
		return o
	}
	bytes := func(o gpu.Operand) (list []int64) {
		for row := range o.Type.Shape[0] {
			for c := range o.Type.Shape[1] {
				list = append(list, o.Offset+int64(4*(row*o.RowStride()+c)))
			}
		}
		return list
	}
	for range 100 {
		launches := make([]gpu.Launch, 100)
		for i := range launches {
			launches[i].Out = []gpu.Operand{operand()}
			for range r.IntN(3) {
				launches[i].In = append(launches[i].In, operand())
			}
		}
		depend(launches)
		waits := make([]map[int32]bool, len(launches)) // for each launch, through others too
		readers, writer := map[int64][]int32{}, map[int64]int32{}
		for i, l := range launches {
			waits[i] = map[int32]bool{}
			for _, d := range l.Deps {
				waits[i][d] = true
				for e := range waits[d] {
					waits[i][e] = true
				}
			}
			need := func(list ...int32) {
				for _, d := range list {
					if d != int32(i) && !waits[i][d] {
						t.Fatalf("launch %d does not wait for %d: %v", i, d, launches[:i+1])
					}
				}
			}
			for _, o := range l.In {
				for _, b := range bytes(o) {
					if w, ok := writer[b]; ok {
						need(w)
					}
					readers[b] = append(readers[b], int32(i))
				}
			}
			for _, b := range bytes(l.Out[0]) {
				need(readers[b]...)
				if w, ok := writer[b]; ok {
					need(w)
				}
				writer[b], readers[b] = int32(i), nil
			}
		}
	}
}

// TestColumnsCoverTogether: what the columns of a matrix have covered together is forgotten, so that in a model of many layers
// a launch waits for a few, also where layers put matrices of other widths in the same place.
func TestColumnsCoverTogether(t *testing.T) {
	var launches []gpu.Launch
	for range 100 {
		for _, cols := range []int{4, 6} {
			whole := gpu.Operand{Type: f32(3, cols)}
			for lo := 0; lo < cols; lo += 2 {
				part := gpu.Operand{Offset: int64(4 * lo), Type: f32(3, 2), Stride: cols}
				launches = append(launches, gpu.Launch{Out: []gpu.Operand{part}})
			}
			launches = append(launches, gpu.Launch{In: []gpu.Operand{whole}})
		}
	}
	depend(launches)
	for i, l := range launches {
		if len(l.Deps) > 9 {
			t.Fatalf("launch %d waits for %v", i, l.Deps)
		}
	}
}

// TestActivationsOfManyLayers checks that a reader between a product and its activation keeps them apart,
// and that what is read after it is the fused launch's.
func TestActivationsOfManyLayers(t *testing.T) {
	const layers = 50
	g := New()
	x := g.Leaf("x", gpu.RoleInput, f32(4, 8))
	w := g.Leaf("w", gpu.RoleWeight, f32(8, 8))
	g.Segment("run", gpu.Forward)
	h := x
	for i := range layers {
		g.At(i, fmt.Sprint("layer ", i))
		gate, up := g.Linear(h, w, Value{}), g.Linear(h, w, Value{})
		if i%5 == 0 {
			gate = g.Add(gate, up) // reads the product before its activation
		}
		y := g.Op1("swiglu", gpu.Attrs{}, gate, up)
		h = g.Add(y, up)
	}
	g.Update(g.Leaf("y", gpu.RoleOutput, f32(4, 8)), h)
	p, err := Compile(g, gpu.Caps{Alignment: 8})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, l := range p.Launches {
		count[l.Kernel]++
	}
	if count["swiglu"] != layers/5 || count["matmul_swiglu"] != layers-layers/5 {
		t.Errorf("%d activations are launches of their own and %d are fused: %v", count["swiglu"], count["matmul_swiglu"], count)
	}
}
