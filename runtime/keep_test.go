package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"stepflow/dsl"
	"stepflow/gpu/cpu"
	"stepflow/runtime/apply"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// edit replaces text in the pipeline of a folder; what is to be replaced must be there.
func edit(t *testing.T, dir string, oldnew ...string) {
	t.Helper()
	path := filepath.Join(dir, "main.hcl")
	b, err := os.ReadFile(path)
	must(t, err)
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(string(b), oldnew[i]) {
			t.Fatalf("the pipeline does not hold %q", oldnew[i])
		}
	}
	must(t, os.WriteFile(path, []byte(strings.NewReplacer(oldnew...).Replace(string(b))), 0o644))
}

// apply runs the pipeline of a folder, and returns how many steps were trained.
func applySteps(t *testing.T, d *cpu.Device, dir string, vars ...string) (steps int) {
	t.Helper()
	must(t, applyWith(context.Background(), planOf(t, dir, vars...), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.StepDone {
			steps++
		}
	}}))
	return steps
}

// nothingRuns checks that everything of the pipeline in dir is found, and that applying it trains nothing and settles
// it.
func nothingRuns(t *testing.T, what string, d *cpu.Device, dir string, moved map[string]string) {
	t.Helper()
	p := planOf(t, dir)
	for _, a := range p.Actions {
		if a.Verb != plan.UpToDate && a.Verb != plan.Ready {
			t.Errorf("%s: %s: %s, %s", what, a.Addr, a.Verb, a.Why)
		}
		if a.Moved != moved[a.Addr.String()] {
			t.Errorf("%s: %s was made as %q, want %q", what, a.Addr, a.Moved, moved[a.Addr.String()])
		}
	}
	if l := p.Losses(); len(l) > 0 {
		t.Errorf("%s: throws away %v", what, l)
	}
	if n := applySteps(t, d, dir); n > 0 {
		t.Errorf("%s: %d steps were trained again", what, n)
	}
	if p := planOf(t, dir); p.Changes() {
		t.Errorf("%s: not settled after apply", what)
	}
	contents(t, dir)
}

func TestWorkIsFoundByItsRecipe(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir)))

	edit(t, dir, `stage "one"`, `stage "uno"`, "stage.one", "stage.uno", `evaluate "perplexity" "p"`,
		`evaluate "perplexity" "q"`, "perplexity.p.", "perplexity.q.", `"bpe" "t"`, `"bpe" "tok"`, "bpe.t\n", "bpe.tok\n")
	nothingRuns(t, "renamed", d, dir, map[string]string{"stage.uno": "stage.one",
		"evaluate.perplexity.q": "evaluate.perplexity.p", "tokenizer.bpe.tok": "tokenizer.bpe.t"})
	st, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	if st.State.Blocks["stage.one"] != nil {
		t.Error("the state still lists the old name")
	}

	edit(t, dir, `stage "uno"`, `stage "tre"`, "stage.uno", "stage.tre") // and was killed before the move was recorded
	must(t, os.Rename(filepath.Join(dir, ".stepflow", "blocks", "stage.uno"),
		filepath.Join(dir, ".stepflow", "blocks", "stage.tre")))
	nothingRuns(t, "half moved", d, dir, nil)
	edit(t, dir, `stage "tre"`, `stage "uno"`, "stage.tre", "stage.uno")
	nothingRuns(t, "named back", d, dir, map[string]string{"stage.uno": "stage.tre"})

	edit(t, dir, `stage "uno" {`, "stage \"uno\" {\n  count = 1", "stage.uno", "stage.uno[0]")
	nothingRuns(t, "counted", d, dir, map[string]string{"stage.uno[0]": "stage.uno"})
	edit(t, dir, "count = 1", "for_each = { \"0\" = 1 }", "stage.uno[0]", `stage.uno["0"]`)
	nothingRuns(t, "for_each", d, dir, map[string]string{`stage.uno["0"]`: "stage.uno[0]"})

	must(t, os.Remove(filepath.Join(dir, ".stepflow", state.FileName)))
	nothingRuns(t, "state lost", d, dir, nil)
	must(t, os.Remove(filepath.Join(dir, ".stepflow", state.FileName)))
	must(t, os.Remove(filepath.Join(dir, ".stepflow", state.BackupName)))
	nothingRuns(t, "state and predecessor lost", d, dir, nil)

	edit(t, dir, `"d.jsonl"`, `["./d.jsonl"]`, "activation_checkpointing = var.recompute",
		`activation_checkpointing = "block"`)
	nothingRuns(t, "written otherwise", d, dir, nil)
	edit(t, dir, `["./d.jsonl"]`, `"${path.module}/d.jsonl"`)
	to := filepath.Join(t.TempDir(), "moved")
	must(t, os.Rename(dir, to))
	nothingRuns(t, "moved", d, to, nil)

	b, err := os.ReadFile(filepath.Join(to, "d.jsonl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(to, "d.jsonl"), append(b, "{\"id\":\"x\",\"text\":\"more\"}\n"...), 0o644))
	if p := planOf(t, to); len(p.Losses()) != 2 {
		t.Errorf("other data throw away %v", p.Losses())
	}
}

// TestSameThingSaidOtherwise writes one run down in several ways, and others that differ from it by little.
func TestSameThingSaidOtherwise(t *testing.T) {
	dir := pipeline(t)
	must(t, applyOn(t, cpuDevice(t, 2), planOf(t, dir)))
	main, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	for _, x := range []struct {
		oldnew []string
		runs   string // the first block that runs; "" for none
	}{
		{[]string{"initializer_range       = 0.1", "initializer_range = 0.1\nhead_dim = 8\nrms_norm_eps = " +
			"1e-6\nhidden_act = \"silu\"\nrope_theta = 10000"}, ""},
		{[]string{"initializer_range       = 0.1", "initializer_range = 0.1\nrms_norm_eps = 1e-5"}, "stage.one"},
		{[]string{"layers    = 3", "layers = 3\nfreeze = []"}, ""},
		{[]string{"layers    = 3", "layers = 3\nfreeze = [\"norm\"]"}, "stage.one"},
		{[]string{"learning_rate         = var.lr", "learning_rate = var.lr\nno_decay = []"}, "stage.one"},
		{[]string{"checkpoint { every_steps = 3 }", "schedule \"constant\" {}"}, ""},
		{[]string{"checkpoint { every_steps = 3 }", "schedule \"constant\" { warmup_ratio = 0.1 }"}, "stage.two"},
		{[]string{"schedule \"wsd\" { warmup_ratio = 0.3 }", "schedule \"wsd\" {\nwarmup_ratio = 0.3\ndecay_ratio = 0.2\n}"}, ""},
		{[]string{"schedule \"wsd\" { warmup_ratio = 0.3 }", "schedule \"wsd\" {\nwarmup_ratio = 0.3\ndecay_ratio = " +
			"0.2000001\n}"}, "stage.one"},
		{[]string{"steps            = var.steps", "tokens = 6 * 4 * 12"}, ""},
		{[]string{"steps            = var.steps", "tokens = 6 * 4 * 12 + 1"}, "stage.one"}, // the schedule of one ends later
		{[]string{"steps            = var.steps\n    checkpoint", "steps = 12\nstop_at = 0.5\n    checkpoint"}, ""},
		{[]string{"steps            = var.steps\n    checkpoint", "steps = 7\n    checkpoint"}, "stage.two"},
		{[]string{"path  = \"out\"", "path = \"out\"\nmax_shard_size = \"5000 MB\""}, ""},
		{[]string{"data.jsonl.d.validation", "data.jsonl.d.validation\nsequence_length = 12\ntokenizer = tokenizer.bpe.t"},
			""},
		{[]string{"data.jsonl.d.validation", "data.jsonl.d.validation\nsequence_length = 11"}, "evaluate.perplexity.p"},
		{[]string{"path  = \"out\"", "path = \"out\"\nmax_shard_size = \"4 kB\""}, "export.huggingface.e"},
		{[]string{"vocab_size = 270", "vocab_size = 270\nmax_bytes = \"0.25 GiB\""}, ""},
	} {
		edit(t, dir, x.oldnew...)
		runs := ""
		for _, a := range planOf(t, dir).Actions {
			if runs == "" && a.Verb != plan.UpToDate && a.Verb != plan.Ready {
				runs = a.Addr.String()
			}
		}
		if runs != x.runs {
			t.Errorf("%q: %q runs, want %q", x.oldnew[1], runs, x.runs)
		}
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), main, 0o644))
	}
}

// TestSameBlocksRunOnce plans and runs blocks of one recipe once: new ones, and with the first of them interrupted.
func TestSameBlocksRunOnce(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	b, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	text := string(b)
	one := text[strings.Index(text, `stage "one"`):strings.Index(text, `stage "two"`)]
	text += "\n" + strings.Replace(one, `"one"`, `"uno"`, 1) + `
evaluate "perplexity" "q" {
  model     = stage.one
  data      = data.jsonl.d.validation
}
evaluate "perplexity" "r" {
  model     = stage.uno
  data      = data.jsonl.d.validation
}
export "huggingface" "other" {
  model = stage.uno
  path  = "other"
}
export "huggingface" "again" {
  model = stage.uno
  path  = "again"
}
`
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	check := func(what string, want map[string]string) {
		t.Helper()
		got := map[string]string{}
		for _, a := range planOf(t, dir).Actions {
			if a.Verb == plan.Same {
				got[a.Addr.String()] = a.Why
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: the same are %v, want %v", what, got, want)
		}
	}
	check("new", map[string]string{"stage.uno": "the same as stage.one",
		"evaluate.perplexity.r": "the same as evaluate.perplexity.q"})
	stopAt(t, d, dir, "one", 4)
	check("interrupted", map[string]string{"stage.uno": "the same as stage.one",
		"evaluate.perplexity.r": "the same as evaluate.perplexity.q"})
	var ran []string
	must(t, applyWith(context.Background(), planOf(t, dir), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.BlockStart {
			ran = append(ran, e.Addr.Name)
		}
	}}))
	slices.Sort(ran)
	if s := strings.Join(ran, " "); s != "again e g one other p q two" {
		t.Errorf("%s ran", s)
	}
	check("done", map[string]string{})
	nothingRuns(t, "done", d, dir, nil)
}

// TestWhatIsGoneIsSaid takes folders away as a disk does that is not mounted.
func TestWhatIsGoneIsSaid(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir)))
	stopAt(t, d, dir, "two", 4, "every=2", "lr=0.02")
	blocks := filepath.Join(dir, ".stepflow", "blocks")
	away := filepath.Join(t.TempDir(), "blocks")
	says := func(name, why, warning string) {
		t.Helper()
		a := find(planOf(t, dir, "lr=0.02"), name)
		if a.Verb != plan.Run || !strings.Contains(a.Why, why) || !strings.Contains(strings.Join(a.Warnings, "\n"), warning) {
			t.Errorf("%s: %s, %s, %q", name, a.Verb, a.Why, a.Warnings)
		}
	}
	must(t, os.Rename(blocks, away))
	says("stage.one", filepath.Join("stage.one", "step-00000006")+" is gone", "6 steps will be trained again")
	says("stage.two", "stage.two is gone", "4 steps will be trained again")
	says("tokenizer.bpe.t", filepath.Join("tokenizer.bpe.t", "tokenizer")+" is gone", "")
	must(t, os.Rename(away, blocks))
	if a := find(planOf(t, dir, "lr=0.02"), "stage.two"); a.Verb != plan.Resume || a.FromStep != 4 || len(a.Warnings) > 0 {
		t.Errorf("with the folders back: %s from %d, %q", a.Verb, a.FromStep, a.Warnings)
	}
	notes, err := filepath.Glob(filepath.Join(blocks, "stage.two", "step-*", checkpoint.NoteName))
	must(t, err)
	for _, n := range notes {
		must(t, os.Remove(n))
	}
	says("stage.two", "it was at step 4 of 6, and its checkpoints are gone or damaged", "")
}

// two is a pipeline whose stages differ in their seed alone.
const two = `
stage "x" {
  for_each = { %s }
  from     = stage.one
  seed     = each.value
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 12
    batch_size      = 2
    steps           = 3
  }
}
`

// TestNamesChangePlaces swaps, shifts and doubles the names of stages.
func TestNamesChangePlaces(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	src, _, _ = cutAt(src, `stage "two"`)
	write := func(seeds string) {
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), fmt.Appendf(append([]byte(nil), src...), two, seeds), 0o644))
	}
	content := func(name string) string {
		st, err := state.Read(filepath.Join(dir, ".stepflow"))
		must(t, err)
		return st.State.Blocks[`stage.x["`+name+`"]`].Content
	}
	write("a = 1, b = 2")
	applySteps(t, d, dir)
	one, other := content("a"), content("b")
	write("a = 2, b = 1")
	nothingRuns(t, "swapped", d, dir, map[string]string{`stage.x["a"]`: `stage.x["b"]`, `stage.x["b"]`: `stage.x["a"]`})
	if content("a") != other || content("b") != one {
		t.Error("the names were swapped, what they stand for was not")
	}
	write("a = 3, b = 2, c = 1") // a takes the place of what b needs, b of what c needs
	if p := planOf(t, dir); len(p.Losses()) > 0 {
		t.Errorf("a shift throws away %v", p.Losses())
	}
	if n := applySteps(t, d, dir); n != 3 {
		t.Errorf("a shift trains %d steps, want those of the new one", n)
	}
	if content("b") != other || content("c") != one {
		t.Error("what was there is not where the names are")
	}
	write("a = 3, b = 2, c = 1, d = 1")
	if n := applySteps(t, d, dir); n != 0 || content("d") != one || content("c") != one {
		t.Errorf("the same recipe under a second name trains %d steps", n)
	}
	contents(t, dir)
}

func cutAt(b []byte, mark string) ([]byte, []byte, bool) {
	i := strings.Index(string(b), mark)
	if i < 0 {
		return b, nil, false
	}
	return b[:i:i], b[i:], true
}

// TestReplacedWorkComesBack goes back to a configuration whose work another was about to take the place of.
func TestReplacedWorkComesBack(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir)))
	want := contents(t, dir)
	stopAt(t, d, dir, "one", 3, "lr=0.02")
	if p := planOf(t, dir, "lr=0.02"); find(p, "stage.one").Verb != plan.Resume || len(find(p, "stage.one").Losses) > 0 {
		t.Errorf("going on asks again: %v", p.Losses())
	}
	p := planOf(t, dir)
	if a := find(p, "stage.one"); a.Verb != plan.UpToDate || !strings.Contains(a.Why, "is put back") {
		t.Errorf("stage.one: %s, %s", a.Verb, a.Why)
	}
	if n := applySteps(t, d, dir); n > 0 {
		t.Errorf("%d steps were trained again", n)
	}
	sameContents(t, "back again", contents(t, dir), want)
	p = planOf(t, dir, "lr=0.02") // and what was interrupted is still there
	if a := find(p, "stage.one"); a.Verb != plan.Resume || a.FromStep != 3 {
		t.Errorf("stage.one: %s from %d, %s", a.Verb, a.FromStep, a.Why)
	}
	must(t, applyOn(t, d, planOf(t, dir, "lr=0.04")))
	if left, err := os.ReadDir(filepath.Join(dir, ".stepflow", results.Replaced, "stage.one")); err == nil {
		t.Errorf("what was replaced is left: %v", left)
	}
}

// TestLossIsShown lists each cause for which trained work is thrown away.
func TestLossIsShown(t *testing.T) {
	d := cpuDevice(t, 2)
	whole := pipeline(t)
	must(t, applyOn(t, d, planOf(t, whole)))
	result := func(dir, stage string) string {
		return filepath.Join(dir, ".stepflow", "blocks", stage, "step-00000006")
	}
	for name, x := range map[string]struct {
		change func(dir string)
		vars   []string
		want   []string // blocks
	}{
		"another recipe": {func(string) {}, []string{"lr=0.5"}, []string{"stage.one", "stage.two"}},
		"damaged": {func(dir string) {
			flip(t, filepath.Join(result(dir, "stage.one"),
				checkpoint.OptimizerFile))
		}, nil, []string{"stage.one"}},
		"a note damaged": {func(dir string) { flip(t, filepath.Join(result(dir, "stage.one"), checkpoint.NoteName)) },
			nil, []string{"stage.one"}},
		"a file gone": {func(dir string) {
			must(t, os.Remove(filepath.Join(result(dir, "stage.two"),
				checkpoint.ModelFile)))
		}, nil, []string{"stage.two"}},
		"manifest gone": {func(dir string) {
			must(t, os.Remove(filepath.Join(result(dir, "stage.two"),
				checkpoint.ManifestName)))
		}, nil, []string{"stage.two"}},
		"lost, another recipe": {func(dir string) { must(t, os.Remove(filepath.Join(dir, ".stepflow", state.FileName))) },
			[]string{"lr=0.5"}, []string{"stage.one", "stage.two"}},
		"lost, and damaged": {func(dir string) {
			must(t, os.Remove(filepath.Join(dir, ".stepflow", state.FileName)))
			flip(t, filepath.Join(result(dir, "stage.one"), checkpoint.ModelFile))
		}, nil, []string{"stage.one", "stage.two"}},
		"taken away by its user": {func(dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, ".stepflow", "blocks",
				"stage.two")))
		}, nil, nil},
	} {
		dir := filepath.Join(t.TempDir(), "p")
		must(t, os.CopyFS(dir, os.DirFS(whole)))
		x.change(dir)
		p := planOf(t, dir, x.vars...)
		var got []string
		for _, l := range p.Losses() {
			got = append(got, l.Block)
			if l.Steps != 6 || l.Seconds <= 0 || l.Why == "" || l.May {
				t.Errorf("%s: %+v", name, l)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(x.want) {
			t.Errorf("%s: plan shows losses of %v, want %v", name, got, x.want)
		}
	}
	// What goes wrong behind the plan's back is not thrown away.
	p := planOf(t, whole)
	flip(t, filepath.Join(result(whole, "stage.one"), checkpoint.ModelFile))
	forgetDisk(p)
	err := applyOn(t, d, p)
	if err == nil || !strings.Contains(err.Error(), "stage.one would throw away 6 trained steps") || !strings.Contains(err.Error(), "plan again") {
		t.Errorf("a loss that was not shown: %v", err)
	}
	if _, err := os.Stat(result(whole, "stage.one")); err != nil {
		t.Error(err)
	}
	must(t, applyWith(context.Background(), planOf(t, whole), apply.Options{Device: d}))
	contents(t, whole)
}

// forgetDisk lets a plan look again at what it found on disk.
func forgetDisk(p *plan.Plan) {
	var folders []string
	for _, a := range p.Actions {
		folders = append(folders, results.Folder(a.Addr))
	}
	p.Again(p.State).Disk.Changed(folders...)
}

// TestUnreadableIsNotLost lets the files of a finished stage fail to open.
func TestUnreadableIsNotLost(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir)))
	want := contents(t, dir)
	p := planOf(t, dir)
	t.Cleanup(func() { checkpoint.BeforeRead = nil })
	for _, cause := range []error{syscall.EACCES, syscall.EIO, syscall.EMFILE} {
		checkpoint.BeforeRead = func(path string) error {
			if strings.Contains(path, "stage.one") && filepath.Base(path) == checkpoint.ModelFile {
				return &os.PathError{Op: "open", Path: path, Err: cause}
			}
			return nil
		}
		_, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{}, Caps: cpu.PlanCaps("")})
		if !diags.HasErrors() || !strings.Contains(diags.Error(), "stage.one") || !strings.Contains(diags.Error(),
			checkpoint.ModelFile) {
			t.Errorf("planned in spite of %v: %v", cause, diags)
		}
		forgetDisk(p)
		if err := applyOn(t, d, p); err == nil || !strings.Contains(err.Error(), checkpoint.ModelFile) {
			t.Errorf("applied in spite of %v: %v", cause, err)
		}
		p = func() *plan.Plan { checkpoint.BeforeRead = nil; return planOf(t, dir) }()
	}
	sameContents(t, "files that could not be read", contents(t, dir), want)
}

// TestResultsAreHashedOnce counts how often a plan and its apply, which has nothing to do, open the files of results.
func TestResultsAreHashedOnce(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir)))
	t.Cleanup(func() { checkpoint.BeforeRead = nil })
	opened := map[string]int{}
	checkpoint.BeforeRead = func(path string) error {
		if filepath.Base(path) == checkpoint.ModelFile {
			opened[path]++
		}
		return nil
	}
	must(t, applyOn(t, d, planOf(t, dir)))
	if len(opened) != 2 {
		t.Errorf("the models of two stages were not looked at: %v", opened)
	}
	for path, n := range opened {
		if n != 1 {
			t.Errorf("%s was opened %d times", path, n)
		}
	}
}

// TestRedoneStage damages a stage on which others stand: it is made again, the same, and they stay.
func TestRedoneStage(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir)))
	want := contents(t, dir)
	flip(t, filepath.Join(dir, ".stepflow", "blocks", "stage.one", "step-00000006", checkpoint.OptimizerFile))
	if n := applySteps(t, d, dir); n != 6 {
		t.Errorf("%d steps were trained, want the 6 of stage.one", n)
	}
	sameContents(t, "redone", contents(t, dir), want)
	st, err := state.Open(filepath.Join(dir, ".stepflow"))
	must(t, err)
	must(t, results.Destroy(st, []string{"stage.two", "evaluate.perplexity.p"}))
	must(t, st.Close())
	flip(t, filepath.Join(dir, ".stepflow", "blocks", "stage.one", "step-00000006", checkpoint.OptimizerFile))
	if n := applySteps(t, d, dir); n != 12 { // stage.two reads what was damaged when it was planned
		t.Errorf("%d steps were trained, want the 12 of both", n)
	}
	sameContents(t, "redone and read", contents(t, dir), want)
}

// TestEndIsDamaged damages the last checkpoint of a stage that keeps an earlier one: it goes on from that, to the
// same end, and the plan says what is damaged.
func TestEndIsDamaged(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	edit(t, dir, `variable "keep" { default = null }`, `variable "keep" { default = 2 }`)
	must(t, applyOn(t, d, planOf(t, dir)))
	want := contents(t, dir)
	last := filepath.Join(dir, ".stepflow", "blocks", "stage.one", "step-00000006", checkpoint.OptimizerFile)
	flip(t, last)
	p := planOf(t, dir)
	a := p.Actions[slices.IndexFunc(p.Actions, func(a *plan.Action) bool { return a.Addr.String() == "stage.one" })]
	if a.Verb != plan.Resume || a.FromStep != 4 || !strings.Contains(a.Why, last) || !strings.Contains(a.Why,
		"step 4 of 6") || len(p.Losses()) > 0 {
		t.Errorf("the plan says %v from step %d, %q, and loses %v", a.Verb, a.FromStep, a.Why, p.Losses())
	}
	stays := func(what string, p *plan.Plan) {
		t.Helper()
		two := p.Actions[slices.IndexFunc(p.Actions, func(a *plan.Action) bool { return a.Addr.String() == "stage.two" })]
		if len(p.Losses()) > 0 || two.Verb != plan.UpToDate {
			t.Errorf("%s: stage.two is %s, and %v would be lost", what, two.Verb, p.Losses())
		}
	}
	stopAt(t, d, dir, "one", 5) // also where that is interrupted
	stays("interrupted", planOf(t, dir))
	edit(t, dir, `stage "one"`, `stage "uno"`, "stage.one", "stage.uno") // or it is renamed
	stays("renamed", planOf(t, dir))
	edit(t, dir, `stage "uno"`, `stage "one"`, "stage.uno", "stage.one")
	if n := applySteps(t, d, dir); n != 1 {
		t.Errorf("%d steps were trained, want 1", n)
	}
	sameContents(t, "gone on with", contents(t, dir), want)

	flip(t, last) // another kind of processor makes other bits
	caps := cpu.PlanCaps("")
	caps.Name = "another"
	p, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: caps})
	if diags.HasErrors() {
		t.Fatal(diags.Errs())
	}
	if l := p.Losses(); len(l) != 1 || l[0].Block != "stage.two" {
		t.Errorf("on another processor %v would be lost, want the steps of stage.two", l)
	}
}

// TestLeftoversAreSwept leaves what killed runs leave.
func TestLeftoversAreSwept(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir)))
	root := filepath.Join(dir, ".stepflow")
	one := filepath.Join(root, "blocks", "stage.one")
	recipe := find(planOf(t, dir), "stage.one").Recipe
	left := []string{filepath.Join(one, "step-00000004.tmp"), filepath.Join(one, "step-00000004"),
		filepath.Join(one, "step-00000006.old"),
		filepath.Join(root, results.Replaced, "stage.one", results.Short(recipe)+"-1", "step-00000003"),
		filepath.Join(root, "removed", "1-blocks-stage.x"), durable.Beside(filepath.Join(root, "blocks", "stage.x"))}
	for _, dir := range left {
		must(t, os.MkdirAll(dir, 0o777))
		must(t, os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o666))
	}
	file := filepath.Join(root, ".stepflow-0011223344556677.tmp")
	must(t, os.WriteFile(file, nil, 0o666))
	kept := filepath.Join(root, results.Replaced, "stage.one", "kept-1", "step-00000003")
	must(t, os.MkdirAll(kept, 0o777))
	empty := filepath.Join(root, results.Replaced, "stage.two")
	must(t, os.Mkdir(empty, 0o777))
	left = append(left, empty)
	if n := applySteps(t, d, dir); n > 0 {
		t.Errorf("%d steps were trained", n)
	}
	for _, path := range append(left, file) {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left over: %v", path, err)
		}
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("what nothing replaces was removed: %v", err)
	}
	contents(t, dir)

	must(t, os.RemoveAll(filepath.Join(root, results.Replaced)))
	// a run was interrupted before it made anything
	aside := filepath.Join(root, results.Replaced, "stage.two", results.Short(recipe)+"-1")
	must(t, os.MkdirAll(filepath.Dir(aside), 0o777))
	must(t, os.Rename(filepath.Join(root, "blocks", "stage.two"), aside))
	must(t, os.Mkdir(filepath.Join(root, "blocks", "stage.two"), 0o777))
	if n := applySteps(t, d, dir); n > 0 {
		t.Errorf("%d steps were trained", n)
	}
	if _, err := os.Lstat(filepath.Join(root, results.Replaced)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty folder was kept: %v", err)
	}
	contents(t, dir)
}

func TestRebuiltState(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir)))
	root := filepath.Join(dir, ".stepflow")
	before, err := state.Read(root)
	must(t, err)
	flip(t, filepath.Join(root, state.FileName))
	if _, err := state.Open(root); !errors.Is(err, state.ErrDamaged) {
		t.Fatal(err)
	}
	st, kept, err := (*state.Access)(nil).Replace(t.Context(), root)
	must(t, err)
	skipped, err := results.Rebuild(st)
	must(t, err)
	must(t, st.Save())
	must(t, st.Close())
	if _, err := os.Stat(kept); err != nil || len(skipped) > 0 {
		t.Errorf("kept %s, %v; left out %v", kept, err, skipped)
	}
	for name, was := range before.State.Blocks {
		is := st.State.Blocks[name]
		if is == nil || is.Recipe != was.Recipe || is.Content != was.Content || is.Dir != was.Dir || is.Status != was.Status || fmt.Sprint(is.Values, is.Attrs, is.Inputs, is.Step, is.Steps) != fmt.Sprint(was.Values, was.Attrs, was.Inputs, was.Step, was.Steps) {
			t.Errorf("%s was %+v, is %+v", name, was, is)
		}
	}
	nothingRuns(t, "rebuilt", d, dir, nil)
}

// TestKeepHoldsAfterTheEnd keeps as many checkpoints of a stage that has ended as were asked for: in one run, in one
// that was interrupted, after a change of keep, with the block gone from the pipeline, and in a state that was made
// again.
func TestKeepHoldsAfterTheEnd(t *testing.T) {
	d := cpuDevice(t, 2)
	kept := func(what, dir string, want ...int) {
		t.Helper()
		steps, err := checkpoint.Steps(filepath.Join(dir, ".stepflow", "blocks", "stage.one"))
		must(t, err)
		if fmt.Sprint(steps) != fmt.Sprint(want) {
			t.Errorf("%s: checkpoints %v stay, want %v", what, steps, want)
		}
	}
	for _, x := range []struct {
		keep string
		want []int
		disk int64
	}{{"null", []int{6}, 3}, {"1", []int{6}, 2}, {"2", []int{6, 5}, 3}, {"4", []int{6, 5, 4, 3}, 5},
		{"1000", []int{6, 5, 4, 3, 2, 1}, 7}} {
		dir := pipeline(t)
		edit(t, dir, `variable "keep" { default = null }`, `variable "keep" { default = `+x.keep+` }`,
			`variable "every" { default = 2 }`, `variable "every" { default = 1 }`)
		p := planOf(t, dir)
		for _, a := range p.Actions {
			if f := stageOf(a); a.Addr.String() == "stage.one" && f.Figures.Disk != x.disk*f.Figures.CheckpointSize {
				t.Errorf("keep = %s: %d bytes on disk are planned, %d a checkpoint", x.keep, f.Figures.Disk,
					f.Figures.CheckpointSize)
			}
		}
		must(t, applyOn(t, d, p))
		kept("keep = "+x.keep, dir, x.want...)
		nothingRuns(t, "keep = "+x.keep, d, dir, nil)
		kept("keep = "+x.keep+", applied again", dir, x.want...)
	}

	dir := pipeline(t)
	edit(t, dir, `variable "keep" { default = null }`, `variable "keep" { default = 4 }`,
		`variable "every" { default = 2 }`, `variable "every" { default = 1 }`)
	stopAt(t, d, dir, "one", 3)
	must(t, applyOn(t, d, planOf(t, dir)))
	kept("interrupted at step 3", dir, 6, 5, 4, 3)

	must(t, os.Remove(filepath.Join(dir, ".stepflow", state.FileName)))
	must(t, os.RemoveAll(filepath.Join(dir, ".stepflow", state.BackupName)))
	nothingRuns(t, "a lost state", d, dir, nil)
	kept("a lost state", dir, 6, 5, 4, 3)

	removes := func(what, dir string, verb plan.Verb, want ...int) {
		t.Helper()
		p := planOf(t, dir)
		a := p.Actions[slices.IndexFunc(p.Actions, func(a *plan.Action) bool { return a.Addr.String() == "stage.one" })]
		if a.Verb != verb || fmt.Sprint(a.Removes) != fmt.Sprint(want) || p.Changes() != (len(want) > 0) {
			t.Errorf("%s: the plan is %v and removes %v, want %v", what, a.Verb, a.Removes, want)
		}
	}
	removes("keep = 4", dir, plan.UpToDate)
	edit(t, dir, `variable "keep" { default = 4 }`, `variable "keep" { default = 2 }`)
	removes("keep lowered to 2", dir, plan.UpToDate, 4, 3)
	nothingRuns(t, "fewer", d, dir, nil)
	kept("keep lowered to 2", dir, 6, 5)

	damaged := pipeline(t)
	edit(t, damaged, `variable "keep" { default = null }`, `variable "keep" { default = 4 }`,
		`variable "every" { default = 2 }`, `variable "every" { default = 1 }`)
	must(t, applyOn(t, d, planOf(t, damaged)))
	edit(t, damaged, `variable "keep" { default = 4 }`, `variable "keep" { default = 1 }`)
	flip(t, filepath.Join(damaged, ".stepflow", "blocks", "stage.one", "step-00000006", checkpoint.OptimizerFile))
	removes("keep lowered to 1, with a damaged result", damaged, plan.Resume, 4, 3)
	if n := applySteps(t, d, damaged); n != 1 {
		t.Errorf("keep lowered to 1, with a damaged result: %d steps were trained, want 1", n)
	}
	kept("keep lowered to 1, with a damaged result", damaged, 6)

	edit(t, dir, `stage "one"`, `stage "uno"`, "stage.one", "stage.uno")
	must(t, applyOn(t, d, planOf(t, dir)))
	edit(t, dir, `stage "uno"`, `stage "one"`, "stage.uno", "stage.one")
	must(t, applyOn(t, d, planOf(t, dir)))
	kept("renamed and back", dir, 6, 5)
}
