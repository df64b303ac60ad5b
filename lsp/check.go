package lsp

import (
	"cmp"
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/runtime/blocks/all"
)

// pause is how long nothing may change in a folder before it is checked: while somebody is typing, most texts are
// broken.
const pause = 150 * time.Millisecond

// folder is a folder of which the editor has files open.
type folder struct {
	version int // counts changes
	timer   *time.Timer
	config  *dsl.Config             // as it was checked last; nil before that
	found   map[string][]Diagnostic // what the check found, by path
}

// changed has a folder checked, after a pause, and others that read files of it.
func (s *session) changed(dir string) {
	if !inFolder(dir) {
		return
	}
	if s.folders[dir] == nil {
		s.folders[dir] = &folder{}
	}
	for path, f := range s.folders {
		if path == dir || f.reads(dir) {
			s.schedule(path, f)
		}
	}
}

// reads reports whether the pipeline in a folder has files in another.
func (f *folder) reads(dir string) bool {
	if f.config == nil {
		return false
	}
	for path := range f.config.Files {
		if filepath.Dir(path) == dir {
			return true
		}
	}
	return false
}

// schedule has a folder checked after a pause.
func (s *session) schedule(dir string, f *folder) {
	f.version++
	if f.timer != nil {
		f.timer.Stop()
	}
	version := f.version
	f.timer = time.AfterFunc(pause, func() { s.check(dir, version) })
}

// stopTimers ends what is scheduled.
func (s *session) stopTimers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.folders {
		f.version++
		f.timer.Stop()
	}
}

// check checks a version of a folder, and tells the editor what is wrong in it. Nothing is told of a version that has
// changed in the meantime.
func (s *session) check(dir string, version int) {
	s.mu.Lock()
	f := s.folders[dir]
	if f == nil || f.version != version {
		s.mu.Unlock()
		return
	}
	texts := dsl.Texts{}
	var open []*file // of this folder
	for path, x := range s.open {
		texts[path] = x.text.src
		if x.dir() == dir {
			open = append(open, x)
		}
	}
	s.mu.Unlock()

	var config *dsl.Config
	var diags hcl.Diagnostics
	if len(open) > 0 {
		config, diags = s.validate(dir, texts, open)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if f.version != version {
		return
	}
	before := f.found
	f.config, f.found = config, s.byFile(diags, open)
	if len(open) == 0 {
		delete(s.folders, dir)
	}
	for _, path := range slices.Sorted(maps.Keys(before)) {
		if _, still := f.found[path]; !still {
			s.publish(path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(f.found)) {
		s.publish(path)
	}
}

// validate returns what stepflow validate finds in a folder, and in open files that it does not read.
func (s *session) validate(dir string, texts dsl.Texts, open []*file) (c *dsl.Config, diags hcl.Diagnostics) {
	inputs := dsl.Inputs{Env: s.options.Env, Open: true, Unsaved: texts}
	c, diags = dsl.Load(dir, inputs)
	pipeline := len(c.Files) > 0
	if pipeline {
		diags = append(diags, c.Validate(diags, all.Sound)...)
	} else {
		diags = nil // that there is none, where only values of variables are open
	}
	for _, x := range open {
		switch values := x.isValues(); {
		case x.isTest():
			_, d := dsl.ReadTest(x.path, texts)
			diags = append(diags, in(d, x.path)...)
		case values && dsl.IsAutoVars(filepath.Base(x.path)) && pipeline, c.Files[x.path] != nil:
		case values && pipeline:
			inputs.Flags = []dsl.Flag{{File: x.path}}
			_, d := dsl.Load(dir, inputs)
			diags = append(diags, in(d, x.path)...)
		default:
			_, _, d := dsl.Format(x.text.src, x.path)
			diags = append(diags, in(d, x.path)...)
		}
	}
	return c, diags
}

// in returns the diagnostics of a file.
func in(diags hcl.Diagnostics, path string) hcl.Diagnostics {
	return slices.DeleteFunc(diags, func(d *hcl.Diagnostic) bool { return d.Subject == nil || d.Subject.Filename != path })
}

// byFile sorts diagnostics by the files in which they are. One without a place is at the start of the first file.
func (s *session) byFile(diags hcl.Diagnostics, open []*file) map[string][]Diagnostic {
	found := map[string][]Diagnostic{}
	first := ""
	for _, f := range open {
		found[f.path] = nil
		if first == "" || f.path < first {
			first = f.path
		}
	}
	for _, d := range diags {
		x := Diagnostic{Severity: severityError, Source: "stepflow", Message: message(d)}
		if d.Severity == hcl.DiagWarning {
			x.Severity = severityWarning
		}
		path := first
		if r := d.Subject; r != nil {
			f := s.file(r.Filename)
			if f == nil {
				continue
			}
			path = r.Filename
			x.Range = f.text.rangeOf(span{r.Start.Byte, max(r.Start.Byte, r.End.Byte)})
		}
		found[path] = append(found[path], x)
	}
	return found
}

// file returns a file as the editor has it, or as it lies on disk; nil if it cannot be read.
func (s *session) file(path string) *file {
	if f := s.open[path]; f != nil {
		return f
	}
	return s.read(path)
}

// message returns the text of a diagnostic.
func message(d *hcl.Diagnostic) string {
	return strings.TrimSuffix(d.Summary+": "+d.Detail, ": ")
}

// publish tells the editor what is wrong in a file, whichever folders found it, if it does not know.
func (s *session) publish(path string) {
	p := publishDiagnosticsParams{URI: uriOf(path), Diagnostics: []Diagnostic{}}
	if f := s.open[path]; f != nil {
		p.URI, p.Version = f.uri, &f.version
	}
	for _, dir := range slices.Sorted(maps.Keys(s.folders)) {
		for _, d := range s.folders[dir].found[path] {
			if !slices.Contains(p.Diagnostics, d) {
				p.Diagnostics = append(p.Diagnostics, d)
			}
		}
	}
	slices.SortStableFunc(p.Diagnostics, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Range.Start.Line, b.Range.Start.Line),
			cmp.Compare(a.Range.Start.Character, b.Range.Start.Character))
	})
	if before, told := s.told[path]; told && slices.Equal(before, p.Diagnostics) {
		return
	}
	s.told[path] = p.Diagnostics
	_ = s.rpc.Notify(context.Background(), "textDocument/publishDiagnostics", p) // an editor that is gone needs none
}
