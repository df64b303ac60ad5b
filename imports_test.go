// Package stepflow holds tests of the project as a whole, such as who may import whom.
package stepflow

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// kinds are the packages of the blocks of the language.
const kinds = "runtime/blocks/data runtime/blocks/tokenizer runtime/blocks/model runtime/blocks/peft " +
	"runtime/blocks/optimizer runtime/blocks/memoryplan runtime/blocks/stage runtime/blocks/evaluate " +
	"runtime/blocks/export runtime/blocks/task runtime/blocks/executor"

// may lists what each package may import of ours; imports point down only. The groups of runtime are layers: none
// imports one above it.
var may = map[string]string{
	"cmd/stepflow":               "*",
	"cmd/stepflow/live":          "foreign dsl dsl/addr runtime/blocks runtime/metrics runtime/observe runtime/plan runtime/words",
	"cmd/stepflow/live/livetest": "",
	"foreign":                    "",
	"runtime":                    "",

	"lsp": "dsl dsl/addr runtime/blocks/all",
	"report": "foreign dsl dsl/addr gpu tracing runtime/blocks runtime/durable runtime/look runtime/metrics " +
		"runtime/plan runtime/program runtime/results runtime/state runtime/words",
	"runtime/mlflow": "foreign dsl/addr fineweb/web tracing runtime/blocks runtime/metrics runtime/results runtime/state",
	"runtime/trial":  "foreign dsl dsl/addr fineweb gpu runtime/apply runtime/observe runtime/plan",
	"runtime/apply": "dsl dsl/addr foreign fineweb fineweb/web gpu gpu/ranks tracing runtime/artifacts runtime/blocks runtime/checkpoint " +
		"runtime/durable " +
		"runtime/exportdir runtime/metrics runtime/observe runtime/plan runtime/results runtime/slurm runtime/state runtime/words",
	"runtime/look": "fineweb gpu runtime/blocks runtime/blocks/stage runtime/observe runtime/plan runtime/program " +
		"runtime/train",
	"runtime/kubernetes": "dsl dsl/addr runtime/blocks runtime/plan runtime/words",
	"runtime/saved":      "dsl runtime/blocks runtime/durable runtime/plan runtime/state",
	"runtime/plan": "dsl dsl/addr fineweb gpu runtime/blocks runtime/blocks/all runtime/blocks/executor runtime/slurm runtime/checkpoint runtime/durable runtime/exportdir " +
		"runtime/observe runtime/program runtime/results runtime/state runtime/words tracing",

	"runtime/blocks/all": "dsl dsl/addr runtime/blocks " + kinds,
	"runtime/blocks/export": "chat foreign dsl dsl/addr ops ops/peft fineweb/hub fineweb/tokenizer gpu runtime/blocks runtime/blocks/data runtime/blocks/model " +
		"runtime/blocks/stage runtime/checkpoint runtime/durable runtime/exportdir runtime/forward " +
		"runtime/gguf runtime/llamacpp runtime/modelcard runtime/observe runtime/state runtime/words tracing",
	"runtime/blocks/evaluate": "dsl dsl/addr tasks runtime/blocks/task ops ops/arch fineweb fineweb/tokenizer gpu gpu/ranks runtime/blocks runtime/blocks/data " +
		"runtime/blocks/model runtime/blocks/stage runtime/blocks/tokenizer runtime/checkpoint " +
		"runtime/forward runtime/metrics runtime/observe runtime/program runtime/trainstate runtime/words tracing",
	"runtime/blocks/stage": "chat foreign runtime/durable dsl dsl/addr ops ops/arch ops/growth ops/optim ops/peft fineweb " +
		"fineweb/tokenizer gpu runtime/blocks runtime/blocks/data runtime/blocks/memoryplan runtime/blocks/model " +
		"runtime/blocks/optimizer runtime/blocks/peft " +
		"runtime/blocks/task runtime/blocks/tokenizer runtime/checkpoint runtime/compatibility runtime/forward runtime/observe runtime/program " +
		"runtime/results runtime/state runtime/train runtime/trainstate runtime/words tasks",
	"runtime/blocks/memoryplan": "dsl dsl/addr gpu ops ops/arch ops/growth ops/optim ops/peft runtime/blocks runtime/blocks/model " +
		"runtime/blocks/optimizer runtime/blocks/peft runtime/blocks/task runtime/compatibility runtime/program runtime/state runtime/words",
	"runtime/blocks/model": "foreign dsl dsl/addr ops ops/arch fineweb fineweb/hub fineweb/tokenizer gpu runtime/blocks " +
		"runtime/blocks/tokenizer runtime/checkpoint runtime/durable",
	"runtime/blocks/tokenizer": "chat foreign dsl dsl/addr fineweb fineweb/tokenizer runtime/blocks runtime/blocks/data " +
		"runtime/checkpoint runtime/durable runtime/observe tracing",
	"runtime/blocks/data": "chat foreign dsl dsl/addr fineweb fineweb/tokenizer runtime/blocks runtime/blocks/task runtime/durable runtime/exportdir " +
		"runtime/state runtime/words",
	"runtime/blocks/task": "dsl dsl/addr fineweb fineweb/tokenizer foreign gpu runtime/blocks runtime/forward runtime/program " +
		"runtime/words tasks",
	"runtime/blocks/optimizer": "dsl dsl/addr ops ops/optim runtime/blocks runtime/compatibility",
	"runtime/blocks/executor":  "dsl dsl/addr runtime/blocks runtime/slurm",
	"runtime/slurm":            "foreign",
	"runtime/blocks/peft":      "dsl dsl/addr ops/peft runtime/blocks",
	"runtime/blocks": "dsl dsl/addr ops/graph fineweb gpu runtime/checkpoint runtime/exportdir runtime/metrics " +
		"runtime/observe runtime/program runtime/results runtime/state runtime/words",

	"runtime/inference": "dsl foreign ops ops/arch fineweb/tokenizer gpu runtime/blocks/model runtime/blocks/tokenizer " +
		"runtime/checkpoint runtime/forward runtime/program",

	"runtime/train": "foreign ops ops/optim ops/peft fineweb fineweb/tokenizer gpu gpu/ranks tracing runtime/checkpoint runtime/forward " +
		"runtime/metrics runtime/observe runtime/program runtime/trainstate runtime/words",
	"runtime/forward": "foreign ops ops/arch ops/peft fineweb fineweb/tokenizer gpu runtime/checkpoint runtime/metrics runtime/program",
	"runtime/program": "ops ops/arch ops/graph ops/growth ops/optim ops/peft fineweb gpu tracing runtime/observe runtime/scaling",
	"runtime/observe": "dsl dsl/addr fineweb/web gpu tracing runtime/metrics",

	"runtime/llamacpp":   "foreign ops ops/arch fineweb/tokenizer runtime/gguf",
	"runtime/gguf":       "gpu",
	"runtime/modelcard":  "foreign",
	"runtime/scaling":    "gpu",
	"runtime/results":    "foreign dsl/addr runtime/checkpoint runtime/durable runtime/metrics runtime/state",
	"runtime/trainstate": "foreign fineweb runtime/checkpoint",
	"runtime/exportdir":  "foreign runtime/checkpoint runtime/durable",
	"runtime/checkpoint": "foreign gpu runtime/durable",
	"runtime/state":      "foreign dsl/addr runtime/durable",
	"runtime/metrics":    "foreign runtime/durable",
	"runtime/durable":    "",
	"runtime/words":      "dsl",

	"runtime/compatibility": "dsl",

	"runtime/artifacts":               "foreign dsl fineweb/s3 runtime/checkpoint runtime/durable runtime/metrics runtime/results",
	"runtime/state/remote":            "foreign fineweb/s3 fineweb/web runtime/state",
	"runtime/state/remote/remotetest": "",
	"runtime/mlflow/mlflowtest":       "",

	"tasks":             "fineweb fineweb/tokenizer foreign foreign/jinja foreign/pyre",
	"tasks/taskstest":   "tasks",
	"foreign/archive":   "foreign",
	"foreign/jinja":     "foreign foreign/pyre",
	"chat":              "foreign foreign/jinja fineweb/tokenizer",
	"foreign/pyre":      "foreign",
	"ops":               "gpu",
	"ops/graph":         "gpu",
	"ops/arch":          "foreign ops ops/graph gpu",
	"ops/peft":          "ops ops/graph gpu",
	"ops/optim":         "ops ops/graph gpu",
	"ops/growth":        "ops",
	"dsl":               "foreign foreign/archive dsl/addr fineweb/glob",
	"dsl/addr":          "",
	"fineweb":           "foreign fineweb/glob fineweb/ngram fineweb/tokenizer fineweb/web fineweb/hub fineweb/s3",
	"fineweb/glob":      "",
	"fineweb/ngram":     "",
	"fineweb/web":       "foreign",
	"fineweb/hub":       "foreign fineweb/glob fineweb/web",
	"fineweb/s3/s3test": "",
	"fineweb/s3":        "foreign fineweb/glob fineweb/web",
	"fineweb/tokenizer": "foreign",
	"gpu":               "",
	"gpu/group":         "gpu gpu/ranks gpu/rendezvous",
	"gpu/ranks":         "gpu",
	"gpu/rendezvous":    "",
	"gpu/ref":           "gpu",
	"gpu/cpu":           "gpu",
	"gpu/cpu/asmgen":    "",
	"gpu/cuda":          "gpu gpu/cuda/kernels",
	"gpu/cuda/kernels":  "",
	"gpu/cuda/emu":      "gpu gpu/cuda gpu/cuda/kernels",
	"gpu/cuda/nvrtc":    "gpu/cuda/kernels",
	"gpu/gputest":       "gpu gpu/ref",
	"gpu/mpi":           "gpu",
	"gpu/probe":         "gpu",
	"tracing":           "foreign",
	"tools/campaign":    "",
	"tools/cuda/table":  "gpu gpu/cuda gpu/gputest ops/arch ops/optim runtime/program",
	"bench":             "gpu gpu/cpu gpu/probe fineweb fineweb/tokenizer runtime/metrics",
}

// layers are those of runtime, from the top down: no package imports one of a layer above its own.
var layers = []string{
	"runtime/trial",
	"runtime/apply runtime/look runtime/kubernetes runtime/saved runtime/mlflow runtime/mlflow/mlflowtest runtime/state/remote runtime/state/remote/remotetest",
	"runtime/plan",
	"runtime/blocks/all runtime/inference",
	kinds,
	"runtime/blocks",
	"runtime/train",
	"runtime/forward runtime/artifacts",
	"runtime/program runtime/results runtime/llamacpp",
	"runtime/observe runtime/scaling runtime/trainstate runtime/exportdir runtime/words runtime/compatibility",
	"runtime/checkpoint runtime/metrics runtime/slurm runtime/state runtime/gguf runtime/modelcard",
	"runtime/durable",
}

// TestLayers holds the table may to the layers.
func TestLayers(t *testing.T) {
	layer := map[string]int{}
	for i, l := range layers {
		for _, pkg := range strings.Fields(l) {
			layer[pkg] = i
		}
	}
	for pkg, list := range may {
		if _, ok := layer[pkg]; !ok && strings.HasPrefix(pkg, "runtime/") {
			t.Errorf("%s is in no layer", pkg)
		}
		for _, other := range strings.Fields(list) {
			if at, ok := layer[pkg]; ok && strings.HasPrefix(other, "runtime/") && layer[other] < at {
				t.Errorf("%s may import %s, which is in a layer above it", pkg, other)
			}
		}
	}
}

// owner lists outside modules that one package names, and who else may.
var owner = map[string]string{
	"github.com/hashicorp/hcl":     "dsl cmd/stepflow lsp runtime/trial runtime/apply runtime/plan runtime/blocks/all runtime/blocks " + kinds,
	"github.com/creachadair":       "lsp",
	"github.com/parquet-go":        "fineweb",
	"go.opentelemetry.io":          "tracing",
	"github.com/prometheus":        "tracing",
	"charm.land":                   "report",
	"github.com/guptarohit":        "report",
	"github.com/gofrs/flock":       "runtime/state",
	"github.com/minio":             "fineweb/s3",
	"github.com/rivo/uniseg":       "fineweb/tokenizer",
	"golang.org/x/sys":             "gpu/cpu cmd/stepflow/live",
	"golang.org/x/term":            "cmd/stepflow",
	"github.com/mattn":             "cmd/stepflow cmd/stepflow/live cmd/stepflow/live/livetest",
	"github.com/rogpeppe":          "cmd/stepflow",
	"gorgonia.org/cu":              "gpu/cuda",
	"github.com/ebitengine/purego": "gpu/cuda gpu/cuda/nvrtc gpu/mpi",
	"golang.org/x/text":            "fineweb/ngram fineweb/tokenizer foreign/jinja",
	"github.com/zclconf/go-cty":    "dsl runtime/trial runtime/apply runtime/saved runtime/plan runtime/blocks " + kinds,
}

func TestImportsPointDown(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		seen[pkg] = true
		allowed, ok := may[pkg]
		if !ok && pkg != "." {
			t.Errorf("package %s is not in the table", pkg)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, im := range f.Imports {
			name, err := strconv.Unquote(im.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(name, "stepflow/"); ok {
				if allowed != "*" && !word(allowed, ours) {
					t.Errorf("%s imports %s, which the table does not allow", path, ours)
				}
				continue
			}
			for module, users := range owner {
				if strings.HasPrefix(name, module) && !word(users, pkg) {
					t.Errorf("%s names %s, which belongs to %s", path, name, users)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range may {
		if !seen[pkg] {
			t.Errorf("the table has %s, which is no package", pkg)
		}
	}
}

func word(list, w string) bool {
	for _, x := range strings.Fields(list) {
		if x == w {
			return true
		}
	}
	return false
}
