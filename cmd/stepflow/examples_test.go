package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/foreign"
)

// longest is how many lines an example of the language page may have.
const longest = 20

// TestExamples puts each example of the language page into the example pipeline, validates it, and evaluates what its
// comments claim.
func TestExamples(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	data := filepath.Join(t.TempDir(), "documents.parquet")
	writeDocuments(t, data)
	for name, files := range dsl.Examples() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, text := range withPipeline(t, name, files) {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			vars := []string{"-var", "source=" + data}
			if _, errs, err := onCard(t, "validate", append(vars, dir)...); err != nil {
				t.Fatalf("it is not valid: %s", errs)
			}
			if slices.ContainsFunc(slices.Collect(maps.Keys(files)), func(f string) bool { return strings.HasSuffix(f, dsl.TestSuffix) }) {
				if out, errs, err := onCard(t, "test", append(vars, dir)...); err != nil {
					t.Errorf("its tests do not pass: %s%s", out, errs)
				}
			}
			var claims []claim
			for file, text := range files {
				if filepath.Ext(file) == ".hcl" {
					checkForm(t, name, file, text)
					claims = append(claims, claimsOf(t, text)...)
				}
			}
			checkClaims(t, dir, vars, claims)
		})
	}
}

// TestEveryKindHasAnExample wants an example of each type of block and of each block in it.
func TestEveryKindHasAnExample(t *testing.T) {
	shown := map[string]bool{}
	var see func(prefix string, b *hclsyntax.Body)
	see = func(prefix string, b *hclsyntax.Body) {
		for _, x := range b.Blocks {
			at := prefix + x.Type
			shown[at] = true
			if len(x.Labels) > 0 {
				shown[at+" "+x.Labels[0]] = true
			}
			see(at+".", x.Body)
		}
	}
	for _, list := range [][]dsl.Kind{dsl.Meta, dsl.Kinds} {
		for _, k := range list {
			for _, name := range dsl.ExamplesOf(&k) {
				for _, text := range dsl.Examples()[name] {
					see("", parse(t, text).Body.(*hclsyntax.Body))
				}
			}
			want := []string{k.Name}
			for _, typ := range k.Types {
				want = append(want, k.Name+" "+typ)
			}
			for _, w := range append(want, nestedNames(k.Name+".", k.Blocks)...) {
				if !shown[w] {
					t.Errorf("no example of the language page shows %s: write dsl/examples/%s.hcl", w, strings.Replace(w, " ", ".", 1))
				}
			}
		}
	}
}

// nestedNames lists blocks in blocks, and their labels.
func nestedNames(prefix string, blocks []dsl.Nested) (names []string) {
	for _, n := range blocks {
		names = append(names, prefix+n.Name)
		for _, l := range n.Label {
			names = append(names, prefix+n.Name+" "+l)
		}
		names = append(names, nestedNames(prefix+n.Name+".", n.Blocks)...)
	}
	return names
}

// checkForm wants an example in the canonical form, and short.
func checkForm(t *testing.T, name, file, text string) {
	if got := hclwrite.Format([]byte(text)); string(got) != text {
		t.Errorf("%s is not in the form of stepflow fmt", file)
	}
	if n := strings.Count(text, "\n"); n > longest && name != dsl.ExamplePipeline {
		t.Errorf("%s has %d lines; %d are the most", file, n, longest)
	}
}

// withPipeline returns the files of an example, and of the example pipeline without the blocks that the example has.
func withPipeline(t *testing.T, name string, files map[string]string) map[string]string {
	if name == dsl.ExamplePipeline {
		return files
	}
	own := map[string]bool{}
	for file, text := range files {
		if filepath.Ext(file) == ".hcl" && filepath.Dir(file) == "." {
			for _, b := range parse(t, text).Body.(*hclsyntax.Body).Blocks {
				own[b.Type+" "+strings.Join(b.Labels, " ")] = true
			}
		}
	}
	all := maps.Clone(files)
	for file, text := range dsl.Examples()[dsl.ExamplePipeline] {
		f, diags := hclwrite.ParseConfig([]byte(text), file, hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		for _, b := range f.Body().Blocks() {
			if own[b.Type()+" "+strings.Join(b.Labels(), " ")] {
				f.Body().RemoveBlock(b)
			}
		}
		all["pipeline_"+file] = string(f.Bytes())
	}
	return all
}

// claim is an expression and what an example says that it comes to: a value, or "error: " and a part of the message.
type claim struct{ expr, want string }

// claimsOf reads the comments of an example that hold an arrow.
func claimsOf(t *testing.T, text string) (claims []claim) {
	byLine := map[int]string{} // the expression that ends in a line
	var see func(b *hclsyntax.Body)
	see = func(b *hclsyntax.Body) {
		for _, a := range b.Attributes {
			byLine[a.Expr.Range().End.Line] = string(a.Expr.Range().SliceBytes([]byte(text)))
		}
		for _, x := range b.Blocks {
			see(x.Body)
		}
	}
	see(parse(t, text).Body.(*hclsyntax.Body))
	tokens, _ := hclsyntax.LexConfig([]byte(text), "", hcl.InitialPos)
	for _, x := range tokens {
		comment, want, ok := strings.Cut(strings.TrimPrefix(string(x.Bytes), "#"), "→")
		if x.Type != hclsyntax.TokenComment || !ok {
			continue
		}
		expr := strings.TrimSpace(comment)
		if expr == "" {
			expr = byLine[x.Range.Start.Line]
		}
		claims = append(claims, claim{expr, strings.TrimSpace(want)})
	}
	return claims
}

// checkClaims evaluates the expressions of claims as console does.
func checkClaims(t *testing.T, dir string, vars []string, claims []claim) {
	var known []claim
	for _, c := range claims {
		message, fails := strings.CutPrefix(c.want, "error: ")
		if !fails {
			known = append(known, c)
			continue
		}
		if _, errs, err := onCard(t, "console", append(vars, "-eval", c.expr, dir)...); err == nil ||
			!strings.Contains(strings.Join(strings.Fields(errs), " "), message) {
			t.Errorf("%s does not fail with %q: %s", c.expr, message, errs)
		}
	}
	if known == nil {
		return
	}
	args := slices.Clone(vars)
	for _, c := range known {
		args = append(args, "-eval", c.expr)
	}
	out, errs, err := onCard(t, "console", append(args, dir)...)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if err != nil || len(lines) != len(known) {
		t.Fatalf("%d expressions came to: %s%s", len(known), out, errs)
	}
	for i, c := range known {
		if lines[i] != c.want {
			t.Errorf("%s is %s, and the example says %s", c.expr, lines[i], c.want)
		}
	}
}

func parse(t *testing.T, text string) *hcl.File {
	f, diags := hclsyntax.ParseConfig([]byte(text), "", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("%v in:\n%s", diags, text)
	}
	return f
}

// onCard runs a command of stepflow as on a described card, with flags.
func onCard(t *testing.T, command string, flags ...string) (stdout, stderr string, err error) {
	t.Helper()
	card := []string{command, "-no-color", "-device", "cuda", "-device-memory", "80GiB", "-compute-capability", "8.0"}
	c := exec.Command("stepflow", append(card, flags...)...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err = c.Run()
	return out.String(), errs.String(), err
}

// writeDocuments writes 5,000 documents, of which even a thousandth can be held out.
func writeDocuments(t *testing.T, file string) {
	t.Helper()
	var rows []fineweb.Row
	for i := range 5000 {
		text := strings.Repeat(fmt.Sprintf("document %d ", i), 20)
		rows = append(rows, fineweb.Row{Text: text, ID: fmt.Sprint(i), Language: "en", IntScore: 4})
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := fineweb.WriteParquet(file, rows, len(rows)); err != nil {
		t.Fatal(err)
	}
}
