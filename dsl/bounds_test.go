package dsl

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// evaluate loads a pipeline of one file and decodes all its blocks.
func evaluate(t testing.TB, src string, flags ...Flag) (values map[string]cty.Value, diags hcl.Diagnostics) {
	t.Helper()
	return evaluatePath(source(t, src), flags...)
}

func evaluatePath(path string, flags ...Flag) (values map[string]cty.Value, diags hcl.Diagnostics) {
	return evaluated(Load(path, Inputs{Flags: flags}))
}

// source writes a pipeline of one file.
func source(t testing.TB, src string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "m.hcl")
	if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// evaluated decodes all blocks of what was loaded.
func evaluated(c *Config, diags hcl.Diagnostics) (values map[string]cty.Value, _ hcl.Diagnostics) {
	values = map[string]cty.Value{}
	if diags.HasErrors() {
		return values, diags
	}
	s := c.NewScope()
	for _, b := range c.Blocks {
		d, dd := s.Decode(b, nil)
		diags = append(diags, dd...)
		if b.Addr.Kind == "output" {
			values[b.Addr.Name] = d.Value("value")
		}
	}
	return values, append(diags, s.CheckLocals()...)
}

// doubling names values that are each made of the one before, n times.
func doubling(n int, form string) string {
	var b strings.Builder
	b.WriteString("locals {\n  l0 = \"x\"\n")
	for i := range n {
		fmt.Fprintf(&b, "  l%d = "+form+"\n", i+1, i)
	}
	fmt.Fprintf(&b, "}\noutput \"o\" { value = local.l%d }\n", n)
	return b.String()
}

// TestBounds: each of these would take all memory, the whole stack or for ever. An eighth of the bound on work is as good as the
// whole and takes an eighth of the time.
func TestBounds(t *testing.T) {
	deep := func(open, middle, shut string, n int) string {
		return `output "o" { value = ` + strings.Repeat(open, n) + middle + strings.Repeat(shut, n) + " }\n"
	}
	value := func(expr string) string { return `output "o" { value = ` + expr + " }\n" }
	indented := func(n int) string { // keys inside each other, in YAML
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.Repeat(" ", i) + `a:\n`)
		}
		return b.String()
	}
	loops := func(n int, body string) string {
		s := body
		for i := range n {
			s = fmt.Sprintf("[for x%d in range(1000): %s]", i, s)
		}
		return value(s)
	}
	const tooFar, tooMuch, number = "Nested too far", "Too much to compute", "Number out of range"
	const call = "Error in function call"
	const argument = "Invalid function argument"
	n := 20_000
	for name, c := range map[string]struct{ src, want string }{
		"brackets":            {deep("[", "1", "]", n), tooFar},
		"parentheses":         {deep("(", "1", ")", n), tooFar},
		"objects":             {deep("{ a = ", "1", " }", n), tooFar},
		"calls":               {deep("abs(", "1", ")", n), tooFar},
		"templates":           {deep(`"${`, "1", `}"`, n), tooFar},
		"loops in brackets":   {deep("[for x in ", "[]", ": x]", n), tooFar},
		"blocks":              {strings.Repeat("a {\n", n) + strings.Repeat("}\n", n), tooFar},
		"unclosed":            {value(strings.Repeat("[", n)), tooFar},
		"unclosed templates":  {value(strings.Repeat(`"${`, n)), tooFar},
		"nots":                {value(strings.Repeat("!", n) + "true"), tooFar},
		"minuses":             {value(strings.Repeat("-", n) + "1"), tooFar},
		"sums":                {value("1" + strings.Repeat("+1", n)), tooFar},
		"sums over lines":     {value("(1" + strings.Repeat("\n+1", n) + ")"), tooFar},
		"conditionals":        {value(strings.Repeat("true ? 1 : ", n) + "1"), tooFar},
		"conditions":          {value(strings.Repeat("true ? ", n) + "1" + strings.Repeat(": 1", n)), tooFar},
		"indices":             {"locals {\n  i = 0\n}\n" + value("local.i"+strings.Repeat("[local.i]", n)), tooFar},
		"splats":              {value("path" + strings.Repeat("[*]", n)), tooFar},
		"directives":          {value(`"` + strings.Repeat("%{ if true }", n) + strings.Repeat("%{ endif }", n) + `"`), tooFar},
		"directives, heredoc": {"output \"o\" {\n value = <<X\n" + strings.Repeat("%{ if true }\n", n) + strings.Repeat("%{ endif }\n", n) + "X\n}\n", tooFar},
		"type":                {`variable "v" { type = ` + strings.Repeat("list(", n) + "string" + strings.Repeat(")", n) + " }\n", tooFar},
		"json":                {value(`jsondecode(join("", [for i in range(1000): "[[[[[[[[[["]))`), argument},
		"yaml, brackets":      {value(`yamldecode(join("", [for i in range(1000): "[[[[[[[[[["]))`), argument},
		"yaml, levels":        {value(`yamldecode(join("", [for i in range(1000): "- - - - "]))`), argument},
		"yaml, indented":      {value("yamldecode(\"" + indented(600) + "\")"), argument},
		"yaml, aliases": {value(`yamldecode(join("", concat(["a0: &a0 [x]\n"],
			[for i in range(1, 60): "a${i}: &a${i} [*a${i - 1}, *a${i - 1}]\n"])))`), argument},
		"yaml, quotes":         {value(`yamldecode(join("", [for i in range(1000): "[\"]\", "]))`), argument},
		"number":               {value("1e999999999"), number},
		"number, negative":     {value("-1e309"), number},
		"number, in a text":    {value(`"${1e999999999}"`), number},
		"number, as text":      {value(`tonumber("1e999999999")`), call},
		"number, as operand":   {value(`"1e99999999" * 1`), number},
		"number, product":      {value("1e308 * 10"), number},
		"division by zero":     {value("1 / 0"), number},
		"pow":                  {value("pow(10, 1e9)"), call},
		"pow, undefined":       {value("pow(-1, 0.5)"), call},
		"log of nothing":       {value("log(0, 10)"), call},
		"parseint":             {value(`parseint(join("", [for i in range(1000): "9"]), 10)`), call},
		"range":                {value("range(0, 1e9)"), call},
		"format":               {value(`format("%1000000000d", 1)`), argument},
		"format, precision":    {value(`format("%.1000000000f", 1)`), argument},
		"formatlist":           {value(`formatlist("%-1000000000s", ["a"])`), argument},
		"indent":               {value(`indent(1e9, "a\nb")`), call},
		"join":                 {value(`join(join("", [for i in range(1000): join("", [for j in range(1000): "a"])]), range(1000))`), tooMuch},
		"replace":              {value(`replace(join("", [for i in range(1000): "aaaaaaaaaa"]), "a", join("", [for i in range(1000): "bbbbbbbbbb"]))`), call},
		"replace, pattern":     {value(`replace(join("", [for i in range(1000): "aaaaaaaaaa"]), "//", join("", [for i in range(1000): "bbbbbbbbbb"]))`), call},
		"replace, groups":      {value(`replace(join("", [for i in range(1000): "` + strings.Repeat("a", 100) + `"]), "/.*/", join("", [for i in range(1000): "$0"]))`), call},
		"setproduct":           {value("setproduct(" + strings.Repeat("range(1000), ", 9) + "[1])"), call},
		"loops":                {loops(4, "1"), tooMuch},
		"loops over texts":     {loops(2, `"${join("", [for i in range(1000): "aaaaaaaaaa"])}"`), tooMuch},
		"loops of literals":    {loops(2, `"`+strings.Repeat("a", 10000)+`"`), tooMuch},
		"loops, comparing":     {"locals {\n  r = range(1000)\n  l = [for i in range(1000): local.r]\n}\n" + value("[for i in range(1000): local.l == local.r]"), tooMuch},
		"texts doubled":        {doubling(60, `"${local.l%[2]d}${local.l%[2]d}"`), tooMuch},
		"lists doubled":        {doubling(60, "[local.l%[2]d, local.l%[2]d]"), tooMuch},
		"objects doubled":      {doubling(60, "{ a = local.l%[2]d, b = local.l%[2]d }"), tooMuch},
		"lists joined":         {doubling(60, "concat([local.l%[2]d], flatten([local.l%[2]d, local.l%[2]d]))"), tooMuch},
		"levels, name by name": {doubling(3000, "[local.l%[2]d]"), tooMuch},
		"distinct":             {"locals {\n  r = range(1000)\n}\n" + value("distinct(flatten([for i in local.r: [for j in range(12): i * 1000 + j]]))"), call},
	} {
		_, diags := evaluated(load(source(t, c.src), Inputs{}, maxWork/8))
		if !diags.HasErrors() {
			t.Errorf("%s: no error", name)
			continue
		}
		if d := diags.Errs()[0].(*hcl.Diagnostic); d.Summary != c.want || d.Subject == nil || d.Subject.Filename == "" {
			t.Errorf("%s: %v, want %s", name, d, c.want)
		}
	}
}

// TestWithinBounds: what people write is far from the bounds.
func TestWithinBounds(t *testing.T) {
	var table strings.Builder
	table.WriteString("locals {\n  i = 300\n  v = ")
	for i := range 1000 {
		fmt.Fprintf(&table, "local.i == %d ? %d : ", i, i*i)
	}
	table.WriteString("0\n}\noutput \"o\" { value = local.v }\n")
	for src, want := range map[string]string{
		table.String(): "90000",
		`output "o" { value = ` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + " }":        strings.Repeat("[", 200) + strings.Repeat("]", 200),
		`output "o" { value = length([for i in range(1000): [for j in range(100): "${i}-${j}"]]) }`: "1000",
		`output "o" { value = 1.7e308 }`:                               Show(cty.MustParseNumberVal("1.7e308")),
		"\ufeffoutput \"o\" { value = 1 }":                             "1",
		"output \"o\" {\r\n  value = <<X\r\na\r\nX\r\n}\r\n":           Show(cty.StringVal("a\r\n")),
		`output "o" { value = jsondecode("[\"[[[\\\"[[[\", [[1]]]") }`: `["[[[\"[[[", [[1]]]`,
	} {
		values, diags := evaluate(t, src)
		if diags.HasErrors() || Show(values["o"]) != want {
			t.Errorf("%.200s\n%s, want %s\n%v", src, Show(values["o"]), want, diags)
		}
	}
}

func TestUnreadableSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name, s string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("main.hcl", "variable \"v\" { default = 1 }\noutput \"o\" { value = var.v }\n")
	large, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	if err := large.Truncate(10 << 30); err != nil { // with no blocks on the disk
		t.Fatal(err)
	}
	large.Close()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	write("latin1", "v = \"caf\xe9\"\n")
	for name, want := range map[string]string{"large": "larger than the", "pipe": "not a regular file", "latin1": "UTF-8", ".": "a folder", "none": "no such file"} {
		for _, c := range []struct {
			how   string
			diags func() hcl.Diagnostics
		}{
			{"-var-file", func() hcl.Diagnostics {
				_, d := Load(dir, Inputs{Flags: []Flag{{File: filepath.Join(dir, name)}}})
				return d
			}},
			{"*.hcl", func() hcl.Diagnostics {
				if name == "." {
					return nil // passed over
				}
				if err := os.Symlink(name, filepath.Join(dir, "x.hcl")); err != nil {
					t.Fatal(err)
				}
				defer os.Remove(filepath.Join(dir, "x.hcl"))
				_, d := Load(dir, Inputs{})
				return d
			}},
			{"file", func() hcl.Diagnostics {
				write("f.hcl", fmt.Sprintf("output \"f\" { value = file(%q) }\n", name))
				defer os.Remove(filepath.Join(dir, "f.hcl"))
				_, d := evaluatePath(dir)
				return d
			}},
		} {
			diags := c.diags()
			if name == "." && c.how == "*.hcl" {
				continue
			}
			if len(diags) != 1 || !strings.Contains(diags[0].Detail, want) {
				t.Errorf("%s %s: %v, want one error with %q", c.how, name, diags, want)
			}
		}
	}
}

// TestWhatIsNoSource: what editors and archives leave in a folder is not the pipeline's.
func TestWhatIsNoSource(t *testing.T) {
	for _, name := range []string{"p", "p [v2]", "p*", "p?", `p\`, "p[", "{a,b}"} {
		dir := filepath.Join(t.TempDir(), name)
		for _, d := range []string{"folder.hcl", "folder.auto.vars.hcl", ".hidden"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for f, s := range map[string]string{
			"main.hcl": "variable \"v\" { default = 1 }\noutput \"o\" { value = [var.v, file(\"t.txt\")] }\n", "t.txt": "text",
			"._main.hcl": "\x00\x05\x16\x07", ".hidden.auto.vars.hcl": "v = 3", "set.auto.vars.hcl": "v = 2", "other.vars.hcl": "v = 4", "main.hcl~": "{", "#main.hcl#": "{",
		} {
			if err := os.WriteFile(filepath.Join(dir, f), []byte(s), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("user@host.1234", filepath.Join(dir, ".#main.hcl")); err != nil {
			t.Fatal(err)
		}
		values, diags := evaluatePath(dir)
		if len(diags) > 0 || Show(values["o"]) != `[2, "text"]` {
			t.Errorf("%s: %s, %v", name, Show(values["o"]), diags)
		}
	}
}
