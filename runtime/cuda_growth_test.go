//go:build cudaemu

package runtime_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/runtime/apply"
	"stepflow/runtime/observe"
)

// Growth on a card, of sizes that it pads: from no layers to two, with LayerNorm scaling, and then by a layer that is aligned with
// its neighbour, over frozen layers in 4 bits. Losses of steps, and on both sides of the seams, are the CPU's; the last stage has
// another micro-batch than the one before, so that its first loss is measured.
func TestCUDAGrowth(t *testing.T) {
	before, rest, _ := strings.Cut(tiny, "stage \"one\"")
	_, after, _ := strings.Cut(rest, "\nevaluate ")
	change := strings.NewReplacer("hidden_size             = 16", "hidden_size             = 20",
		"intermediate_size       = 24", "intermediate_size       = 29", "= 272", "= 271", "initializer_range", "layernorm_scaling = true\ninitializer_range")
	train := "train {\ndata = data.jsonl.d\ntokenizer = tokenizer.bpe.t\noptimizer = optimizer.adamw.o\nsequence_length = 12\nbatch_size = 4\n" +
		"steps = 2\nmicro_batch_size = "
	text := change.Replace(before) + "stage \"one\" {\nmodel = model.llama.m\nlayers = 0\n" + train + "4\n}\n}\n" +
		"stage \"grown\" {\nfrom = stage.one\ngrow \"random\" {\nlayers = 2\nfunction_preserving = false\n}\n" + train + "4\n}\n}\n" +
		"stage \"two\" {\nfrom = stage.grown\nfreeze = [\"inherited\"]\nfrozen_dtype = \"nf4\"\nadapter = peft.lora.a\n" +
		"grow \"opt_deus\" {\nlayers = 1\nfunction_preserving = false\n}\n" + train + "2\n}\n}\nevaluate " + after
	losses := func(d gpu.Device) (list []float64) {
		dir := pipeline(t)
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
		p := cudaPlan(t, dir, d.Caps(), "lr=1e-3")
		peak, most := int64(0), int64(0)
		for _, a := range p.Actions {
			if s := stageOf(a); s != nil {
				peak = max(peak, s.Figures.Peak)
			}
		}
		must(t, applyWith(context.Background(), p, apply.Options{Device: d, Emit: func(e observe.Event) {
			most = max(most, e.Memory)
			switch {
			case e.Kind == observe.StepDone:
				list = append(list, e.Step.Loss)
			case e.Seam != nil && e.Seam.Change != "merge":
				list = append(list, e.Seam.Before, e.Seam.After)
			}
		}}))
		if most != peak {
			t.Errorf("the run held %d bytes, plan says %d", most, peak)
		}
		return list
	}
	_, d := emulated(t, nil)
	got, want := losses(d), losses(cpuDevice(t, 0))
	if len(want) != 10 || len(got) != len(want) { // two steps of each stage, and two seams
		t.Fatalf("losses %v, on the CPU %v", got, want)
	}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 2e-5*want[i] {
			t.Errorf("loss %d: %g, on the CPU %g", i, got[i], want[i])
		}
	}
}
