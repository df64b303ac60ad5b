package dsl

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// sweep writes a pipeline of n locals and n outputs; each local, as expr says, is made from the one before.
func sweep(n int, expr string) string {
	var b strings.Builder
	b.WriteString("locals {\n  l0 = 0\n")
	for i := range n {
		fmt.Fprintf(&b, "  l%d = "+expr+"\n", i+1, i)
	}
	b.WriteString("}\n")
	for i := range n {
		fmt.Fprintf(&b, "output \"o%d\" { value = local.l%d }\n", i, i+1)
	}
	return b.String()
}

// TestLocalsAreEvaluatedOnce: what a local costs does not depend on how many blocks use it, directly or through others.
func TestLocalsAreEvaluatedOnce(t *testing.T) {
	cost := func(outputs int) int64 {
		src := "locals {\n  a = length([for i in range(1000): i])\n  b = local.a + 1\n}\n"
		for i := range outputs {
			src += fmt.Sprintf("output \"o%d\" { value = local.b }\n", i)
		}
		path := filepath.Join(t.TempDir(), "m.hcl")
		if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		c, diags := Load(path, Inputs{})
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		s := c.NewScope()
		for _, b := range c.Blocks {
			if d, diags := s.Decode(b, nil); diags.HasErrors() || Show(d.Value("value")) != "1001" {
				t.Fatal(Show(d.Value("value")), diags)
			}
		}
		return c.meter.spent
	}
	if one, many := cost(1), cost(1000); one != many {
		t.Errorf("1000 uses cost %d, one costs %d", many, one)
	}
}

// TestManyLocals loads so many locals that a step for each local at each reference would take minutes.
func TestManyLocals(t *testing.T) {
	var b strings.Builder
	const n = 20_000
	b.WriteString("locals {\n")
	for i := range n {
		fmt.Fprintf(&b, "  a%d = local.a%d\n", i, i+1)
	}
	fmt.Fprintf(&b, "  a%d = 7\n}\noutput \"x\" { value = local.a0 }\n", n)
	start := time.Now()
	c, _ := loadFiles(t, map[string]string{"main.hcl": b.String()}, Inputs{})
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("loading took %s", d)
	}
	d, diags := c.NewScope().Decode(blockAt(t, c, "output.x"), nil)
	if diags.HasErrors() || d.Int("value") != 7 {
		t.Errorf("output.x is %s, %v", Show(d.Value("value")), diags)
	}
}

// TestContextHoldsWhatIsNamed: an expression costs what it names, not what the pipeline holds.
func TestContextHoldsWhatIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.hcl")
	if err := os.WriteFile(path, []byte(sweep(100, "local.l%d + 1")), 0o644); err != nil {
		t.Fatal(err)
	}
	c, diags := Load(path, Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	s := c.NewScope()
	for i, b := range c.Blocks {
		ctx := s.context(c.root(), b.uses, nil)
		if n := ctx.Variables["local"].LengthInt(); n != 1 {
			t.Errorf("%s sees %d locals", b.Addr, n)
		}
		if d, diags := s.Decode(b, nil); diags.HasErrors() || d.Int("value") != i+1 {
			t.Errorf("%s is %d, %v", b.Addr, d.Int("value"), diags)
		}
	}
}

// TestLocalsFollowBlocks: when a block's exports are set again, as after it ran, the locals made from them change, through others too.
func TestLocalsFollowBlocks(t *testing.T) {
	src := `
locals {
  rate  = optimizer.adamw.o.learning_rate
  twice = local.rate * 2
  other = 7
}
optimizer "adamw" "o" { learning_rate = 1e-3 }
output "x" { value = [local.twice, local.other] }
`
	path := filepath.Join(t.TempDir(), "m.hcl")
	if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	c, diags := Load(path, Inputs{})
	for _, d := range diags {
		if d.Summary != "Unknown attribute" { // an optimizer offers no rate of its own
			t.Fatal(d)
		}
	}
	s := c.NewScope()
	x := c.Block(addr.Addr{Kind: "output", Name: "x"})
	o := addr.Addr{Kind: "optimizer", Type: "adamw", Name: "o"}
	value := func() string {
		d, diags := s.Decode(x, nil)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		return Show(d.Value("value"))
	}
	if v := value(); !strings.Contains(v, "known after") {
		t.Errorf("before the block is set: %s", v)
	}
	for rate, want := range map[int64]string{3: "[6, 7]", 4: "[8, 7]"} {
		s.Set(o, cty.ObjectVal(map[string]cty.Value{"address": cty.StringVal(o.String()), "learning_rate": cty.NumberIntVal(rate)}))
		if v := value(); v != want {
			t.Errorf("rate %d: %s, want %s", rate, v, want)
		}
	}
}

// TestMistakesOfLocals: each is reported once, where it is, used or not, and what uses it adds nothing.
func TestMistakesOfLocals(t *testing.T) {
	_, diags := evaluate(t, "locals {\n  a = 1 + \"x\"\n  b = local.a + 1\n  c = tonumber(\"y\")\n}\noutput \"o\" { value = local.b }\noutput \"p\" { value = local.b }\n")
	var lines []string
	for _, d := range diags.Errs() {
		lines = append(lines, d.Error())
	}
	if len(lines) != 2 || !strings.Contains(lines[0], "m.hcl:2,") || !strings.Contains(lines[1], "m.hcl:4,") {
		t.Errorf("got %s", strings.Join(lines, "\n"))
	}
}

// BenchmarkLocals evaluates 1,000 locals, each made from the one before, for 1,000 outputs.
func BenchmarkLocals(b *testing.B) {
	path := filepath.Join(b.TempDir(), "m.hcl")
	if err := os.WriteFile(path, []byte(sweep(1000, "local.l%d + 1")), 0o644); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if values, diags := evaluatePath(path); diags.HasErrors() || len(values) != 1000 {
			b.Fatal(len(values), diags)
		}
	}
}
