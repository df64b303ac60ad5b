package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/runtime/apply"
	"stepflow/runtime/blocks"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/program"
	"stepflow/runtime/state"
)

// stories is a pipeline around a published model. Its evaluations are the blocks given.
func stories(t *testing.T, blocks string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(filepath.Join(dir, "m"), os.DirFS("testdata/stories260K")))
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(`
tokenizer "huggingface" "t" { file = "m/tokenizer.json" }
model "llama" "m" { from = "m" }
data "jsonl" "d" {
  source              = "m/sample.jsonl"
  validation_fraction = 1
}
`+strings.ReplaceAll(blocks, "THIS", `  model     = model.llama.m
  tokenizer = tokenizer.huggingface.t
`)), 0o644))
	return dir
}

func valuesOf(t *testing.T, dir, block string) map[string]any {
	t.Helper()
	st, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	b := st.State.Blocks[block]
	if b == nil || b.Status != state.Done {
		t.Fatalf("%s is not done: %+v", block, b)
	}
	return b.Values
}

// TestPublishedPerplexity measures a published model on the text that was published with it, in windows as others lay
// them. The figures are those of a float64 implementation of the original file and of transformers.
func TestPublishedPerplexity(t *testing.T) {
	list := []struct {
		attrs  string
		loss   float64
		tokens float64
	}{
		{"", 1.0381534, 257},
		{"end_of_text = false", 0.9491084457, 256},
		{"join = \"\\n\\n\"", 0.9491084457, 256},
		{"join = \"\\n\\n\"\n end_of_text = true", 1.0381534, 257},
		{"sequence_length = 64", 1.19498, 257},
		{"sequence_length = 64\n stride = 32", 1.0777316, 257},
		{"sequence_length = 64\n stride = 32\n batch_size = 3", 1.0777316, 257},
		{"sequence_length = 64\n stride = 32\n end_of_text = false", 0.9866536, 256},
		{"sequence_length = 64\n stride = 16", 1.0656060, 257},
		{"sequence_length = 64\n stride = 64", 1.2090304, 253},
		{"sequence_length = 512\n stride = 512", 1.0381534, 257},
	}
	var blocks strings.Builder
	for i, x := range list {
		split := []string{"all", "validation"}[i%2]
		fmt.Fprintf(&blocks, "evaluate \"perplexity\" \"e%d\" {\nTHIS\n  data = data.jsonl.d.%s\n%s\n}\n", i, split, x.attrs)
	}
	dir := stories(t, blocks.String())
	must(t, applyOn(t, cpuDevice(t, 2), planOf(t, dir)))
	for i, x := range list {
		v := valuesOf(t, dir, fmt.Sprintf("evaluate.perplexity.e%d", i))
		loss, tokens := v["loss"].(float64), v["tokens"].(float64)
		if math.Abs(loss-x.loss) > 2e-5 || tokens != x.tokens {
			t.Errorf("%q: loss %.7f of %v tokens, want %.7f of %v", x.attrs, loss, tokens, x.loss, x.tokens)
		}
		sum := loss * tokens
		for name, want := range map[string]float64{"perplexity": math.Exp(loss),
			"bits_per_byte": sum / math.Ln2 / v["bytes"].(float64), "word_perplexity": math.Exp(sum / 111)} {
			if got := v[name].(float64); math.Abs(got/want-1) > 1e-9 {
				t.Errorf("%q: %s is %v, want %v", x.attrs, name, got, want)
			}
		}
		if v["words"] != 111.0 || v["documents"] != 1.0 || x.tokens > 255 && v["bytes"] != 564.0 {
			t.Errorf("%q: %v words, %v documents, %v bytes", x.attrs, v["words"], v["documents"], v["bytes"])
		}
	}
}

// TestTextWithoutWords measures white space: it has tokens and bytes, and what is counted by its words is null, which
// is no failure.
func TestTextWithoutWords(t *testing.T) {
	dir := stories(t, "evaluate \"perplexity\" \"e\" {\nTHIS\n  data = data.jsonl.d.all\n}\n")
	must(t, os.WriteFile(filepath.Join(dir, "m", "sample.jsonl"), []byte("{\"text\":\"   \\n  \\n \"}\n"), 0o644))
	var said []string
	must(t, applyWith(context.Background(), planOf(t, dir), apply.Options{Device: cpuDevice(t, 2),
		Emit: func(e observe.Event) {
			if e.Kind == observe.Warned {
				said = append(said, e.Message)
			}
		}}))
	v := valuesOf(t, dir, "evaluate.perplexity.e")
	if x, is := v["word_perplexity"]; x != nil || !is || v["not_finite"] != nil || v["words"] != 0.0 || v["bits_per_byte"].(float64) <= 0 {
		t.Errorf("%v", v)
	}
	if want := "word_perplexity is not defined: the text that was measured has no words"; !slices.Contains(said,
		want) || blocks.WhyNull(v) != want {
		t.Errorf("%q, %q", said, blocks.WhyNull(v))
	}
}

// TestPlannedTokensAreMeasured bounds what is measured of one long document, joined or not, and compares the plan's
// figures with the run's.
func TestPlannedTokensAreMeasured(t *testing.T) {
	list := []struct {
		attrs  string
		tokens float64
	}{
		{"", 257},
		{"max_tokens = 10", 10},
		{"max_tokens = 256", 256},
		{"max_tokens = 1000", 257},
		{"join = \"\"\n max_tokens = 100", 100},
		{"sequence_length = 16\n stride = 5\n max_tokens = 100", 100},
		{"sequence_length = 16\n stride = 16\n join = \" \"\n max_tokens = 100\n batch_size = 3", 100},
	}
	var blocks strings.Builder
	for i, x := range list {
		fmt.Fprintf(&blocks, "evaluate \"perplexity\" \"e%d\" {\nTHIS\n  data = data.jsonl.d.all\n%s\n}\n", i, x.attrs)
	}
	dir := stories(t, blocks.String())
	p := planOf(t, dir)
	must(t, applyOn(t, cpuDevice(t, 2), p))
	for i, x := range list {
		name := fmt.Sprintf("evaluate.perplexity.e%d", i)
		tokens := valuesOf(t, dir, name)["tokens"].(float64)
		for _, a := range p.Actions {
			if a.Addr.String() == name {
				if f := evaluationOf(a).Takes(); f.How != fineweb.Exact || float64(f.Tokens) != tokens || tokens != x.tokens {
					t.Errorf("%q: planned %d tokens, %s; measured %v, want %v", x.attrs, f.Tokens, f.How, tokens, x.tokens)
				}
			}
		}
	}
}

// TestEvaluationsThatAreRefused names what is wrong with an evaluation in the plan.
func TestEvaluationsThatAreRefused(t *testing.T) {
	for attrs, want := range map[string]string{
		"data = data.jsonl.d": "write data.jsonl.d.validation, and give the " +
			"data a validation_fraction; or data.jsonl.d.all",
		"data = data.jsonl.d.all\n sequence_length = 513": "sequence_length 513 is larger than the model's " +
			"max_position_embeddings 512",
		"data = data.jsonl.d.all\n sequence_length = 64\n stride = 65": "stride 65 is larger than sequence_length 64",
		"data = data.jsonl.d.all\n stride = 0":                         "stride",
	} {
		dir := stories(t, "evaluate \"perplexity\" \"e\" {\nTHIS\n"+attrs+"\n}\n")
		_, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: cpu.PlanCaps("")})
		if !diags.HasErrors() || !strings.Contains(fmt.Sprint(diags.Errs()), want) {
			t.Errorf("%q: %v, want %q", attrs, diags, want)
		}
	}
	dir := stories(t, "evaluate \"generation\" \"e\" {\nTHIS\n prompts = [\"a\", \""+strings.Repeat("boy ",
		100)+"\"]\n}\n")
	edit(t, dir, `prompts = ["a"`, `max_new_tokens = 1000
  prompts = ["a"`)
	if p := planOf(t, dir); evaluationOf(p.Actions[len(p.Actions)-1]).Takes().Tokens == 0 {
		t.Error("a generation of two prompts is planned without tokens")
	}
	edit(t, dir, "boy boy", strings.Repeat("boy ", 600))
	if _, diags := plan.New(context.Background(), plan.Options{Path: dir,
		Caps: cpu.PlanCaps("")}); !diags.HasErrors() || !strings.Contains(fmt.Sprint(diags.Errs()), "Prompt 1 has ") {
		t.Errorf("a prompt that is too long: %v", diags)
	}
	// Models of one position continue nothing, and windows of one token do not slide.
	one := stories(t, "evaluate \"generation\" \"e\" {\nTHIS\n prompts = [\"a\"]\n}\nevaluate \"perplexity\" \"s\" "+
		"{\nTHIS\n data = data.jsonl.d.all\n stride = 1\n}\nevaluate \"perplexity\" \"w\" {\nTHIS\n data = "+
		"data.jsonl.d.all\n}\n")
	edited(t, filepath.Join(one, "m"), map[string]any{"max_position_embeddings": 1})
	_, diags := plan.New(context.Background(), plan.Options{Path: one, Caps: cpu.PlanCaps("")})
	if s := fmt.Sprint(diags.Errs()); len(diags.Errs()) != 2 || !strings.Contains(s,
		"he model's max_position_embeddings 1 leaves no room for a token after a prompt") || !strings.Contains(s,
		"Leave stride out") {
		t.Errorf("a model of one position: %v", diags)
	}
	// What a stage was trained on is not measured as a whole, nor is trained on what is all held out.
	for _, x := range [][3]string{
		{"data  = data.jsonl.d.validation\n}", "data  = data.jsonl.d.all\n}",
			"stage.two was trained on documents of data.jsonl.d: measure data.jsonl.d.validation"},
		{"validation_fraction = 0.3", "validation_fraction = 1", "data.jsonl.d holds all its documents out"},
		{"data             = data.jsonl.d\n", "data             = data.jsonl.d.all\n", "data.jsonl.d.all is for evaluate"},
	} {
		dir := pipeline(t)
		edit(t, dir, x[0], x[1])
		if _, diags := plan.New(context.Background(), plan.Options{Path: dir,
			Caps: cpu.PlanCaps("")}); !diags.HasErrors() || !strings.Contains(fmt.Sprint(diags.Errs()), x[2]) {
			t.Errorf("%s: %v", x[1], diags)
		}
	}
}

// windows is the line of a plan that tells the windows of an evaluation, and how many of them fit the device.
func windows(a *plan.Action) string {
	for _, l := range evaluationOf(a).Details(true, false) {
		if l.About == "context" {
			return l.Text
		}
	}
	return ""
}

// TestForecast plans what evaluations, generations and exports take, within the device's memory.
func TestForecast(t *testing.T) {
	dir := stories(t, `
evaluate "perplexity" "e" {
THIS
  data = data.jsonl.d.all
}
evaluate "perplexity" "s" {
THIS
  data            = data.jsonl.d.all
  sequence_length = 64
  stride          = 8
  batch_size      = 2
}
evaluate "generation" "g" {
THIS
  prompts        = ["Once upon a time", "The"]
  max_new_tokens = 10
}
`)
	find := func(p *plan.Plan, name string) *plan.Action {
		t.Helper()
		for _, a := range p.Actions {
			if a.Addr.Name == name && evaluationOf(a) != nil {
				return a
			}
		}
		t.Fatalf("no block %s", name)
		return nil
	}
	planned := func(memory int64) *plan.Plan {
		t.Helper()
		caps := cpu.PlanCaps("")
		caps.Memory, caps.Reserve = memory, 768<<20
		p, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: caps,
			Peak: func(gpu.DType) float64 { return 1e9 }})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		return p
	}
	p := planned(0)
	e, s := perplexityOf(find(p, "e")), perplexityOf(find(p, "s"))
	generated := evaluationOf(find(p, "g")).Takes()
	one, _ := s.Program.FLOPs(program.SegProbe)
	if f := evaluationOf(find(p, "s")).Takes(); f.Tokens != 257 || f.How != fineweb.Exact || f.FLOPs != float64(one)*13 || f.Peak != s.Program.ArenaBytes || f.Rate != 0 || f.Seconds != 0 || f.ByKind["weights"] == 0 {
		t.Errorf("26 windows, 2 at a time, of %d operations each: %+v", one, f) // 1 + ceil((258-64)/8) of 258 tokens
	}
	if generated.Tokens != 20 || generated.FLOPs == 0 || generated.Peak == 0 {
		t.Errorf("generation: %+v", generated)
	}
	edit(t, dir, "max_new_tokens = 10", "max_new_tokens = 10000")
	if f := evaluationOf(find(planned(0), "g")).Takes(); f.Tokens != 2*512-7 { // the model takes 512, and the prompts have 7 in all
		t.Errorf("generation up to the model's length: %+v", f)
	}
	edit(t, dir, "max_new_tokens = 10000", "max_new_tokens = 10")
	// The most sequences that fit are taken at a time, with the same result; where not one does, apply is refused.
	small := planned(s.Program.ArenaBytes - 1)
	if x := perplexityOf(find(small, "s")); !strings.Contains(windows(find(small, "s")),
		"; 1 at a time, the most of 2 that fit") || x.Program.ArenaBytes >= s.Program.ArenaBytes || find(small,
		"s").Recipe != find(p, "s").Recipe {
		t.Errorf("%s, %d bytes", windows(find(small, "s")), x.Program.ArenaBytes)
	}
	// Where the sequences are counted, few are filled up: one is measured alone, 26 in 4 batches of 7.
	few := find(p, "e")
	single := evaluationOf(few).Takes()
	allFit := few.Values["batch_size"].RawEquals(cty.NumberIntVal(8)) && !strings.Contains(windows(few), "at a time")
	if one, _ := e.Program.FLOPs(program.SegProbe); e.Windows.Batch != 1 || !allFit || single.FLOPs != float64(one) {
		t.Errorf("one sequence is measured %d at a time: %+v", e.Windows.Batch, single)
	}
	edit(t, dir, "batch_size      = 2", "batch_size      = 8")
	eight := find(planned(0), "s")
	x, f := perplexityOf(eight), evaluationOf(eight).Takes()
	if seven, _ := x.Program.FLOPs(program.SegProbe); x.Windows.Batch != 7 || f.FLOPs != 4*float64(seven) {
		t.Errorf("26 sequences are measured %d at a time: %+v", x.Windows.Batch, f)
	}
	edit(t, dir, "batch_size      = 8", "batch_size      = 2")
	tiny := planned(generated.ByKind["weights"])
	for _, name := range []string{"e", "s", "g"} {
		if a := find(tiny, name); a.TooLarge == "" || !strings.Contains(a.TooLarge, " beside 768 MiB for its driver: ") {
			t.Errorf("%s fits a device that holds nothing but the weights: %+v", name, evaluationOf(a).Takes())
		}
	}
	// After a run, times are told by what it reached.
	must(t, applyOn(t, cpuDevice(t, 2), p))
	st, err := state.Open(filepath.Join(dir, ".stepflow"))
	must(t, err)
	st.State.Rate(blocks.Work("perplexity").Rate(p.Caps, gpu.F32, s.Program, program.SegProbe, 0), 5e8)
	must(t, st.Save())
	must(t, st.Close())
	edit(t, dir, "stride          = 8", "stride          = 16")
	if f := evaluationOf(find(planned(0), "s")).Takes(); f.Least || f.Rate != 5e8 || f.Seconds != f.FLOPs/5e8 {
		t.Errorf("%+v", f)
	}
	// By no other: not by that of another kind, nor of much larger products.
	edit(t, dir, "sequence_length = 64", "sequence_length = 512", "batch_size      = 2", "batch_size      = 8",
		"max_new_tokens = 10", "max_new_tokens = 11")
	must(t, os.RemoveAll(filepath.Join(dir, ".stepflow")))
	st, err = state.Open(filepath.Join(dir, ".stepflow"))
	must(t, err)
	st.State.Rate(blocks.Work("perplexity").Rate(p.Caps, gpu.F32, s.Program, program.SegProbe, 0), 5e8)
	must(t, st.Save())
	must(t, st.Close())
	for _, name := range []string{"s", "g"} {
		if f := evaluationOf(find(planned(0), name)).Takes(); f.FLOPs == 0 || f.Rate != 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// TestLongContext gives an imported model that takes many tokens a window of the usual length.
func TestLongContext(t *testing.T) {
	dir := stories(t, "evaluate \"perplexity\" \"e\" {\nTHIS\n data = data.jsonl.d.all\n}\n")
	path := filepath.Join(dir, "m", "config.json")
	b, err := os.ReadFile(path)
	must(t, err)
	for most, want := range map[int]int{131072: 2048, 1 << 20: 2048, 2048: 2048, 300: 300} {
		must(t, os.WriteFile(path, []byte(strings.Replace(string(b), `"max_position_embeddings": 512`,
			fmt.Sprintf(`"max_position_embeddings": %d`, most), 1)), 0o644))
		p := planOf(t, dir)
		a := p.Actions[len(p.Actions)-1]
		usual := strings.Contains(windows(a), ": the model takes ")
		if e := perplexityOf(a); e.Windows.Length != want || usual != (most > want) {
			t.Errorf("a model of %d positions is measured in windows of %d (%t)", most, e.Windows.Length, usual)
		}
	}
}

// cancelling is a device that cancels a context at a launch, and counts the launches that are run from there on.
type cancelling struct {
	gpu.Device
	left   int
	alone  bool // count launches that are run alone, as when one is looked for that gives NaN
	cancel func()
	after  int
}

type cancellingLoaded struct {
	gpu.Loaded
	d       *cancelling
	stopped chan struct{}
}

func (d *cancelling) Load(p *gpu.Program) (gpu.Loaded, error) {
	l, err := d.Device.Load(p)
	return &cancellingLoaded{l, d, make(chan struct{})}, err
}

func (l *cancellingLoaded) Stop() {
	l.Loaded.Stop()
	close(l.stopped)
}

func (l *cancellingLoaded) Run(lo, hi int, timed bool) error {
	for n := lo; n < hi; n++ {
		if !l.d.alone || hi == lo+1 {
			l.d.left--
		}
		if l.d.left == 0 {
			l.d.cancel()
			<-l.stopped
		}
		if err := l.Loaded.Run(n, n+1, timed); err != nil {
			return err
		}
		if l.d.left <= 0 {
			l.d.after++
		}
	}
	return nil
}

// TestInterruptedEvaluation interrupts evaluations and generations at launches in their middle: the device is
// stopped, and the next apply gives the bits of one that was not interrupted.
func TestInterruptedEvaluation(t *testing.T) {
	const blocks = `
evaluate "perplexity" "e" {
THIS
  data            = data.jsonl.d.all
  sequence_length = 64
  stride          = 4
  batch_size      = 3
}
evaluate "generation" "g" {
THIS
  prompts        = ["Once upon a time", "The"]
  max_new_tokens = 20
  temperature    = 0.7
}
`
	d := cpuDevice(t, 2)
	whole := stories(t, blocks)
	must(t, applyOn(t, d, planOf(t, whole)))
	for _, at := range []int{1, 17, 300, 2500} {
		dir := stories(t, blocks)
		ctx, cancel := context.WithCancel(context.Background())
		c := &cancelling{Device: d, left: at, cancel: cancel}
		if err := applyWith(ctx, planOf(t, dir), apply.Options{Device: c}); !errors.Is(err,
			observe.ErrInterrupted) || c.left > 0 || c.after > 0 {
			t.Errorf("launch %d: %v, %d launches run from there on", at, err, c.after)
		}
		p, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{}, Caps: cpu.PlanCaps("")})
		if diags.HasErrors() || !p.Changes() {
			t.Errorf("launch %d: nothing to do, %v", at, diags)
		}
		must(t, applyOn(t, d, p))
		sameContents(t, fmt.Sprintf("interrupted at launch %d", at), contents(t, dir), contents(t, whole))
	}
}

// TestScratchIsCutShort interrupts training of which nothing is kept: it is stopped in the middle of a step.
func TestScratchIsCutShort(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, at := range []int{3, 200} {
		ctx, cancel := context.WithCancel(context.Background())
		c := &cancelling{Device: d, left: at, cancel: cancel}
		if err := applyWith(ctx, planOf(t, pipeline(t)), apply.Options{Device: c, Scratch: true}); !errors.Is(err,
			observe.ErrInterrupted) || c.left > 0 || c.after > 0 {
			t.Errorf("launch %d: %v, %d launches run from there on", at, err, c.after)
		}
	}
}

// TestPerplexityOfOthers measures the sets that tools/parity/perplexity.py wrote, with its windows.
func TestPerplexityOfOthers(t *testing.T) {
	root := given(t, "STEPFLOW_PERPLEXITY")
	folders, err := filepath.Glob(filepath.Join(root, "*", "expected.json"))
	must(t, err)
	if len(folders) == 0 {
		t.Fatalf("%s holds nothing to compare with", root)
	}
	for _, file := range folders {
		from := filepath.Dir(file)
		b, err := os.ReadFile(file)
		must(t, err)
		var want struct {
			Bytes, Words float64
			Windows      []struct {
				Length, Stride int
				Loss, Tokens   float64
			}
		}
		must(t, json.Unmarshal(b, &want))
		dir := t.TempDir()
		var text strings.Builder
		fmt.Fprintf(&text, "tokenizer \"huggingface\" \"t\" { file = %q }\nmodel \"llama\" \"m\" { from = %q }\n",
			filepath.Join(from, "tokenizer.json"), from)
		formats := map[string]string{"parquet": "rows.parquet", "jsonl": "rows.jsonl", "text": "rows.txt"}
		for format, name := range formats {
			fmt.Fprintf(&text, "data %q \"d\" {\n source = %q\n", format, filepath.Join(from, name))
			if format == "text" {
				text.WriteString(" separator = \"\\n\"\n")
			}
			text.WriteString("}\n")
			for i, w := range want.Windows {
				fmt.Fprintf(&text, "evaluate \"perplexity\" \"%s%d\" {\n model = model.llama.m\n tokenizer = "+
					"tokenizer.huggingface.t\n data = data.%s.d.all\n join = \"\\n\\n\"\n sequence_length = %d\n stride = %d\n}\n",
					format, i, format, w.Length, w.Stride)
			}
		}
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text.String()), 0o644))
		must(t, applyOn(t, cpuDevice(t, 2), planOf(t, dir)))
		for format := range formats {
			for i, w := range want.Windows {
				v := valuesOf(t, dir, fmt.Sprintf("evaluate.perplexity.%s%d", format, i))
				loss, what := v["loss"].(float64), fmt.Sprintf("%s as %s, window %d, stride %d", filepath.Base(from), format,
					w.Length, w.Stride)
				t.Logf("%s: loss %.6f of %v tokens, transformers %.6f", what, loss, v["tokens"], w.Loss)
				if math.Abs(loss-w.Loss) > 1e-4 || v["tokens"] != w.Tokens || v["words"] != want.Words || v["bytes"].(float64) > want.Bytes {
					t.Errorf("%s: loss %v of %v tokens, %v words, %v bytes; want %+v, %v, %v", what, loss, v["tokens"], v["words"],
						v["bytes"], w, want.Words, want.Bytes)
				}
			}
		}
	}
}
