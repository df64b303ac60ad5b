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

// lowMemory is ops/optim/testdata/lowmemory.json: what the authors' own code of these optimizers makes of weights.
type lowMemory struct {
	Steps int
	Shown []int // steps whose norms and weights are there
	Cases []struct {
		Name     string
		Settings lowSettings
		Norms    []float64
		Weights  [][][]float64
	}
}

type lowSettings struct {
	Kind          string
	Shapes        []gpu.Shape
	Kinds         []string
	LR            float64 `json:"lr"`
	WeightDecay   float64 `json:"weight_decay"`
	Momentum      float64 `json:"momentum"`
	Betas         []float64
	Eps           float64
	MaxNorm       float64 `json:"max_norm"`
	Rank          int
	UpdateProjGap int `json:"update_proj_gap"`
	Scale         float64
	Mini, Fira    bool
	Beta1         float64
	DecayRate     float64 `json:"decay_rate"`
	ClipThreshold float64 `json:"clip_threshold"`
	ScaleParam    bool    `json:"scale_parameter"`
	RelativeStep  bool    `json:"relative_step"`
}

// optimizer keeps its moments in a word of the language.
func (s lowSettings) optimizer(states string) optim.Optimizer {
	switch s.Kind {
	case "scale":
		return optim.Scale{LearningRate: s.LR, Momentum: s.Momentum, Eps: s.Eps, WeightDecay: s.WeightDecay, MaxGradNorm: s.MaxNorm,
			NoDecay: []string{}, StateDType: states}
	case "apollo":
		return seeded{optim.Apollo{LearningRate: s.LR, Rank: s.Rank, Mini: s.Mini, UpdateProjGap: s.UpdateProjGap, Factor: s.Scale,
			Beta1: s.Betas[0], Beta2: s.Betas[1], Eps: s.Eps, WeightDecay: s.WeightDecay, MaxGradNorm: s.MaxNorm, StateDType: states}}
	case "galore":
		return optim.GaLore{LearningRate: s.LR, Rank: s.Rank, Fira: s.Fira, UpdateProjGap: s.UpdateProjGap, Factor: s.Scale,
			Beta1: s.Betas[0], Beta2: s.Betas[1], Eps: s.Eps, WeightDecay: s.WeightDecay, MaxGradNorm: s.MaxNorm, StateDType: states}
	}
	return optim.Adafactor{LearningRate: s.LR, DecayRate: s.DecayRate, ClipThreshold: s.ClipThreshold, Eps: s.Eps,
		Beta1: s.Beta1, ScaleParameter: s.ScaleParam, RelativeStep: s.RelativeStep, WeightDecay: s.WeightDecay, MaxGradNorm: s.MaxNorm,
		StateDType: states}
}

// params are matrices of the fixture, of the kinds that it names.
func (s lowSettings) params() []ops.Param {
	list := matrices(s.Shapes)
	for i := range list {
		switch s.Kinds[i] {
		case "embedding":
			list[i].Kind = ops.KindEmbedding
		case "head":
			list[i].Kind = ops.KindHead
		case "tied":
			list[i].Kind, list[i].Tied = ops.KindEmbedding, true
		}
	}
	return list
}

// seeded is Apollo with the seeds of the fixture: 1000 times the index of the matrix, and the number of the projection.
type seeded struct{ optim.Apollo }

func (o seeded) Scalars(p ops.Param, rate float64, t int64) [gpu.HyperLen]float32 {
	h := o.Apollo.Scalars(p, rate, t)
	h[2] = float32(1000*p.Layer + (int(t)-1)/o.UpdateProjGap)
	return h
}

func readLowMemory(t *testing.T) (f lowMemory) {
	t.Helper()
	b, err := os.ReadFile("testdata/lowmemory.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestLowMemoryAgreesWithTheAuthors compares norms and weights of 20 steps of matrices of all forms, in fp32.
func TestLowMemoryAgreesWithTheAuthors(t *testing.T) {
	f := readLowMemory(t)
	for name, d := range devices(t) {
		for _, c := range f.Cases {
			t.Run(name+"/"+c.Name, func(t *testing.T) {
				tol := 5e-6 // of weights of about 1
				if c.Settings.Kind == "galore" {
					tol = 2e-5 // what singular vectors are off by where two singular values are close
				}
				m := load(t, d, c.Settings.optimizer("fp32"), c.Settings.params(), gpu.F32)
				var n numbers = 1
				for _, p := range m.params {
					m.start(p, n.matrix(p.Shape))
				}
				for step := 1; step <= f.Steps; step++ {
					var grads [][]float32
					for _, p := range m.params {
						grads = append(grads, n.matrix(p.Shape))
					}
					factor := 1.0
					if step > f.Steps/2 && !c.Settings.RelativeStep {
						factor = 0.5
					}
					norm := m.step(grads, factor)
					at := slices.Index(f.Shown, step)
					if at < 0 {
						continue
					}
					if math.Abs(norm-c.Norms[at]) > 1e-6*c.Norms[at] {
						t.Errorf("step %d: the norm is %g, want %g", step, norm, c.Norms[at])
					}
					for i, p := range m.params {
						if e, diff := furthest(m.get(p.ID), c.Weights[at][i]); diff > tol {
							t.Fatalf("step %d: %v differs by %g at %s", step, p.Shape, diff, p.Shape.Place(e))
						}
					}
				}
			})
		}
	}
}
