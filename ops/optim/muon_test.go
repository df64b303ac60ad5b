package optim_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"stepflow/gpu"
	"stepflow/ops/optim"
)

// numbers are the weights and gradients of tools/parity/muon_fixture.py: k/128, exact in bf16.
type numbers uint32

func (n *numbers) matrix(s gpu.Shape) []float32 {
	v := make([]float32, s.Elems())
	for i := range v {
		*n = (*n*1103515245 + 12345) & (1<<31 - 1)
		v[i] = (float32(*n>>23) - 128) / 128
	}
	return v
}

// fixture is ops/optim/testdata/muon.json, checked by its maker against torch.optim.Muon.
type fixture struct {
	Shapes []gpu.Shape
	Steps  int
	Cases  []struct {
		Name    string
		Muon    settings
		Norms   []float64
		Weights [][][]float64 // after each step, of each matrix
		BF16    [][]float64   // after the last, by torch.optim.Muon itself, whose iteration is in bf16
	}
}

// settings are the arguments of torch.optim.Muon, and of clip_grad_norm_.
type settings struct {
	LR          float64 `json:"lr"`
	WeightDecay float64 `json:"weight_decay"`
	Momentum    float64 `json:"momentum"`
	Nesterov    bool    `json:"nesterov"`
	Eps         float64 `json:"eps"`
	NSSteps     int     `json:"ns_steps"`
	AdjustLR    string  `json:"adjust_lr_fn"`
	MaxNorm     float64 `json:"max_norm"`
}

func (s settings) muon() optim.Muon {
	return optim.Muon{LearningRate: s.LR, Momentum: s.Momentum, Nesterov: s.Nesterov, NSCoefficients: optim.NSCoefficients,
		NSSteps: s.NSSteps, Eps: s.Eps, WeightDecay: s.WeightDecay, AdjustLR: s.AdjustLR, MaxGradNorm: s.MaxNorm}
}

func readFixture(t *testing.T) (f fixture) {
	t.Helper()
	b, err := os.ReadFile("testdata/muon.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestMuonAgreesWithPyTorch compares norms and weights of each of 20 steps of matrices of all forms, in fp32.
func TestMuonAgreesWithPyTorch(t *testing.T) {
	f := readFixture(t)
	for name, d := range devices(t) {
		tol := 5e-6 // rounding, which the iteration amplifies where a singular value is small
		if name == "ref" {
			tol = 1e-6 // float32 inputs
		}
		for _, c := range f.Cases {
			t.Run(name+"/"+c.Name, func(t *testing.T) {
				train(t, load(t, d, c.Muon.muon(), matrices(f.Shapes), gpu.F32), f, func(m *model, step int, norm float64) {
					if math.Abs(norm-c.Norms[step]) > 1e-6*c.Norms[step] {
						t.Errorf("step %d: the norm is %g, PyTorch %g", step+1, norm, c.Norms[step])
					}
					for i, p := range m.params {
						if at, diff := furthest(m.get(p.ID), c.Weights[step][i]); diff > tol {
							t.Fatalf("step %d: %v differs by %g from PyTorch at %s", step+1, p.Shape, diff, p.Shape.Place(at))
						}
					}
				})
			})
		}
	}
}

// TestMuonInBF16 trains bf16 weights, with masters and rounded at random: in the end they are as far from
// torch.optim.Muon, which orthogonalizes in bf16 too, as two such iterations are from each other.
func TestMuonInBF16(t *testing.T) {
	f := readFixture(t)
	for name, d := range devices(t) {
		for _, c := range f.Cases {
			for _, stochastic := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%t", name, c.Name, stochastic), func(t *testing.T) {
					o := c.Muon.muon()
					o.BF16StochasticRound = stochastic
					kept, most := "master/", 0.03
					if stochastic {
						kept, most = "", 0.2 // 20 roundings of weights whose last place is as large as a step
					}
					var n numbers = 1
					var diff, moved float64
					train(t, load(t, d, o, matrices(f.Shapes), gpu.BF16), f, func(m *model, step int, _ float64) {
						if step < f.Steps-1 {
							return
						}
						for i, p := range m.params {
							first, rounded := n.matrix(p.Shape), m.get(p.ID)
							for j, x := range m.get(kept + p.ID) {
								if gpu.FromBF16(gpu.ToBF16(x)) != rounded[j] {
									t.Fatalf("%g is rounded to %g", x, rounded[j])
								}
								diff += math.Pow(float64(x)-c.BF16[i][j], 2)
								moved += math.Pow(c.BF16[i][j]-float64(first[j]), 2)
							}
						}
					})
					if r := math.Sqrt(diff / moved); !(r < most) {
						t.Errorf("the weights end %.2g of their way from those of PyTorch", r)
					}
				})
			}
		}
	}
}

// train runs the fixture's steps and shows the model after each.
func train(t *testing.T, m *model, f fixture, after func(m *model, step int, norm float64)) {
	t.Helper()
	var n numbers = 1
	for _, p := range m.params {
		m.start(p, n.matrix(p.Shape))
	}
	for step := range f.Steps {
		var grads [][]float32
		for _, p := range m.params {
			grads = append(grads, n.matrix(p.Shape))
		}
		factor := 1.0
		if step >= f.Steps/2 {
			factor = 0.5
		}
		after(m, step, m.step(grads, factor))
	}
}

// furthest is the element with the largest difference, and that.
func furthest(got []float32, want []float64) (at int, diff float64) {
	for i, x := range got {
		switch d := math.Abs(float64(x) - want[i]); {
		case math.IsNaN(d):
			return i, math.Inf(1)
		case d > diff:
			at, diff = i, d
		}
	}
	return at, diff
}
