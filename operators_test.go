package stepflow

import (
	"crypto/sha256"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// operatorRoots hold what decides the bits that training makes: what a kernel computes, in which order sums are made,
// how a model starts and grows, which tokens it sees. Each package below them is a group with a hash of its own.
var operatorRoots = []string{"gpu", "ops", "fineweb", "runtime/program", "runtime/forward", "runtime/train"}

// indifferent lists, below operatorRoots, packages and patterns of files that decide no bits, and why. What is not here
// decides them: a new file is not forgotten.
var indifferent = []struct{ path, why string }{
	{"gpu/ref", "the oracle of tests"},
	{"gpu/gputest", "tests"},
	{"gpu/probe", "times kernels"},
	{"gpu/cuda/emu", "a driver of tests"},
	{"gpu/cuda/find_*.go", "where the driver's library lies"},
	{"gpu/cuda/kernels/choose.go", "images of the same sources"},
	{"gpu/cuda/kernels/images.go", "images of the same sources"},
	{"gpu/cuda/kernels/sources.go", "embeds the sources"},
	{"gpu/cuda/kernels/sum.go", "names the sources of the images"},
	{"gpu/cpu/asm_*.s", "written by asmgen, which is hashed; a test of gpu/cpu compares"},
	{"gpu/cpu/loops_*.go", "written by asmgen, which is hashed; a test of gpu/cpu compares"},
	{"gpu/cpu/arena_*.go", "allocates the arena"},
	{"gpu/liveness.go", "when values are alive"},
	{"ops/graph/arena.go", "where values lie"},
	{"ops/graph/depend.go", "what a launch waits for"},
	{"ops/growth/partition.go", "its result is an attribute of a stage, which the recipe hashes"},
	{"fineweb/tokenizer", "tokenizer.EncoderVersion is the version of what it makes, and has a test"},
	{"fineweb/web", "gives the bytes of files"},
	{"fineweb/hub", "gives the bytes of files"},
	{"fineweb/s3", "gives the bytes of files"},
	{"fineweb/digest*.go", "hashes of files, which the recipe hashes"},
	{"fineweb/file.go", "gives the bytes of files"},
	{"fineweb/local.go", "gives the bytes of files"},
	{"fineweb/remote.go", "gives the bytes of files"},
	{"fineweb/packed.go", "gives the bytes of files"},
	{"fineweb/unpacked.go", "gives the bytes of files"},
	{"fineweb/footer.go", "refuses damaged files"},
	{"fineweb/effort.go", "estimates"},
	{"fineweb/size.go", "estimates"},
	{"fineweb/origin.go", "names documents"},
	{"fineweb/overlap.go", "warns of data that are trained on and measured"},
	{"fineweb/watch.go", "counts documents that are trained on and measured"},
	{"fineweb/sample.go", "writes files, which the recipe hashes"},
	{"runtime/program/figures.go", "counts bytes and operations"},
	{"runtime/program/precision.go", "words for element types, which the recipe hashes"},
	{"runtime/program/streamed.go", "measures the model that a stage starts from"},
	{"runtime/forward/flaw.go", "finds what is not finite"},
	{"runtime/forward/streamed.go", "measures the model that a stage starts from"},
	{"runtime/train/checkpoint.go", "when a checkpoint is written"},
	{"runtime/train/flaw.go", "finds what is not finite"},
	{"runtime/train/seam.go", "measures the loss on both sides of a seam"},
	{"runtime/train/spike.go", "warns"},
	{"runtime/train/timing.go", "times steps"},
}

// files lists the sources below a folder, tests and what tests read left out.
func files(t *testing.T, root string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		source := slices.Contains([]string{".go", ".s", ".cu", ".cuh"}, filepath.Ext(name))
		if err == nil && !d.IsDir() && source && !strings.HasSuffix(name, "_test.go") {
			list = append(list, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// hashOperators hashes each group of what decides bits. A group is the set of its declarations: their order, and which
// file they stand in, do not count.
func hashOperators(t *testing.T) map[string]string {
	t.Helper()
	used := map[string]bool{}
	parts := map[string][]string{}
	for _, root := range operatorRoots {
		for _, name := range files(t, root) {
			if x := indifference(name); x != "" {
				used[x] = true
				continue
			}
			list, err := declarations(name)
			if err != nil {
				t.Fatal(err)
			}
			parts[path.Dir(name)] = append(parts[path.Dir(name)], list...)
		}
	}
	for _, x := range indifferent {
		if !used[x.path] {
			t.Errorf("indifferent lists %s, which is not there", x.path)
		}
	}
	hashes := map[string]string{}
	for group, list := range parts {
		slices.Sort(list)
		hashes[group] = fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(list, "\n"))))[:16]
	}
	return hashes
}

// indifference is the row of indifferent that a file belongs to; "" for one that decides bits.
func indifference(name string) string {
	for _, x := range indifferent {
		if ok, _ := path.Match(x.path, name); ok || strings.HasPrefix(name, x.path+"/") {
			return x.path
		}
	}
	return ""
}

// declarations returns the top-level declarations of a Go file, or all of another source, as text without what decides
// nothing: comments, white space, imports, texts of errors.
func declarations(name string) (list []string, err error) {
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if path.Ext(name) != ".go" {
		return []string{withoutComments(string(src))}, nil
	}
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.IMPORT {
			if strings.Contains(string(src[set.Position(g.Pos()).Offset:set.Position(g.End()).Offset]), `"C"`) {
				list = append(list, withoutComments(g.Doc.Text())) // the C that cgo compiles
			}
			continue
		}
		at := set.Position(d.Pos()).Offset
		skip := map[int]bool{}
		for _, pos := range prose(d) {
			skip[set.Position(pos).Offset-at] = true
		}
		list = append(list, tokens(src[at:set.Position(d.End()).Offset], skip))
	}
	return list, nil
}

// prose finds the string literals that are texts of errors, or formulas for the reader, and each + between two of them.
func prose(d ast.Decl) (list []token.Pos) {
	var add func(exprs ...ast.Expr)
	add = func(exprs ...ast.Expr) {
		for _, e := range exprs {
			switch e := e.(type) {
			case *ast.BasicLit:
				if e.Kind == token.STRING {
					list = append(list, e.Pos())
				}
			case *ast.BinaryExpr:
				if l, ok := e.Y.(*ast.BasicLit); ok && l.Kind == token.STRING && e.Op == token.ADD {
					list = append(list, e.OpPos)
					add(e.X, e.Y)
				}
			}
		}
	}
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			called := ""
			switch f := n.Fun.(type) {
			case *ast.Ident:
				called = f.Name
			case *ast.SelectorExpr:
				called = f.Sel.Name
				if x, ok := f.X.(*ast.Ident); ok {
					called = x.Name + "." + called
				}
			}
			if slices.Contains([]string{"panic", "fmt.Errorf", "errors.New", "g.fail"}, called) {
				add(n.Args...)
			}
		case *ast.KeyValueExpr:
			if k, ok := n.Key.(*ast.Ident); ok && k.Name == "Formula" {
				add(n.Value)
			}
		}
		return true
	})
	return list
}

// tokens writes Go source as one token a line, without what gofmt may add or remove; skip has the offsets of tokens to
// leave out.
func tokens(src []byte, skip map[int]bool) string {
	set := token.NewFileSet()
	file := set.AddFile("", -1, len(src))
	var s scanner.Scanner
	s.Init(file, src, nil, 0)
	var list []string
	for {
		pos, tok, text := s.Scan()
		if n := len(list); n > 0 && (tok == token.RPAREN || tok == token.RBRACE || tok == token.EOF) &&
			(list[n-1] == ";" || list[n-1] == ",") {
			list = list[:n-1]
		}
		switch {
		case tok == token.EOF:
			return strings.Join(list, "\n")
		case skip[file.Offset(pos)]:
		case tok.IsLiteral():
			list = append(list, text)
		default:
			list = append(list, tok.String())
		}
	}
}

var cComment = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"`)

// withoutComments returns C or assembly without comments, blank lines and white space around lines.
func withoutComments(src string) string {
	src = cComment.ReplaceAllStringFunc(src, func(s string) string {
		if s[0] == '"' {
			return s
		}
		return " "
	})
	var lines []string
	for line := range strings.Lines(src) {
		if words := strings.Fields(line); len(words) > 0 {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	return strings.Join(lines, "\n")
}

// TestDeclarations: what decides nothing does not count, and what computes does.
func TestDeclarations(t *testing.T) {
	hash := func(name, src string) string {
		file := filepath.Join(t.TempDir(), name)
		if path.Ext(name) == ".go" {
			src = "package a\n" + src
		}
		if err := os.WriteFile(file, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		list, err := declarations(file)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(list)
		return strings.Join(list, "\n\n")
	}
	for _, c := range []struct {
		name, a, b string
		same       bool
	}{
		{"a.go", "// F adds.\nfunc F(x int) int { return x + 1 } // one",
			"func F(x int) int {\n\treturn x + 1\n}", true},
		{"a.go", "func F() int { return 1 }\nvar x = []int{1, 2}",
			"var x = []int{\n\t1,\n\t2,\n}\nfunc F() int { return 1 }", true},
		{"a.go", "import \"fmt\"\nvar e = fmt.Errorf(\"no\")",
			"import (\n\t\"fmt\"\n)\nvar e = fmt.Errorf(\"none\")", true},
		{"a.go", "import \"fmt\"\nvar e = fmt.Errorf(\"no %d\", 1)",
			"import \"fmt\"\nvar e = fmt.Errorf(\"no \"+\n\t\"%d\", 1)", true},
		{"a.go", "import \"fmt\"\nvar e = fmt.Errorf(\"no\" + a)",
			"import \"fmt\"\nvar e = fmt.Errorf(\"no\" + b)", false},
		{"a.go", `var k = K{Formula: "x"}`, `var k = K{Formula: "y"}`, true},
		{"a.go", `var k = K{Name: "x"}`, `var k = K{Name: "y"}`, false},
		{"a.go", "func F(x int) int { return x + 1 }", "func F(x int) int { return x + 2 }", false},
		{"a.go", "// float f(float x) { return x; }\nimport \"C\"",
			"// float f(float x) { return -x; }\nimport \"C\"", false},
		{"a.cu", "y = a * b; // product\n\n  z = y;", "/* a\n b */ y = a  * b;\nz = y;", true},
		{"a.cu", "y = a * b;", "y = a + b;", false},
		{"a.cu", `f("// no comment");`, `f("//");`, false},
	} {
		if a, b := hash(c.name, c.a), hash(c.name, c.b); (a == b) != c.same {
			t.Errorf("equal should be %t:\n%s\nis read as\n%s\nand\n%s\nas\n%s", c.same, c.a, a, c.b, b)
		}
	}
}
