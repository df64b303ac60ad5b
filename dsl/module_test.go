package dsl

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// loadFiles loads a pipeline of these files, the first of which lie in its folder.
func loadFiles(t *testing.T, files map[string]string, in Inputs) (*Config, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, diags := Load(dir, in)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return c, dir
}

func blockAt(t *testing.T, c *Config, text string) *Block {
	t.Helper()
	a, err := addr.Parse(text)
	if err != nil || c.Block(a) == nil {
		t.Fatal(text, err)
	}
	return c.Block(a)
}

var scored = map[string]string{
	"main.hcl": `
data "text" "d" { source = "x" }
data "text" "e" { source = "x" }
module "m" {
  source   = "./m"
  for_each = { a = 1, b = 2 }
  data     = data.text.d
  other    = data.text.e
  n        = each.value
}
module "c" {
  source = "./m"
  count  = length(module.m)
  data   = data.text.d
  other  = null
  n      = count.index
}
output "one" { value = module.m["a"].rows }
output "all" { value = [for k, m in module.m : m.rows] }
output "splat" { value = module.c[*].n }
output "key" { value = { for k in ["a", "b"] : k => module.m[k].n } }
output "whole" { value = module.m["b"] }
output "n" { value = [module.m["a"].n, module.c[1].n, module.m["a"].secret] }
`,
	"m/main.hcl": `
variable "data" { type = object({ address = string, rows = optional(number) }) }
variable "other" {
  nullable = false
  default  = "none"
}
variable "n" {
  type = number
  validation {
    condition     = var.n < 3 && var.other != var.data
    error_message = "no"
  }
}
variable "secret" {
  default   = "hunter22"
  sensitive = true
}
locals { n = var.n * 10 }
output "rows" { value = var.data.rows }
output "n" { value = local.n }
output "secret" {
  value     = "${var.secret}!"
  sensitive = true
}
output "other" { value = var.other }
`,
}

// TestModuleRefs: references go through inputs and outputs to the blocks behind them, and one with a constant key to what
// that instance is made of.
func TestModuleRefs(t *testing.T) {
	c, _ := loadFiles(t, scored, Inputs{})
	for name, want := range map[string]string{"one": "[data.text.d]", "all": "[data.text.d data.text.e]", "splat": "[data.text.d]",
		"key": "[data.text.d data.text.e]", "whole": "[data.text.d data.text.e]", "n": "[]"} {
		if got := fmt.Sprint(blockAt(t, c, "output."+name).Refs); got != want {
			t.Errorf("output.%s refers to %s, want %s", name, got, want)
		}
	}
}

// TestModuleValues: inputs and outputs have the values of what they are made from, again when that changes.
func TestModuleValues(t *testing.T) {
	c, _ := loadFiles(t, scored, Inputs{})
	s := c.NewScope()
	value := func(name string) string {
		t.Helper()
		d, diags := s.Decode(blockAt(t, c, "output."+name), nil)
		if diags.HasErrors() {
			return diags.Error()
		}
		return Show(d.Value("value"))
	}
	set := func(name string, rows cty.Value) {
		b := blockAt(t, c, "data.text."+name)
		s.Set(b.Addr, b.Kind.Export(b.Addr.String(), "text", map[string]cty.Value{"rows": rows}, nil))
	}
	if got := value("n"); got != "(known after apply)" && !strings.HasPrefix(got, "[10, 10,") {
		t.Errorf("n is %s before any block is set", got)
	}
	if got := value("one"); got != "(known after apply)" {
		t.Errorf("one is %s before data is set", got)
	}
	set("d", cty.NumberIntVal(7))
	set("e", cty.NumberIntVal(8))
	for name, want := range map[string]string{"one": "7", "all": "[7, 7]", "splat": "[0, 10]", "key": "{a = 10, b = 20}"} {
		if got := value(name); got != want {
			t.Errorf("output.%s is %s, want %s", name, got, want)
		}
	}
	if d, _ := s.Decode(blockAt(t, c, "output.n"), nil); !d.Sensitive["value"] {
		t.Error("a value that is made from a sensitive output is not sensitive")
	}
	set("d", cty.NumberIntVal(9))
	if got := value("one"); got != "9" {
		t.Errorf("one is %s after data has changed", got)
	}
	if text := c.Secrets.Redact("it is hunter22!"); strings.Contains(text, "hunter22") {
		t.Errorf("the default of a sensitive variable is shown: %s", text)
	}
}

// TestModuleFilesAreReadOnce: a folder is parsed once for all its instances, and its blocks are shared.
func TestModuleFilesAreReadOnce(t *testing.T) {
	c, _ := loadFiles(t, map[string]string{
		"main.hcl": `
module "m" {
  source = "./m"
  count  = 50
  n      = count.index
}
module "n" {
  source = "././m"
  n      = 50
}
output "x" { value = [module.m, module.n] }
`,
		"m/main.hcl": "variable \"n\" {}\noptimizer \"adamw\" \"o\" { learning_rate = var.n + 1 }\noutput \"o\" { value = optimizer.adamw.o }\n",
	}, Inputs{})
	if len(c.sources) != 1 || len(c.Files) != 2 || len(c.Blocks) != 52 {
		t.Errorf("%d folders, %d files, %d blocks", len(c.sources), len(c.Files), len(c.Blocks))
	}
	a, b := blockAt(t, c, "module.m[3].optimizer.adamw.o"), blockAt(t, c, "module.n.optimizer.adamw.o")
	if a.body.Attributes["learning_rate"] != b.body.Attributes["learning_rate"] {
		t.Error("two instances have expressions of their own")
	}
	s := c.NewScope()
	if d, diags := s.Decode(a, nil); diags.HasErrors() || d.Float("learning_rate") != 4 {
		t.Error(d.Float("learning_rate"), diags)
	}
}

// TestModuleOrder: what a module comes after is before all of it, and blocks of an instance stand together.
func TestModuleOrder(t *testing.T) {
	c, _ := loadFiles(t, map[string]string{
		"main.hcl": `
module "b" {
  source     = "./m"
  depends_on = [module.a[1], data.text.z]
}
module "a" {
  source = "./m"
  count  = 2
}
data "text" "z" { source = "x" }
output "x" { value = [module.a, module.b] }
`,
		"m/main.hcl":         "module \"in\" { source = \"./in\" }\ndata \"text\" \"d\" { source = \"x\" }\noutput \"d\" { value = [data.text.d, module.in.d] }\n",
		"m/in/main.hcl":      "data \"text\" \"d\" { source = \"x\" }\noutput \"d\" { value = data.text.d }\n",
		"m/ignored.vars.hcl": "x = 1\n",
	}, Inputs{})
	var order []string
	for _, b := range c.Blocks {
		order = append(order, b.Addr.String())
	}
	inner := blockAt(t, c, "module.b.module.in.data.text.d")
	if got, want := fmt.Sprint(inner.Refs), "[data.text.z module.a[1].data.text.d module.a[1].module.in.data.text.d]"; got != want || len(inner.Reads) != 0 {
		t.Errorf("%s comes after %s and reads %v, want %s", inner.Addr, got, inner.Reads, want)
	}
	before := func(x, y string) {
		if slices.Index(order, x) > slices.Index(order, y) {
			t.Errorf("%s comes after %s in %v", x, y, order)
		}
	}
	before("module.a[1].module.in.data.text.d", "module.b.data.text.d")
	before("data.text.z", "module.b.module.in.data.text.d")
}

// TestModuleInstances: the number of instances may come from inputs and from outputs of other modules, as long as no block
// decides.
func TestModuleInstances(t *testing.T) {
	files := map[string]string{
		"main.hcl": `
variable "n" {}
module "b" {
  source = "./m"
  n      = module.a.n + 1
}
module "a" {
  source = "./m"
  n      = var.n
}
output "x" { value = [module.a, module.b] }
`,
		"m/main.hcl": `
variable "n" {}
module "in" {
  source = "../in"
  count  = var.n
}
output "n" { value = length(module.in) }
`,
		"in/main.hcl": "data \"text\" \"d\" { source = \"x\" }\noutput \"d\" { value = data.text.d }\n",
	}
	c, dir := loadFiles(t, files, Inputs{Flags: Vars("n=2")})
	if len(c.Modules()) != 4 || c.Block(blockAt(t, c, "module.b.module.in[2].data.text.d").Addr) == nil {
		t.Errorf("modules are %v", c.Modules())
	}
	c, diags := Load(dir, Inputs{Open: true})
	if diags = append(diags, c.Validate(diags, nil)...); diags.HasErrors() {
		t.Errorf("without a value for n: %v", diags)
	}
}

// TestModuleEach: the values of for_each may be blocks, which are known later than the keys.
func TestModuleEach(t *testing.T) {
	c, _ := loadFiles(t, map[string]string{
		"main.hcl": `
data "text" "a" { source = "x" }
data "text" "b" { source = "x" }
module "m" {
  source   = "./m"
  for_each = { a = data.text.a, b = data.text.b }
  data     = each.value
  name     = each.key
}
output "x" { value = module.m["b"].rows }
`,
		"m/main.hcl": "variable \"data\" {}\nvariable \"name\" {}\noutput \"rows\" { value = { (var.name) = var.data.rows } }\n",
	}, Inputs{})
	s, x := c.NewScope(), blockAt(t, c, "output.x")
	for i, name := range []string{"a", "b"} {
		b := blockAt(t, c, "data.text."+name)
		s.Set(b.Addr, b.Kind.Export(b.Addr.String(), "text", map[string]cty.Value{"rows": cty.NumberIntVal(int64(i))}, nil))
	}
	if d, diags := s.Decode(x, nil); diags.HasErrors() || Show(d.Value("value")) != "{b = 1}" {
		t.Errorf("x is %s, %v", Show(d.Value("value")), diags)
	}
	if got := fmt.Sprint(x.Refs); got != "[data.text.a data.text.b]" {
		t.Errorf("x refers to %s", got)
	}
}

// TestModulePaths: path.module is the folder of the module, and functions read files from the pipeline's.
func TestModulePaths(t *testing.T) {
	c, dir := loadFiles(t, map[string]string{
		"main.hcl":     "module \"m\" { source = \"./m\" }\noutput \"x\" { value = module.m.x }\n",
		"prompt.txt":   "outside",
		"m/main.hcl":   "output \"x\" { value = [path.module, path.root, file(\"prompt.txt\"), file(\"${path.module}/prompt.txt\")] }\n",
		"m/prompt.txt": "inside",
	}, Inputs{})
	d, diags := c.NewScope().Decode(blockAt(t, c, "output.x"), nil)
	want := fmt.Sprintf("[%q, %q, \"outside\", \"inside\"]", filepath.Join(dir, "m"), dir)
	if got := Show(d.Value("value")); got != want || diags.HasErrors() {
		t.Errorf("paths are %s, want %s; %v", got, want, diags)
	}
}

// TestModuleOutputs: an output of a module may have a precondition, which is tested where conditions are, and is hidden if
// it says so.
func TestModuleOutputs(t *testing.T) {
	c, _ := loadFiles(t, map[string]string{
		"main.hcl": "module \"m\" { source = \"./m\" }\noutput \"x\" { value = [module.m.x, module.m.y] }\n",
		"m/main.hcl": `
data "text" "d" { source = "x" }
output "x" {
  value = 1
  precondition {
    condition     = data.text.d.rows > 5
    error_message = "too few"
  }
}
output "y" {
  value      = 2
  sensitive  = true
  depends_on = [data.text.d]
}
`,
	}, Inputs{})
	b := blockAt(t, c, "module.m.data.text.d")
	if x := blockAt(t, c, "output.x"); len(x.Refs) != 1 || x.Refs[0] != b.Addr {
		t.Errorf("x refers to %v", x.Refs)
	}
	for _, hold := range []bool{false, true} {
		s := c.NewScope()
		s.Conditions = hold
		s.Set(b.Addr, b.Kind.Export(b.Addr.String(), "text", map[string]cty.Value{"rows": cty.NumberIntVal(3)}, nil))
		diags := s.CheckLocals()
		if got := strings.Contains(diags.Error(), "too few"); got != hold {
			t.Errorf("with conditions %t: %v", hold, diags)
		}
		if d, _ := s.Decode(blockAt(t, c, "output.x"), nil); !d.Sensitive["value"] {
			t.Error("a sensitive output of a module is shown")
		}
	}
}
