package optim_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/optim"
)

// narrowFixture is ops/optim/testdata/narrow.json, made by bitsandbytes; see tools/parity/narrow_fixture.py.
type narrowFixture struct {
	Shapes []gpu.Shape
	Every  int
	Maps   map[string][]float32
	AdamW  []struct {
		Name  string
		AdamW struct {
			LR          float64 `json:"lr"`
			Betas       [2]float64
			WeightDecay float64 `json:"weight_decay"`
			MaxNorm     float64 `json:"max_norm"`
		}
		Norms   []float64
		Weights [][][]float64
		States  []struct {
			M, V    []byte
			MScales []float64 `json:"m_scales"`
			VScales []float64 `json:"v_scales"`
		}
	}
	Low []struct {
		Name     string
		Settings lowSettings
		Norms    []float64
		Weights  [][][]float64
	}
	Muon struct {
		Muon  settings
		Cases []struct {
			Nesterov bool
			Weights  [][][]float64
		}
	}
}

func readNarrow(t *testing.T) (f narrowFixture) {
	t.Helper()
	b, err := os.ReadFile("testdata/narrow.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestMapsAreBitsandbytes compares all 256 values of both dynamic maps.
func TestMapsAreBitsandbytes(t *testing.T) {
	f := readNarrow(t)
	for _, d := range []gpu.DType{gpu.Dynamic8, gpu.UDynamic8} {
		want := f.Maps[d.String()]
		if len(want) != 256 {
			t.Fatalf("the fixture has %d values of %v", len(want), d)
		}
		for code, x := range d.Codes().Values {
			if x != want[code] {
				t.Errorf("code %d of %v stands for %g, in bitsandbytes for %g", code, d, x, want[code])
			}
		}
	}
}

// inputs are the first weights of matrices, and their gradients of each step.
func inputs(shapes []gpu.Shape) (first [][]float32, grads func() [][]float32) {
	n := numbers(1)
	list := func(spread bool) (all [][]float32) {
		for _, s := range shapes {
			v := n.matrix(s)
			for i := range v {
				if spread {
					v[i] *= float32(math.Ldexp(1+float64(i%251)/1024, -(i % 9)))
				}
			}
			all = append(all, v)
		}
		return all
	}
	return list(false), func() [][]float32 { return list(true) }
}

// sampled compares the weights that the fixture has of a step, relative to how far they have moved.
func (f narrowFixture) sampled(t *testing.T, m *model, first [][]float32, want [][]float64, tol float64) {
	t.Helper()
	for i, p := range m.params {
		var apart, moved float64
		for j, w := range want[i] {
			at := j * f.Every
			apart += math.Pow(float64(m.get(p.ID)[at])-w, 2)
			moved += math.Pow(float64(first[i][at])-w, 2)
		}
		if rel := math.Sqrt(apart / moved); !(rel <= tol) {
			t.Fatalf("step %d: weights %v differ by %.2g of how far they have moved, allowed %g", m.steps, p.Shape, rel, tol)
		}
	}
}

// TestAdamW8bitAgreesWithBitsandbytes compares 20 steps with bitsandbytes' own 8-bit AdamW: norms, weights, and the codes and
// scales after the last. A number between two codes may become either, which the next steps feel.
func TestAdamW8bitAgreesWithBitsandbytes(t *testing.T) {
	f := readNarrow(t)
	for name, d := range devices(t) {
		for _, c := range f.AdamW {
			t.Run(name+"/"+c.Name, func(t *testing.T) {
				a := c.AdamW
				o := optim.AdamW{LearningRate: a.LR, Beta1: a.Betas[0], Beta2: a.Betas[1], Eps: 1e-8, WeightDecay: a.WeightDecay,
					MaxGradNorm: a.MaxNorm, StateDType: "int8"}
				first, grads := inputs(f.Shapes)
				m := load(t, d, o, matrices(f.Shapes), gpu.F32)
				for i, p := range m.params {
					m.start(p, first[i])
				}
				for step, want := range c.Weights {
					norm := m.step(grads(), 1)
					if math.Abs(norm-c.Norms[step]) > 1e-5*norm {
						t.Errorf("step %d: the norm is %g, bitsandbytes %g", step+1, norm, c.Norms[step])
					}
					f.sampled(t, m, first, want, 2e-3)
				}
				for i, p := range m.params {
					for j, s := range o.States(p, gpu.F32) {
						codes, scales := c.States[i].M, c.States[i].MScales
						if j == 1 {
							codes, scales = c.States[i].V, c.States[i].VScales
						}
						if s.Type.DType.Quantized() != (len(codes) > 0) {
							t.Fatalf("%s %v is kept as %v, and bitsandbytes keeps %d codes", s.Name, p.Shape, s.Type, len(codes))
						}
						if len(codes) > 0 {
							m.codes(s, p, codes, scales)
						}
					}
				}
			})
		}
	}
}

// codes compares the codes and scales of a state.
func (m *model) codes(s optim.State, p ops.Param, codes []byte, scales []float64) {
	m.t.Helper()
	b, _ := m.p.Buffer(s.Buffer(p.ID))
	raw := make([]byte, b.Operand.Type.Bytes())
	if err := m.l.CopyOut(raw, b.Operand); err != nil {
		m.t.Fatal(err)
	}
	n, other := p.Shape.Elems(), 0
	for i, c := range raw[:n] {
		switch c {
		case codes[i]:
		case codes[i] - 1, codes[i] + 1:
			other++
		default:
			m.t.Errorf("%s %v: element %d has code %d, in bitsandbytes %d", s.Name, p.Shape, i, c, codes[i])
		}
	}
	if other > n/100 {
		m.t.Errorf("%s %v: %d of %d codes are others than bitsandbytes'", s.Name, p.Shape, other, n)
	}
	for i, x := range gpu.BytesFloat32(raw[gpu.ScalesAt(n):], gpu.F32) {
		if math.Abs(float64(x)-scales[i]) > 1e-3*scales[i] {
			m.t.Errorf("%s %v: scale %d is %g, in bitsandbytes %g", s.Name, p.Shape, i, x, scales[i])
		}
	}
}

// TestLowMemory8bit compares 20 steps of optimizers whose moments are in codes with galore-torch's 8-bit GaLore, and with others'
// code that puts its moments into codes.
func TestLowMemory8bit(t *testing.T) {
	f := readNarrow(t)
	for name, d := range devices(t) {
		for _, c := range f.Low {
			t.Run(name+"/"+c.Name, func(t *testing.T) {
				first, grads := inputs(c.Settings.Shapes)
				m := load(t, d, c.Settings.optimizer("int8"), c.Settings.params(), gpu.F32)
				coded := 0
				for i, p := range m.params {
					m.start(p, first[i])
					for _, s := range m.o.States(p, gpu.F32) {
						if s.Type.DType.Quantized() {
							coded++
						}
						if s.Name == "galore_p" { // the sum of the elements of the first vectors is positive
							m.set(s.Buffer(p.ID), slices.Repeat([]float32{1}, s.Type.Shape.Elems()))
						}
					}
				}
				if want := map[string]int{"galore": 4, "apollo": 4, "scale": 1, "adafactor": 2}[c.Name]; coded != want {
					t.Errorf("%d states are in codes, not %d", coded, want)
				}
				for step, want := range c.Weights {
					if step == 3 && (name == "ref" || name == "portable" || name == "cuda") {
						break // they take long
					}
					norm := m.step(grads(), 1)
					if math.Abs(norm-c.Norms[step]) > 1e-5*norm {
						t.Errorf("step %d: the norm is %g, want %g", step+1, norm, c.Norms[step])
					}
					f.sampled(t, m, first, want, 2e-3)
				}
			})
		}
	}
}

// TestMuon8bit compares 20 steps with the formulas in float64, the momentum kept in multiples of 1/127 of a block's largest.
func TestMuon8bit(t *testing.T) {
	f := readNarrow(t)
	for name, d := range devices(t) {
		for _, c := range f.Muon.Cases {
			o := f.Muon.Muon.muon()
			o.Nesterov, o.StateDType = c.Nesterov, "int8"
			first, grads := inputs(f.Shapes)
			m := load(t, d, o, matrices(f.Shapes), gpu.F32)
			for i, p := range m.params {
				m.start(p, first[i])
			}
			t.Run(name, func(t *testing.T) {
				for step, want := range c.Weights {
					if step == 3 && (name == "ref" || name == "portable" || name == "cuda") {
						break // they take long
					}
					m.step(grads(), 1)
					f.sampled(t, m, first, want, 1e-2)
				}
			})
		}
	}
}

// TestBF16StatesGoDown: with β2 = 0.999 a second moment in bf16 falls where the gradient is gone, as it does in fp32 in the
// mean; rounded to nearest it would stay.
func TestBF16StatesGoDown(t *testing.T) {
	for name, d := range devices(t) {
		o := optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, StateDType: "bf16"}
		m := load(t, d, o, matrices([]gpu.Shape{{40, 50}}), gpu.F32)
		p := m.params[0]
		m.start(p, make([]float32, p.Elems()))
		ones, none := make([]float32, p.Elems()), make([]float32, p.Elems())
		for i := range ones {
			ones[i] = 1
		}
		m.step([][]float32{ones}, 1)
		const steps = 20
		for range steps {
			m.step([][]float32{none}, 1)
		}
		var mean float64
		for _, v := range m.get("adam_v/" + p.ID) {
			mean += float64(v) / float64(p.Elems())
		}
		if want := 0.001 * math.Pow(0.999, steps); math.Abs(mean-want) > 1e-3*want {
			t.Errorf("%s: the second moment is %g in the mean, not %g", name, mean, want)
		}
	}
}
