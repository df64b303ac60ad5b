// Package pipelines holds the test that plans every pipeline that is shipped.
package pipelines

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime"
)

// TestPaper holds the memory figures of arXiv 2504.04151 that plan reproduces: model states of the
// layers in bytes, by the formula 16 n P + 2 N P + 16 N E.
func TestPaper(t *testing.T) {
	for _, c := range []struct {
		size, method string
		gb           float64 // as published, rounded
		saving       float64 // exact, in percent
		split        []int
	}{
		{"680M", "vanilla", 10.87, 0, []int{24}}, {"680M", "step-2", 6.34, 41.67, []int{14, 10}},
		{"1.2B", "vanilla", 19.33, 0, []int{24}}, {"1.2B", "step-2", 11.27, 41.67, []int{14, 10}}, {"1.2B", "step-3", 8.89, 54.03, []int{10, 8, 6}},
		{"368M", "step-2", 2.82, 41.67, []int{14, 10}}, {"680M", "step-3", 5.00, 54.03, []int{10, 8, 6}}, {"680M", "relora", 10.87, 0, []int{24}},
	} {
		p, diags := runtime.NewPlan(runtime.Options{Path: "paper", Inputs: dsl.Inputs{Flags: dsl.Vars("size="+c.size, "method="+c.method)}, StateDir: t.TempDir(), Caps: gpu.Caps{Kind: "cpu", Alignment: 64}})
		if diags.HasErrors() {
			t.Fatalf("%s %s: %v", c.size, c.method, diags)
		}
		var most, whole int64
		for _, a := range p.Actions {
			if m := a.Memory; m != nil {
				if gb := float64(m.LayersPeak) / 1e9; math.Abs(gb-c.gb) > 0.005 || math.Abs(100*m.LayersSaving-c.saving) > 0.01 {
					t.Errorf("%s %s: %.3f GB, %.2f %% saved; want %.2f and %.2f", c.size, c.method, gb, 100*m.LayersSaving, c.gb, c.saving)
				}
				for i, n := range c.split {
					if len(m.Layers) != len(c.split) || m.Layers[i] != n {
						t.Errorf("%s %s: split %v, want %v", c.size, c.method, m.Layers, c.split)
					}
				}
				most = m.LayersPeak
			}
		}
		var states int64
		for _, a := range p.Actions {
			if s := a.Stage; s != nil {
				states, whole = max(states, s.Figures.LayerStates), max(whole, s.Figures.Peak)
				if s.Figures.Peak < s.Figures.States {
					t.Errorf("%s: the whole run takes less than its model states", a.Addr)
				}
			}
		}
		// The formula and the compiled stages must agree, biases and norms and all.
		if states != most {
			t.Errorf("%s %s: the compiled stages hold %d bytes of layer states, the formula says %d", c.size, c.method, states, most)
		}
		if whole <= most {
			t.Errorf("%s %s: whole-run peak %d", c.size, c.method, whole)
		}
	}
}

// TestArena holds the arena of every stage that is shipped to 5 % above the most bytes alive at once,
// which no placement can beat.
func TestArena(t *testing.T) {
	for _, name := range []string{"quickstart", "compare", "paper", "../bench/step"} {
		path := withData(t, name)
		for _, caps := range []gpu.Caps{{Kind: "cpu", Alignment: 64}, {Kind: "cuda", Alignment: 512}} {
			var vars []string
			if name == "compare" {
				vars = []string{"source=data/*.parquet"}
			}
			p, diags := runtime.NewPlan(runtime.Options{Path: path, Inputs: dsl.Inputs{Flags: dsl.Vars(vars...)}, StateDir: t.TempDir(), Caps: caps})
			if diags.HasErrors() {
				t.Fatalf("%s: %v", name, diags)
			}
			stages := 0
			for _, a := range p.Actions {
				if s := a.Stage; s != nil {
					stages++
					if gap := float64(s.Figures.Peak)/float64(s.Figures.LowerBound) - 1; gap > 0.05 || gap < 0 {
						t.Errorf("%s, %s: the arena is %.2f %% above its lower bound", name, a.Addr, 100*gap)
					}
				}
			}
			if stages == 0 {
				t.Errorf("%s plans no stage", name)
			}
		}
	}
}

// withData copies a pipeline to where it has a little data.
func withData(t *testing.T, path string) string {
	t.Helper()
	dir := t.TempDir()
	src, err := os.ReadFile(filepath.Join(path, "main.hcl"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "main.hcl"), src, 0o644)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "data"), 0o755)
	}
	if err == nil {
		err = fineweb.WriteParquet(filepath.Join(dir, "data", "few.parquet"), []fineweb.Row{{Text: "a document", ID: "1", Language: "en", IntScore: 4}}, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func BenchmarkPlanPaper(b *testing.B) {
	dir := b.TempDir()
	for i := 0; i < b.N; i++ {
		if _, diags := runtime.NewPlan(runtime.Options{Path: "paper", Inputs: dsl.Inputs{Flags: dsl.Vars("size=1.2B", "method=step-3")}, StateDir: dir, Caps: gpu.Caps{Kind: "cpu", Alignment: 64}}); diags.HasErrors() {
			b.Fatal(diags)
		}
	}
}
