package runtime_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/runtime/apply"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/observe"
	"stepflow/runtime/state"
)

// A document of 15 words, and others that hold it, or nearly.
const leaked = "On the eleventh of March the keeper of the old lighthouse painted both doors green."

// leaky is the tiny pipeline with two more documents to train on, and an evaluation of six of which three are leaked.
func leaky(t *testing.T, more string) string {
	t.Helper()
	dir := pipeline(t)
	d, err := os.ReadFile(filepath.Join(dir, "d.jsonl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "d.jsonl"), append(d, []byte(`{"id":"a","text":"It is said: `+leaked+`"}
{"id":"y","text":"Eight words are looked for as a whole."}
`)...), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "eval.jsonl"), []byte(`{"text":"`+strings.ToUpper(leaked)+`"}
{"text":"On the eleventh of March the keeper\nof the old lighthouse painted both doors blue."}
{"text":"On the eleventh of March the keeper of the new lighthouse painted both doors green."}
{"text":"“Eight words” are looked for as a whole!"}
{"text":"Seven words are not looked for."}
{"text":"Nothing of this sentence, of which nobody has heard before now, was trained on."}
`), 0o644))
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	text := strings.Replace(string(src), `data "jsonl" "d" {`, `data "jsonl" "d" {`+more, 1)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text+`
data "jsonl" "eval" { source = "eval.jsonl" }

evaluate "perplexity" "leak" {
  model = stage.two
  data  = data.jsonl.eval.all
}

output "contamination" { value = evaluate.perplexity.leak.contamination }
`), 0o644))
	return dir
}

func leakValues(t *testing.T, dir string) map[string]any {
	t.Helper()
	st, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	return st.State.Blocks["evaluate.perplexity.leak"].Values
}

// The share of documents that hold n-grams of what was trained on is told with the score. It is the same after an
// interrupt, and 0 by words where the training data were decontaminated.
func TestContaminationIsTold(t *testing.T) {
	d := cpuDevice(t, 2)
	whole := leaky(t, "")
	var said []string
	must(t, applyWith(context.Background(), planOf(t, whole, "steps=12"), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Addr.String() == "evaluate.perplexity.leak" && e.Message != "" {
			said = append(said, e.Message)
		}
	}}))
	v := leakValues(t, whole)
	if v["contamination"] != 3./5 || v["unchecked_documents"] != 1. || v["contaminated_ngrams"] != (3.+2+0+1)/(3+3+3+1+2) {
		t.Errorf("%v", v)
	}
	if by, ok := v["token_contamination"].(float64); !ok || by <= 0 || by >= 1 {
		t.Errorf("%v", v)
	}
	if text := strings.Join(said, "\n"); !strings.Contains(text, "3 of 5 documents measured share 13 words in a row with what was trained on (data.jsonl.d): 50 % of their n-grams. ") ||
		!strings.Contains(text, "eval.jsonl, line 1 has 3 of its 3 from ") || !strings.Contains(text, "d.jsonl, line 15; ") ||
		!strings.Contains(text, "eval.jsonl, line 2 has 2 of its 3 from ") {
		t.Errorf("%q", text)
	}

	stopped := leaky(t, "")
	ctx, stop := context.WithCancel(context.Background())
	if applyWith(ctx, planOf(t, stopped, "steps=12"), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.StepDone && e.Step.Step == 5 {
			stop()
		}
	}}) == nil {
		t.Fatal("the run was not interrupted")
	}
	must(t, applyOn(t, d, planOf(t, stopped, "steps=12")))
	sameContents(t, "an interrupt", contents(t, stopped), contents(t, whole))

	clean := leaky(t, "\n  decontaminate { data = data.jsonl.eval.all }\n")
	p := planOf(t, clean, "steps=12")
	if s := find(p, "data.jsonl.d").Block.Summary(); !strings.HasSuffix(s, ", 2 of them left out for n-grams of data.jsonl.eval.all") {
		t.Errorf("%q", s)
	}
	must(t, applyOn(t, d, p))
	if v := leakValues(t, clean); v["contamination"] != 0. || v["contaminated_ngrams"] != 0. || v["unchecked_documents"] != 1. {
		t.Errorf("%v", v)
	}
	hidden := leaky(t, "")
	edit(t, hidden, `source              = "d.jsonl"`, `source              = sensitive("d.jsonl")`)
	said = nil
	must(t, applyWith(context.Background(), planOf(t, hidden), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Addr.String() == "evaluate.perplexity.leak" && strings.Contains(e.Message, "words in a row") {
			said = append(said, e.Message)
		}
	}}))
	if text := strings.Join(said, ""); !strings.HasSuffix(text, " of their n-grams") {
		t.Errorf("of a sensitive source: %q", text)
	}
	if contents(t, clean)["stage.one"] == contents(t, whole)["stage.one"] {
		t.Error("other data give the same weights")
	}
}

// What decontaminate leaves out is told once: by the plan, or where that did not read the data by the run.
func TestContaminatedDocumentsAreToldOnce(t *testing.T) {
	dir := leaky(t, "\n  decontaminate { data = data.jsonl.eval.all }\n")
	for _, known := range []bool{true, false} {
		must(t, os.RemoveAll(filepath.Join(dir, ".stepflow")))
		must(t, os.RemoveAll(filepath.Join(dir, "out")))
		p := planOf(t, dir)
		if n := find(p, "data.jsonl.d").Block.(*data.Data); !known {
			n.Unclean = -1
		}
		var told []string
		must(t, applyWith(context.Background(), p, apply.Options{Device: cpuDevice(t, 2), Emit: func(e observe.Event) {
			if strings.Contains(e.Message, "decontaminate") {
				told = append(told, e.Message)
			}
		}}))
		if want := map[bool]string{true: "", false: "2 documents of data.jsonl.d left out for n-grams of data.jsonl.eval.all (decontaminate)"}[known]; strings.Join(told, "; ") != want {
			t.Errorf("%q, want %q", told, want)
		}
	}
}
