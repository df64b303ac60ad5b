package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
)

// slTrain lets adapters take the place of the projections of a stage that train.
func slTrain(t *testing.T, s *program.Stage, spec peft.Spec) {
	t.Helper()
	spec.Method = "sltrain"
	if spec.TargetModules == nil {
		spec.TargetModules = []string{"all-linear"}
	}
	as, err := spec.Match(s.Params, func(p ops.Param) bool { return !s.Frozen[p.ID] })
	must(t, err)
	s.Adapt(&spec, as)
}

// TestParitySLTrain holds losses, gradient norms and what is learnt in 20 steps to PyTorch's (tools/parity/sltrain_fixture.py),
// from the same places and first values.
func TestParitySLTrain(t *testing.T) {
	cfg, e, dir := readExpected(t, "untied_gqa")
	var want expected
	b, err := os.ReadFile(filepath.Join(dir, "sltrain.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &want))
	f, err := checkpoint.Open(filepath.Join(dir, "sltrain.safetensors"))
	must(t, err)
	defer f.Close()
	for name, micro := range map[string]int{"whole batches": e.Batch, "parts, recomputed": 1} {
		t.Run(name, func(t *testing.T) {
			tr := parityTrainer(t, cfg, e, dir, micro, func(s *program.Stage) {
				slTrain(t, s, peft.Spec{R: 3, Alpha: 5, Sparsity: 0.05})
				o := s.Optimizer.(optim.AdamW)
				o.LearningRate = 1e-2
				s.Optimizer = o
				if micro == 1 {
					s.Recompute = len(s.Layers)
				}
			})
			given := func(what string, p ops.Param) []float32 {
				v, err := f.Float32(what + "." + p.Name)
				must(t, err)
				return v
			}
			for _, a := range tr.stage.Adapters {
				places, err := f.Int32("start." + a.Places())
				must(t, err)
				must(t, peft.CheckPlaces(a, places))
				must(t, tr.setPlaces(a, places))
				must(t, tr.setWeight(a.A, given("start", a.A)))
				must(t, tr.setWeight(a.B, make([]float32, a.B.Elems())))
				must(t, tr.setWeight(a.Values, given("start", a.Values)))
			}
			for i := range want.Losses {
				relative(t, "loss", tr.step(t, e, i), want.Losses[i], 1e-4)
				norm, err := tr.get(program.BufNorm)
				must(t, err)
				relative(t, "gradient norm", float64(norm[0]), want.GradNorms[i], 2e-3)
			}
			compared := 0
			for _, p := range peft.Params(tr.stage.Adapters) {
				if strings.Contains(p.Name, "layers.1.") {
					v, err := tr.get(p.ID)
					must(t, err)
					near(t, p.Name, v, given("end", p), 2e-3)
					compared++
				}
			}
			if compared != 21 {
				t.Errorf("%d tensors were compared", compared)
			}
		})
	}
}

// TestSLTrainResumes: the loss falls, whatever the optimizer and the precision, and a run that goes on from a checkpoint makes the
// bits of one that was not interrupted.
func TestSLTrainResumes(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, c := range []struct {
		dtype      gpu.DType
		stochastic bool
	}{{gpu.F32, false}, {gpu.BF16, false}, {gpu.BF16, true}} {
		all := lowMemory(c.stochastic)
		all["adamw"] = optim.AdamW{LearningRate: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, MaxGradNorm: 1,
			BF16StochasticRound: c.stochastic}
		for name, o := range all {
			resumes(t, d, name, 3, 0.05, func() *program.Stage {
				s := tinyStage()
				s.DType, s.Optimizer = c.dtype, o
				slTrain(t, s, peft.Spec{R: 2, Alpha: 2, Sparsity: 0.1})
				if s.Fused = name == "adamw" && c.stochastic; s.Fused {
					s.Micro = s.Batch
				}
				return s
			})
		}
	}
}

// TestSLTrainBegins: a weight that has values begins as close to them as its rank and places allow, and with the full rank it is
// what it was; and a result holds the weights that the stage trained.
func TestSLTrainBegins(t *testing.T) {
	d := cpuDevice(t, 2)
	one := tinyStage()
	first := begun(t, d, one, "")
	first.losses(t, 3)
	result := filepath.Join(t.TempDir(), "step-1")
	_, err := first.save(result, nil, true)
	must(t, err)
	for _, c := range []struct {
		name string
		spec peft.Spec
		lost float64 // of the norm, at most
	}{
		{"of full rank", peft.Spec{R: 8, Alpha: 8, Sparsity: 0.05, Init: "pissa", TargetModules: []string{"k_proj", "v_proj"}}, 1e-6},
		{"few values", peft.Spec{R: 2, Alpha: 1, Sparsity: 0.05}, 0.8},
		{"many values", peft.Spec{R: 2, Alpha: 1, Sparsity: 0.9}, 0.3},
	} {
		s := tinyStage()
		must(t, s.Continue(one, nil))
		slTrain(t, s, c.spec)
		tr := begun(t, d, s, result)
		if got := math.Sqrt(tr.decomposed.lost / tr.decomposed.all); !(got <= c.lost) || tr.decomposed.matrices != len(s.Adapters) {
			t.Errorf("%s: %g of the norm of %d weights was lost", c.name, got, tr.decomposed.matrices)
		}
		must(t, forward.Feed(tr.loaded, s.Program, batchFor(s), 0, s.Micro, s.Seq))
		before, err := tr.probe()
		must(t, err)
		if c.lost < 1e-3 {
			must(t, forward.Feed(first.loaded, one.Program, batchFor(one), 0, one.Micro, one.Seq))
			was, err := first.probe()
			must(t, err)
			near(t, c.name+": losses", before, was, 1e-4)
		}
		for step := range 3 {
			tr.trainStep(t, step+1, batchFor(s))
		}
		must(t, forward.Feed(tr.loaded, s.Program, batchFor(s), 0, s.Micro, s.Seq))
		trained, err := tr.probe()
		must(t, err)
		end := filepath.Join(t.TempDir(), "end")
		_, err = tr.save(end, nil, true)
		must(t, err)
		for name, n := range Sizes(s, true) {
			if st, err := os.Stat(filepath.Join(end, name)); err != nil || st.Size() != n {
				t.Errorf("%s: %s is planned with %d bytes: %v %v", c.name, name, n, st, err)
			}
		}
		next := tinyStage()
		must(t, next.Continue(s, nil))
		whole := begun(t, d, next, end)
		must(t, forward.Feed(whole.loaded, next.Program, batchFor(next), 0, next.Micro, next.Seq))
		after, err := whole.probe()
		must(t, err)
		near(t, c.name+": losses of the result", after, trained, 1e-4)
	}
}

// TestSLTrainGrows: new layers begin close to what growth makes of them, and those that are random with the values of the paper;
// frozen layers keep their weights.
func TestSLTrainGrows(t *testing.T) {
	d := cpuDevice(t, 2)
	one := tinyStage()
	first := begun(t, d, one, "")
	result := filepath.Join(t.TempDir(), "step-0")
	_, err := first.save(result, nil, true)
	must(t, err)
	for method, decomposed := range map[string]int{"stack": 7, "random": 0} {
		s := tinyStage()
		must(t, s.Continue(one, &growth.Spec{Method: method, Layers: 1}))
		for _, p := range s.Params {
			s.Frozen[p.ID] = s.Inherited(p)
		}
		slTrain(t, s, peft.Spec{R: 2, Alpha: 1, Sparsity: 0.1})
		if len(s.Adapters) != 7 {
			t.Fatalf("%s: %d adapters", method, len(s.Adapters))
		}
		tr := begun(t, d, s, result)
		if tr.decomposed.matrices != decomposed {
			t.Errorf("%s: %d weights were taken apart, want %d", method, tr.decomposed.matrices, decomposed)
		}
		losses := tr.losses(t, 3)
		if !(losses[2] < losses[0]) {
			t.Errorf("%s: losses %v", method, losses)
		}
	}
}

// TestSLTrainCannotBegin: if a weight or its parts are not finite, the error names it.
func TestSLTrainCannotBegin(t *testing.T) {
	s := tinyStage()
	must(t, s.Continue(tinyStage(), nil))
	slTrain(t, s, peft.Spec{R: 2, Alpha: 1e-40, Sparsity: 0.1})
	d := cpuDevice(t, 2)
	must(t, program.NewPrograms(d.Caps()).Compile(s, "none"))
	l, err := d.Load(s.Program)
	must(t, err)
	defer l.Close()
	tr := &trainer{stage: s, loaded: l}
	for want, x := range map[string]float32{"cannot be taken apart for its adapter to begin with": float32(math.Inf(1)),
		"is too large to be taken apart": math.MaxFloat32 / 2} {
		p := s.Adapters[0].Target
		v := make([]float32, p.Elems())
		for i := range v {
			v[i] = x
		}
		if err := tr.firstWeight(t.Context(), p, v); err == nil || !strings.Contains(err.Error(), p.Name+" "+want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
