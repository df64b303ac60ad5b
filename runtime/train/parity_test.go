package train

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
)

// expected is what transformers, torch and peft computed (tools/parity/llama_fixture.py).
type expected struct {
	Batch     int       `json:"batch"`
	Seq       int       `json:"seq"`
	Loss      float64   `json:"loss"`
	Losses    []float64 `json:"losses"`
	GradNorms []float64 `json:"grad_norms"`
	LoraLoss  float64   `json:"lora_loss"`
	file      *checkpoint.File
}

var parityModels = []string{"untied_gqa", "tied_bias_llama3"}

func readExpected(t *testing.T, name string) (arch.Model, *expected, string) {
	t.Helper()
	dir := filepath.Join("testdata", "parity", name)
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	must(t, err)
	cfg, _, err := arch.ParseConfig(b)
	must(t, err)
	e := &expected{}
	b, err = os.ReadFile(filepath.Join(dir, "expected.json"))
	must(t, err)
	must(t, json.Unmarshal(b, e))
	e.file, err = checkpoint.Open(filepath.Join(dir, "expected.safetensors"))
	must(t, err)
	t.Cleanup(func() { e.file.Close() })
	return cfg, e, dir
}

// cpuDevice opens the CPU with so many threads.
func cpuDevice(t testing.TB, threads int) *cpu.Device {
	t.Helper()
	d, err := cpu.Open(threads, os.Getenv("STEPFLOW_CPU_ISA"))
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (e *expected) floats(t *testing.T, name string) []float32 {
	t.Helper()
	v, err := e.file.Float32(name)
	must(t, err)
	return v
}

// ints reads token ids of step s.
func (e *expected) ints(t *testing.T, name string, s int) []int32 {
	t.Helper()
	raw, _, err := e.file.Raw(name)
	must(t, err)
	n := e.Batch * e.Seq
	v := make([]int32, n)
	for i := range v {
		at := 4 * (s*n + i)
		v[i] = int32(uint32(raw[at]) | uint32(raw[at+1])<<8 | uint32(raw[at+2])<<16 | uint32(raw[at+3])<<24)
	}
	return v
}

// targets shifts Hugging Face's labels by one, as its loss does.
func (e *expected) targets(t *testing.T, s int) (v []int32, valid int) {
	labels := e.ints(t, "labels", s)
	v = make([]int32, len(labels))
	for i := range v {
		v[i] = -1
		if i%e.Seq < e.Seq-1 && labels[i+1] >= 0 {
			v[i] = labels[i+1]
			valid++
		}
	}
	return v, valid
}

// parityTrainer compiles a stage for the fixture and loads its weights.
func parityTrainer(t *testing.T, cfg arch.Model, e *expected, dir string, micro int, change func(*program.Stage)) *trainer {
	t.Helper()
	s := &program.Stage{Model: cfg, DType: gpu.F32, Seq: e.Seq, Batch: e.Batch, Micro: micro, Chunk: 7, Steps: 20, Horizon: 1, Init: dir, Frozen: map[string]bool{},
		Schedule: optim.Schedule{Kind: "constant"}, Optimizer: optim.AdamW{LearningRate: 3e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, MaxGradNorm: 1}}
	for i := 0; i < cfg.NumHiddenLayers; i++ {
		s.Layers = append(s.Layers, growth.Layer{ID: string(rune('a' + i)), Old: -1})
	}
	s.Params = cfg.Declare(s.LayerIDs())
	if change != nil {
		change(s)
	}
	var err error
	d := cpuDevice(t, 2)
	s.Program, err = program.CompileStage(s, d.Caps())
	must(t, err)
	l, err := d.Load(s.Program)
	must(t, err)
	tr := &trainer{stage: s, loaded: l}
	must(t, forward.SetConstants(l, s.Program, cfg, e.Seq))
	must(t, tr.start(context.Background(), ""))
	return tr
}

// gradients runs the micro segments of step s.
func (t *trainer) gradients(tb *testing.T, e *expected, s int) {
	tb.Helper()
	targets, valid := e.targets(tb, s)
	ids := e.ints(tb, "ids", s)
	must(tb, t.set(program.BufScale, []float32{1 / float32(valid)}))
	must(tb, t.run(program.SegZero))
	for at := 0; at < e.Batch; at += t.stage.Micro {
		lo, hi := at*e.Seq, (at+t.stage.Micro)*e.Seq
		must(tb, t.loaded.CopyIn(t.named(program.BufIDs).Operand, gpu.Int32Bytes(ids[lo:hi])))
		must(tb, t.loaded.CopyIn(t.named(program.BufTargets).Operand, gpu.Int32Bytes(targets[lo:hi])))
		must(tb, t.run(program.SegMicro))
	}
}

// near compares with a tolerance relative to the largest magnitude wanted.
func near(t *testing.T, what string, got, want []float32, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	var scale, worst float64
	for i := range want {
		scale = math.Max(scale, math.Abs(float64(want[i])))
		worst = math.Max(worst, math.Abs(float64(got[i])-float64(want[i])))
	}
	if !(worst <= tol*scale) {
		t.Errorf("%s differs by %.2g of its largest magnitude %.3g, allowed %g", what, worst/scale, scale, tol)
	}
}

func relative(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol*math.Abs(want)) {
		t.Errorf("%s is %.8g, want %.8g within %g", what, got, want, tol)
	}
}

// logits runs a forward program on the first batch.
func logits(t *testing.T, cfg arch.Model, e *expected, weights func(name string) []float32) []float32 {
	t.Helper()
	params := cfg.Declare(make([]string, cfg.NumHiddenLayers))
	for i := range params {
		params[i].ID = params[i].Name
	}
	d := cpuDevice(t, 2)
	x := program.Pass{Model: cfg, Params: params, DType: gpu.F32, Batch: e.Batch, Seq: e.Seq, Logits: true}
	p, err := program.NewPrograms(d.Caps()).Pass(x)
	must(t, err)
	l, err := d.Load(p)
	must(t, err)
	for _, x := range params {
		b, _ := p.Buffer(x.ID)
		must(t, l.CopyIn(b.Operand, gpu.Float32Bytes(weights(x.Name), gpu.F32)))
	}
	must(t, forward.SetConstants(l, p, cfg, e.Seq))
	in, _ := p.Buffer(program.BufIDs)
	must(t, l.CopyIn(in.Operand, gpu.Int32Bytes(e.ints(t, "ids", 0))))
	must(t, l.Run(0, len(p.Launches), false))
	out, _ := p.Buffer(program.BufLogits)
	raw := make([]byte, out.Operand.Type.Bytes())
	must(t, l.CopyOut(raw, out.Operand))
	return gpu.BytesFloat32(raw, gpu.F32)
}

func TestParityForwardAndGradients(t *testing.T) {
	for _, name := range parityModels {
		t.Run(name, func(t *testing.T) {
			cfg, e, dir := readExpected(t, name)
			f, err := checkpoint.OpenFolder(dir)
			must(t, err)
			defer f.Close()
			got := logits(t, cfg, e, func(n string) []float32 { v, err := f.Float32(n); must(t, err); return v })
			near(t, "logits", got, e.floats(t, "logits"), 1e-5)
			for _, micro := range []int{2, 1} { // accumulated gradients are those of the whole batch
				tr := parityTrainer(t, cfg, e, dir, micro, nil)
				tr.gradients(t, e, 0)
				loss, err := tr.get(program.BufLoss)
				must(t, err)
				relative(t, "loss", float64(loss[0]), e.Loss, 1e-6)
				for _, p := range tr.stage.Params {
					g, err := tr.get(program.BufGrad(p.ID))
					must(t, err)
					near(t, "gradient of "+p.Name, g, e.floats(t, "grad."+p.Name), 1e-4)
				}
			}
		})
	}
}

func TestParityTwentyAdamWSteps(t *testing.T) {
	for _, name := range parityModels {
		cfg, e, dir := readExpected(t, name)
		tr := parityTrainer(t, cfg, e, dir, 2, nil)
		for s := range e.Losses {
			tr.gradients(t, e, s)
			must(t, tr.hyper(s+1))
			must(t, tr.run(program.SegUpdate))
			for _, p := range tr.stage.Trainable() {
				tr.state.OptimizerSteps[p.ID]++
			}
			loss, err := tr.get(program.BufLoss)
			must(t, err)
			norm, err := tr.get(program.BufNorm)
			must(t, err)
			relative(t, name+" loss", float64(loss[0]), e.Losses[s], 2e-5)
			relative(t, name+" gradient norm", float64(norm[0]), e.GradNorms[s], 2e-4)
		}
	}
}

func TestParityLoRA(t *testing.T) {
	for _, name := range parityModels {
		cfg, e, dir := readExpected(t, name)
		spec := peft.Spec{Method: "lora", R: 3, Alpha: 5, TargetModules: []string{"q_proj", "v_proj", "down_proj"}}
		tr := parityTrainer(t, cfg, e, dir, 2, func(s *program.Stage) {
			for _, p := range s.Params {
				s.Frozen[p.ID] = true
			}
			as, err := spec.Match(s.Params, func(ops.Param) bool { return true })
			must(t, err)
			s.Peft, s.Adapters = &spec, as
		})
		for _, p := range peft.Params(tr.stage.Adapters) {
			must(t, tr.set(p.ID, e.floats(t, p.Name)))
		}
		tr.gradients(t, e, 0)
		loss, err := tr.get(program.BufLoss)
		must(t, err)
		relative(t, name+" loss", float64(loss[0]), e.LoraLoss, 1e-6)
		for _, p := range peft.Params(tr.stage.Adapters) {
			g, err := tr.get(program.BufGrad(p.ID))
			must(t, err)
			near(t, "gradient of "+p.Name, g, e.floats(t, "grad."+p.Name), 1e-4)
		}
		must(t, tr.run(program.SegMerge))
		byName := map[string]string{}
		for _, p := range tr.stage.Params {
			byName[p.Name] = p.ID
		}
		got := logits(t, cfg, e, func(n string) []float32 { v, err := tr.get(byName[n]); must(t, err); return v })
		near(t, name+" merged logits", got, e.floats(t, "merged_logits"), 1e-5)
		near(t, name+" merged logits against unmerged", got, e.floats(t, "lora_logits"), 1e-5)
		for _, p := range tr.stage.Params {
			if _, ok := e.file.Shape("merged." + p.Name); ok {
				v, err := tr.get(p.ID)
				must(t, err)
				near(t, "merged "+p.Name, v, e.floats(t, "merged."+p.Name), 1e-6)
			}
		}
		for _, p := range peft.Params(tr.stage.Adapters) {
			if v, err := tr.get(p.ID); err != nil || p.Kind == ops.KindLoraB && (v[0] != 0 || (forward.FirstBad(v) != 0)) {
				t.Errorf("%s is not zero after the merge", p.Name)
			}
		}
	}
}
