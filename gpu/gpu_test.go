package gpu_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
)

func TestBF16RoundsToNearestEven(t *testing.T) {
	for x, want := range map[float32]float32{1: 1, 1 + 1.0/256: 1, 1 + 3.0/256: 1 + 1.0/64, 1.00391: 1.0078125, -2.5: -2.5, 3.4e38: float32(math.Inf(1))} {
		if got := gpu.FromBF16(gpu.ToBF16(x)); got != want {
			t.Errorf("%g rounds to %g, want %g", x, got, want)
		}
	}
	if got := gpu.FromBF16(gpu.ToBF16(float32(math.NaN()))); got == got {
		t.Errorf("NaN becomes %g", got)
	}
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	good := func() *gpu.Program {
		f := func(at int64, n ...int) gpu.Operand {
			return gpu.Operand{Offset: at, Type: gpu.Type{Shape: n, DType: gpu.F32}}
		}
		return &gpu.Program{ArenaBytes: 256, Launches: []gpu.Launch{
			{Kernel: "add", In: []gpu.Operand{f(0, 4), f(64, 4)}, Out: []gpu.Operand{f(128, 4)}},
			{Kernel: "sum", In: []gpu.Operand{f(128, 4)}, Out: []gpu.Operand{f(0, 1)}, Scratch: f(192, 1), Deps: []int32{0}}}}
	}
	if err := good().Verify(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*gpu.Program){
		"no such kernel":       func(p *gpu.Program) { p.Launches[0].Kernel = "plus" },
		"differ":               func(p *gpu.Program) { p.Launches[0].In[1].Type.Shape = gpu.Shape{5} },
		"takes 2 to 2 inputs":  func(p *gpu.Program) { p.Launches[0].In = p.Launches[0].In[:1] },
		"outside the arena":    func(p *gpu.Program) { p.Launches[0].Out[0].Offset = 248 },
		"output 0 is":          func(p *gpu.Program) { p.Launches[0].Out[0].Type.Shape = gpu.Shape{3} },
		"output 0 overlaps":    func(p *gpu.Program) { p.Launches[0].Out[0].Offset = 8 },
		"comes later":          func(p *gpu.Program) { p.Launches[0].Deps = []int32{1} },
		"scratch has":          func(p *gpu.Program) { p.Launches[1].Scratch.Type.Shape = gpu.Shape{0} },
		"overlaps the scratch": func(p *gpu.Program) { p.Launches[1].Scratch.Offset = 0 },
		"strided, which":       func(p *gpu.Program) { p.Launches[0].In[0].Stride = 9 },
		"only 2 apart": func(p *gpu.Program) {
			p.Launches[0].Kernel, p.Launches[0].In[0].Type.Shape, p.Launches[0].In[0].Stride = "swiglu", gpu.Shape{1, 4}, 2
			p.Launches[0].In[1].Type.Shape = gpu.Shape{1, 4}
		},
		"overlaps input 0": func(p *gpu.Program) { // what may be changed where it lies, but with rows elsewhere
			p.Launches[0].Kernel, p.Launches[0].Out = "swiglu", slices.Clone(p.Launches[0].In[:1])
			for i := range p.Launches[0].In {
				p.Launches[0].In[i].Type.Shape = gpu.Shape{2, 2}
			}
			p.Launches[0].Out[0].Type.Shape, p.Launches[0].Out[0].Stride = gpu.Shape{2, 2}, 3
		},
		"has 2 outputs, not 1": func(p *gpu.Program) { p.Launches[0].Out = append(p.Launches[0].Out, p.Launches[0].In[0]) },
	} {
		p := good()
		change(p)
		if err := p.Verify(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestOverlapAndCovers compares both with the bytes of random operands, some of them columns of one matrix: none that are
// shared is missed, and of columns of one matrix none is made up.
func TestOverlapAndCovers(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	apart, covered := 0, 0
	for range 20000 {
		stride := []int{0, 5, 5, 7}
		operand := func() (o gpu.Operand, bytes map[int64]bool) {
			o = gpu.Operand{Offset: 2 * int64(r.IntN(40)), Stride: stride[r.IntN(4)],
				Type: gpu.Type{Shape: gpu.Shape{1 + r.IntN(3), 1 + r.IntN(5)}, DType: gpu.BF16}}
			bytes = map[int64]bool{}
			for row := range o.Type.Shape[0] {
				for c := range o.Type.Shape[1] {
					bytes[o.Offset+2*int64(row*o.RowStride()+c)] = true
				}
			}
			return o, bytes
		}
		a, inA := operand()
		b, inB := operand()
		shared := 0
		for x := range inB {
			if inA[x] {
				shared++
			}
		}
		exact := a.Stride == b.Stride
		if got := gpu.Overlap(a, b); shared > 0 && !got || got && shared == 0 && exact && a.Type.Shape[0] > 2 && b.Type.Shape[0] > 2 {
			t.Fatalf("%+v and %+v share %d elements; overlap: %t", a, b, shared, got)
		} else if !got && a.Offset < b.Offset+b.Span() && b.Offset < a.Offset+a.Span() {
			apart++
		}
		if a.Covers(b) {
			if covered++; shared < len(inB) {
				t.Fatalf("%+v does not cover %+v, of whose elements it has %d", a, b, shared)
			}
		}
	}
	if apart < 100 || covered < 100 {
		t.Errorf("%d pairs lie between each other, of %d one covers the other: too few", apart, covered)
	}
}

func TestHashIsThatOfTheLaunches(t *testing.T) {
	c := gputest.Cases()[0]
	a, err := gputest.Program(c, gpu.Caps{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := gputest.Program(c, gpu.Caps{}, nil)
	if a.Hash() != b.Hash() {
		t.Error("the same program has two hashes")
	}
	b.Launches[0].Attrs.Alpha = 2
	if a.Hash() == b.Hash() {
		t.Error("another attribute, the same hash")
	}
}

// TestCounts: what an int64 cannot hold is the largest, whatever it is multiplied by next.
func TestCounts(t *testing.T) {
	for _, c := range []struct {
		got, want int64
	}{
		{gpu.Product(), 1}, {gpu.Product(3, 4, 5), 60}, {gpu.Product(1<<31, 1<<31), 1 << 62}, {gpu.Product(1<<32, 1<<31), math.MaxInt64}, {gpu.Product(1<<62, 1<<62, 3), math.MaxInt64},
		{gpu.Product(1<<40, 1<<40, 0), 0}, {gpu.Sum(1, 2, 3), 6}, {gpu.Sum(math.MaxInt64, 1), math.MaxInt64}, {gpu.Sum(1<<62, 1<<62, 1<<62, 1<<62), math.MaxInt64},
		{int64(gpu.Shape{1 << 40, 1 << 40}.Elems()), math.MaxInt64}, {gpu.Type{gpu.Shape{1 << 31, 1 << 31}, gpu.F32}.Bytes(), math.MaxInt64}, {gpu.Type{gpu.Shape{6, 7}, gpu.BF16}.Bytes(), 84},
		{gpu.Lookup("matmul").FLOPs(gpu.Attrs{}, []gpu.Type{{gpu.Shape{1 << 30, 1 << 30}, gpu.F32}, {gpu.Shape{1 << 30, 8}, gpu.F32}}, nil), math.MaxInt64},
		{gpu.Lookup("attention").FLOPs(gpu.Attrs{Heads: 1, KVHeads: 1}, []gpu.Type{{gpu.Shape{1, 1 << 30, 64}, gpu.F32}}, nil), math.MaxInt64},
	} {
		if c.got != c.want {
			t.Errorf("counted %d, not %d", c.got, c.want)
		}
	}
}
