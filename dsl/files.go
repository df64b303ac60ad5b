package dsl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"

	"stepflow/foreign"
)

// sourceSuffix ends the names of files of HCL.
const sourceSuffix = ".hcl"

// VarSuffix ends the names of files of variable values in the language, and JSONSuffix of those in JSON.
const (
	VarSuffix  = ".vars.hcl"
	JSONSuffix = ".json"
)

// Files of variable values that are read without being named: first those of these names, then those whose names end
// so.
var (
	autoVarNames    = []string{"stepflow.vars.hcl", "stepflow.vars.json"}
	autoVarSuffixes = []string{".auto.vars.hcl", ".auto.vars.json"}
)

// Limits on the size of files, in bytes. A parsed source takes many times its size.
const (
	MaxSource = 4 << 20  // of a file of a pipeline
	maxText   = 16 << 20 // for file() and similar functions
)

// PipelineFiles lists the files of a pipeline: the *.hcl of a folder, or the one file named.
func PipelineFiles(path string) (dir string, files []string, err error) {
	return Texts(nil).pipelineFiles(path)
}

// pipelineFiles is PipelineFiles with the files that are in memory.
func (t Texts) pipelineFiles(path string) (dir string, files []string, err error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("there is no %s: name a folder of *.hcl files or one such file", path)
	}
	if err != nil {
		return "", nil, err
	}
	if !st.IsDir() {
		return filepath.Dir(path), []string{path}, nil
	}
	all, err := t.filesIn(path, sourceSuffix)
	if err != nil {
		return "", nil, err
	}
	for _, f := range all {
		if !strings.HasSuffix(f, VarSuffix) && !strings.HasSuffix(f, TestSuffix) {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return "", nil, fmt.Errorf("%s holds no *.hcl files: name the folder of a pipeline", path)
	}
	return path, files, nil
}

// Sources lists the *.hcl files of a folder by name, including those of variable values.
func Sources(dir string) ([]string, error) { return Texts(nil).filesIn(dir, sourceSuffix) }

// IsAutoVars reports whether a file of that name holds variable values that are read without being named.
func IsAutoVars(name string) bool {
	ends := func(suffix string) bool { return strings.HasSuffix(name, suffix) }
	return slices.Contains(autoVarNames, name) || slices.ContainsFunc(autoVarSuffixes, ends)
}

// autoVarFiles lists the files of variable values in a folder that are read without being named, in their order.
func (t Texts) autoVarFiles(dir string) ([]string, error) {
	own, err := t.filesIn(dir, autoVarNames...)
	if err != nil {
		return nil, err
	}
	own = slices.DeleteFunc(own, func(f string) bool { return !slices.Contains(autoVarNames, filepath.Base(f)) })
	files, err := t.filesIn(dir, autoVarSuffixes...)
	return append(own, files...), err
}

// filesIn lists the files of a folder whose names end with one of the suffixes, by name. It skips folders and hidden
// files, which editors and archives leave behind.
func (t Texts) filesIn(dir string, suffixes ...string) (files []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	wanted := func(name string) bool {
		ends := func(suffix string) bool { return strings.HasSuffix(name, suffix) }
		return !strings.HasPrefix(name, ".") && slices.ContainsFunc(suffixes, ends)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if st, err := os.Stat(path); !wanted(e.Name()) || err == nil && st.IsDir() {
			continue
		}
		files = append(files, path)
	}
	for path := range t {
		if filepath.Dir(path) == filepath.Clean(dir) && wanted(filepath.Base(path)) && !slices.Contains(files, path) {
			files = append(files, path)
		}
	}
	slices.Sort(files)
	return files, nil
}

// readSource reads a file of HCL and checks what the parser does not: that it is UTF-8, and that it does not nest too
// far.
func (t Texts) readSource(path string) ([]byte, hcl.Diagnostics) {
	src, diags := t.readText(path)
	if diags.HasErrors() {
		return nil, diags
	}
	return src, checkNesting(src, path)
}

// readText reads a file of the user's that must be UTF-8.
func (t Texts) readText(path string) ([]byte, hcl.Diagnostics) {
	src, diags := t.read(path)
	return src, append(diags, checkText(src, path)...)
}

// readBytes reads a file of the user's.
func readBytes(path string) ([]byte, hcl.Diagnostics) {
	src, err := foreign.ReadFile(path, MaxSource)
	if err != nil {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unreadable file",
			Detail: upperFirst(err.Error()) + "."}}
	}
	return src, nil
}

// checkText reports the place at which a file is not UTF-8.
func checkText(src []byte, path string) hcl.Diagnostics {
	if utf8.Valid(src) {
		return nil
	}
	at := firstInvalid(src)
	return hcl.Diagnostics{failure(hcl.Range{Filename: path, Start: at, End: at}, "Not UTF-8",
		"The file holds bytes that are not text in UTF-8. Save it in UTF-8.")}
}

// firstInvalid returns the place of the first byte that is not UTF-8.
func firstInvalid(src []byte) hcl.Pos {
	at := hcl.InitialPos
	for at.Byte < len(src) {
		r, n := utf8.DecodeRune(src[at.Byte:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		at.Byte, at.Column = at.Byte+n, at.Column+1
		if r == '\n' {
			at.Line, at.Column = at.Line+1, 1
		}
	}
	return at
}

// upperFirst starts a text with a capital letter, unless it starts with a path.
func upperFirst(s string) string {
	if first, _, _ := strings.Cut(s, " "); strings.ContainsAny(first, "/.\\") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
