//go:build cudaemu

package runtime_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/gpu/gputest"
	"stepflow/runtime/apply"
	"stepflow/runtime/plan"
)

// A pipeline with growth, adapters and merging, trained on two cards that NCCL joins, has the bits of one card that takes the same
// micro-batches one after the other, whatever is sharded.
func TestCUDARanks(t *testing.T) {
	lib := t.TempDir()
	if out, err := exec.Command("../gpu/cuda/emu/driver/nccl.sh", lib).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("STEPFLOW_NCCL_LIBRARY", filepath.Join(lib, "libnccl.so.2"))
	run := func(ranks int, shard string) map[string]string {
		dir := pipeline(t)
		text := strings.ReplaceAll(tiny, "  train {\n", "  train {\n    parallel {\n      shard = \""+shard+"\"\n    }\n")
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
		errs, cards := make([]error, ranks), make([]*cuda.Device, ranks)
		comms := gputest.Ranks(ranks)
		each := func(f func(rank int, c gpu.Communicator) error) {
			var wg sync.WaitGroup
			for r, c := range comms {
				wg.Go(func() {
					if errs[r] = f(r, c); errs[r] != nil {
						c.Abort(errs[r])
					}
				})
			}
			wg.Wait()
			sound(t, errs)
		}
		for r := range cards {
			_, cards[r] = emulated(t, nil)
		}
		each(func(r int, c gpu.Communicator) error { return cards[r].Join(c) })
		plans := make([]*plan.Plan, ranks)
		for r := range plans {
			p, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: cards[r].Caps(), Ranks: ranks, Rank: r,
				Inputs: dsl.Inputs{Flags: dsl.Vars("micro=2", "precision=fp32")}})
			if diags.HasErrors() {
				t.Fatal(diags.Errs())
			}
			plans[r] = p
		}
		each(func(r int, c gpu.Communicator) error {
			o := apply.Options{Device: cards[r]}
			if ranks > 1 {
				o.Comm = c
			}
			if r == 0 {
				return applyWith(context.Background(), plans[r], o)
			}
			return apply.Follow(context.Background(), plans[r], o)
		})
		each(func(r int, _ gpu.Communicator) error { return cards[r].Close() })
		return contents(t, dir)
	}
	want := run(1, "none")
	for _, shard := range []string{"none", "gradients"} {
		sameContents(t, "two ranks, shard = "+shard, run(2, shard), want)
	}
}
