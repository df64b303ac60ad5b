package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// pissa compiles a stage of the fixture's model, all of it frozen, whose adapters begin with singular vectors.
func pissa(t *testing.T, spec peft.Spec, change func(*program.Stage)) (*trainer, *expected) {
	t.Helper()
	cfg, e, dir := readExpected(t, "untied_gqa")
	spec.Method, spec.R, spec.Alpha = "lora", 3, 5
	spec.TargetModules = []string{"q_proj", "v_proj", "down_proj"}
	return parityTrainer(t, cfg, e, dir, 2, func(s *program.Stage) {
		for _, p := range s.Params {
			s.Frozen[p.ID] = true
		}
		as, err := spec.Match(s.Params, func(ops.Param) bool { return true })
		must(t, err)
		s.Peft, s.Adapters = &spec, as
		o := s.Optimizer.(optim.AdamW)
		o.LearningRate = 1e-2
		s.Optimizer = o
		if change != nil {
			change(s)
		}
	}), e
}

// product is scale B A of an adapter as the device has it.
func (t *trainer) product(tb *testing.T, a peft.Adapter) []float32 {
	tb.Helper()
	down, err := t.get(a.A.ID)
	must(tb, err)
	up, err := t.get(a.B.ID)
	must(tb, err)
	v := make([]float32, a.Target.Shape.Elems())
	peft.AddProduct(v, up, down, t.stage.Peft.Scale(), t.stage.Peft.R, a.Target.Shape[1])
	return v
}

// step trains on the fixture's batch s, from 0, and gives its loss.
func (t *trainer) step(tb *testing.T, e *expected, s int) float64 {
	tb.Helper()
	t.gradients(tb, e, s)
	must(tb, t.hyper(s+1))
	must(tb, t.run(program.SegUpdate))
	for _, p := range t.stage.Trainable() {
		t.state.OptimizerSteps[p.ID]++
	}
	loss, err := t.get(program.BufLoss)
	must(tb, err)
	return float64(loss[0])
}

// TestParityPiSSA holds first values, losses, merged weights and converted adapters to PEFT's (tools/parity/pissa_fixture.py).
// Singular vectors are unique up to signs, which products do not show.
func TestParityPiSSA(t *testing.T) {
	dir := filepath.Join("testdata", "parity", "untied_gqa")
	b, err := os.ReadFile(filepath.Join(dir, "pissa.json"))
	must(t, err)
	var want struct {
		Pissa       []float64
		PissaRSLora []float64 `json:"pissa_rslora"`
		Converted   struct {
			R     int
			Alpha float64 `json:"lora_alpha"`
		}
	}
	must(t, json.Unmarshal(b, &want))
	f, err := checkpoint.Open(filepath.Join(dir, "pissa.safetensors"))
	must(t, err)
	defer f.Close()
	given := func(name string) []float32 { v, err := f.Float32(name); must(t, err); return v }
	for _, c := range []struct {
		name   string
		spec   peft.Spec
		losses []float64
	}{
		{"pissa", peft.Spec{Init: "pissa"}, want.Pissa},
		{"pissa", peft.Spec{Init: "pissa_niter_16"}, want.Pissa},
		{"pissa_rslora", peft.Spec{Init: "pissa", UseRSLora: true}, want.PissaRSLora},
	} {
		t.Run(c.name+" by "+c.spec.Init, func(t *testing.T) {
			tr, e := pissa(t, c.spec, nil)
			var adapters []peft.Adapter
			for _, a := range tr.stage.Adapters {
				if !strings.Contains(a.Target.Name, "layers.1.") {
					continue
				}
				adapters = append(adapters, a)
				near(t, "product of "+a.Target.Name, tr.product(t, a), given(c.name+".delta."+a.Target.Name), 1e-4)
				w, err := tr.get(a.Target.ID)
				must(t, err)
				near(t, "rest of "+a.Target.Name, w, given(c.name+".rest."+a.Target.Name), 1e-4)
			}
			for s, loss := range c.losses {
				relative(t, "loss", tr.step(t, e, s), loss, 1e-4)
			}
			must(t, tr.keepAdapters())
			spec, _ := tr.stage.Peft.Apart(tr.stage.Adapters)
			if c.name == "pissa" && (spec.R != want.Converted.R || spec.Alpha != want.Converted.Alpha) {
				t.Errorf("converted to r %d and lora_alpha %g, PEFT to %d and %g", spec.R, spec.Alpha, want.Converted.R, want.Converted.Alpha)
			}
			if math.Abs(spec.Scale()-tr.stage.Peft.Scale()) > 1e-12 {
				t.Errorf("the scale of converted adapters is %g, want %g", spec.Scale(), tr.stage.Peft.Scale())
			}
			kept := func(name string) []float32 {
				i := slices.IndexFunc(tr.apart, func(x checkpoint.Tensor) bool { return x.Name == checkpoint.AdapterPrefix+name })
				b, err := tr.apart[i].Data()
				must(t, err)
				return gpu.BytesFloat32(b, tr.apart[i].DType)
			}
			first, err := checkpoint.OpenFolder(dir)
			must(t, err)
			defer first.Close()
			must(t, tr.run(program.SegMerge))
			for _, a := range adapters {
				delta := make([]float32, a.Target.Shape.Elems())
				peft.AddProduct(delta, kept(a.B.Name), kept(a.A.Name), spec.Scale(), spec.R, a.Target.Shape[1])
				if name := "converted." + a.Target.Name; c.name == "pissa" && !strings.Contains(name, "v_proj") {
					near(t, name, delta, given(name), 2e-3)
				}
				merged, err := tr.get(a.Target.ID)
				must(t, err)
				near(t, "merged "+a.Target.Name, merged, given(c.name+".merged."+a.Target.Name), 1e-4)
				w, err := first.Float32(a.Target.Name)
				must(t, err)
				for i := range w {
					w[i] += delta[i]
				}
				near(t, "converted adapters on "+a.Target.Name, w, merged, 1e-5)
			}
		})
	}
}

// TestPiSSAKeepsTheFunction compares losses at the start with those of the model as it was: in fp32, in bf16, and where what is
// left of the weights is stored in NF4, which changes it less than all of the weight would be changed.
func TestPiSSAKeepsTheFunction(t *testing.T) {
	loss := func(init string, d, frozen gpu.DType) (float64, *trainer) {
		tr, e := pissa(t, peft.Spec{Init: init}, func(s *program.Stage) { s.DType, s.FrozenDType = d, frozen })
		tr.gradients(t, e, 0)
		v, err := tr.get(program.BufLoss)
		must(t, err)
		return float64(v[0]), tr
	}
	for _, c := range []struct {
		dtype, frozen gpu.DType
		tolerance     float64
	}{{gpu.F32, gpu.InvalidDType, 1e-6}, {gpu.BF16, gpu.InvalidDType, 2e-3}, {gpu.F32, gpu.NF4, 2e-2}} {
		before, _ := loss("", c.dtype, gpu.InvalidDType)
		after, tr := loss("pissa", c.dtype, c.frozen)
		relative(t, "the loss after singular vectors are taken out", after, before, c.tolerance)
		again, _ := loss("pissa", c.dtype, c.frozen)
		if after != again {
			t.Errorf("the same seed gives the losses %g and %g", after, again)
		}
		if c.frozen == gpu.NF4 {
			_, plain := loss("", c.dtype, c.frozen)
			if all, rest := plain.narrow.lost, tr.narrow.lost; rest >= all {
				t.Errorf("NF4 changes the rest of the weights by %g, and all of them by %g", math.Sqrt(rest), math.Sqrt(all))
			}
		}
	}
}

// TestPiSSACheckpointIsAsPlanned compares the bytes of a checkpoint's tensors with the plan's. They have the first values that
// an export needs, also of a stage with merge = false, which may go on without it; with a frozen_dtype nothing needs them.
func TestPiSSACheckpointIsAsPlanned(t *testing.T) {
	for _, apart := range []bool{false, true} {
		for _, frozen := range []gpu.DType{gpu.InvalidDType, gpu.NF4} {
			tr, _ := pissa(t, peft.Spec{Init: "pissa"}, func(s *program.Stage) { s.KeepApart, s.FrozenDType = apart, frozen })
			if n := len(tr.firstTensors()); (n > 0) != (frozen == gpu.InvalidDType) {
				t.Errorf("apart %t, frozen_dtype %v: a checkpoint has %d first values", apart, frozen, n)
			}
			model, adapter, opt := tr.tensors(false)
			var got int64
			for _, x := range slices.Concat(model, adapter, opt) {
				b, err := x.Data()
				must(t, err)
				got += int64(len(b))
			}
			if want := program.FiguresOf(tr.stage, 1).CheckpointSize; got != want {
				t.Errorf("apart %t, frozen_dtype %v: a checkpoint has %d bytes of tensors, and the plan says %d", apart, frozen, got, want)
			}
		}
	}
}

// TestPiSSARefuses: a weight whose singular vectors are not numbers, or too large for the type of the stage, is an error that
// names it, before a step is trained on it.
func TestPiSSARefuses(t *testing.T) {
	x, _ := pissa(t, peft.Spec{Init: peft.InitPiSSA}, nil)
	target := x.stage.Adapters[0].Target
	for want, value := range map[string]float32{"has no singular vectors for its adapter to begin with": float32(math.NaN()),
		"is too large for its adapter to begin with its singular vectors": math.MaxFloat32} {
		v := make([]float32, target.Elems())
		for i := range v {
			v[i] = value * float32(1-2*(i%2)) // the product of its vectors is a hair more than this
		}
		v[0] = value / 2
		if err := x.firstWeight(t.Context(), target, v); err == nil || !strings.Contains(err.Error(), target.Name+" "+want) {
			t.Errorf("a weight of %v: %v, want %q", value, err, want)
		}
	}
}
