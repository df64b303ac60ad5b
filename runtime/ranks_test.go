package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/gputest"
	"stepflow/runtime/apply"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
)

// rankRun is a run on several ranks, each a goroutine with a device of its own.
type rankRun struct {
	n    int
	with func(rank int, o *apply.Options) // changes the options of a rank
	vars func(rank int) []string
}

// run applies a pipeline on all ranks, and returns their errors in order.
func (x rankRun) run(t *testing.T, ctx context.Context, dir string) []error {
	t.Helper()
	errs := make([]error, x.n)
	var wg sync.WaitGroup
	for rank, c := range gputest.Ranks(x.n) {
		d := cpuDevice(t, 1)
		must(t, d.Join(c))
		var vars []string
		if x.vars != nil {
			vars = x.vars(rank)
		}
		p, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{Flags: dsl.Vars(vars...)},
			Caps: cpu.PlanCaps(""), Ranks: x.n, Rank: rank})
		if diags.HasErrors() {
			t.Fatal(diags.Errs())
		}
		o := apply.Options{Device: d, Comm: c}
		if x.with != nil {
			x.with(rank, &o)
		}
		wg.Go(func() {
			if rank == 0 {
				errs[0] = applyWith(ctx, p, o)
			} else {
				errs[rank] = apply.Follow(context.Background(), p, o)
			}
		})
	}
	wg.Wait()
	return errs
}

// sound fails a test in which a rank ended with an error.
func sound(t *testing.T, errs []error) {
	t.Helper()
	for rank, err := range errs {
		if err != nil {
			t.Errorf("rank %d of %d: %v", rank, len(errs), err)
		}
	}
}

// TestEvaluationsOnRanks measures and asks a model on several ranks: the results have the bits of one.
func TestEvaluationsOnRanks(t *testing.T) {
	alone := pipeline(t)
	must(t, applyOn(t, cpuDevice(t, 1), planOf(t, alone)))
	want := contents(t, alone)
	for _, n := range []int{2, 3} {
		dir := pipeline(t)
		loads := make([]int, n) // programs of each rank
		sound(t, rankRun{n: n, with: func(rank int, o *apply.Options) {
			o.Device = &loading{o.Device, &loads[rank]}
		}}.run(t, t.Context(), dir))
		sameContents(t, fmt.Sprint(n, " ranks"), contents(t, dir), want)
		for rank, loaded := range loads {
			if loaded == 0 {
				t.Errorf("rank %d of %d ran nothing", rank, n)
			}
		}
	}
}

// loading counts the programs that a device loads.
type loading struct {
	gpu.Device
	n *int
}

func (l *loading) Load(p *gpu.Program) (gpu.Loaded, error) {
	*l.n++
	return l.Device.Load(p)
}

// TestRanksThatDiffer has a rank plan what rank 0 does not: the run ends, and says where they differ.
func TestRanksThatDiffer(t *testing.T) {
	dir := pipeline(t)
	errs := rankRun{n: 3, vars: func(rank int) []string {
		if rank == 2 {
			return []string{"lr=0.5"}
		}
		return nil
	}}.run(t, t.Context(), dir)
	for _, want := range []string{"rank 2: ", "optimizer.adamw.o", "learning_rate is 0.5 here, and 0.01 there"} {
		if errs[0] == nil || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("rank 0 says %v, without %q", errs[0], want)
		}
	}
	var ended *apply.EndedError
	for rank, err := range errs[1:] {
		if !errors.As(err, &ended) {
			t.Errorf("rank %d: %v", rank+1, err)
		}
	}
}

// TestFollowersWriteNothing applies on two ranks, of which one has a pipeline of its own beside the state that both share: it
// makes no lock and no file.
func TestFollowersWriteNothing(t *testing.T) {
	dir := pipeline(t)
	var events sync.Map
	sound(t, rankRun{n: 2, with: func(rank int, o *apply.Options) {
		o.Emit = func(e observe.Event) { events.Store(rank, true) }
		o.Begin = func() error {
			if rank > 0 {
				t.Error("a rank that follows begins a run")
			}
			return nil
		}
	}}.run(t, t.Context(), dir))
	if _, told := events.Load(1); told {
		t.Error("a rank that follows tells of events")
	}
	lists, err := filepath.Glob(filepath.Join(dir, ".stepflow", "blocks", "*", "metrics.jsonl"))
	must(t, err)
	for _, file := range lists {
		b, err := os.ReadFile(file)
		must(t, err)
		for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			if !strings.Contains(line, fmt.Sprintf(`"step":%d,`, i+1)) {
				t.Errorf("%s: line %d is %s", file, i+1, line)
			}
		}
	}
}
