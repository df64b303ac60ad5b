//go:build cudaemu

package runtime_test

import (
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/gpu/cuda/emu"
	"stepflow/runtime/apply"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/program"
)

// emulated opens a card after the test has set it up.
func emulated(t testing.TB, set func(*emu.Driver)) (*emu.Driver, *cuda.Device) {
	t.Helper()
	e := emu.New()
	if set != nil {
		set(e)
	}
	d, err := cuda.Open(e)
	must(t, err)
	return e, d
}

func cudaPlan(t testing.TB, dir string, caps gpu.Caps, vars ...string) *plan.Plan {
	t.Helper()
	p, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{Flags: dsl.Vars(vars...)}, Caps: caps})
	if diags.HasErrors() {
		t.Fatal(diags.Errs())
	}
	return p
}

// waiting is a device that the training loop waits for after each step.
type waiting struct{ gpu.Device }

func (w waiting) Caps() gpu.Caps {
	c := w.Device.Caps()
	c.Async = false
	return c
}

// The whole tiny pipeline, with growth, adapters and merging: the same bits whatever the order of
// threads, and whether the next step is begun before the loss is read; peaks as planned; one graph
// replayed a segment. -short leaves one order out.
func TestCUDAPipeline(t *testing.T) {
	orders := []uint64{emu.Ascending, emu.Descending, 99}
	if testing.Short() {
		orders = orders[:2]
	}
	for _, precision := range []string{"fp32", "bf16"} {
		var first map[string]string
		for _, order := range orders {
			dir := pipeline(t)
			e, d := emulated(t, func(e *emu.Driver) { e.Order = order })
			var device gpu.Device = d
			if order == emu.Descending {
				device = waiting{d}
			}
			p := cudaPlan(t, dir, d.Caps(), "precision="+precision)
			var most int64
			must(t, applyWith(context.Background(), p, apply.Options{Device: device, Emit: func(x observe.Event) { most = max(most, x.Memory) }}))
			var peak int64
			for _, a := range p.Actions {
				if s := stageOf(a); s != nil {
					peak = max(peak, s.Figures.Peak)
				}
			}
			if most != peak {
				t.Errorf("%s: the run held %d bytes, plan says %d", precision, most, peak)
			}
			if e.Replays == 0 {
				t.Error("no graph was replayed")
			}
			must(t, d.Close())
			if c := contents(t, dir); first == nil {
				first = c
			} else {
				for n, id := range c {
					if first[n] != id {
						t.Errorf("%s, order %d: %s came out different", precision, order, n)
					}
				}
			}
		}
	}
}

// Fused updates on a card: without clipping, the bits of separate ones, in an arena as planned and without the gradients'
// buffers.
func TestCUDAFusedUpdates(t *testing.T) {
	for _, precision := range []string{"fp32", "bf16"} {
		made := map[string]map[string]string{}
		for _, update := range []string{"separate", "fused"} {
			dir := pipeline(t)
			_, d := emulated(t, nil)
			p := cudaPlan(t, dir, d.Caps(), "precision="+precision, "update="+update, "norm=0", "micro=4", "recompute=block",
				"steps=3", "adapter=lora")
			var peak, most int64
			for _, a := range p.Actions {
				if s := stageOf(a); s != nil {
					peak = max(peak, s.Figures.Peak)
					if held := s.Figures.ByKind["gradients"]; (held == 0) != (update == "fused") {
						t.Errorf("%s: %d bytes of gradients with %s updates", a.Addr, held, update)
					}
				}
			}
			must(t, applyWith(context.Background(), p, apply.Options{Device: d,
				Emit: func(x observe.Event) { most = max(most, x.Memory) }}))
			if most != peak {
				t.Errorf("%s, %s: the run held %d bytes, plan says %d", precision, update, most, peak)
			}
			must(t, d.Close())
			made[update] = contents(t, dir)
		}
		for n, id := range made["separate"] {
			if made["fused"][n] != id {
				t.Errorf("%s: %s came out different", precision, n)
			}
		}
	}
}

// Sizes that a card pads: a run that is interrupted and goes on gives the losses of the CPU, and the plan says which
// bytes are padding.
func TestCUDAPaddedPipeline(t *testing.T) {
	odd := strings.NewReplacer("hidden_size             = 16", "hidden_size             = 20",
		"intermediate_size       = 24", "intermediate_size       = 29", "= 272", "= 271",
		"r                    = 2", "r                    = 3")
	fresh := func() string {
		dir := pipeline(t)
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(odd.Replace(tiny)), 0o644))
		return dir
	}
	// run trains until so many steps are done, and returns their losses.
	run := func(dir string, d gpu.Device, steps int) (list []float64) {
		p := cudaPlan(t, dir, d.Caps())
		for _, a := range p.Actions {
			if s := stageOf(a); s != nil && (s.Figures.ByKind["padding"] > 0) != (d.Caps().Kind == "cuda") {
				t.Errorf("%s on %s: %d bytes of padding", a.Addr, d.Caps().Kind, s.Figures.ByKind["padding"])
			}
		}
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		err := applyWith(ctx, p, apply.Options{Device: d, Emit: func(e observe.Event) {
			if e.Kind == observe.StepDone {
				if list = append(list, e.Step.Loss); len(list) == steps {
					stop()
				}
			}
		}})
		if err != nil && !errors.Is(err, observe.ErrInterrupted) {
			t.Fatal(err)
		}
		return list
	}
	const all = 1000
	want := run(fresh(), cpuDevice(t, 0), all)
	dir := fresh()
	var got []float64
	for _, steps := range []int{3, 5, all} {
		_, d := emulated(t, nil)
		got = append(got, run(dir, d, steps)...)
	}
	if len(got) != len(want) {
		t.Fatalf("%d steps, %d on the CPU", len(got), len(want))
	}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-4*want[i] {
			t.Errorf("step %d: loss %v, on the CPU %v", i+1, got[i], want[i])
		}
	}
}

// A card that is lost in the middle leaves a run that goes on from its last checkpoint, to the same bits.
func TestCUDALostDevice(t *testing.T) {
	whole := pipeline(t)
	e, d := emulated(t, nil)
	must(t, applyOn(t, d, cudaPlan(t, whole, d.Caps())))
	launches := e.Launches
	want := contents(t, whole)
	for _, at := range []int{launches / 5, launches / 2, launches * 3 / 4} {
		dir := pipeline(t)
		_, d := emulated(t, func(e *emu.Driver) { e.FailAt, e.Fault = at, errors.New("an illegal memory access was encountered") })
		err := applyOn(t, d, cudaPlan(t, dir, d.Caps()))
		if err == nil {
			t.Fatalf("launch %d of %d failed, and apply did not", at, launches)
		}
		for _, part := range []string{"illegal memory access", "Xid", "last checkpoint"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error does not say %q: %v", part, err)
			}
		}
		_, d = emulated(t, nil)
		must(t, applyOn(t, d, cudaPlan(t, dir, d.Caps())))
		for n, id := range contents(t, dir) {
			if want[n] != id {
				t.Errorf("lost at launch %d: %s came out different after going on", at, n)
			}
		}
	}
}

// What a card cannot do is said before anything runs.
func TestCUDARefusals(t *testing.T) {
	e := emu.New()
	e.Capability = [2]int{7, 5}
	if _, err := cuda.Open(e); err == nil || !strings.Contains(err.Error(), "compute capability 7.5") {
		t.Errorf("a card of compute capability 7.5: %v", err)
	}

	dir := pipeline(t)
	_, d := emulated(t, func(e *emu.Driver) { e.Memory = cuda.Reserve + 1<<15 })
	p := cudaPlan(t, dir, d.Caps())
	if err := applyOn(t, d, p); err == nil || !strings.Contains(err.Error(), "more are needed") {
		t.Errorf("a run that does not fit: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".stepflow", "blocks")); err == nil {
		t.Error("something ran before that was said")
	}

	// Another process takes the memory between planning and running.
	e, d = emulated(t, nil)
	p = cudaPlan(t, dir, d.Caps())
	e.Memory = 1 << 15
	if err := applyOn(t, d, p); err == nil || !strings.Contains(err.Error(), "out of memory: 32768 bytes are free") || !strings.Contains(err.Error(), "stage.one") {
		t.Errorf("memory that is gone: %v", err)
	}

	// A launch that fails while it is timed names its kernel, place and layer.
	i := slices.IndexFunc(p.Actions, func(a *plan.Action) bool { return stageOf(a) != nil })
	trained := stageOf(p.Actions[i]).Program
	seg, _ := trained.Segment(program.SegMicro)
	_, d = emulated(t, func(e *emu.Driver) {
		e.FailAt, e.Fault = (seg.Hi-seg.Lo)/3, errors.New("too many resources requested for launch")
	})
	l, err := d.Load(trained)
	must(t, err)
	err = l.Run(seg.Lo, seg.Hi, true)
	if err == nil || !strings.Contains(err.Error(), "layers.") || !strings.Contains(err.Error(), "pass, layer ") || !strings.Contains(err.Error(), "too many resources") {
		t.Errorf("a launch that fails: %v", err)
	}
}

// The quickstart's first steps give the losses of the CPU; -short takes fewer of them.
func TestCUDAQuickstart(t *testing.T) {
	data := t.TempDir()
	cmd := exec.Command("go", "run", "../cmd/stepflow", "sample", "go-docs", "-o", data)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("making the data: %v\n%s", err, out)
	}
	hcl, err := os.ReadFile("../pipelines/quickstart/main.hcl")
	must(t, err)
	steps := 10
	if testing.Short() {
		steps = 4
	}
	losses := func(d gpu.Device, precision string, n int) (list []float64) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), hcl, 0o644))
		must(t, os.Symlink(data, filepath.Join(dir, "data")))
		p := cudaPlan(t, dir, d.Caps(), "tokens=80000", "precision="+precision)
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		err := applyWith(ctx, p, apply.Options{Device: d, Emit: func(e observe.Event) {
			if e.Kind == observe.StepDone {
				list = append(list, e.Step.Loss)
				if e.Step.Step == n {
					stop()
				}
			}
		}})
		if !errors.Is(err, observe.ErrInterrupted) {
			t.Fatalf("the run ended with %v after %d steps", err, len(list))
		}
		return list
	}
	for _, x := range []struct {
		precision string
		steps     int
		tol       float64
	}{{"fp32", steps, 2e-5}, {"bf16", steps / 2, 2e-3}} {
		_, d := emulated(t, nil)
		got, want := losses(d, x.precision, x.steps), losses(cpuDevice(t, 0), x.precision, x.steps)
		for i := range want {
			if i >= len(got) || math.Abs(got[i]-want[i]) > x.tol*want[i] {
				t.Errorf("%s, step %d: loss %v, on the CPU %g", x.precision, i+1, got[min(i, len(got)-1)], want[i])
			}
		}
		t.Logf("%s: %.5f, on the CPU %.5f", x.precision, got[len(got)-1], want[len(want)-1])
	}
}

// A stage of 30 layers, 272 tensors to update, that grows to 32: more of everything than one launch takes. Its losses
// are the CPU's.
func TestCUDADeep(t *testing.T) {
	losses := func(d gpu.Device) (list []float64) {
		dir := pipeline(t)
		deep := strings.NewReplacer("num_hidden_layers       = 5", "num_hidden_layers       = 32", "layers    = 3", "layers    = 30")
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(deep.Replace(tiny)), 0o644))
		p := cudaPlan(t, dir, d.Caps(), "steps=2", "lr=1e-3")
		must(t, applyWith(context.Background(), p, apply.Options{Device: d, Emit: func(e observe.Event) {
			if e.Kind == observe.StepDone {
				list = append(list, e.Step.Loss)
			}
		}}))
		return list
	}
	_, d := emulated(t, nil)
	got, want := losses(d), losses(cpuDevice(t, 0))
	if len(want) != 4 || len(got) != len(want) {
		t.Fatalf("losses %v, on the CPU %v", got, want)
	}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 2e-5*want[i] {
			t.Errorf("step %d: loss %g, on the CPU %g", i+1, got[i], want[i])
		}
	}
}
