package graph

import (
	"math"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/ref"
)

// caching builds attention of n new tokens over a cache of one slot, whose rows `last` are then scored.
func caching(n, capacity, last int, dtype gpu.DType) *Graph {
	const heads, d, hidden, vocab = 2, 4, 8, 11
	g := New()
	of := func(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: dtype} }
	i32 := func(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: gpu.I32} }
	x := g.Leaf("x", gpu.RoleInput, of(1, n, hidden))
	w := map[string]Value{}
	for _, name := range []string{"q", "k", "v"} {
		w[name] = g.Leaf(name, gpu.RoleWeight, of(heads*d, hidden))
	}
	head := g.Leaf("head", gpu.RoleWeight, of(vocab, hidden))
	kc, vc := g.Leaf("kc", gpu.RoleInput, of(1, capacity, heads*d)), g.Leaf("vc", gpu.RoleInput, of(1, capacity, heads*d))
	slot, past, count := g.Leaf("slot", gpu.RoleInput, i32(1)), g.Leaf("past", gpu.RoleInput, i32(1)), g.Leaf("count", gpu.RoleInput, i32(1))
	positions := g.Leaf("positions", gpu.RoleInput, i32(1, n))
	cos, sin := g.Leaf("cos", gpu.RoleConst, f32(capacity, d/2)), g.Leaf("sin", gpu.RoleConst, f32(capacity, d/2))
	rows, targets := g.Leaf("rows", gpu.RoleInput, i32(last)), g.Leaf("targets", gpu.RoleInput, i32(last))
	nll, greedy := g.Leaf("nll", gpu.RoleOutput, f32(last)), g.Leaf("greedy", gpu.RoleOutput, f32(last))
	g.Segment("run", gpu.Forward)
	rope := func(v Value) Value { return g.Op1("rope", gpu.Attrs{Heads: heads}, v, cos, sin, positions) }
	q, k, v := rope(g.Linear(x, w["q"], Value{})), rope(g.Linear(x, w["k"], Value{})), g.Linear(x, w["v"], Value{})
	o := g.Op1("attention_cached", gpu.Attrs{Heads: heads, KVHeads: heads}, q, k, v, kc, vc, slot, past)
	g.Update(kc, g.Op1("cache_write", gpu.Attrs{}, k, kc, slot, past, count))
	g.Update(vc, g.Op1("cache_write", gpu.Attrs{}, v, vc, slot, past, count))
	h := g.Op1("embedding", gpu.Attrs{}, rows, g.Reshape(g.Add(o, x), n, hidden))
	s := g.Op("linear_score", gpu.Attrs{Chunk: 2}, h, head, targets)
	g.Update(nll, s[0])
	g.Update(greedy, s[1])
	return g
}

// TestCacheIsWrittenWhereItLies: tokens of which some come later, over what was kept of those before, are scored as they
// are all at once; nothing copies a cache; and what is joined for a card is the same.
func TestCacheIsWrittenWhereItLies(t *testing.T) {
	const tokens, capacity, hidden = 5, 7, 8
	for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
		for _, caps := range []gpu.Caps{{Alignment: 64}, {Alignment: 64, FewLaunches: true}} {
			// run gives the scores of the last two tokens, when so many are new at a time.
			run := func(steps ...int) (nll []float64) {
				kept := map[string][]float64{}
				past := 0
				for _, n := range steps {
					g := caching(n, capacity, min(n, 2), dtype)
					p, err := Compile(g, caps)
					if err != nil {
						t.Fatal(err)
					}
					for _, x := range p.Launches {
						cache := x.Kernel == "cache_write" && x.In[1].Offset == x.Out[0].Offset
						if x.Kernel == "copy" || x.Kernel == "slice" || x.Kernel == "cache_write" && !cache {
							t.Errorf("%v: a launch of %s moves what lies there", caps, x.Kernel)
						}
						if x.Kernel == "cache_write" && caps.FewLaunches && x.In[0].Stride == 0 {
							t.Errorf("keys and values have a product of their own:\n%s", g)
						}
					}
					l, err := ref.Open(p)
					if err != nil {
						t.Fatal(err)
					}
					set := func(name string, f func(i int) float64) {
						b, _ := p.Buffer(name)
						v := make([]float64, b.Operand.Type.Shape.Elems())
						for i := range v {
							v[i] = f(i)
						}
						l.Set(b.Operand, v)
					}
					for i, name := range []string{"q", "k", "v", "head", "cos", "sin"} {
						set(name, func(j int) float64 { return math.Sin(float64(1 + i*37 + j*3)) })
					}
					set("x", func(i int) float64 { return math.Cos(float64(past*hidden + i)) })
					set("past", func(int) float64 { return float64(past) })
					set("count", func(int) float64 { return float64(n) })
					set("positions", func(i int) float64 { return float64(past + i) })
					set("rows", func(i int) float64 { return float64(n - min(n, 2) + i) })
					set("targets", func(i int) float64 { return float64((past + n - min(n, 2) + i) % 11) })
					for _, name := range []string{"kc", "vc"} {
						set(name, func(i int) float64 {
							if kept[name] == nil {
								return 100
							}
							return kept[name][i]
						})
					}
					if err := l.Run(0, len(p.Launches), false); err != nil {
						t.Fatal(err)
					}
					for _, name := range []string{"kc", "vc", "nll"} {
						b, _ := p.Buffer(name)
						kept[name] = l.Get(b.Operand)
					}
					nll = append(nll, kept["nll"]...)
					past += n
				}
				return nll[len(nll)-2:]
			}
			want := run(tokens)
			for _, steps := range [][]int{{3, 2}, {1, 1, 1, 1, 1}, {4, 1}} {
				got := run(steps...)
				if slices.ContainsFunc(zip(got, want, func(x, y float64) float64 { return math.Abs(x - y) }),
					func(x float64) bool { return !(x < 1e-12) }) {
					t.Errorf("%v, %v: in steps of %v scores are %v, at once %v", dtype, caps, steps, got, want)
				}
			}
		}
	}
}

// TestForwardOnly: kernels that only run forward say so when they are derived.
func TestForwardOnly(t *testing.T) {
	g := caching(3, 4, 2, gpu.F32)
	seed := g.Leaf("seed", gpu.RoleInput, f32(2))
	for _, n := range g.nodes {
		if n.kernel == "linear_score" {
			g.At(-1, "lm_head")
			g.Grad(Value{n, 0}, seed, []Value{{g.byName["head"].node, 0}}, nil)
		}
	}
	if err := g.Err(); err == nil || !strings.Contains(err.Error(), "linear_score") || !strings.Contains(err.Error(), "has no derivative") {
		t.Errorf("the error is %v", err)
	}
}
