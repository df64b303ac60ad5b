package dsl

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestInvalid compares all errors of a file with the comments "# ERROR: summary" on their lines.
func TestInvalid(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	mark := regexp.MustCompile(`# ERROR: (.*)$`)
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for i, line := range strings.Split(string(src), "\n") {
			if m := mark.FindStringSubmatch(line); m != nil {
				want = append(want, fmt.Sprintf("%d: %s", i+1, m[1]))
			}
		}
		_, diags := Load(f, Inputs{})
		var details strings.Builder
		for _, d := range diags {
			if d.Severity != hcl.DiagError {
				continue
			}
			got = append(got, fmt.Sprintf("%d: %s", d.Subject.Start.Line, d.Summary))
			fmt.Fprintf(&details, "%d,%d %s: %s\n", d.Subject.Start.Line, d.Subject.Start.Column, d.Summary, d.Detail)
		}
		sort.Strings(want)
		sort.Strings(got)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s\ngot:\n  %s\nwant:\n  %s", f, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
		golden(t, strings.TrimSuffix(f, ".hcl")+".golden", details.String())
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	c, diags := Load("testdata/valid/order.hcl", Inputs{Flags: Vars("n=4")})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	s := c.NewScope()
	for _, b := range c.Blocks {
		d, diags := s.Decode(b, nil)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		switch b.Addr.String() {
		case "output.late":
			if v := Show(d.Value("value")); v != "8" {
				t.Errorf("late is %s", v)
			}
		case "optimizer.adamw.o":
			if d.Float("learning_rate") != 0.001 {
				t.Errorf("learning rate %g", d.Float("learning_rate"))
			}
			s.Set(b.Addr, b.Kind.Export(b.Addr.String(), b.Addr.Type, nil, nil))
		}
	}
}

func TestVariablePrecedence(t *testing.T) {
	dir := t.TempDir()
	write := func(name, s string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("main.hcl", "variable \"a\" { default = \"default\" }\nvariable \"l\" {\n type = list(string)\n default = []\n}\noutput \"a\" { value = [var.a, var.l] }\n")
	value := func(in Inputs, name string) string {
		c, diags := Load(dir, in)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		return Show(c.Variables[name].Value)
	}
	env := Inputs{Env: []string{"STEPFLOW_VAR_a=env", "STEPFLOW_VAR_other=1"}}
	if v := value(Inputs{}, "a"); v != `"default"` {
		t.Error(v)
	}
	if v := value(env, "a"); v != `"env"` {
		t.Error(v)
	}
	write("x.auto.vars.hcl", `a = "auto"`)
	if v := value(env, "a"); v != `"auto"` {
		t.Error(v)
	}
	env.Flags = []Flag{{File: write("y.vars.hcl", `a = "file"`)}}
	if v := value(env, "a"); v != `"file"` {
		t.Error(v)
	}
	env.Flags = append(env.Flags, Vars("a=flag", `l=["x", "y"]`)...)
	if v := value(env, "a"); v != `"flag"` {
		t.Error(v)
	}
	if v := value(env, "l"); v != `["x", "y"]` {
		t.Error(v)
	}
	for _, bad := range []string{"a", "b=1", "l=x"} {
		if _, diags := Load(dir, Inputs{Flags: Vars(bad)}); !diags.HasErrors() {
			t.Errorf("-var %s is taken", bad)
		}
	}
}

func TestSensitiveStaysOffTheScreen(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "m.hcl"), []byte("variable \"k\" {\n sensitive = true\n}\ndata \"text\" \"d\" { source = \"${var.k}.txt\" }\noutput \"d\" { value = data.text.d.address }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, diags := Load(dir, Inputs{Flags: Vars("k=canary")})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	s := c.NewScope()
	d, diags := s.Decode(c.Block(addr.Addr{Kind: "data", Type: "text", Name: "d"}), nil)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if text := fmt.Sprint(d.Flat(), Show(c.Variables["k"].Value)); strings.Contains(text, "canary") {
		t.Errorf("the secret is shown: %s", text)
	}
	if !strings.Contains(fmt.Sprint(d.Fingerprint()), "canary") {
		t.Error("the secret does not count in the recipe")
	}
}

func TestInstances(t *testing.T) {
	dir := t.TempDir()
	src := `
stage "a" {
  for_each = toset(["x", "y"])
  train {
    data            = "d"
    tokenizer       = "t"
    optimizer       = "o"
    sequence_length = length(each.key)
    batch_size      = 1
  }
}
evaluate "perplexity" "e" {
  count = 2
  model = stage.a["x"]
  data  = "d"
  batch_size = count.index + 1
}`
	if err := os.WriteFile(filepath.Join(dir, "m.hcl"), []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	c, diags := Load(dir, Inputs{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	s := c.NewScope()
	b := c.Block(addr.Addr{Kind: "stage", Name: "a"})
	each, diags := s.Instances(b)
	if diags.HasErrors() || len(each) != 2 || each[0].Key != `"x"` {
		t.Fatalf("%v %v", each, diags)
	}
	exports := map[string]cty.Value{}
	for _, e := range each {
		exports[e.Name.AsString()] = b.Kind.Export(`stage.a["`+e.Name.AsString()+`"]`, "", nil, nil)
	}
	s.Set(b.Addr, cty.ObjectVal(exports))
	e := c.Block(addr.Addr{Kind: "evaluate", Type: "perplexity", Name: "e"})
	two, diags := s.Instances(e)
	if diags.HasErrors() || len(two) != 2 {
		t.Fatalf("%v %v", two, diags)
	}
	d, _ := s.Decode(e, &two[1])
	if a, _, ok := d.Ref("model"); !ok || a.String() != `stage.a["x"]` || d.Int("batch_size") != 2 {
		t.Errorf("model %v, batch_size %d", a, d.Int("batch_size"))
	}
}

func TestQuantities(t *testing.T) {
	for s, want := range map[string]int64{"16 GiB": 16 << 30, "1.5MB": 1500000, "7": 7, "2 kib": 2048} {
		if n, err := ParseBytes(s); err != nil || n != want {
			t.Errorf("%s: %d, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "GiB", "1 XB", "-1", "1e99 GB"} {
		if n, err := ParseBytes(s); err == nil {
			t.Errorf("%q gives %d", s, n)
		}
	}
	if s := FormatBytes(3 << 29); s != "1.5 GiB" {
		t.Error(s)
	}
}

func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.hcl")
	for _, x := range append(files, "../pipelines/quickstart/main.hcl") {
		b, err := os.ReadFile(x)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, c := range documented {
		f.Add([]byte("output \"o\" { value = " + c.expr + " }\n"))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		path := filepath.Join(t.TempDir(), "m.hcl")
		if err := os.WriteFile(path, src, 0o644); err != nil {
			t.Fatal(err)
		}
		c, diags := Load(path, Inputs{})
		for _, d := range diags {
			if d.Subject != nil && d.Subject.Filename != "" && d.Subject.Start.Byte > len(src) {
				t.Errorf("%s lies outside the file", d.Summary)
			}
		}
		if diags.HasErrors() {
			return
		}
		s := c.NewScope()
		for _, b := range c.Blocks {
			instances, d := s.Instances(b)
			if d.HasErrors() {
				s.Set(b.Addr, cty.DynamicVal)
				continue
			}
			exports := make([]cty.Value, len(instances))
			for i, each := range instances {
				x, _ := s.Decode(b, &each)
				exports[i] = b.Kind.Export(b.Addr.String(), b.Addr.Type, nil, x)
				x.Flat()
			}
			s.SetInstances(b, instances, exports)
		}
		s.CheckLocals()
		c.Validate(diags, nil)
	})
}

func FuzzReadTest(f *testing.F) {
	f.Add([]byte("variables { steps = run.a.x }\noverride {\n  target = stage.one\n  values = { train = { steps = 2 }, grow = null }\n}\n" +
		"mock_data \"jsonl\" { documents = 4 }\nrun \"a\" {\n  command = plan\n  state_key = \"k\"\n  parallel = true\n" +
		"  expect_failures = [var.steps, check.c, stage.one]\n  plan_options { target = [stage.one] }\n" +
		"  interrupt {\n    at_step = 2\n    stage = stage.one\n  }\n  assert {\n    condition = output.loss < plan[\"x\"]\n" +
		"    error_message = \"\"\n  }\n}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		path := filepath.Join(t.TempDir(), "a"+TestSuffix)
		if err := os.WriteFile(path, src, 0o644); err != nil {
			t.Fatal(err)
		}
		file, diags := ReadTest(path)
		if diags.HasErrors() {
			return
		}
		const pipeline = "../cmd/stepflow/testdata/tiny.hcl"
		c, _ := Load(pipeline, Inputs{})
		sound := !c.CheckTest(file).HasErrors()
		for _, r := range file.Runs {
			x, diags := Load(pipeline, Inputs{Test: &TestInput{Path: path, Run: r.Name,
				Mock: func(addr.Addr, *Mock) (map[string]cty.Value, error) {
					return map[string]cty.Value{"source": cty.StringVal("x")}, nil
				}}})
			if x.test == nil {
				t.Errorf("run %s was not read", r.Name)
			}
			for _, d := range diags {
				if unknown := strings.HasPrefix(d.Summary, "Unknown"); sound && unknown && len(r.Uses) == 0 {
					t.Errorf("%s: %s was not found by CheckTest", d.Summary, d.Detail)
				}
			}
			x.Validate(diags, nil)
			x.NewScope().Assert(map[string]cty.Value{"plan": cty.DynamicVal, "state": cty.DynamicVal, "output": cty.DynamicVal,
				"seam": cty.DynamicVal, "changes": cty.True})
		}
	})
}
