package optim_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/ref"
	"stepflow/ops"
	"stepflow/ops/graph"
	"stepflow/ops/optim"
)

// spectrum makes a matrix with singular values that size gives, and singular vectors at random.
func spectrum(rows, cols int, size func(i int) float64) []float32 {
	r := rand.New(rand.NewPCG(7, 7))
	vectors := func(n, length int) [][]float64 { // orthonormal, by Gram-Schmidt, twice
		list := make([][]float64, n)
		for i := range list {
			v := make([]float64, length)
			for j := range v {
				v[j] = r.NormFloat64()
			}
			for range 2 {
				for _, u := range list[:i] {
					d := dot(u, v)
					for j := range v {
						v[j] -= d * u[j]
					}
				}
			}
			s := 1 / math.Sqrt(dot(v, v))
			for j := range v {
				v[j] *= s
			}
			list[i] = v
		}
		return list
	}
	n := min(rows, cols)
	us, vs, x := vectors(n, rows), vectors(n, cols), make([]float32, rows*cols)
	for i := range rows {
		for j := range cols {
			var s float64
			for k := range n {
				s += size(k) * us[k][i] * vs[k][j]
			}
			x[i*cols+j] = float32(s)
		}
	}
	return x
}

func dot(x, y []float64) (s float64) {
	for i := range x {
		s += x[i] * y[i]
	}
	return s
}

// exact gives the singular vectors of the shorter side in float64, those of larger values first.
func exact(t *testing.T, x []float32, rows, cols int) [][]float64 {
	t.Helper()
	g, n := graph.New(), min(rows, cols)
	in := g.Leaf("x", gpu.RoleInput, gpu.Type{Shape: gpu.Shape{rows, cols}, DType: gpu.F32})
	out := g.Leaf("v", gpu.RoleOutput, gpu.Type{Shape: gpu.Shape{n, n}, DType: gpu.F32})
	g.Segment("run", gpu.Forward)
	g.Update(out, g.Op1("eigh", gpu.Attrs{}, g.Matmul(in, in, rows >= cols, rows < cols)))
	p, err := graph.Compile(g, (&ref.Device{}).Caps())
	if err != nil {
		t.Fatal(err)
	}
	l, err := ref.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := p.Buffer("x")
	if err := l.CopyIn(b.Operand, gpu.Float32Bytes(x, gpu.F32)); err != nil {
		t.Fatal(err)
	}
	if err := l.Run(0, len(p.Launches), false); err != nil {
		t.Fatal(err)
	}
	b, _ = p.Buffer("v")
	return split(l.Get(b.Operand), n)
}

func split(v []float64, cols int) (rows [][]float64) {
	for i := 0; i < len(v); i += cols {
		rows = append(rows, v[i:i+cols])
	}
	return rows
}

// TestProjectionsAreSingularVectors compares the randomised search on every device with float64: the rows are orthonormal,
// hold as much of the gradient as the best there are, and are singular vectors where these lie apart.
func TestProjectionsAreSingularVectors(t *testing.T) {
	const rank = 8
	falling := func(by float64) func(int) float64 { return func(i int) float64 { return math.Pow(by, float64(i)) } }
	for _, c := range []struct {
		name       string
		rows, cols int
		size       func(int) float64
		energy     float64 // the least, of the best
		each       float64 // the least cosine of a vector with the exact one; 0 where they do not lie apart
	}{
		{"falling, tall", 60, 40, falling(0.7), 0.9999, 0.999},
		{"falling, wide", 33, 90, falling(0.7), 0.9999, 0.999},
		{"over four decades", 40, 40, falling(0.25), 0.9999, 0.99},
		{"of rank 3", 48, 40, func(i int) float64 { return max(0, float64(3-i)) }, 0.9999, 0},
		{"nearly flat", 64, 48, falling(0.98), 0.9, 0},
		{"zero", 48, 40, func(int) float64 { return 0 }, 0, 0},
		{"small and large", 20, 9, func(i int) float64 { return 1e12 * math.Pow(0.5, float64(i)) }, 0.9999, 0.999},
	} {
		x := spectrum(c.rows, c.cols, c.size)
		best := exact(t, x, c.rows, c.cols)
		for name, d := range devices(t) {
			if name == "cuda" && c.rows > 50 {
				continue // the emulator is slow
			}
			o := optim.GaLore{Rank: rank, UpdateProjGap: 2, Factor: 1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}
			m := load(t, d, o, matrices([]gpu.Shape{{c.rows, c.cols}}), gpu.F32)
			w := m.params[0]
			m.start(w, make([]float32, len(x)))
			m.step([][]float32{x}, 1)
			p := m.get("galore_p/" + w.ID)
			rows := split(wide(p), len(p)/rank)
			for i := range rows {
				for j := range i + 1 {
					want := 0.0
					if i == j {
						want = 1
					}
					if got := dot(rows[i], rows[j]); math.Abs(got-want) > 1e-5 {
						t.Fatalf("%s, %s: the product of rows %d and %d is %g", c.name, name, i, j, got)
					}
				}
				if cos := math.Abs(dot(rows[i], best[i])); cos < c.each {
					t.Errorf("%s, %s: vector %d has a cosine of %g with the exact one", c.name, name, i, cos)
				}
			}
			if got, most := energy(x, c.rows, c.cols, rows), energy(x, c.rows, c.cols, best[:rank]); got < c.energy*most {
				t.Errorf("%s, %s: the projection holds %g of the gradient, and the best one %g", c.name, name, got, most)
			}
			// Not anew in the second step, and then not from what is not finite, which would go on for a whole interval.
			for step := 2; step <= 3; step++ {
				x[5] = float32(math.NaN())
				m.step([][]float32{x}, 1)
				x[5] = 0
				if after := m.get("galore_p/" + w.ID); differs(after, p) {
					t.Errorf("%s, %s: the projection changes in step %d", c.name, name, step)
				}
			}
			x = spectrum(c.rows, c.cols, c.size)
		}
	}
}

func wide(x []float32) []float64 {
	v := make([]float64, len(x))
	for i, e := range x {
		v[i] = float64(e)
	}
	return v
}

// differs reports whether two tensors have other bits.
func differs(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return true
		}
	}
	return false
}

// energy is the sum of squares of a matrix projected to vectors of its shorter side.
func energy(x []float32, rows, cols int, vectors [][]float64) (s float64) {
	for _, v := range vectors {
		if rows >= cols {
			for i := range rows {
				d := dot(wide(x[i*cols:(i+1)*cols]), v)
				s += d * d
			}
			continue
		}
		for j := range cols {
			var d float64
			for i := range rows {
				d += v[i] * float64(x[i*cols+j])
			}
			s += d * d
		}
	}
	return s
}

// TestRefreshIsDue: for all at once, by the parameter that was updated least.
func TestRefreshIsDue(t *testing.T) {
	params := matrices([]gpu.Shape{{4, 4}, {4, 4}})
	o := optim.GaLore{Rank: 2, UpdateProjGap: 5}.With(adamw)
	for _, c := range []struct {
		updates [2]int64
		want    bool
	}{{[2]int64{0, 0}, true}, {[2]int64{1, 1}, false}, {[2]int64{5, 5}, true}, {[2]int64{7, 0}, true}, {[2]int64{10, 3}, false}, {[2]int64{12, 5}, true}} {
		if got := optim.Due(o, params, 5, func(p ops.Param) int64 { return c.updates[p.Layer] }); got != c.want {
			t.Errorf("after %v updates it is due: %t", c.updates, got)
		}
	}
	if list := optim.Intervals(o, append(params, norm)); len(list) != 1 || list[0] != 5 {
		t.Errorf("intervals: %v", list)
	}
	if list := optim.Intervals(o, []ops.Param{norm}); len(list) != 0 {
		t.Errorf("intervals of AdamW: %v", list)
	}
}
