package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"stepflow/dsl"
	"stepflow/gpu/cpu"
	"stepflow/runtime/plan"
)

const pipeline = `
variable "token" {
  sensitive = true
  default   = "a-secret-token"
}
data "jsonl" "d" { source = "d.jsonl" }
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 300
}
model "llama" "m" {
  vocab_size              = 300
  hidden_size             = 16
  intermediate_size       = 24
  num_hidden_layers       = 2
  num_attention_heads     = 2
  max_position_embeddings = 16
}
optimizer "adamw" "o" { learning_rate = 1e-3 }
stage "s" {
  for_each = { "a" = 1, "$(HOME) ü" = 2 }
  model    = model.llama.m
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 16
    batch_size      = 2
    steps           = 2 * each.value
  }
}
export "huggingface" "out" {
  model = stage.s["a"]
  path  = "out"
}
`

// planned plans the pipeline.
func planned(t *testing.T) *plan.Plan {
	t.Helper()
	dir := t.TempDir()
	text := strings.Repeat("{\"text\":\"some words that say nothing much about anything at all\"}\n", 40)
	for name, s := range map[string]string{"main.hcl": pipeline, "d.jsonl": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	p, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{}, Caps: cpu.PlanCaps(""), Patient: true})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return p
}

var options = Options{Name: "My_Pipeline", Image: "example/stepflow:1", Namespace: "train", StorageClass: "shared", Storage: 3 << 30,
	Folder: "my pipeline", Secrets: []string{"hub"}, PullSecrets: []string{"pull"}, NodeSelector: map[string]string{"pool": "gpu"},
	Tolerations: []Toleration{{Key: "nvidia.com/gpu", Operator: "Exists", Effect: "NoSchedule"}}, CPUs: "4", GPU: "nvidia.com/gpu",
	GPUMemory: "nvidia.com/gpu.memory", Ranks: 4, Retries: 2, Arguments: []string{"-var", "x=$(y)"},
	Variables: []Variable{{"note", "$(HOME)"}}}

// TestSchemas holds what is written to the published schemas, and names to what DNS and labels allow.
func TestSchemas(t *testing.T) {
	d, p := readDefinitions(t), planned(t)
	name := regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	for _, change := range []func(*Options){
		func(*Options) {},
		func(o *Options) { *o = Options{Name: "p", Image: "i", Storage: 1, Folder: "p", CPUs: "1", Ranks: 1} },
		func(o *Options) { o.GPU, o.OnePod = "", true },
	} {
		o := options
		change(&o)
		files, err := Render(p, o)
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]int{}
		for _, f := range files {
			for _, x := range objects(t, f) {
				meta := x["metadata"].(map[string]any)
				group := map[string]string{"v1": "core.v1", "batch/v1": "batch.v1"}[x["apiVersion"].(string)]
				kind := x["kind"].(string)
				kinds[kind]++
				s := d["io.k8s.api."+group+"."+kind]
				if s == nil {
					t.Fatalf("%s: no schema of %v %s", f.Name, x["apiVersion"], kind)
				}
				for _, w := range d.check(s, x, f.Name+" "+kind) {
					t.Error(w)
				}
				if n := meta["name"].(string); !name.MatchString(n) || len(n) > longestName {
					t.Errorf("%s: the name %q", f.Name, n)
				}
				for k, v := range meta["labels"].(map[string]any) {
					if !name.MatchString(v.(string)) {
						t.Errorf("%s: label %s = %q", f.Name, k, v)
					}
				}
			}
		}
		services := 0
		if o.Ranks > 1 && !o.OnePod {
			services = 2
		}
		if kinds["Job"] != 4 || kinds["PersistentVolumeClaim"] != 1 || kinds["Service"] != services {
			t.Errorf("%v, want 4 Jobs, a claim and %d Services", kinds, services)
		}
	}
}

// objects reads the objects of a manifest.
func objects(t *testing.T, f File) (list []map[string]any) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(f.Text))
	for {
		var x map[string]any
		if err := d.Decode(&x); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("%s: %v\n%s", f.Name, err, f.Text)
		}
		list = append(list, x)
	}
}

// jobs are the Jobs that are written with some options, by the block.
func jobs(t *testing.T, p *plan.Plan, o Options) map[string]object[jobSpec] {
	t.Helper()
	files, err := Render(p, o)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]object[jobSpec]{}
	for _, f := range files {
		for doc := range strings.SplitSeq(string(f.Text), "\n---\n") {
			var j object[jobSpec]
			if err := yaml.Unmarshal([]byte(doc), &j); err == nil && j.Kind == "Job" {
				all[j.Metadata.Annotations[fullBlock]] = j
			}
		}
	}
	return all
}

func TestJobs(t *testing.T) {
	p := planned(t)
	all := jobs(t, p, options)
	odd := `stage.s["$(HOME) ü"]`
	for block, after := range map[string][]string{
		"tokenizer.bpe.t":        nil,
		`stage.s["a"]`:           {"tokenizer.bpe.t"},
		odd:                      {"tokenizer.bpe.t"},
		"export.huggingface.out": {`stage.s["a"]`},
	} {
		j, ok := all[block]
		if !ok {
			t.Fatalf("no Job of %s", block)
		}
		pod := j.Spec.Template.Spec
		args := pod.Containers[0].Args
		if want := strings.ReplaceAll(block, "$(", "$$("); !slices.Contains(args, want) || !slices.Contains(args, "x=$$(y)") {
			t.Errorf("%s: arguments %q", block, args)
		}
		var waits []string
		if len(pod.InitContainers) > 0 {
			for i, s := range pod.InitContainers[0].Args {
				if s == "-target" {
					waits = append(waits, pod.InitContainers[0].Args[i+1])
				}
			}
		}
		// what needs one instance of a block refers to the block, and so waits for all
		for _, x := range after {
			if !slices.Contains(waits, x) {
				t.Errorf("%s waits for %q, want %q", block, waits, after)
			}
		}
		if ignores := fmt.Sprint(j.Spec.PodFailurePolicy.Rules); len(waits) > 0 != strings.Contains(ignores, "Ignore 0x") {
			t.Errorf("%s: rules %s", block, ignores)
		}
		stage, limits := strings.HasPrefix(block, "stage"), pod.Containers[0].Resources.Limits
		if stage != (j.Spec.CompletionMode == "Indexed" && j.Spec.Completions == 4 && j.Spec.BackoffLimit == 8) {
			t.Errorf("%s: %+v", block, j.Spec)
		}
		if stage != (limits["nvidia.com/gpu"] == "1") || limits["memory"] == "" {
			t.Errorf("%s: limits %v", block, limits)
		}
	}

	// all ranks in a pod
	o := options
	o.OnePod = true
	j := jobs(t, p, o)[`stage.s["a"]`]
	c := j.Spec.Template.Spec.Containers[0]
	if c.Resources.Limits["nvidia.com/gpu"] != "4" || !strings.Contains(strings.Join(c.Args, " "), "-ranks 4") || j.Spec.Completions > 1 {
		t.Errorf("one pod: %+v", j.Spec)
	}

	// What is rendered anew has the same name if it is the same, and another one otherwise.
	if a, b := all[odd].Metadata.Name, jobs(t, p, options)[odd].Metadata.Name; a != b {
		t.Errorf("names %s and %s", a, b)
	}
	o = options
	o.Image = "example/stepflow:2"
	if a, b := all[odd].Metadata.Name, jobs(t, p, o)[odd].Metadata.Name; a == b {
		t.Errorf("the same name with another image: %s", a)
	}
}

func TestNoSecretIsWritten(t *testing.T) {
	o := options
	o.Arguments = []string{"-var", "token=a-secret-token"}
	if _, err := Render(planned(t), o); err == nil || !strings.Contains(err.Error(), "sensitive") || strings.Contains(err.Error(), "a-secret") {
		t.Errorf("error %v", err)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("stage.x[\"a\"]")
	f.Add("-_-")
	f.Fuzz(func(t *testing.T, s string) {
		if n := label(s); n == "" || len(n) > longestName || strings.Trim(n, "-") != n {
			t.Errorf("%q: %q", s, n)
		}
	})
}
