package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/runtime/mlflow/mlflowtest"
)

// secret is searched for without regard to case, so that what is derived from it is found too. The number is found where it
// stands in full.
const (
	secretText   = "cAnArY77"
	secretNumber = "918273645"
)

// hclBlock is a block of a pipeline that a test writes.
type hclBlock struct {
	kind, typ, name string
	attrs           map[string]string
	blocks          []*hclBlock
}

func (b *hclBlock) write(w *strings.Builder, indent string) {
	fmt.Fprintf(w, "%s%s", indent, b.kind)
	for _, l := range []string{b.typ, b.name} {
		if l != "" {
			fmt.Fprintf(w, " %q", l)
		}
	}
	w.WriteString(" {\n")
	for _, n := range slices.Sorted(maps.Keys(b.attrs)) {
		fmt.Fprintf(w, "%s  %s = %s\n", indent, n, b.attrs[n])
	}
	for _, x := range b.blocks {
		x.write(w, indent+"  ")
	}
	fmt.Fprintf(w, "%s}\n", indent)
}

func pipeline(blocks []*hclBlock) string {
	var w strings.Builder
	w.WriteString("variable \"s\" {\n  type = string\n  sensitive = true\n}\nvariable \"n\" {\n  type = number\n  sensitive = true\n}\n")
	for _, b := range blocks {
		b.write(&w, "")
	}
	return w.String()
}

type attrs = map[string]string

func small() []*hclBlock {
	train := func() *hclBlock {
		return &hclBlock{kind: "train", attrs: attrs{"data": "data.jsonl.d", "tokenizer": "tokenizer.bpe.t", "optimizer": "optimizer.adamw.o", "sequence_length": "8", "batch_size": "2", "steps": "2"},
			blocks: []*hclBlock{{kind: "schedule", typ: "constant"}, {kind: "checkpoint", attrs: attrs{"every_steps": "1"}}}}
	}
	return []*hclBlock{
		{kind: "data", typ: "jsonl", name: "d", attrs: attrs{"source": `"d.jsonl"`, "validation_fraction": "0.3"}},
		{kind: "tokenizer", typ: "bpe", name: "t", attrs: attrs{"train_on": "data.jsonl.d", "vocab_size": "262"}},
		{kind: "model", typ: "llama", name: "m", attrs: attrs{"vocab_size": "262", "hidden_size": "8", "intermediate_size": "8", "num_hidden_layers": "3", "num_attention_heads": "2", "max_position_embeddings": "64"}},
		{kind: "peft", typ: "lora", name: "a", attrs: attrs{"r": "1", "lora_alpha": "1", "target_modules": `["all-linear"]`}},
		{kind: "optimizer", typ: "adamw", name: "o", attrs: attrs{"learning_rate": "1e-3"}},
		{kind: "stage", name: "one", attrs: attrs{"model": "model.llama.m", "layers": "2"}, blocks: []*hclBlock{train()}},
		{kind: "stage", name: "two", attrs: attrs{"from": "stage.one", "freeze": `["inherited"]`, "adapter": "peft.lora.a"},
			blocks: []*hclBlock{{kind: "grow", typ: "interpolation", attrs: attrs{"layers": "1"}}, train()}},
		{kind: "evaluate", typ: "perplexity", name: "p", attrs: attrs{"model": "stage.two", "data": "data.jsonl.d.validation"}},
		{kind: "evaluate", typ: "generation", name: "g", attrs: attrs{"model": "stage.two", "prompts": `["a"]`, "max_new_tokens": "2"}},
		{kind: "export", typ: "huggingface", name: "e", attrs: attrs{"model": "stage.two", "path": `"out"`}},
		{kind: "memory_plan", name: "mp", attrs: attrs{"model": "model.llama.m", "stages": "2"}},
		{kind: "output", name: "loss", attrs: attrs{"value": "evaluate.perplexity.p.loss"}},
		{kind: "telemetry"},
	}
}

// shown runs the program and gives all that it showed.
func shown(t *testing.T, env []string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	var mu sync.Mutex
	w := writer(func(b []byte) (int, error) { mu.Lock(); defer mu.Unlock(); return out.Write(b) })
	run(&interrupt{ctx: context.Background()}, args, env, strings.NewReader(""), w, w)
	return out.String()
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func leak(t *testing.T, what, text string) {
	t.Helper()
	for _, s := range []string{secretText, secretNumber} {
		if i := strings.Index(strings.ToLower(text), strings.ToLower(s)); i >= 0 {
			t.Errorf("%s shows the secret: …%s…", what, text[max(0, i-300):min(len(text), i+100)])
			return
		}
	}
}

// sites finds every attribute in the table, as a pipeline that has it and a way to set it.
func sites(set func(name string, blocks []*hclBlock, a dsl.Attr, to func(string))) {
	for i := range dsl.Kinds {
		k := &dsl.Kinds[i]
		types := k.Types
		if types == nil {
			types = []string{""}
		}
		for _, typ := range types {
			fits := func(only []string) bool { return len(only) == 0 || slices.Contains(only, typ) }
			find := func() ([]*hclBlock, *hclBlock) {
				blocks := small()
				for _, b := range blocks {
					if b.kind == k.Name && b.typ == typ {
						return blocks, b
					}
				}
				x := &hclBlock{kind: k.Name, typ: typ, name: "x", attrs: attrs{}}
				for _, a := range k.Attrs {
					switch {
					case !a.Required || !fits(a.Only):
					case a.Ref != nil:
						x.attrs[a.Name] = map[string]string{"data": "data.jsonl.d", "stage": "stage.two", "model": "model.llama.m",
							"optimizer": "optimizer.adamw.o"}[a.Ref[0]]
					case a.Type == cty.Number:
						x.attrs[a.Name] = "300"
					case a.Type == cty.List(cty.String):
						x.attrs[a.Name] = `["all-linear"]`
					default:
						x.attrs[a.Name] = `"x"`
					}
				}
				return append(blocks, x), x
			}
			for _, a := range k.Attrs {
				if fits(a.Only) {
					blocks, b := find()
					set(k.Name+"."+typ+"."+a.Name, blocks, a, func(v string) {
						if b.attrs == nil {
							b.attrs = attrs{}
						}
						b.attrs[a.Name] = v
					})
				}
			}
			var nested func(list []dsl.Nested, path []string)
			nested = func(list []dsl.Nested, path []string) {
				for _, n := range list {
					if !fits(n.Only) {
						continue
					}
					at := append(slices.Clone(path), n.Name)
					for _, a := range n.Attrs {
						blocks, b := find()
						for _, name := range at {
							i := slices.IndexFunc(b.blocks, func(x *hclBlock) bool { return x.kind == name })
							if i < 0 {
								x := &hclBlock{kind: name, attrs: attrs{}}
								if name == "grow" {
									x.typ = "copy"
								}
								if name == "part" {
									x.attrs = attrs{"data": "data.jsonl.d", "weight": "1"}
								}
								i, b.blocks = len(b.blocks), append(b.blocks, x)
							}
							b = b.blocks[i]
							if b.attrs == nil {
								b.attrs = attrs{}
							}
						}
						set(k.Name+"."+typ+"."+strings.Join(at, ".")+"."+a.Name, blocks, a, func(v string) { b.attrs[a.Name] = v })
					}
					nested(n.Blocks, at)
				}
			}
			nested(k.Blocks, nil)
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func documents(field string) string {
	var b strings.Builder
	for i := range 30 {
		fmt.Fprintf(&b, "{\"id\": \"%d\", %q: \"the quick brown fox %d jumps over the lazy dog %d times\"}\n", i, field, i*i, i)
	}
	return b.String()
}

// Expressions made of a secret. Most are wrong somewhere, and what is wrong must be said without it.
var (
	secretValues = []string{`var.s`, `[var.s]`, `{ address = var.s }`, `{ rope_type = var.s }`, `[null, var.s]`, `var.n`, `-var.n`,
		`var.n + 0.5`, `[var.n]`}
	secretStrings = []string{`"a ${var.s}"`, `upper(var.s)`, `tostring(var.n)`}
	// These are wrong wherever they stand.
	failingForms = []string{`tonumber(upper(var.s))`, `bytes("1 ${var.s}")`, `file(lower(var.s))`, `env(var.s)`, `jsondecode(var.s)`,
		`{ a = 1 }[strrev(strrev(var.s))]`, `parseint(upper(var.s), 10)`}
)

// TestNoAttributeShowsASecret sets every attribute of the language to what a secret gives, one at a time, and looks for the secret
// in what is said about it. With -short, an attribute has one of the other strings, and what fails together.
func TestNoAttributeShowsASecret(t *testing.T) {
	t.Parallel()
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // else a third of the time is the collector's
	dir := t.TempDir()
	put(t, filepath.Join(dir, "d.jsonl"), documents("text"))
	env := []string{"STEPFLOW_VAR_s=" + secretText, "STEPFLOW_VAR_n=" + secretNumber}
	all := slices.Concat(secretValues, secretStrings, failingForms)
	seen, turn := 0, 0
	sites(func(name string, blocks []*hclBlock, a dsl.Attr, to func(string)) {
		say := func(form string) string {
			to(form)
			put(t, filepath.Join(dir, "main.hcl"), pipeline(blocks))
			return name + " = " + form
		}
		forms := all
		if testing.Short() {
			forms = append(slices.Clone(secretValues), secretStrings[turn%len(secretStrings)], "["+strings.Join(failingForms, ", ")+"]")
		}
		for _, form := range forms {
			what := say(form)
			leak(t, "validate "+what, shown(t, env, "validate", dir))
			seen++
		}
		// Planning takes longer: each attribute has the next of the expressions.
		what := say(all[turn%len(all)])
		turn++
		told := a.Type == cty.Number && a.Name != "seed" // what a stage takes is the point of a plan: steps, bytes, parameters
		if told && strings.Contains(what, "var.n") {
			return
		}
		// A plan that is saved is there as JSON too.
		saved := filepath.Join(dir, "saved")
		leak(t, "plan "+what, shown(t, env, "plan", "-explain", "-out", saved, dir))
		if b, err := os.ReadFile(saved); err == nil {
			leak(t, "the saved plan of "+what, string(b))
			os.Remove(saved)
		} else {
			leak(t, "plan -json "+what, shown(t, env, "plan", "-json", dir))
		}
	})
	if seen < 1000 {
		t.Errorf("only %d cases: the walk over the table finds too little", seen)
	}
}

// TestRunKeepsSecrets runs a pipeline that is right and full of secrets, and looks for them in all that it shows, writes and sends.
func TestRunKeepsSecrets(t *testing.T) {
	var mu sync.Mutex
	sent := map[string]*bytes.Buffer{}
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if sent[r.URL.Path] == nil {
			sent[r.URL.Path] = &bytes.Buffer{}
		}
		sent[r.URL.Path].Write(b)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("STEPFLOW_LOG", "debug")
	tracked := mlflowtest.New()
	defer tracked.Close()
	t.Setenv("MLFLOW_TRACKING_URI", tracked.URL())
	dir, state := t.TempDir(), t.TempDir()
	put(t, filepath.Join(dir, secretText, "d.jsonl"), documents(secretText))
	blocks := small()
	set := func(kind, typ, name, v string) {
		for _, b := range blocks {
			if b.kind == kind && b.typ == typ {
				b.attrs[name] = v
			}
		}
	}
	set("data", "jsonl", "source", `"${var.s}/*.jsonl"`)
	set("data", "jsonl", "text_column", `var.s`)
	set("data", "jsonl", "seed", `var.n`)
	set("model", "llama", "seed", `var.n`)
	set("stage", "", "seed", `var.n`)
	set("optimizer", "adamw", "no_decay", `[local.derived]`)
	set("evaluate", "generation", "prompts", `concat(["the fox"], [for x in ["key"] : "${x} ${var.s}"])`)
	set("evaluate", "generation", "seed", `var.n`)
	set("export", "huggingface", "path", `"out/${local.derived}"`)
	set("output", "", "description", `"about ${var.s}"`)
	blocks = append(blocks,
		&hclBlock{kind: "locals", attrs: attrs{"derived": `upper("${var.s}")`}},
		&hclBlock{kind: "output", name: "texts", attrs: attrs{"value": "evaluate.generation.g.texts", "sensitive": "true"}},
		&hclBlock{kind: "output", name: "deep", attrs: attrs{"value": `{ a = [{ b = var.s }], n = var.n }`, "sensitive": "true"}},
		&hclBlock{kind: "output", name: "path", attrs: attrs{"value": "export.huggingface.e.path", "sensitive": "true"}},
		&hclBlock{kind: "evaluate", typ: "generation", name: "again", attrs: attrs{"model": "stage.one", "prompts": "evaluate.generation.g.texts", "max_new_tokens": "1"}})
	put(t, filepath.Join(dir, "main.hcl"), pipeline(blocks))
	env := []string{"STEPFLOW_VAR_s=" + secretText}
	vars := []string{"-state-dir", state, "-var", "n=" + secretNumber}
	files := t.TempDir()
	var said string
	for _, c := range [][]string{
		{"validate", "-var", "n=" + secretNumber, dir},
		append(append([]string{"plan", "-explain", "-out", filepath.Join(files, "saved.plan")}, vars...), dir),
		append(append([]string{"plan", "-json"}, vars...), dir),
		append(append([]string{"apply", "-auto-approve"}, vars...), dir),
		append(append([]string{"plan", "-explain"}, vars...), dir),
		append(append([]string{"apply", "-json", "-auto-approve"}, vars...), dir),
		append(append([]string{"report", "-o", filepath.Join(files, "r.html")}, vars...), dir),
		append(append([]string{"graph"}, vars...), dir),
		append(append([]string{"graph", "-stage", "two"}, vars...), dir),
		append(append([]string{"profile", "-steps", "1", "-dir", dir, "-o", filepath.Join(files, "trace.json")}, vars...), "one"),
		{"output", "-state-dir", state}, {"output", "-json", "-state-dir", state}, {"output", "-state-dir", state, "texts"}, {"output", "-raw", "-state-dir", state, "path"}, {"output", "-json", "-state-dir", state, "deep"},
		{"show", "-state-dir", state}, {"show", "-json", "-state-dir", state}, {"show", "-state-dir", state, "evaluate.generation.g"}, {"state", "list", "-state-dir", state}, {"state", "check", "-state-dir", state},
		{"watch", "-once", "-state-dir", state},
		append(append([]string{"console", "-eval", "[var.s, var.n]", "-eval", "[plan, state, output]"}, vars...), dir),
		append(append([]string{"console", "-json", "-eval", "[plan, state, output, var.s]"}, vars...), dir),
		append(append([]string{"apply", "-verify"}, vars...), dir),
		// Another secret: what has changed is said without either.
		append(append([]string{"plan", "-var", "s=other-" + secretText}, vars...), dir),
	} {
		out := shown(t, env, c...)
		leak(t, strings.Join(c[:min(3, len(c))], " "), out)
		if c[0] == "apply" {
			said += out
		}
	}
	if strings.Count(said, "Apply complete") != 1 || !strings.Contains(said, `"outputs"`) || !strings.Contains(said, "came out the same") {
		t.Fatalf("the pipeline did not run: %s", said)
	}
	for _, root := range []string{state, files} {
		n := 0
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			n++
			b, err := os.ReadFile(path)
			leak(t, path, strings.TrimPrefix(path, root)+"\n"+string(b))
			return err
		})
		if err != nil || n < 3 {
			t.Errorf("%s: %d files, %v", root, n, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(sent) < 2 {
		t.Errorf("the collector got %v", slices.Collect(maps.Keys(sent)))
	}
	for path, b := range sent {
		leak(t, "telemetry "+path, b.String())
	}
	if len(tracked.Find("stage.two")) != 1 {
		t.Error("MLflow got no run")
	}
	tracked.Locked(func() { leak(t, "MLflow", strings.Join(tracked.Bodies, "\n")) })
}
