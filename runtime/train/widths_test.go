package train

import (
	"path/filepath"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
)

// wide is a device that asks for wide rows, as cards do.
type wide struct{ gpu.Device }

func (w wide) Caps() gpu.Caps {
	c := w.Device.Caps()
	c.Width = 64
	return c
}

// oddStage is a stage of two layers of which no size but that of its heads is a multiple of 8.
func oddStage(of string, change func(*program.Stage)) *program.Stage {
	c := arch.Model{Arch: arch.Lookup(of), Config: arch.Config{VocabSize: 37, HiddenSize: 30, IntermediateSize: 85,
		NumHiddenLayers: 2, NumAttentionHeads: 5, NumKeyValueHeads: 5, HeadDim: 6, MaxPositionEmbeddings: 32,
		RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.1}}
	s := tinyStage()
	s.Model = c
	if change != nil {
		change(s)
	}
	s.Layers = s.NewLayers(2)
	s.Params = s.Model.Declare(s.LayerIDs())
	return s
}

// adapted puts adapters of rank 5 on projections of a stage, which it freezes but for the head and norms.
func adapted(t *testing.T, s *program.Stage, targets ...string) *program.Stage {
	t.Helper()
	s.Peft = &peft.Spec{Method: "relora", R: 5, Alpha: 10, TargetModules: targets, ResetEvery: 3,
		MergeRounding: peft.RoundRemainder}
	var err error
	s.Adapters, err = s.Peft.Match(s.Params, func(ops.Param) bool { return true })
	must(t, err)
	for _, a := range s.Adapters {
		s.Frozen[a.Target.ID] = true
	}
	return s
}

// losses trains a stage for some steps on one batch, with a restart of its adapters on the way.
func (t *trainer) losses(tb testing.TB, steps int) (list []float32) {
	tb.Helper()
	b := batchFor(t.stage)
	for step := 1; step <= steps; step++ {
		t.trainStep(tb, step, b)
		loss, err := t.get(program.BufLoss)
		must(tb, err)
		list = append(list, loss[0])
		if t.stage.RestartAfter(step) {
			_, err := t.restart()
			must(tb, err)
		}
	}
	return list
}

// padding fails where a buffer holds anything but zeros beside its tensor, and returns how many buffers are padded.
func (t *trainer) padding(tb testing.TB, what string) (padded int) {
	tb.Helper()
	for _, b := range t.stage.Program.Buffers {
		if b.Shape == nil {
			continue
		}
		padded++
		tensor := make([]byte, b.Tensor().Bytes())
		must(tb, b.CopyOut(t.loaded, tensor))
		whole := make([]byte, b.Operand.Type.Bytes())
		must(tb, t.loaded.CopyOut(whole, b.Operand))
		if all, inside := nonZero(whole), nonZero(tensor); all != inside {
			tb.Errorf("%s: %s has %d bytes in its padding that are not zero", what, b.Name, all-inside)
		}
	}
	return padded
}

func nonZero(b []byte) (n int) {
	for _, x := range b {
		if x != 0 {
			n++
		}
	}
	return n
}

// TestPaddingChangesNothing trains stages of odd sizes on a device that pads and on one that does not: the losses are
// the same but for the order of sums, files fit both, and what is beside the tensors is zero as long as it trains.
func TestPaddingChangesNothing(t *testing.T) {
	d := cpuDevice(t, 2)
	half := func(s *program.Stage) { s.DType = gpu.BF16 }
	for name, c := range map[string]struct {
		make func() *program.Stage
		near float64 // of the losses; 0 where each rounding differs
	}{
		"adamw":       {func() *program.Stage { return oddStage("llama", nil) }, 1e-5},
		"adamw, bf16": {func() *program.Stage { return oddStage("llama", half) }, 1e-2},
		"stochastic": {func() *program.Stage {
			s := oddStage("llama", half)
			o := s.Optimizer.(optim.AdamW)
			o.BF16StochasticRound, o.WeightDecay = true, 0.1
			s.Optimizer = o
			return s
		}, 0},
		"muon": {func() *program.Stage {
			return oddStage("llama", func(s *program.Stage) { s.Optimizer = muon(false) })
		}, 1e-3},
		"muon, stochastic": {func() *program.Stage {
			return oddStage("llama", func(s *program.Stage) { half(s); s.Optimizer = muon(true) })
		}, 0},
		"biases, tied": {func() *program.Stage {
			return oddStage("llama", func(s *program.Stage) {
				s.Model.AttentionBias, s.Model.MLPBias, s.Model.TieWordEmbeddings = true, true, true
			})
		}, 1e-5},
		"norms after, and of q and k": {func() *program.Stage { return oddStage("olmo2", nil) }, 1e-5},
		"norms of heads":              {func() *program.Stage { return oddStage("qwen3", nil) }, 1e-5},
		"adapters":                    {func() *program.Stage { return adapted(t, oddStage("llama", nil), "all-linear") }, 1e-5},
		"adapter of the head": {func() *program.Stage {
			return adapted(t, oddStage("llama", nil), "lm_head", "down_proj")
		}, 1e-5},
		"adapters, remainders": {func() *program.Stage { return adapted(t, oddStage("llama", half), "all-linear") }, 1e-2},
		"adapters, stochastic": {func() *program.Stage {
			s := adapted(t, oddStage("llama", half), "all-linear")
			s.Peft.MergeRounding = peft.RoundStochastic
			return s
		}, 0},
		"sltrain": {func() *program.Stage {
			s := oddStage("llama", nil)
			slTrain(t, s, peft.Spec{R: 5, Alpha: 10, Sparsity: 0.1})
			return s
		}, 1e-5},
		"sltrain, bf16, of the head": {func() *program.Stage {
			s := oddStage("llama", half)
			slTrain(t, s, peft.Spec{R: 5, Alpha: 10, Sparsity: 0.1, TargetModules: []string{"lm_head", "down_proj"}})
			return s
		}, 1e-2},
		"frozen in nf4": {func() *program.Stage {
			s := adapted(t, oddStage("llama", nil), "all-linear")
			s.Peft.Method, s.FrozenDType = "lora", gpu.NF4
			return s
		}, 1e-5},
		"frozen in int8 beside bf16": {func() *program.Stage {
			s := adapted(t, oddStage("llama", half), "q_proj", "down_proj")
			s.Peft.Method, s.FrozenDType = "lora", gpu.RowInt8
			return s
		}, 1e-2},
	} {
		t.Run(name, func(t *testing.T) {
			const steps = 5
			padded, plain := begun(t, wide{d}, c.make(), ""), begun(t, d, c.make(), "")
			sameBits(t, "before the first step", plain, padded)
			got, want := padded.losses(t, steps), plain.losses(t, steps)
			if !(got[steps-1] < got[0]) {
				t.Errorf("the losses do not fall: %v", got)
			}
			if c.near > 0 {
				near(t, "losses", got, want, c.near)
			}
			if n := padded.padding(t, "trained"); n == 0 {
				t.Error("no buffer is padded")
			}
			if n := plain.padding(t, "plain"); n != 0 {
				t.Errorf("%d buffers are padded on a device that asks for none", n)
			}
			dir := filepath.Join(t.TempDir(), "checkpoint")
			_, err := padded.save(dir, nil, false)
			must(t, err)
			for _, device := range []gpu.Device{d, wide{d}} {
				restored := begun(t, device, c.make(), "")
				must(t, restored.restore(t.Context(), stored{dir: dir}))
				sameBits(t, "restored", padded, restored)
				restored.padding(t, "restored")
			}
			if _, ok := padded.stage.Program.Segment(program.SegMerge); ok {
				_, err := padded.merge(true)
				must(t, err)
				padded.padding(t, "merged")
			}
		})
	}
}

// TestFilesHoldTensors: a checkpoint of a padded stage holds tensors of the model's shapes.
func TestFilesHoldTensors(t *testing.T) {
	s := oddStage("llama", nil)
	tr := begun(t, wide{cpuDevice(t, 2)}, s, "")
	dir := filepath.Join(t.TempDir(), "checkpoint")
	_, err := tr.save(dir, nil, false)
	must(t, err)
	model, opt, err := openStage(dir)
	must(t, err)
	defer model.Close()
	defer opt.Close()
	for _, p := range s.Params {
		if shape, ok := model.Shape(p.Name); !ok || !shape.Equal(p.Shape) {
			t.Errorf("%s is %v in the file, and %v in the model", p.Name, shape, p.Shape)
		}
		for _, x := range s.States(p) {
			if shape, ok := opt.Shape(x.Buffer(p.ID)); !ok || !shape.Equal(p.Shape) {
				t.Errorf("%s is %v in the file, and %v in the model", x.Buffer(p.ID), shape, p.Shape)
			}
		}
	}
}

// TestPaddedPass: logits and losses of a forward pass are the model's, and those of padding are not among them.
func TestPaddedPass(t *testing.T) {
	d := cpuDevice(t, 2)
	s := oddStage("llama", nil)
	tr := begun(t, d, s, "")
	dir := filepath.Join(t.TempDir(), "checkpoint")
	_, err := tr.save(dir, []checkpoint.Part{}, true)
	must(t, err)
	b := batchFor(s)
	var logits, nll [][]float32
	for _, device := range []gpu.Device{d, wide{d}} {
		for _, x := range []program.Pass{
			{Model: s.Model, Params: s.Params, DType: gpu.F32, Batch: 1, Seq: s.Seq, Logits: true},
			{Model: s.Model, Params: s.Params, DType: gpu.F32, Batch: s.Batch, Seq: s.Seq, Mask: true},
		} {
			p, err := program.NewPrograms(device.Caps()).Pass(x)
			must(t, err)
			f, err := forward.Load(t.Context(), device, p, x, dir)
			must(t, err)
			defer f.Close()
			if x.Logits {
				v, err := f.Logits(b.IDs[:s.Seq-3])
				must(t, err)
				logits = append(logits, v)
			} else {
				v, err := f.NLL(b)
				must(t, err)
				nll = append(nll, v)
			}
			if flops, plain := x.FLOPs(p), passFLOPs(t, d, x); flops != plain {
				t.Errorf("%v: %d operations of the model, %d where nothing is padded", device.Caps().Width, flops, plain)
			}
		}
	}
	if len(logits[1]) != s.Model.VocabSize {
		t.Errorf("%d logits of a vocabulary of %d", len(logits[1]), s.Model.VocabSize)
	}
	near(t, "logits", logits[1], logits[0], 1e-5)
	near(t, "losses", nll[1], nll[0], 1e-5)
}

func passFLOPs(t *testing.T, d gpu.Device, x program.Pass) int64 {
	t.Helper()
	p, err := program.NewPrograms(d.Caps()).Pass(x)
	must(t, err)
	n, _ := p.FLOPs(program.SegProbe)
	return n
}
