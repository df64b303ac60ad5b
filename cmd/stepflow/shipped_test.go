package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/foreign"
)

// shipped lists the plans of the pipelines that are shipped: the file with the plan, beside the pipeline, and the
// variables that it is made with. Data are made for the test: a plan needs neither a network nor the sample.
var shipped = []struct {
	golden string
	vars   []string
}{
	{"quickstart/plan.golden", nil},
	{"compare/plan.golden", []string{"source=data/*.parquet"}},
	{"memory/plan.golden", []string{"source=data/*.parquet"}},
	{"memory/plan-60M.golden", []string{"source=data/*.parquet", "size=60M"}},
	{"paper/plan.golden", []string{"source=data/*.parquet"}},
	{"paper/plan-vanilla.golden", []string{"source=data/*.parquet", "method=vanilla"}},
	{"paper/plan-step-3.golden", []string{"source=data/*.parquet", "method=step-3"}},
	{"paper/plan-relora.golden", []string{"source=data/*.parquet", "method=relora"}},
	{"paper/plan-tuned.golden", []string{"source=data/*.parquet", "instructions=data/go-docs-pairs.jsonl", `tasks=["piqa"]`,
		`task_files={piqa="data/piqa.jsonl"}`}},
	{"paper/plan-tuned-lora.golden", []string{"source=data/*.parquet", "instructions=data/go-docs-pairs.jsonl", "tuning_rank=64"}},
}

const pipelines = "../../pipelines"

// TestShippedPlans compares the plan of every shipped pipeline, as a user sees it, with the golden file beside it; with
// -update it rewrites the file. The device is a described card, an A100 of 80 GiB: a plan for the processor of this
// machine would tell times, which follow from measured rates.
func TestShippedPlans(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	for _, s := range shipped {
		t.Run(strings.TrimSuffix(s.golden, ".golden"), func(t *testing.T) {
			golden := filepath.Join(pipelines, s.golden)
			got := shippedPlan(t, filepath.Dir(golden), s.vars)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: -update rewrites it\ngot:\n%s\nwant:\n%s", golden, got, want)
			}
		})
	}
}

// TestShippedPipelinesHavePlans finds pipelines that the table leaves out.
func TestShippedPipelinesHavePlans(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(pipelines, "*", "*.hcl"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	planned := map[string]bool{}
	for _, s := range shipped {
		planned[filepath.Join(pipelines, filepath.Dir(s.golden))] = true
	}
	for _, f := range files {
		if dir := filepath.Dir(f); !planned[dir] {
			t.Errorf("%s has no golden plan: add it to the table", dir)
		}
	}
}

// shippedPlan plans a copy of a pipeline that has data: 5,000 documents, of which even a thousandth can be held out.
func shippedPlan(t *testing.T, pipeline string, vars []string) []byte {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(pipeline, func(file string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".hcl" {
			return err
		}
		copied := filepath.Join(dir, strings.TrimPrefix(file, pipeline))
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(copied), 0o755)
		}
		if err == nil {
			err = os.WriteFile(copied, text, 0o644)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	writeDocuments(t, filepath.Join(dir, "data", "documents.parquet"))
	for name, line := range map[string]string{
		"piqa.jsonl":              `{"goal": "a", "sol1": "b", "sol2": "c", "label": 0}`,
		"go-docs-pairs.jsonl":     `{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}`,
		"go-docs-questions.jsonl": `{"query": "a", "choices": ["b", "c"], "gold": 0}`,
	} {
		put(t, filepath.Join(dir, "data", name), line+"\n")
	}
	args := []string{"plan", "-no-color", "-device", "cuda", "-device-memory", "80GiB", "-compute-capability", "8.0"}
	for _, v := range vars {
		args = append(args, "-var", v)
	}
	var out, errs bytes.Buffer
	code := run(&interrupt{ctx: t.Context()}, append(args, dir), nil, strings.NewReader(""), &out, &errs)
	if code != exitOK || errs.Len() > 0 {
		t.Fatalf("%s: exit code %d: %s", pipeline, code, &errs)
	}
	return out.Bytes()
}
