package cpu

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
)

func TestConformance(t *testing.T) {
	for _, v := range Variants() {
		t.Run(v, func(t *testing.T) {
			d, err := OpenVariant(2, v)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			gputest.Run(t, func() gpu.Device { return keep{d} })
		})
	}
}

// keep leaves the device open between cases.
type keep struct{ *Device }

func (keep) Close() error { return nil }

func TestSameBitsForAnyNumberOfThreads(t *testing.T) {
	for _, c := range gputest.Cases() {
		if c.In[0].DType == gpu.BF16 {
			continue
		}
		p, err := gputest.Program(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		var first []byte
		for _, threads := range []int{1, 2, 7} {
			d := Open(threads)
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
				f, n := make([]float32, len(v)), make([]int32, len(v))
				for j, x := range v {
					f[j], n[j] = float32(x), int32(x)
				}
				b := gpu.Float32Bytes(f, gpu.F32)
				if o.Type.DType == gpu.I32 {
					b = gpu.Int32Bytes(n)
				}
				if err := l.CopyIn(o, b); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Run(0, 1, false); err != nil {
				t.Fatal(err)
			}
			all := make([]byte, p.ArenaBytes/4*4)
			if err := l.CopyOut(all, gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{len(all) / 4}, DType: gpu.I32}}); err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = all
			} else if !bytes.Equal(first, all) {
				t.Errorf("%v: %d threads give other bits than 1", c, threads)
			}
			l.Close()
			d.Close()
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
			src[j] = -86 + float32(j)*0.0098
		}
		v.exp(dst, src, -1, 1.5)
		for j, x := range src {
			if want := math.Exp(float64(float32(1.5 - float64(x)))); want < 1e38 && math.Abs(float64(dst[j])-want) > 1e-6*want {
				t.Fatalf("%s: exp(1.5 - %g) = %g, want %g", v.name, x, dst[j], want)
			}
		}
		src[5] = float32(math.NaN())
		if v.exp(dst, src, 1, 0); dst[5] == dst[5] {
			t.Errorf("%s: NaN gives %g", v.name, dst[5])
		}
	}
}

func TestAssemblyIsCurrent(t *testing.T) {
	file := t.TempDir() + "/gemm.s"
	if out, err := exec.Command("go", "run", "./asmgen", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("asm_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("asm_amd64.s is not what asmgen writes: run go generate")
	}
}

func TestRefusesBF16(t *testing.T) {
	d := Open(1)
	defer d.Close()
	x := gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{4}, DType: gpu.BF16}}
	y := x
	y.Offset = 64
	_, err := d.Load(&gpu.Program{ArenaBytes: 128, Launches: []gpu.Launch{{Kernel: "copy", In: []gpu.Operand{x}, Out: []gpu.Operand{y}}}})
	if err == nil {
		t.Fatal("loaded a program in bf16, which the device cannot run")
	}
}

func BenchmarkMatmul(b *testing.B) {
	d := Open(0)
	defer d.Close()
	for _, s := range []struct {
		name    string
		m, n, k int
		ta, tb  bool
	}{{"NT", 2048, 688, 256, false, true}, {"NN", 2048, 1024, 2736, false, false}, {"TN", 2736, 1024, 2048, true, false}, {"NT", 2048, 344, 128, false, true}, {"NT", 512, 8, 128, false, true}, {"TN", 8, 128, 512, true, false}, {"NT", 512, 128, 128, false, true}} {
		b.Run(fmt.Sprintf("%s%dx%dx%d", s.name, s.m, s.n, s.k), func(b *testing.B) {
			x, y, z := make([]float32, s.m*s.k), make([]float32, s.k*s.n), make([]float32, s.m*s.n)
			lx, ly := s.k, s.n
			if s.ta {
				lx = s.m
			}
			if s.tb {
				ly = s.k
			}
			for i := 0; i < b.N; i++ {
				d.matmul(s.m, s.n, s.k, 1, matrix{x, lx, s.ta}, matrix{y, ly, s.tb}, z, s.n, false)
			}
			b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

func BenchmarkPack(b *testing.B) {
	const k, n = 384, 168
	src, dst := make([]float32, k*n), make([]float32, k*(n+maxMR))
	for _, trans := range []bool{false, true} {
		b.Run(fmt.Sprintf("trans=%t", trans), func(b *testing.B) {
			ld := n
			if trans {
				ld = k
			}
			b.SetBytes(4 * k * n)
			for i := 0; i < b.N; i++ {
				packPanels(dst, matrix{src, ld, trans}, k, n, maxMR, 1)
			}
		})
	}
}
