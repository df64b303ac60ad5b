package cpu

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
	"stepflow/gpu/probe"
)

func TestConformance(t *testing.T) {
	for _, v := range Variants() {
		t.Run(v, func(t *testing.T) {
			d := open(t, 2, v)
			gputest.Run(t, func() gpu.Device { return keep{d} })
		})
	}
}

func TestCollectives(t *testing.T) {
	gputest.RunRanks(t, func() gpu.Device {
		d, err := Open(1, "")
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

func open(t testing.TB, threads int, isa string) *Device {
	t.Helper()
	d, err := Open(threads, isa)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestUnknownInstructionSet(t *testing.T) {
	if _, err := Open(1, "mmx"); err == nil || !strings.Contains(err.Error(), "portable") {
		t.Errorf("%v does not list what there is", err)
	}
}

// keep leaves the device open between cases.
type keep struct{ *Device }

func (keep) Close() error { return nil }

func TestSameBitsForAnyNumberOfThreads(t *testing.T) {
	threads := []int{1, 2, 7}
	if testing.Short() {
		threads = []int{1, 3}
	}
	for _, c := range gputest.Cases() {
		p, err := gputest.Program(c, PlanCaps(""), nil)
		if err != nil {
			t.Fatal(err)
		}
		var first []byte
		for _, n := range threads {
			d := open(t, n, "")
			l, err := d.Load(p)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range gputest.Inputs(c, 7) {
				o := p.Launches[0].In[i]
				if o.Stride != 0 {
					o.Stride, o.Type.Shape = 0, gpu.Shape{int(o.Span() / o.Type.DType.Size())}
					v = append(v, make([]float64, o.Type.Shape.Elems()-len(v))...)
				}
				if err := l.CopyIn(o, gputest.Encode(v, o.Type)); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Run(0, 1, false); err != nil {
				t.Fatal(err)
			}
			all := copied(t, l, p)
			if first == nil {
				first = all
			} else if !bytes.Equal(first, all) {
				t.Errorf("%v: %d threads give other bits than 1", c, n)
			}
			l.Close()
		}
	}
}

func TestExp(t *testing.T) {
	for x := float32(-90); x < 90; x += 0.0173 {
		want := math.Exp(float64(x))
		got := float64(exp32(x))
		if x < -87 || x > 88 {
			continue
		}
		if math.Abs(got-want) > 3e-7*want {
			t.Fatalf("exp32(%g) = %g, want %g", x, got, want)
		}
	}
	if !math.IsInf(float64(exp32(100)), 1) || exp32(-100) != 0 || exp32(float32(math.NaN())) == exp32(float32(math.NaN())) {
		t.Error("limits: want +Inf, 0 and NaN")
	}
}

func TestVectorExp(t *testing.T) {
	for i := range variants {
		v := &variants[i]
		src, dst := make([]float32, 16*1100+3), make([]float32, 16*1100+3)
		for j := range src {
			src[j] = 86 - float32(j)*0.0098
		}
		v.expScale(dst, src, 1.5, 1)
		for j, x := range src {
			if want := math.Exp(float64(float32(1.5 + float64(x)))); want < 1e38 && math.Abs(float64(dst[j])-want) > 1e-6*want {
				t.Fatalf("%s: exp(1.5 + %g) = %g, want %g", v.name, x, dst[j], want)
			}
		}
		src[5] = float32(math.NaN())
		if v.expScale(dst, src, 0, 1); dst[5] == dst[5] {
			t.Errorf("%s: NaN gives %g", v.name, dst[5])
		}
	}
}

// Every bf16 value widens to itself, and every float32 narrows as gpu.ToBF16 says.
func TestConvert(t *testing.T) {
	for i := range variants {
		v := &variants[i]
		h, f := make([]uint16, 1<<16), make([]float32, 1<<16)
		for j := range h {
			h[j] = uint16(j)
		}
		v.widen(f, h)
		for j, x := range f {
			if math.Float32bits(x) != uint32(j)<<16 {
				t.Fatalf("%s: %#x widens to %#x", v.name, j, math.Float32bits(x))
			}
		}
		for j := range f { // half way, just below and above, in both directions
			f[j] = math.Float32frombits(uint32(j)<<16 | []uint32{0x8000, 0x7fff, 0x8001, 0}[j%4])
		}
		v.narrow(h, f)
		for j, x := range h {
			if want := gpu.ToBF16(f[j]); x != want {
				t.Fatalf("%s: %#x narrows to %#x, want %#x", v.name, math.Float32bits(f[j]), x, want)
			}
		}
	}
}

// All instruction sets compute the loops of loops.go alike, at lengths with and without a tail.
func TestLoops(t *testing.T) {
	p := &portableLoops
	for i := range variants {
		v := &variants[i]
		for _, n := range []int{0, 1, 7, 8, 16, 31, 64, 67} {
			var x [8][]float32
			for j := range x {
				x[j] = make([]float32, n)
				for l := range x[j] {
					x[j][l] = float32(math.Sin(float64(1+j*31+l*7))) + 1.5
				}
			}
			y, z := make([]float32, n), make([]float32, n)
			same := func(name string, want, got float32) {
				t.Helper()
				if math.Abs(float64(want-got)) > 2e-6*(1+math.Abs(float64(want))) {
					t.Errorf("%s: %s of %d elements is %g, want %g", v.name, name, n, got, want)
				}
			}
			same("sum", p.sum(x[0]), v.sum(x[0]))
			same("dot", p.dot(x[0], x[1]), v.dot(x[0], x[1]))
			same("dot3", p.dot3(x[0], x[1], x[2]), v.dot3(x[0], x[1], x[2]))
			if n > 0 {
				same("max", p.max(x[0]), v.max(x[0]))
			}
			same("expSum", p.expSum(y, x[0], -1), v.expSum(z, x[0], -1))
			for l := range y {
				same("exp", y[l], z[l])
			}
			p.blend(y, x[0], x[1], 0.95, -0.3)
			v.blend(z, x[0], x[1], 0.95, -0.3)
			for l := range y {
				same("blend", y[l], z[l])
			}
			p.rotate(x[4], x[5], x[0], x[1], x[2], x[3], -1)
			v.rotate(x[6], x[7], x[0], x[1], x[2], x[3], -1)
			h, g := make([]uint16, n), make([]uint16, n)
			v.narrow(h, x[0])
			v.narrow(g, x[1])
			v.widen(x[0], h)
			v.widen(x[1], g)
			if a, b := v.squares(x[0]), v.halfSquares(h); a != b {
				t.Errorf("%s: the squares of %d elements add up to %g in bf16, and to %g widened", v.name, n, b, a)
			}
			var out [6][]float32
			for j := range out {
				out[j] = make([]float32, n)
			}
			a, b := v.adamw(out[0], out[1], out[2], x[0], x[1], x[2], x[3], 0.5, 0.9, 0.1, 0.95, 0.05, 2, 3, 1e-8, 1e-3, 0.99)
			c, e := v.halfAdamW(out[3], out[4], out[5], h, g, x[2], x[3], 0.5, 0.9, 0.1, 0.95, 0.05, 2, 3, 1e-8, 1e-3, 0.99)
			if a != c || b != e || n > 0 && (a != v.absMax(out[1]) || b != v.absMax(out[2])) {
				t.Errorf("%s: the largest moments of %d elements are %g and %g, and in bf16 %g and %g", v.name, n, a, b, c, e)
			}
			a = v.ema(out[0], out[1], x[2], x[0], 0.9, 0.1, 0.8, 0.2)
			b = v.halfEMA(out[3], out[4], x[2], h, 0.9, 0.1, 0.8, 0.2)
			if a != b || n > 0 && a != v.absMax(out[0]) {
				t.Errorf("%s: the largest average of %d elements is %g, and in bf16 %g", v.name, n, a, b)
			}
			for j := range 3 {
				if !slices.Equal(out[j], out[3+j]) {
					t.Errorf("%s: AdamW makes %v of %d elements in bf16, and %v of them widened", v.name, out[3+j], n, out[j])
				}
			}
			for l := range y {
				same("rotate", x[4][l], x[6][l])
				same("rotate", x[5][l], x[7][l])
			}
		}
	}
}

func TestAssemblyIsCurrent(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("go", "run", "./asmgen", "loops.go", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("asmgen wrote %d files: %v", len(files), err)
	}
	for _, f := range files {
		want, err := os.ReadFile(dir + "/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what asmgen writes: run go generate", f.Name())
		}
	}
}

func BenchmarkMatmul(b *testing.B) {
	d := open(b, 0, "")
	for _, s := range []struct {
		name    string
		m, n, k int
		ta, tb  bool
	}{{"NT", 2048, 688, 256, false, true}, {"NN", 2048, 1024, 2736, false, false}, {"TN", 2736, 1024, 2048, true, false}, {"NT", 2048, 5461, 2048, false, true},
		{"NT", 2048, 344, 128, false, true}, {"NT", 512, 8, 128, false, true}, {"TN", 8, 128, 512, true, false}, {"NT", 512, 128, 8, false, true}, {"TN", 128, 8, 512, true, false}, {"NT", 512, 128, 128, false, true}} {
		for _, half := range []bool{false, true} {
			vec := func(n int) buffer {
				if half {
					return buffer{h: make([]uint16, n)}
				}
				return buffer{f: make([]float32, n)}
			}
			b.Run(fmt.Sprintf("%s%dx%dx%d/bf16=%t", s.name, s.m, s.n, s.k, half), func(b *testing.B) {
				x, y := dense(vec(s.m*s.k), s.k, s.ta), dense(vec(s.k*s.n), s.n, s.tb)
				if s.ta {
					x.ld = s.m
				}
				if s.tb {
					y.ld = s.k
				}
				p := d.product(s.m, s.n, s.k, 1, x, y, output{buffer: vec(s.m * s.n), ld: s.n})
				b.ReportAllocs()
				for i := 0; i < b.N; i++ {
					p.run()
				}
				b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

// BenchmarkFewRows is products with weights that no cache holds, as generation makes them token by token.
func BenchmarkFewRows(b *testing.B) {
	d := open(b, 0, "")
	const n, k, copies = 2048, 2048, 8
	for _, half := range []bool{false, true} {
		vec := func(n int) buffer {
			if half {
				return buffer{h: make([]uint16, n)}
			}
			return buffer{f: make([]float32, n)}
		}
		var weights [copies]buffer
		for i := range weights {
			weights[i] = vec(n * k)
			for j := range weights[i].h { // memory that was never written is one page
				weights[i].h[j] = uint16(j)
			}
			for j := range weights[i].f {
				weights[i].f[j] = float32(j)
			}
		}
		for _, m := range []int{1, 2, 4, 8, 14, 40, 56, 64} {
			b.Run(fmt.Sprintf("%dx%dx%d/bf16=%t", m, n, k, half), func(b *testing.B) {
				var list [copies]*product
				for i, w := range weights {
					list[i] = d.product(m, n, k, 1, dense(vec(m*k), k, false), dense(w, k, true),
						output{buffer: vec(m * n), ld: n})
				}
				b.SetBytes(int64(4*len(weights[0].f) + 2*len(weights[0].h)))
				for i := range b.N {
					list[i%copies].run()
				}
			})
		}
	}
}

func BenchmarkPack(b *testing.B) {
	const k, n = 384, 168
	dst := make([]float32, k*(n+maxMR))
	y := variants[0].layout(n, n, false)
	own := worker{wide: make([]float32, maxNR*widePiece)}
	for _, trans := range []bool{false, true} {
		b.Run(fmt.Sprintf("trans=%t", trans), func(b *testing.B) {
			m := dense(buffer{f: make([]float32, k*n)}, n, trans)
			if trans {
				m.ld = k
			}
			b.SetBytes(4 * k * n)
			for i := 0; i < b.N; i++ {
				y.pack(&own, dst, m, k, n, maxMR)
			}
		})
	}
}

// BenchmarkKernels runs the hot kernels of a training step, in f32 and bf16.
func BenchmarkKernels(b *testing.B) {
	d := open(b, 0, "")
	s := probe.Shapes{Batch: 8, Seq: 256, Hidden: 256, Intermediate: 688, Heads: 4, KVHeads: 4, Vocab: 4096, Rank: 8}
	for _, t := range dtypes {
		for _, c := range probe.Cases(s, t) {
			b.Run(fmt.Sprintf("%s/%s/%v", c.Kernel, strings.ReplaceAll(c.Name, " ", "_"), t), func(b *testing.B) {
				l, p, err := c.Open(d)
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				b.ReportAllocs()
				b.SetBytes(p.Launches[0].Bytes)
				for i := 0; b.Loop(); i++ {
					at := i % len(p.Launches)
					if err := l.Run(at, at+1, false); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(p.Launches[0].FLOPs)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
