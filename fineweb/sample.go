package fineweb

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"hash/fnv"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"stepflow/fineweb/tokenizer"
)

// Row is FineWeb-Edu's schema, in its order.
type Row struct {
	Text          string  `parquet:"text"`
	ID            string  `parquet:"id"`
	Dump          string  `parquet:"dump"`
	URL           string  `parquet:"url"`
	FilePath      string  `parquet:"file_path"`
	Language      string  `parquet:"language"`
	LanguageScore float64 `parquet:"language_score"`
	TokenCount    int64   `parquet:"token_count"`
	Score         float64 `parquet:"score"`
	IntScore      int64   `parquet:"int_score"`
}

// GoSample is what is made of the documentation of the Go standard library.
type GoSample struct {
	Rows      []Row
	Pairs     []Pair     // from packages that are trained on
	Questions []Question // from those that are held out
}

// GoDocs makes a sample of the documentation comments of the Go standard library under goroot, of which a share of the
// packages is held out. Rows are prose, one document a package: score grows with length (it is a stand-in, not
// FineWeb-Edu's classifier), and token_count counts words and punctuation as GPT-2 splits them. The wrong choices of a
// question document other declarations of the same package.
func GoDocs(goroot string, heldOut float64) (s GoSample, err error) {
	held := Source{ValidationFraction: heldOut}
	err = goPackages(goroot, func(rel string, files []*ast.File) {
		id, list := packageID(rel), declarations(files)
		if held.held(hashID(id)) {
			s.Questions = append(s.Questions, choose(rel, list)...)
		} else {
			s.Pairs = append(s.Pairs, ask(rel, list)...)
		}
		text := packageText(files)
		if len(text) < 200 {
			return
		}
		score := math.Min(5, math.Log10(float64(len(text))))
		s.Rows = append(s.Rows, Row{Text: text, ID: id,
			Dump: "go-docs", URL: "https://pkg.go.dev/" + rel, FilePath: "src/" + rel, Language: "en", LanguageScore: 1,
			TokenCount: int64(tokenizer.WordCount(text)), Score: score, IntScore: int64(math.Round(score))})
	})
	if err == nil && len(s.Rows) == 0 {
		err = fmt.Errorf("no documentation found under %s", filepath.Join(goroot, "src"))
	}
	s.Pairs = mixedPairs(s.Pairs)
	return s, err
}

// packageID is the id of the document of a package.
func packageID(rel string) string {
	h := fnv.New128a()
	h.Write([]byte(rel))
	s := h.Sum(nil)
	return fmt.Sprintf("<urn:uuid:%x-%x-%x-%x-%x>", s[:4], s[4:6], s[6:8], s[8:10], s[10:])
}

// goPackages visits the packages below goroot/src in the order of their paths.
func goPackages(goroot string, visit func(rel string, files []*ast.File)) error {
	src := filepath.Join(goroot, "src")
	var dirs []string
	err := filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "testdata" || name == "vendor" {
				return filepath.SkipDir
			}
			dirs = append(dirs, p)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the Go standard library: %w", err)
	}
	sort.Strings(dirs)
	for _, dir := range dirs {
		rel, err := filepath.Rel(src, dir)
		if err != nil {
			return err
		}
		if files := packageFiles(dir); len(files) > 0 {
			visit(filepath.ToSlash(rel), files)
		}
	}
	return nil
}

// packageFiles parses the files of the package in dir, in the order of their names.
func packageFiles(dir string) (files []*ast.File) {
	fset := token.NewFileSet()
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil,
			parser.ParseComments|parser.SkipObjectResolution)
		if err != nil || len(files) > 0 && f.Name.Name != files[0].Name.Name {
			continue // not compiled, or a program beside the package
		}
		files = append(files, f)
	}
	return files
}

// packageText is the documentation of a package: of the package, then of its declarations, file by file. The same
// comment, in files for several systems, counts once.
func packageText(files []*ast.File) string {
	var out strings.Builder
	printer, reader := &comment.Printer{TextWidth: -1}, &comment.Parser{}
	seen := map[string]bool{}
	add := func(c *ast.CommentGroup) {
		text := strings.TrimSpace(c.Text())
		if text == "" || seen[text] {
			return
		}
		seen[text] = true
		out.Write(printer.Text(reader.Parse(text)))
		out.WriteByte('\n')
	}
	for _, f := range files {
		add(f.Doc)
	}
	for _, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				add(d.Doc)
			case *ast.GenDecl:
				add(d.Doc)
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						add(spec.Doc)
					case *ast.ValueSpec:
						add(spec.Doc)
					}
				}
			}
		}
	}
	return strings.ToValidUTF8(strings.TrimSpace(out.String()), "")
}

// createdBy stands in the footer of every file that EncodeParquet writes.
const createdBy = "stepflow"

// EncodeParquet writes rows as zstd parquet with row groups of a number of rows.
func EncodeParquet(to io.Writer, rows []Row, perGroup int) error {
	w := parquet.NewGenericWriter[Row](to, parquet.Compression(&zstd.Codec{}), parquet.CreatedBy(createdBy, "1", ""))
	for at := 0; at < len(rows); at += perGroup {
		if _, err := w.Write(rows[at:min(len(rows), at+perGroup)]); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return w.Close()
}

// WriteParquet is EncodeParquet to a new file.
func WriteParquet(path string, rows []Row, perGroup int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(EncodeParquet(f, rows, perGroup), f.Close())
}

// Encoded reports whether a file, of up to 64 MiB, is one that EncodeParquet wrote.
func Encoded(r io.Reader) bool {
	b, err := io.ReadAll(io.LimitReader(r, 64<<20))
	if err != nil {
		return false
	}
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	return err == nil && strings.HasPrefix(f.Metadata().CreatedBy, createdBy+" ")
}
