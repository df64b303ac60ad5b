package train

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
	"stepflow/ops"
	"stepflow/ops/growth"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
)

// each runs f for every rank at once, and returns their errors.
func each(n int, f func(r int) error) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for r := range n {
		all.Go(func() { errs[r] = f(r) })
	}
	all.Wait()
	return errs
}

// crew are the trainers of a stage on several ranks, each with a device of its own; one alone where there is one.
type crew []*trainer

// crewOf begins a stage on n ranks, from the result of the stage before.
func crewOf(t *testing.T, n int, shard program.Shard, stage func() *program.Stage, from string) crew {
	t.Helper()
	list := make(crew, n)
	comms := gputest.Ranks(n)
	for r := range list {
		d, s := cpuDevice(t, 1), stage()
		s.FromZero = true
		if n > 1 {
			s.Ranks, s.Rank, s.Shard = n, r, shard
			must(t, d.Join(comms[r]))
		}
		must(t, program.NewPrograms(d.Caps()).Compile(s, "none"))
		l, err := d.Load(s.Program)
		must(t, err)
		t.Cleanup(func() { l.Close() })
		if l.Allocated() != s.Program.ArenaBytes {
			t.Errorf("rank %d of %d, %s: takes %d bytes, planned are %d", r, n, shard, l.Allocated(), s.Program.ArenaBytes)
		}
		list[r] = newTrainer(s, l, nil)
		if n > 1 {
			list[r].comm = comms[r]
		}
		must(t, forward.SetConstants(l, s.Program, s.Model, s.Seq))
		must(t, list[r].start(t.Context(), from))
	}
	must(t, errors.Join(each(n, func(r int) error { return together(list[r].comm, list[r].stage.Program) })...))
	return list
}

// steps trains steps on one batch, and returns loss and norm of each, which all ranks have.
func (c crew) steps(t *testing.T, first, last int) (got [][2]float64) {
	t.Helper()
	all := make([][][2]float64, len(c))
	errs := each(len(c), func(r int) error {
		tr, b := c[r], batchFor(c[r].stage)
		for step := first; step <= last; step++ {
			f := &flight{step: step, batch: b}
			if err := tr.backpropagate(f); err != nil {
				return err
			}
			if err := tr.update(f); err != nil {
				return err
			}
			loss, norm, err := f.read()
			if err != nil {
				return err
			}
			all[r] = append(all[r], [2]float64{loss, norm})
			for _, x := range tr.stage.Trainable() {
				tr.state.OptimizerSteps[x.ID]++
			}
		}
		return nil
	})
	must(t, errors.Join(errs...))
	for r := range c {
		if !slices.Equal(all[r], all[0]) {
			t.Errorf("rank %d has %v, rank 0 %v", r, all[r], all[0])
		}
	}
	return all[0]
}

// values are all that the ranks keep. What several keep is the same.
func (c crew) values(t *testing.T) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	for r, tr := range c {
		for name, v := range tr.values(t) {
			if was, ok := all[name]; ok && !slices.Equal(v, was) {
				t.Errorf("%s of rank %d differs from that of a rank before", name, r)
			}
			all[name] = v
		}
	}
	return all
}

// save writes a checkpoint of all ranks, and returns its content id.
func (c crew) save(t *testing.T, dir string, final bool) (id string) {
	t.Helper()
	errs := each(len(c), func(r int) error {
		made, err := c[r].save(dir, nil, final)
		if r == 0 {
			id = made
		}
		return err
	})
	must(t, errors.Join(errs...))
	checked, _, err := checkpoint.Check(dir)
	must(t, err)
	if checked != id {
		t.Errorf("%s has the content id %s, and its writer says %s", dir, checked, id)
	}
	return id
}

// same compares what two crews keep.
func same(t *testing.T, what string, got, want map[string][]float32) {
	t.Helper()
	if a, b := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(a, b) {
		t.Errorf("%s: keeps %v, not %v", what, a, b)
	}
	for name, v := range want {
		if !slices.EqualFunc(got[name], v, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
			t.Errorf("%s: %s differs", what, name)
		}
	}
}

var shards = []program.Shard{program.ShardNone, program.ShardOptimizer, program.ShardGradients}

// ranked are stages of four sequences a step, by name.
func ranked() map[string]func() *program.Stage {
	list := map[string]func() *program.Stage{
		"fp32, tied":           tinyStage,
		"bf16, sums in fp32":   func() *program.Stage { s := tinyStage(); s.DType, s.Accumulate = gpu.BF16, gpu.F32; return s },
		"fp32, untied, skewed": func() *program.Stage { return untied(tinyStage()) },
		"muon":                 func() *program.Stage { s := tinyStage(); s.Optimizer = muon(false); return s },
	}
	for name, o := range lowMemory(false) {
		list[name] = func() *program.Stage { s := tinyStage(); s.Optimizer = o; return s }
	}
	list["int8 states, rounded at random"] = func() *program.Stage {
		s := narrowStage(gpu.BF16, narrowAdamW("int8", true))
		s.Accumulate = gpu.F32
		return s
	}
	return list
}

// untied is a stage whose head is a matrix of its own, and whose activations are computed again.
func untied(s *program.Stage) *program.Stage {
	s.Model.TieWordEmbeddings = false
	s.Params = s.Model.Declare(s.LayerIDs())
	return s
}

// TestRanksHaveTheBitsOfOne: ranks with one micro-batch each make the bits of one process that adds up as many, whatever they
// shard.
func TestRanksHaveTheBitsOfOne(t *testing.T) {
	for name, stage := range ranked() {
		for _, n := range []int{2, 4} {
			if n == 4 && !strings.HasPrefix(name, "fp32") && !strings.HasPrefix(name, "bf16") {
				continue // every optimizer once
			}
			micro := func() *program.Stage { s := stage(); s.Micro = s.Batch / n; return s }
			one := crewOf(t, 1, "", micro, "")
			losses, want := one.steps(t, 1, 4), one.values(t)
			for _, shard := range shards {
				what := fmt.Sprintf("%s, %d ranks, %s", name, n, shard)
				c := crewOf(t, n, shard, micro, "")
				if got := c.steps(t, 1, 4); !slices.Equal(got, losses) {
					t.Errorf("%s: loss and norm are %v, not %v", what, got, losses)
				}
				same(t, what, c.values(t), want)
			}
		}
	}
}

// TestShardsHaveTheSameBits: with several micro-batches a rank too, what is sharded changes no bit, and a rank keeps less the more
// is sharded.
func TestShardsHaveTheSameBits(t *testing.T) {
	micro := func() *program.Stage { s := tinyStage(); s.Micro = 1; return s }
	var want map[string][]float32
	var losses [][2]float64
	for _, shard := range shards {
		c := crewOf(t, 2, shard, micro, "")
		got := c.steps(t, 1, 3)
		if want == nil {
			want, losses = c.values(t), got
		}
		if !slices.Equal(got, losses) {
			t.Errorf("%s: loss and norm are %v, not %v", shard, got, losses)
		}
		same(t, string(shard), c.values(t), want)
	}
	bytes := map[program.Shard]map[string]int64{}
	for _, shard := range shards {
		c := crewOf(t, 2, shard, tinyStage, "")
		bytes[shard] = program.BytesByKind(c[0].stage.Program)
	}
	none, opt, grads := bytes[program.ShardNone], bytes[program.ShardOptimizer], bytes[program.ShardGradients]
	if share := float64(opt["optimizer"]) / float64(none["optimizer"]); share < 0.4 || share > 0.6 || opt["gradients"] != none["gradients"] {
		t.Errorf("states are %d bytes sharded and %d unsharded, gradients %d and %d", opt["optimizer"], none["optimizer"],
			opt["gradients"], none["gradients"])
	}
	if share := float64(grads["gradients"]) / float64(none["gradients"]); share < 0.4 || share > 0.6 {
		t.Errorf("gradients are %d bytes sharded and %d unsharded", grads["gradients"], none["gradients"])
	}
}

// TestRanksGrow: a second stage, with frozen layers and adapters, begins on ranks what one process begins, trains and merges to the
// same bits, and its checkpoints have the same bytes.
func TestRanksGrow(t *testing.T) {
	for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
		stage := func() *program.Stage {
			s := tinyStage()
			s.DType, s.Accumulate = dtype, gpu.F32
			if dtype == gpu.F32 {
				s.Accumulate = gpu.InvalidDType
			}
			return s
		}
		before := filepath.Join(t.TempDir(), "before")
		first := crewOf(t, 2, program.ShardGradients, stage, "")
		first.steps(t, 1, 2)
		id := first.save(t, before, true)
		alone := crewOf(t, 1, "", stage, "")
		alone.steps(t, 1, 2)
		if other := alone.save(t, filepath.Join(t.TempDir(), "alone"), true); other != id {
			t.Errorf("%v: the result of two ranks is %s, of one %s", dtype, id, other)
		}
		grow := growth.Spec{Method: "interpolation", Layers: 2, Position: "upper", Mix: 0.5, FunctionPreserving: true}
		two := func() *program.Stage {
			s := grown(t, stage(), grow, peft.Spec{Method: "lora", R: 2, Alpha: 4, TargetModules: []string{"all-linear"}},
				func(s *program.Stage, p ops.Param) bool { return s.Inherited(p) })
			s.DType, s.Accumulate = stage().DType, stage().Accumulate
			return s
		}
		one := crewOf(t, 1, "", two, before)
		losses, want := one.steps(t, 1, 3), one.values(t)
		id = one.save(t, filepath.Join(t.TempDir(), "one"), false)
		for _, shard := range shards {
			c := crewOf(t, 2, shard, two, before)
			if got := c.steps(t, 1, 3); !slices.Equal(got, losses) {
				t.Errorf("%v, %s: loss and norm are %v, not %v", dtype, shard, got, losses)
			}
			same(t, fmt.Sprintf("%v, %s", dtype, shard), c.values(t), want)
			if got := c.save(t, filepath.Join(t.TempDir(), "some"), false); got != id {
				t.Errorf("%v, %s: the checkpoint is %s, and of one process %s", dtype, shard, got, id)
			}
		}
	}
}

// TestRanksResume: a checkpoint of any number of ranks is gone on from by any other, with the bits of one that went on.
func TestRanksResume(t *testing.T) {
	stage := func() *program.Stage {
		s := tinyStage()
		s.Micro = 1
		s.DType = gpu.BF16
		s.Accumulate = gpu.F32
		return s
	}
	dir := filepath.Join(t.TempDir(), "first")
	c := crewOf(t, 2, program.ShardOptimizer, stage, "")
	c.steps(t, 1, 2)
	c.save(t, dir, false)
	for _, n := range []int{1, 4, 2} {
		next := crewOf(t, n, program.ShardGradients, stage, "")
		must(t, errors.Join(each(n, func(r int) error { return next[r].restore(t.Context(), stored{dir: dir}) })...))
		same(t, fmt.Sprintf("%d ranks, restored", n), next.values(t), c.values(t))
		if n == 2 {
			c.steps(t, 3, 4)
			next.steps(t, 3, 4)
			same(t, "two ranks, resumed", next.values(t), c.values(t))
		}
	}
}

// TestFusedOnRanks: fused updates add up over ranks in the backward pass.
func TestFusedOnRanks(t *testing.T) {
	fused := func() *program.Stage { s := tinyStage(); s.Fused = true; s.Micro = s.Batch / 2; return s }
	c := crewOf(t, 2, program.ShardNone, fused, "")
	var losses [][2]float64
	for step := 1; step <= 8; step++ {
		losses = append(losses, c.steps(t, step, step)...)
	}
	c.values(t)
	if !(losses[7][0] < losses[0][0]-0.2) {
		t.Errorf("the losses are %v", losses)
	}
}

// TestAgree: what one rank cannot do all are told, with its number; what is more serious counts.
func TestAgree(t *testing.T) {
	comms := gputest.Ranks(3)
	tell := func(errs ...error) []error {
		return each(3, func(r int) error { return Agree(comms[r], errs[r]) })
	}
	for r, err := range tell(nil, nil, nil) {
		if err != nil {
			t.Errorf("rank %d: %v", r, err)
		}
	}
	for r, err := range tell(nil, observe.ErrInterrupted, nil) {
		if !errors.Is(err, observe.ErrInterrupted) {
			t.Errorf("rank %d: %v, after an interrupt", r, err)
		}
	}
	for r, err := range tell(observe.ErrInterrupted, nil, dataError{errors.New("row 7 is damaged")}) {
		var data dataError
		if !errors.As(err, &data) || errors.Is(err, observe.ErrInterrupted) || !strings.Contains(err.Error(), "row 7") ||
			(r != 2) != strings.Contains(err.Error(), "rank 2: ") {
			t.Errorf("rank %d: %v", r, err)
		}
		if again := Agree(comms[r], err); again != err { // without another word to the others
			t.Errorf("rank %d: %v, of what was agreed on", r, again)
		}
	}
}
