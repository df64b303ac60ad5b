package lsp

import (
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"time"

	"stepflow/dsl"
)

// file is a version of a file, as an editor shows it or as it lies on disk.
type file struct {
	uri, path string
	version   int
	text      *text
	parts     []part
}

// part is a part of a file that is read by itself. Places in it count from its start.
type part struct {
	start int
	*section
}

// section is what is read of a part.
type section struct {
	*outline
	names []name
	calls []call
}

// newFile reads a text. What is the same as in an earlier version of the file is not read again.
func newFile(uri, path string, t *text, old *file) *file {
	f := &file{uri: uri, path: path, text: t}
	if len(t.src) > dsl.MaxSource {
		f.parts = []part{{0, &section{outline: &outline{}}}} // validate refuses it
		return f
	}
	known := map[string]*section{}
	if old != nil {
		for _, p := range old.parts {
			known[string(p.src)] = p.section
		}
	}
	starts := split(t.src)
	for i, start := range starts {
		end := len(t.src)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		src := t.src[start:end]
		s := known[string(src)]
		if s == nil {
			s = &section{outline: newOutline(src)}
			s.names, s.calls = s.findNames(), s.outline.calls()
			if f.isValues() {
				s.names = s.settings(s.items)
			}
		}
		f.parts = append(f.parts, part{start, s})
	}
	return f
}

// isValues reports whether the file holds values of variables.
func (f *file) isValues() bool { return strings.HasSuffix(f.path, dsl.VarSuffix) }

// testFolder is the folder of a pipeline in which tests may lie that do not lie beside it.
const testFolder = "tests"

// isTest reports whether the file holds tests of a pipeline.
func (f *file) isTest() bool { return strings.HasSuffix(f.path, dsl.TestSuffix) }

// bodyOf returns what may stand in the innermost of blocks that lie in each other.
func (f *file) bodyOf(path []dsl.Head) dsl.Body {
	read := dsl.BodyOf
	if f.isTest() {
		read = dsl.TestBodyOf
	}
	body, _ := read(path) // nothing may stand in what the language does not have
	return body
}

// dir returns the folder of the file's pipeline. A text that was never saved is a folder of its own.
func (f *file) dir() string {
	if !inFolder(f.path) {
		return f.path
	}
	dir := filepath.Dir(f.path)
	if f.isTest() && filepath.Base(dir) == testFolder {
		return filepath.Dir(dir)
	}
	return dir
}

// at returns the part of a place, and the place in it.
func (f *file) at(offset int) (part, int) {
	i := sort.Search(len(f.parts), func(i int) bool { return f.parts[i].start > offset }) - 1
	p := f.parts[max(i, 0)]
	return p, min(offset-p.start, len(p.src))
}

// rangeOf returns the range of a span of a part.
func (f *file) rangeOf(p part, s span) Range {
	return f.text.rangeOf(span{p.start + s.start, p.start + s.end})
}

// location returns where a span of a part is.
func (f *file) location(p part, s span) Location { return Location{f.uri, f.rangeOf(p, s)} }

// onDisk is a file as it was read from disk.
type onDisk struct {
	*file
	size  int64
	mtime time.Time
}

// filesOf returns the files of a folder, and of its tests, by name: as the editor has them, or as they lie on disk.
func (s *session) filesOf(dir string) (list []*file) {
	for _, f := range s.open {
		if f.dir() == dir {
			list = append(list, f)
		}
	}
	sources, _ := dsl.Sources(dir) // what cannot be read has no files
	tests, _ := dsl.Sources(filepath.Join(dir, testFolder))
	tests = slices.DeleteFunc(tests, func(path string) bool { return !strings.HasSuffix(path, dsl.TestSuffix) })
	for _, path := range append(sources, tests...) {
		if s.open[path] != nil {
			continue
		}
		if f := s.read(path); f != nil {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b *file) int { return strings.Compare(a.path, b.path) })
	return list
}

// read returns a file as it lies on disk; nil if it cannot be read.
func (s *session) read(path string) *file {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() || st.Size() > dsl.MaxSource {
		return nil
	}
	old := s.disk[path]
	if old.file != nil && old.size == st.Size() && old.mtime.Equal(st.ModTime()) {
		return old.file
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	f := newFile(uriOf(path), path, newText(src, s.encoding), old.file)
	s.disk[path] = onDisk{f, st.Size(), st.ModTime()}
	return f
}

// pathOf returns the path of a file in the file system. Any other URI is its own path, of a file without a folder.
func pathOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" {
		return uri
	}
	path := u.Path
	if runtime.GOOS == "windows" {
		path = strings.TrimPrefix(path, "/")
	}
	return filepath.Clean(filepath.FromSlash(path))
}

// uriOf returns the URI of a path.
func uriOf(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

// inFolder reports whether a path is one of the file system, not that of a text that was never saved.
func inFolder(path string) bool { return filepath.IsAbs(path) }
