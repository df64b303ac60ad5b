package dsl

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// TestTextOfVariables: what -var and the environment give is text, unless the type says otherwise.
func TestTextOfVariables(t *testing.T) {
	for _, c := range []struct{ declared, text, want string }{
		{"", "007", `"007"`}, {"", "1.10", `"1.10"`}, {"", "3e24567", `"3e24567"`}, {"", "null", `"null"`}, {"", "true", `"true"`}, {"", `["a"]`, `"[\"a\"]"`}, {"", `"a"`, `"\"a\""`}, {"", "", `""`}, {"", "a=b", `"a=b"`}, {"", "${x}", `"$${x}"`},
		{"default = 1", "2", `"2"`}, {"default = [1]", "[2]", `"[2]"`},
		{"type = string", "007", `"007"`}, {"type = string", "null", `"null"`}, {"type = string", "a\nb", `"a\nb"`},
		{"type = number", "1.10", "1.1"}, {"type = number", "007", "7"}, {"type = number", "1e3", "1000"}, {"type = number", "1+1", "error: takes a number"}, {"type = number", `"1"`, "error: takes a number"}, {"type = number", "null", "error: takes a number"}, {"type = number", "", "error: takes a number"},
		{"type = number", "1e999999999", "error: "}, {"type = number", "0x10", "error: takes a number"}, {"type = number", "inf", "error: takes a number"},
		{"type = bool", "true", "true"}, {"type = bool", "1", "true"}, {"type = bool", "yes", "error: takes a bool"},
		{"type = any", "1.10", "1.1"}, {"type = any", `"a"`, `"a"`}, {"type = any", "null", "null"}, {"type = any", `[1, "a"]`, `[1, "a"]`}, {"type = any", "a b", "error: takes any"},
		{"type = list(string)", `["a", 1]`, `["a", "1"]`}, {"type = list(string)", "a", "error: Lists are written"}, {"type = list(string)", "[upper(\"a\")]", "error: "}, {"type = list(number)", `["a"]`, "error: [0]: a number is required"},
		{"type = list(list(number))", `[[1], ["x"]]`, "error: [1][0]: a number is required"}, {"type = map(number)", `{ a = 1, b = "2" }`, `{a = 1, b = 2}`}, {"type = set(string)", `["b", "a", "b"]`, `["a", "b"]`},
		{"type = list(any)", strings.Repeat("[", 2000) + strings.Repeat("]", 2000), "error: nests too far"},
		{"type = object({ a = string, b = optional(number, 7), c = optional(bool) })", `{ a = "x" }`, `{a = "x", b = 7, c = null}`}, {"type = object({ a = string, b = optional(number, 7) })", `{ a = 1, b = 2 }`, `{a = "1", b = 2}`},
		{"type = list(object({ n = number, o = optional(list(string), [\"d\"]) }))", `[{ n = 1 }, { n = 2, o = [] }]`, `[{n = 1, o = ["d"]}, {n = 2, o = []}]`}, {"type = object({ a = string })", `{}`, `error: attribute "a" is required`},
		{"type = any\n nullable = false\n default = 3", "null", "3"}, {"type = any\n nullable = false", "null", "error: nullable is false"}, {"type = any\n default = 3", "null", "null"},
	} {
		for _, env := range []bool{false, true} {
			src := "variable \"v\" {\n " + c.declared + "\n}\noutput \"o\" { value = var.v }\n"
			path := filepath.Join(t.TempDir(), "m.hcl")
			if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
				t.Fatal(err)
			}
			in := Inputs{Flags: Vars("v=" + c.text)}
			if env {
				in = Inputs{Env: []string{"STEPFLOW_VAR_v=" + c.text}}
			}
			p, diags := Load(path, in)
			if failure, fails := strings.CutPrefix(c.want, "error: "); fails {
				if len(diags) != 1 || !strings.Contains(diags[0].Detail, failure) {
					t.Errorf("%s, %.40q: %v, want one error with %q", c.declared, c.text, diags, failure)
				}
			} else if got := Show(p.Variables["v"].Value); diags.HasErrors() || got != c.want {
				t.Errorf("%s, %q: %s, %v, want %s", c.declared, c.text, got, diags, c.want)
			}
		}
	}
}

// TestOrderOfFlags: of -var and -var-file the later wins; files keep the types of their values.
func TestOrderOfFlags(t *testing.T) {
	dir := t.TempDir()
	for name, s := range map[string]string{
		"main.hcl": "variable \"v\" { default = \"d\" }\noutput \"o\" { value = var.v }\n", "one.vars.hcl": `v = "one"`, "two.vars.hcl": "v = 2", "b.auto.vars.hcl": `v = "b"`, "a.auto.vars.hcl": `v = "a"`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	one, two := Flag{File: filepath.Join(dir, "one.vars.hcl")}, Flag{File: filepath.Join(dir, "two.vars.hcl")}
	cli, again := Flag{Var: "v=cli"}, Flag{Var: "v=again"}
	env := []string{"STEPFLOW_VAR_v=env"}
	for _, c := range []struct {
		flags []Flag
		want  string
	}{
		{nil, `"b"`}, {[]Flag{cli}, `"cli"`}, {[]Flag{one}, `"one"`}, {[]Flag{cli, one}, `"one"`}, {[]Flag{one, cli}, `"cli"`}, {[]Flag{one, two}, "2"}, {[]Flag{two, one}, `"one"`}, {[]Flag{cli, again}, `"again"`}, {[]Flag{cli, one, again}, `"again"`}, {[]Flag{cli, one, again, two}, "2"},
	} {
		p, diags := Load(dir, Inputs{Env: env, Flags: c.flags})
		if got := Show(p.Variables["v"].Value); len(diags) > 0 || got != c.want {
			t.Errorf("%v: %s, %v, want %s", c.flags, got, diags, c.want)
		}
	}
}

// TestAutoFiles: of the files that are read without being named, those with auto in their names win, the last of them.
func TestAutoFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("main.hcl", "variable \"v\" { default = 0 }\noutput \"o\" { value = var.v }\n")
	write("my-stepflow.vars.hcl", "v = 9")
	want := "0"
	for _, f := range []struct{ name, text, want string }{
		{"stepflow.vars.hcl", "v = 1", "1"}, {"stepflow.vars.json", `{"v": 2}`, "2"}, {"a.auto.vars.json", `{"v": 3}`, "3"},
		{"b.auto.vars.hcl", "v = 4", "4"}, {".c.auto.vars.hcl", "v = 5", "4"}, {"aa.auto.vars.json", `{"v": 6}`, "4"},
	} {
		p, diags := Load(dir, Inputs{})
		if got := Show(p.Variables["v"].Value); len(diags) > 0 || got != want {
			t.Errorf("before %s: %s, %v, want %s", f.name, got, diags, want)
		}
		write(f.name, f.text)
		want = f.want
	}
	if p, diags := Load(dir, Inputs{Env: []string{"STEPFLOW_VAR_v=7"}}); Show(p.Variables["v"].Value) != "4" {
		t.Errorf("the environment wins over files: %v, %v", p.Variables["v"].Value, diags)
	}
}

// TestJSONValues: a file of values in JSON gives values, or an error of its place; none of them runs away.
func TestJSONValues(t *testing.T) {
	for src, want := range map[string]string{
		`{"v": 7}`:                             "7",
		`{"v": 12345678901234567890123456789}`: "12345678901234567890123456789",
		`{"v": "${upper(\"a\")}"}`:             `"$${upper(\"a\")}"`,
		`{"v": {"a": [1, "b", null]}}`:         `{a = [1, "b", null]}`,
		`{}`:                                   `"d"`,
		`null`:                                 "error: it is null",
		``:                                     "error: unexpected end of JSON input",
		`{"v": 1} x`:                           "error: invalid character 'x'",
		`{"v": 1e999999999}`:                   "error: var.v takes any",
		`{"v": ` + strings.Repeat("[", 1<<20) + `}`:                            "error: exceeded max depth",
		`{"v": ` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`: "error: more than 500 levels",
		"{\"v\": \"\xff\"}": "error: not text in UTF-8",
	} {
		dir := t.TempDir()
		main, file := filepath.Join(dir, "main.hcl"), filepath.Join(dir, "v.json")
		for name, text := range map[string]string{
			main: "variable \"v\" { default = \"d\" }\noutput \"o\" { value = var.v }\n", file: src,
		} {
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, diags := Load(main, Inputs{Flags: []Flag{{File: file}}})
		if failure, fails := strings.CutPrefix(want, "error: "); fails {
			if len(diags) == 0 || !strings.Contains(diags[0].Detail, failure) {
				t.Errorf("%.40q: %v, want an error with %q", src, diags, failure)
			}
		} else if got := Show(p.Variables["v"].Value); diags.HasErrors() || got != want {
			t.Errorf("%.40q: %s, %v, want %s", src, got, diags, want)
		}
	}
}

// TestUses: a variable, local or block is unused exactly if nothing names it.
func TestUses(t *testing.T) {
	for src, want := range map[string]string{
		"variable \"min\" { default = 1 }\nvariable \"n\" {\n default = 3\n validation {\n  condition = var.n >= var.min\n  error_message = \"small\"\n }\n}\noutput \"o\" { value = var.n }\n":                                                                                                                 "",
		"variable \"why\" { default = \"x\" }\nvariable \"n\" {\n default = 3\n validation {\n  condition = var.n > 1\n  error_message = \"small: ${var.why}\"\n }\n}\noutput \"o\" { value = var.n }\n":                                                                                                        "",
		"variable \"n\" {\n default = 3\n validation {\n  condition = var.n > 1\n  error_message = \"small\"\n }\n}\n":                                                                                                                                                                                          "var.n",
		"variable \"n\" { default = 3 }\ntelemetry { step_every = var.n }\n":                                                                                                                                                                                                                                    "",
		"variable \"n\" { default = 0 }\nvariable \"m\" { default = [] }\ndata \"text\" \"d\" { source = \"x\" }\nevaluate \"perplexity\" \"e\" {\n count = var.n\n model = \"x\"\n data = data.text.d\n}\nevaluate \"perplexity\" \"f\" {\n for_each = toset(var.m)\n model = \"x\"\n data = data.text.d\n}\n": "",
		"locals {\n a = 1\n b = local.a\n}\n":                                                                             "local.b",
		"variable \"n\" { default = 0 }\nlocals {\n b = var.n\n}\n":                                                       "local.b",
		"variable \"n\" { default = 0 }\nlocals {\n b = [for x in [1]: x + var.n]\n}\noutput \"o\" { value = local.b }\n": "",
		"variable \"n\" { default = 0 }\noutput \"o\" { value = [for var in [{ n = 1 }]: var.n] }\n":                      "var.n",
		"variable \"n\" { default = 0 }\noutput \"o\" { value = try(var.n, 1) }\n":                                        "",
		"variable \"n\" { default = 0 }\ndata \"text\" \"d\" { source = \"x\" }\n":                                        "data.text.d var.n",
	} {
		path := filepath.Join(t.TempDir(), "m.hcl")
		if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		_, diags := Load(path, Inputs{})
		var got []string
		for _, d := range diags {
			if d.Severity != hcl.DiagWarning || !strings.HasPrefix(d.Summary, "Unused") {
				t.Errorf("%s: %v", src, d)
				continue
			}
			name, _, _ := strings.Cut(strings.TrimPrefix(d.Detail, "Nothing refers to "), ",")
			got = append(got, name)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s\nunused are %q, want %q", src, s, want)
		}
	}
}

// TestValidationsSayWhatIsWrong: the message is required, whatever the condition is.
func TestValidationsSayWhatIsWrong(t *testing.T) {
	for _, condition := range []string{"true", "false"} {
		_, diags := evaluate(t, "variable \"n\" {\n default = 3\n validation {\n  condition = var.n > 0 && "+condition+"\n  error_message = null\n }\n}\noutput \"o\" { value = var.n }\n")
		if len(diags) != 1 || !strings.Contains(diags[0].Detail, "error_message is null") || diags[0].Subject == nil || diags[0].Subject.Start.Line != 5 {
			t.Errorf("%s: %v", condition, diags)
		}
	}
}

// TestValidationsNameVariablesOnly: each mistake in one is reported once.
func TestValidationsNameVariablesOnly(t *testing.T) {
	for condition, want := range map[string]string{
		"var.n > local.a": "variables only, not to local.a", "var.n > var.mn": `Did you mean "n"?`, "var.n > each.key": "each has a value only", "lenght(var.n) > 1": `Did you mean "length"?`,
		"var.n > 5": "n is too small", "null": "must be true or false",
	} {
		_, diags := evaluate(t, "locals { a = 1 }\nvariable \"n\" {\n default = 3\n validation {\n  condition = "+condition+"\n  error_message = \"n is too small\"\n }\n}\noutput \"o\" { value = [var.n, local.a] }\n")
		if len(diags) != 1 || !strings.Contains(diags[0].Detail, want) {
			t.Errorf("%s: %v, want one with %q", condition, diags, want)
		}
	}
}

// TestSensitiveInputsAreNotQuoted: whatever is wrong with a value given for a sensitive variable, or in a file that holds one.
func TestSensitiveInputsAreNotQuoted(t *testing.T) {
	const canary = "canary1234"
	dir := t.TempDir()
	main := "variable \"k\" {\n sensitive = true\n type = TYPE\n}\nvariable \"n\" { default = 1 }\noutput \"o\" {\n value = [var.k, var.n]\n sensitive = true\n}\n"
	for _, typ := range []string{"number", "bool", "list(number)", "map(bool)", "object({ a = number, b = optional(number, 1) })", "list(list(number))", "any"} {
		if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(strings.Replace(main, "TYPE", typ, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "x.vars.hcl")
		check := func(how string, in Inputs) {
			t.Helper()
			c, diags := Load(dir, in)
			if typ != "any" && !diags.HasErrors() {
				t.Errorf("%s, %s: no error", typ, how)
			}
			for _, d := range diags {
				if strings.Contains(d.Summary+d.Detail, canary) {
					t.Errorf("%s, %s: %v", typ, how, d)
				}
				if d.Subject != nil && c.Files[d.Subject.Filename] != nil && strings.Contains(string(c.Files[d.Subject.Filename].Bytes), canary) {
					t.Errorf("%s, %s: the source is shown", typ, how)
				}
			}
		}
		for _, text := range []string{canary, `["` + canary + `"]`, `{ a = "` + canary + `" }`, `[["` + canary + `"]]`, canary + "[", `"` + canary} {
			check("-var", Inputs{Flags: Vars("k=" + text)})
			check("environment", Inputs{Env: []string{"STEPFLOW_VAR_k=" + text}})
		}
		check("-var without =", Inputs{Flags: Vars(canary)})
		for _, text := range []string{`k = "` + canary + `"`, `k = ["` + canary + `"]`, `k = { a = "` + canary + `" }`, `kk = "` + canary + `"`, `k = "` + canary, `k = ` + canary, `n = "` + canary + "\"\nk = [", "k {\n a = \"" + canary + "\"\n}"} {
			if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			check("file "+text, Inputs{Flags: []Flag{{File: file}}})
		}
	}
}

// TestOpenVariables: where variables need no value, what is made of them is checked as far as their types say.
func TestOpenVariables(t *testing.T) {
	dir := t.TempDir()
	src := `variable "n" { type = number }
variable "any" {}
variable "o" { type = object({ a = number, b = optional(string, "x") }) }
variable "keys" { type = set(string) }
variable "secret" {
  sensitive = true
  validation {
    condition     = length(var.secret) > 1
    error_message = "short"
  }
}
output "sound" { value = [var.n + 1, var.any, upper(var.o.b), [for k in var.keys : k]] }
`
	bad := `output "attribute" { value = var.o.c }
output "type" { value = var.keys + 1 }
output "shown" { value = var.secret }
`
	load := func(text string, open bool) (problems []string) {
		if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c, diags := Load(dir, Inputs{Open: open})
		for _, d := range append(diags, c.Validate(diags, nil)...) {
			if d.Severity == hcl.DiagError {
				problems = append(problems, d.Summary)
			}
		}
		return problems
	}
	if got := load(src+"output \"s\" {\n value = var.secret\n sensitive = true\n}\n", true); got != nil {
		t.Errorf("a sound pipeline: %v", got)
	}
	if got := load(src+bad, true); !slices.Equal(got, []string{"Unsupported attribute", "Invalid operand", "Sensitive output"}) {
		t.Errorf("found %v", got)
	}
	if got := load(src, false); len(got) != 5 || got[0] != "Missing variable" {
		t.Errorf("where they need one: %v", got)
	}
}

// TestOrdinaryWordsAreNotRedacted: a secret that is a word of the language does not take that word out of messages.
func TestOrdinaryWordsAreNotRedacted(t *testing.T) {
	s := &Secrets{}
	s.AddAll(cty.TupleVal([]cty.Value{cty.StringVal("true"), cty.StringVal("stage"), cty.StringVal("2048"), cty.StringVal("a"), cty.StringVal("hunter2")}))
	got := s.Redact(`Set sensitive = true in stage.a: 2048 of "stage", "2048", "true", /x/hunter2`)
	if want := `Set sensitive = true in stage.a: 2048 of (sensitive), (sensitive), (sensitive), /x/(sensitive)`; got != want {
		t.Errorf("%s", got)
	}
}
