// Package pipelines holds the test that plans every pipeline that is shipped.
package pipelines

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/ops"
	"stepflow/runtime/apply"
	"stepflow/runtime/blocks/memoryplan"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
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
		{"1.2B", "vanilla", 19.33, 0, []int{24}}, {"1.2B", "step-2", 11.27, 41.67, []int{14, 10}},
		{"1.2B", "step-3", 8.89, 54.03, []int{10, 8, 6}},
		{"368M", "step-2", 2.82, 41.67, []int{14, 10}}, {"680M", "step-3", 5.00, 54.03, []int{10, 8, 6}},
		{"680M", "relora", 10.87, 0, []int{24}},
	} {
		p, diags := plan.New(context.Background(), plan.Options{Path: "paper",
			Inputs: dsl.Inputs{Flags: dsl.Vars("size="+c.size, "method="+c.method)}, StateDir: t.TempDir(),
			Caps: gpu.Caps{Kind: "cpu", Alignment: 64}})
		if diags.HasErrors() {
			t.Fatalf("%s %s: %v", c.size, c.method, diags)
		}
		var most, whole int64
		for _, a := range p.Actions {
			if m, ok := a.Block.(*memoryplan.Split); ok {
				if gb := float64(m.LayersPeak) / 1e9; math.Abs(gb-c.gb) > 0.005 || math.Abs(100*m.LayersSaving-c.saving) > 0.01 {
					t.Errorf("%s %s: %.3f GB, %.2f %% saved; want %.2f and %.2f", c.size, c.method, gb, 100*m.LayersSaving, c.gb,
						c.saving)
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
			if s, ok := a.Block.(*stage.Stage); ok {
				states, whole = max(states, s.Figures.LayerStates), max(whole, s.Figures.Peak)
				if s.Figures.Peak < s.Figures.States {
					t.Errorf("%s: the whole run takes less than its model states", a.Addr)
				}
			}
		}
		// The formula and the compiled stages must agree, biases and norms and all.
		if states != most {
			t.Errorf("%s %s: the compiled stages hold %d bytes of layer states, the formula says %d", c.size, c.method, states,
				most)
		}
		if whole <= most {
			t.Errorf("%s %s: whole-run peak %d", c.size, c.method, whole)
		}
	}
}

// TestPaperComparesEqualFLOPs holds what the paper's comparison rests on: at a size that this machine can train,
// every method gets the budget within a per cent, by the accounting that was asked for, and the outputs say both.
func TestPaperComparesEqualFLOPs(t *testing.T) {
	dir := withData(t, "paper")
	for _, size := range []string{"1M", "368M"} {
		for _, accounting := range []string{"executed", "6ND"} {
			tokens := map[string]float64{}
			for _, method := range methods {
				p := planPaper(t, dir, "size="+size, "accounting="+accounting, "method="+method, "tokens_per_parameter=0.3",
					"batch_size=8")
				var executed, nominal float64
				for _, a := range p.Actions {
					if s, ok := a.Block.(*stage.Stage); ok {
						f := s.Figures
						executed += f.FLOPs
						nominal += 6 * float64(ops.Count(s.Params, nil)) * float64(f.Tokens)
						tokens[method] += float64(f.Tokens)
					}
				}
				out := map[string]float64{}
				for k, v := range p.Outputs["flops"].AsValueMap() {
					out[k], _ = v.AsBigFloat().Float64()
				}
				for name, want := range map[string]float64{"executed": executed, "6ND": nominal} {
					if !(math.Abs(out[name]/want-1) < 1e-9) {
						t.Errorf("%s %s: output flops has %s %g, the stages have %g", size, method, name, out[name], want)
					}
				}
				if r := out[accounting] / out["budget"]; math.Abs(r-1) > 0.01 {
					t.Errorf("%s %s: %s FLOPs are %.4f of the budget", size, method, accounting, r)
				}
			}
			if !(tokens["vanilla"] < tokens["step-2"] && tokens["step-2"] < tokens["step-3"]) {
				t.Errorf("%s: equal FLOPs buy these tokens: %v", size, tokens)
			}
		}
	}
}

// TestPaperRuns trains a tiny model by every method, from the files that plan the paper's.
func TestPaperRuns(t *testing.T) {
	dir := withData(t, "paper")
	var rows []fineweb.Row
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		var b strings.Builder
		for range 60 {
			fmt.Fprintf(&b, "w%dx ", rng.IntN(500))
		}
		rows = append(rows, fineweb.Row{Text: b.String(), ID: fmt.Sprint(i), Language: "en", IntScore: 4})
	}
	if err := fineweb.WriteParquet(filepath.Join(dir, "data", "few.parquet"), rows, 50); err != nil {
		t.Fatal(err)
	}
	d, err := cpu.Open(2, "")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, method := range methods {
		p := planPaper(t, dir, "size=1M", "method="+method, "hidden_size=16", "intermediate_size=32", "num_hidden_layers=6",
			"num_attention_heads=2", "vocab_size=270", "rank=2",
			"batch_size=2", "micro_batch_size=2", "sequence_length=16", "reset_every=5", "restart_warmup_steps=2", "flops=3e8",
			"validation_fraction=0.2", "evaluation_tokens=500", "seed=3")
		if _, err := apply.Apply(context.Background(), p, apply.Options{Device: d}); err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		st, err := state.Read(p.StateDir)
		if err != nil {
			t.Fatal(err)
		}
		loss, _ := st.State.Blocks["evaluate.perplexity.validation"].Values["loss"].(float64)
		if guess := math.Log(270); !(loss > 1 && loss < guess) {
			t.Errorf("%s: held-out loss %g, a random guess has %g", method, loss, guess)
		}
	}
}

// TestVariablesThatCannotBe gives odd values to variables of the pipelines: each is refused in one sentence that
// names it, and nothing that follows from it is said.
func TestVariablesThatCannotBe(t *testing.T) {
	paper, compare, memory := withData(t, "paper"), withData(t, "compare"), withData(t, "memory")
	for _, x := range []struct{ dir, set, says string }{
		{paper, "size=2M", "there is no such size: size is 1.2B, 1M, 368M, 680M"},
		{paper, "method=step", "method is relora, step-2, step-3, vanilla"},
		{paper, "accounting=6nd", "accounting is executed or 6ND"},
		{paper, "relora_warm_start=0", "ReLoRA starts from weights"},
		{paper, "relora_warm_start=1", "leave nothing for ReLoRA"},
		{paper, "leave_at=0", "a stage that is left at once trains nothing"},
		{paper, "leave_at=1.1", "at most 1, the whole schedule"},
		{paper, "tokens_per_parameter=0", "it sets the budget"},
		{paper, "flops=-1", "flops must be more than 0"},
		{paper, "validation_fraction=0", "the documents held out"},
		{paper, "validation_fraction=1", "the others are trained on"},
		{paper, "batch_size=0", "a whole number of sequences"},
		{paper, "batch_size=2.5", "a whole number of sequences"},
		{compare, "seeds=[]", "at least one seed, and each once"},
		{compare, "seeds=[1, 1]", "at least one seed, and each once"},
		{compare, "tokens=1e4", "at least one batch of 1024 tokens"},
		{memory, "size=70M", "there is no such size: size is 60M, quickstart"},
		{memory, "methods=[]", "methods is empty: name at least one of adamw, "},
		{memory, `methods=["adamw", "galor"]`, "methods has no galor; there are adamw, "},
		{memory, "tokens=1e4", "at least one batch of 1024 tokens"},
		{compare, "learning_rates={step=0, vanilla=1e-3, small=1e-3}", "must be more than 0"},
	} {
		_, diags := plan.New(context.Background(), plan.Options{Path: x.dir, StateDir: t.TempDir(),
			Inputs: dsl.Inputs{Flags: dsl.Vars(x.set, "source=data/*.parquet")}, Caps: cpu.PlanCaps("")})
		name, _, _ := strings.Cut(x.set, "=")
		if errs := diags.Errs(); len(errs) != 1 || !strings.Contains(errs[0].Error(),
			"var."+name+": ") || !strings.Contains(errs[0].Error(), x.says) {
			t.Errorf("%s: %v, want one error with %q", x.set, errs, x.says)
		}
	}
}

// TestPaperFitsItsBatch gives batches that 8 does not divide, and a budget of less than two steps: the micro-batch
// follows, and the plan says how far whole steps are from the budget.
func TestPaperFitsItsBatch(t *testing.T) {
	dir := withData(t, "paper")
	for set, micro := range map[string]int{"batch_size=4": 4, "batch_size=12": 6, "batch_size=7": 7, "batch_size=11": 1,
		"batch_size=16": 8} {
		for _, a := range planPaper(t, dir, "size=1M", "method=step-3", "tokens_per_parameter=0.1", set).Actions {
			if s, ok := a.Block.(*stage.Stage); ok && (s.Micro != micro || strings.Contains(strings.Join(a.Warnings, " "),
				"whole")) {
				t.Errorf("%s, %s: micro-batches of %d, %q", set, a.Addr, s.Micro, a.Warnings)
			}
		}
	}
	told := ""
	for _, a := range planPaper(t, dir, "size=1M", "method=step-3", "flops=1.5e10").Actions {
		told += strings.Join(a.Warnings, "\n")
	}
	if !strings.Contains(told, "its flops are worth 0.73 steps, and the stage takes 1, since steps are whole: 37 % more") || !strings.Contains(told, "9 % less") {
		t.Errorf("%q", told)
	}
}

var methods = []string{"vanilla", "step-2", "step-3", "relora"}

func planPaper(t *testing.T, dir string, vars ...string) *plan.Plan {
	t.Helper()
	flags := dsl.Vars(append(vars, "source=data/*.parquet")...)
	p, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{Flags: flags},
		StateDir: t.TempDir(), Caps: gpu.Caps{Kind: "cpu", Alignment: 64}})
	if diags.HasErrors() {
		t.Fatalf("%v: %v", vars, diags)
	}
	return p
}

// TestArena holds the arena of every stage that is shipped to 5 % above the most bytes alive at once,
// which no placement can beat.
func TestArena(t *testing.T) {
	for _, name := range []string{"quickstart", "compare", "memory", "paper", "../bench/step"} {
		path := withData(t, name)
		for _, caps := range []gpu.Caps{{Kind: "cpu", Alignment: 64}, {Kind: "cuda", Alignment: 512}} {
			var vars []string
			if name == "compare" || name == "memory" {
				vars = []string{"source=data/*.parquet"}
			}
			p, diags := plan.New(context.Background(), plan.Options{Path: path, Inputs: dsl.Inputs{Flags: dsl.Vars(vars...)},
				StateDir: t.TempDir(), Caps: caps})
			if diags.HasErrors() {
				t.Fatalf("%s: %v", name, diags)
			}
			stages := 0
			for _, a := range p.Actions {
				if s, ok := a.Block.(*stage.Stage); ok {
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

// withData copies a pipeline to where it has data for a batch, and to hold out.
func withData(t *testing.T, path string) string {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(path, func(file string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".hcl" {
			return err
		}
		copied := filepath.Join(dir, strings.TrimPrefix(file, path))
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(copied), 0o755)
		}
		if err == nil {
			err = os.WriteFile(copied, text, 0o644)
		}
		return err
	})
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "data"), 0o755)
	}
	if err == nil {
		var rows []fineweb.Row
		for i := range 5000 { // a thousandth of them is held out
			rows = append(rows, fineweb.Row{Text: strings.Repeat(fmt.Sprintf("document %d ", i), 20), ID: fmt.Sprint(i),
				Language: "en", IntScore: 4})
		}
		err = fineweb.WriteParquet(filepath.Join(dir, "data", "few.parquet"), rows, len(rows))
	}
	for name, line := range map[string]string{ // of the quickstart
		"go-docs-pairs.jsonl":     `{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}`,
		"go-docs-questions.jsonl": `{"query": "a", "choices": ["b", "c"], "gold": 0}`,
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "data", name), []byte(line+"\n"), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func BenchmarkPlanPaper(b *testing.B) {
	dir := b.TempDir()
	for i := 0; i < b.N; i++ {
		if _, diags := plan.New(context.Background(), plan.Options{Path: "paper",
			Inputs: dsl.Inputs{Flags: dsl.Vars("size=1.2B", "method=step-3")}, StateDir: dir,
			Caps: gpu.Caps{Kind: "cpu", Alignment: 64}}); diags.HasErrors() {
			b.Fatal(diags)
		}
	}
}
