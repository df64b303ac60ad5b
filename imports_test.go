// Package stepflow holds the test of who may import whom.
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

// may lists what each package may import of ours; imports point down only.
var may = map[string]string{
	"cmd/stepflow":       "*",
	"foreign":            "",
	"runtime":            "foreign dsl dsl/addr ops ops/graph ops/llama ops/growth ops/peft ops/optim fineweb fineweb/hub fineweb/tokenizer gpu tracing runtime/checkpoint runtime/durable runtime/exportdir runtime/metrics runtime/state",
	"report":             "foreign dsl dsl/addr gpu runtime runtime/durable runtime/metrics runtime/state",
	"runtime/checkpoint": "foreign gpu ops runtime/durable",
	"runtime/exportdir":  "foreign runtime/checkpoint runtime/durable",
	"runtime/state":      "foreign dsl/addr runtime/durable",
	"runtime/metrics":    "foreign runtime/durable",
	"runtime/durable":    "",
	"ops":                "gpu",
	"ops/graph":          "ops gpu",
	"ops/llama":          "foreign ops ops/graph gpu",
	"ops/arch":           "foreign ops ops/graph gpu",
	"ops/peft":           "ops ops/graph gpu",
	"ops/optim":          "ops ops/graph gpu",
	"ops/growth":         "ops",
	"dsl":                "foreign dsl/addr",
	"dsl/addr":           "",
	"fineweb":            "foreign fineweb/glob fineweb/tokenizer fineweb/web fineweb/hub fineweb/s3",
	"fineweb/glob":       "",
	"fineweb/web":        "foreign",
	"fineweb/hub":        "foreign fineweb/glob fineweb/web",
	"fineweb/s3":         "foreign fineweb/glob fineweb/web",
	"fineweb/tokenizer":  "foreign",
	"gpu":                "",
	"gpu/ref":            "gpu",
	"gpu/cpu":            "gpu",
	"gpu/cpu/asmgen":     "",
	"gpu/cuda":           "gpu gpu/cuda/kernels",
	"gpu/cuda/kernels":   "",
	"gpu/cuda/emu":       "gpu gpu/cuda gpu/cuda/kernels",
	"gpu/cuda/nvrtc":     "gpu/cuda/kernels",
	"gpu/gputest":        "gpu gpu/ref",
	"gpu/probe":          "gpu",
	"tracing":            "foreign",
	"tools/campaign":     "",
	"bench":              "gpu gpu/cpu gpu/probe fineweb fineweb/tokenizer runtime/metrics",
}

// owner lists outside modules that one package names, and who else may.
var owner = map[string]string{
	"github.com/hashicorp/hcl":     "dsl runtime cmd/stepflow",
	"github.com/parquet-go":        "fineweb",
	"go.opentelemetry.io":          "tracing",
	"github.com/prometheus":        "tracing",
	"charm.land":                   "report",
	"github.com/guptarohit":        "report",
	"github.com/gofrs/flock":       "runtime/state",
	"github.com/rivo/uniseg":       "fineweb/tokenizer",
	"golang.org/x/sys":             "gpu/cpu",
	"gorgonia.org/cu":              "gpu/cuda",
	"github.com/ebitengine/purego": "gpu/cuda gpu/cuda/nvrtc",
	"golang.org/x/text":            "fineweb/tokenizer",
	"github.com/zclconf/go-cty":    "dsl runtime",
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
