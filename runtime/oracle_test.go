package runtime_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/results"
)

// told is what tools/parity/oracle.py reads of a stage, beside its batches and the first values of its adapters.
type told struct {
	Losses   []float64   `json:"losses"`
	Adapters []string    `json:"adapters"` // projections that have one
	Seeds    [][]float32 `json:"seeds"`    // of each merge
}

// TestOracle runs the pipelines that tools/parity/oracle.py wrote to the folder STEPFLOW_ORACLE names, for it to compare with its
// own training.
func TestOracle(t *testing.T) {
	root := given(t, "STEPFLOW_ORACLE")
	mains, err := filepath.Glob(filepath.Join(root, "*", "main.hcl"))
	must(t, err)
	if len(mains) == 0 {
		t.Fatal("there are no pipelines in", root)
	}
	for _, main := range mains {
		dir := filepath.Dir(main)
		p := planOf(t, dir)
		d := cpuDevice(t, 2)
		for _, a := range p.Actions {
			if s := stageOf(a); s != nil && s.DType == gpu.BF16 { // where a processor multiplies pairs of bf16, attention rounds its scores too
				var err error
				d, err = cpu.Open(2, "portable")
				must(t, err)
				t.Cleanup(func() { d.Close() })
				break
			}
		}
		must(t, applyOn(t, d, p))
		var all []told
		var stream *fineweb.Mix // one for all stages: each goes on where the one before ended
		for _, a := range p.Actions {
			s := stageOf(a)
			if s == nil {
				continue
			}
			blocks := filepath.Join(dir, ".stepflow", results.Folder(a.Addr))
			if stream == nil {
				b, err := os.ReadFile(filepath.Join(checkpoint.StepDir(blocks, s.Steps), checkpoint.TokenizerFile))
				must(t, err)
				tok, err := tokenizer.Parse(b)
				must(t, err)
				set, err := fineweb.OpenSet(context.Background(), s.Data.Sources())
				must(t, err)
				t.Cleanup(func() { set.Close() })
				stream, err = set.Stream(fineweb.Train, tok, s.Seq, fineweb.Position{})
				must(t, err)
			}
			var x told
			var batches, adapters []byte
			for range s.Steps {
				b, err := stream.Next(s.Batch)
				must(t, err)
				for _, v := range [][]int32{b.IDs, b.Targets, b.Segments} {
					batches = append(batches, gpu.Int32Bytes(v)...)
				}
			}
			for _, p := range s.Adapters {
				x.Adapters = append(x.Adapters, peft.Module(p.Target))
			}
			for merge := 0; merge == 0 || s.RestartAfter(merge*s.Peft.ResetEvery); merge++ {
				if s.Peft == nil {
					break
				}
				var seeds []float32
				for _, p := range s.Adapters {
					seeds = append(seeds, peft.MergeSeed(p, s.PeftSeed, merge))
					adapters = append(adapters, gpu.Float32Bytes(peft.Init(p.A, s.PeftSeed, merge), gpu.F32)...)
				}
				x.Seeds = append(x.Seeds, seeds)
			}
			steps, err := metrics.Read(filepath.Join(blocks, metrics.FileName))
			must(t, err)
			for _, m := range steps {
				x.Losses = append(x.Losses, m.Loss)
			}
			must(t, os.WriteFile(filepath.Join(dir, a.Addr.Name+".batches"), batches, 0o644))
			must(t, os.WriteFile(filepath.Join(dir, a.Addr.Name+".adapters"), adapters, 0o644))
			all = append(all, x)
		}
		b, err := json.Marshal(all)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "told.json"), b, 0o644))
	}
}
