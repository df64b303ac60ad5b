package gputest

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"stepflow/gpu"
)

// stochastic holds a device to what stochastic rounding is for: a weight of 1 that decays to 0.999, which
// bf16 has not, becomes one of its neighbours, 0.999 in the mean; the draws depend on the seed and on nothing else.
func stochastic(t *testing.T, open func() gpu.Device) {
	const n = 1 << 16
	w, m, one := gpu.Type{Shape: gpu.Shape{n}, DType: gpu.BF16}, gpu.Type{Shape: gpu.Shape{n}, DType: gpu.F32},
		gpu.Type{Shape: gpu.Shape{1}, DType: gpu.F32}
	c := Case{Kernel: "adamw_stochastic", Attrs: gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1},
		In: []gpu.Type{w, w, m, m, one, {Shape: gpu.Shape{gpu.HyperLen}, DType: gpu.F32}}}
	d := open()
	defer d.Close()
	p, err := Program(c, d.Caps(), nil)
	check(t, err)
	update := func(seed float32) []byte {
		l, err := d.Load(p)
		check(t, err)
		defer l.Close()
		ones := make([]float32, n)
		for i := range ones {
			ones[i] = 1
		}
		in := p.Launches[0].In
		check(t, l.CopyIn(in[0], gpu.Float32Bytes(ones, gpu.BF16)))
		check(t, l.CopyIn(in[3], gpu.Float32Bytes(ones, gpu.F32)))
		check(t, l.CopyIn(in[4], gpu.Float32Bytes(ones[:1], gpu.F32)))
		check(t, l.CopyIn(in[5], gpu.Float32Bytes([]float32{0.01, 1, 1, seed}, gpu.F32)))
		check(t, l.Run(0, 1, false))
		got := make([]byte, w.Bytes())
		check(t, l.CopyOut(got, p.Launches[0].Out[0]))
		return got
	}
	a := update(16777215)
	if !bytes.Equal(a, update(16777215)) {
		t.Error("the same seed rounds differently")
	}
	if bytes.Equal(a, update(16777214)) {
		t.Error("another seed rounds the same")
	}
	var mean float64
	for _, x := range gpu.BytesFloat32(a, gpu.BF16) {
		if x != 1 && x != 1-1./256 {
			t.Fatalf("0.999 became %v", x)
		}
		mean += float64(x) / n
	}
	if sigma := 1. / 256 * 0.5 / math.Sqrt(n); math.Abs(mean-0.999) > 6*sigma {
		t.Errorf("0.999 became %v in the mean, %v standard deviations away", mean, (mean-0.999)/sigma)
	}
}

// castStochastic holds a device to the very draws of gpu.ToBF16Stochastic, beyond what one block covers.
func castStochastic(t *testing.T, open func() gpu.Device) {
	const n = 40003
	const seed = 9731
	c := Case{Kernel: "cast_stochastic", In: []gpu.Type{f32(n), f32(1)}}
	d := open()
	defer d.Close()
	p, err := Program(c, d.Caps(), nil)
	check(t, err)
	l, err := d.Load(p)
	check(t, err)
	defer l.Close()
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Sin(float64(i))) / float32(1+i%7)
	}
	x[5], x[6] = float32(math.NaN()), float32(math.Inf(-1))
	in, out := p.Launches[0].In, p.Launches[0].Out[0]
	check(t, l.CopyIn(in[0], gpu.Float32Bytes(x, gpu.F32)))
	check(t, l.CopyIn(in[1], gpu.Float32Bytes([]float32{seed}, gpu.F32)))
	check(t, l.Run(0, 1, false))
	got := make([]byte, out.Type.Bytes())
	check(t, l.CopyOut(got, out))
	for i, y := range gpu.BytesFloat32(got, gpu.BF16) {
		if want := gpu.FromBF16(gpu.ToBF16Stochastic(x[i], seed, int64(i))); y != want && !(y != y && want != want) {
			t.Fatalf("element %d, %g, became %g, not %g", i, x[i], y, want)
		}
	}
}

// noise holds a device to the very draws of gpu.Uniform, padded or not, and alike for a batch and for its two halves.
func noise(t *testing.T, open func() gpu.Device) {
	const rows, cols, seed = 40, 33, 16777215
	d := open()
	defer d.Close()
	draw := func(rows, wide int, number float32) (list []float32) {
		c := Case{Kernel: "uniform_noise", Attrs: gpu.Attrs{Alpha: 1, Cols: cols}, In: []gpu.Type{f32(rows, wide), f32(2)}}
		p, err := Program(c, d.Caps(), nil)
		check(t, err)
		l, err := d.Load(p)
		check(t, err)
		defer l.Close()
		in, out := p.Launches[0].In, p.Launches[0].Out[0]
		check(t, l.CopyIn(in[0], gpu.Float32Bytes(make([]float32, rows*wide), gpu.F32)))
		check(t, l.CopyIn(in[1], gpu.Float32Bytes([]float32{seed, number}, gpu.F32)))
		check(t, l.Run(0, 1, false))
		got := make([]byte, out.Type.Bytes())
		check(t, l.CopyOut(got, out))
		for i, v := range gpu.BytesFloat32(got, gpu.F32) {
			if i%wide < cols {
				list = append(list, v)
			} else if v != 0 {
				t.Fatalf("padding became %g", v)
			}
		}
		return list
	}
	want := make([]float32, rows*cols)
	for i := range want {
		want[i] = gpu.Uniform(seed, int64(i))
	}
	for name, got := range map[string][]float32{"whole": draw(rows, cols, 0), "padded": draw(rows, 40, 0),
		"halves": append(draw(rows/2, cols, 0), draw(rows/2, cols, 1)...)} {
		if !slices.Equal(got, want) {
			t.Errorf("%s: other draws than those of gpu.Uniform", name)
		}
	}
	mean, most := 0.0, 0.0
	for _, v := range want {
		mean += float64(v) / (rows * cols)
		most = math.Max(most, math.Abs(float64(v)))
	}
	if math.Abs(mean) > 6/math.Sqrt(3*rows*cols) || most > 1 || most < 0.99 {
		t.Errorf("the mean of the draws is %g, and the largest %g", mean, most)
	}
}
