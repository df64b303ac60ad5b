// Package trial runs the test files of a pipeline: it plans and applies the pipeline as their runs change it, in
// folders of its own, and tests what comes of that.
package trial

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/plan"
)

// Status is what came of a run, of a file, or of all files. The worst of the parts is the status of the whole.
type Status string

// The statuses, from the best to the worst.
const (
	Skip  Status = "skip"  // it was not run
	Pass  Status = "pass"  // all that was tested holds
	Fail  Status = "fail"  // a condition is false
	Error Status = "error" // it could not be tested
)

var statuses = []Status{Skip, Pass, Fail, Error}

// worse returns the worse of two statuses.
func worse(a, b Status) Status {
	return statuses[max(slices.Index(statuses, a), slices.Index(statuses, b))]
}

// Options say how to run tests.
type Options struct {
	Path   string     // of the pipeline
	Folder string     // of test files, beside those next to the pipeline
	Only   []string   // test files to run; none for all
	Inputs dsl.Inputs // of the pipeline; test files win

	Caps        gpu.Caps
	Cache       *fineweb.Cache // keeps ranges of remote files; nil for the usual one
	Scratch     string         // folder for states, exports and generated documents
	Keep        bool           // leave them there
	Parallelism int            // runs at once, of those that may; at least one
	Timeout     time.Duration  // of a run
	// lends a device, which a run has for itself; release gives it back
	Device func(context.Context) (d gpu.Device, release func(), err error)
	// what the names plan and state of a condition stand for
	Planned func(*plan.Plan) map[string]any
	State   func(*plan.Plan) map[string]any
}

// Suite is the test files of a pipeline.
type Suite struct {
	Files  []*File
	Config *dsl.Config // the pipeline as no test changes it
	o      Options
}

// File is a test file.
type File struct {
	Path   string
	Runs   []*Run
	Status Status

	suite  *Suite
	folder string // for all that its runs make
	mocks  mocks
}

// Run is a run of a test file. Until it has ended, it has no status.
type Run struct {
	*dsl.TestRun
	outcome
	Seconds float64

	file *File
	done chan struct{} // closed once it has ended, or was skipped
}

// Load reads the test files of a pipeline and checks them all, so that nothing runs if one is wrong. files holds the
// sources for the problems.
func Load(o Options) (s *Suite, files map[string]*hcl.File, diags hcl.Diagnostics) {
	in := o.Inputs
	in.Open = true
	cfg, diags := dsl.Load(o.Path, in)
	s = &Suite{Config: cfg, o: o}
	if diags.HasErrors() {
		return s, cfg.Files, diags
	}
	paths, diags := s.paths()
	files = map[string]*hcl.File{}
	for i, path := range paths {
		t, d := Read(cfg, path)
		diags = append(diags, d...)
		f := &File{Path: path, suite: s, folder: filepath.Join(o.Scratch, fmt.Sprintf("%d-%s", i,
			strings.TrimSuffix(filepath.Base(path), dsl.TestSuffix)))}
		for _, r := range t.Runs {
			f.Runs = append(f.Runs, &Run{TestRun: r, file: f, done: make(chan struct{})})
		}
		s.Files = append(s.Files, f)
		maps.Copy(files, t.Files)
	}
	return s, files, diags
}

// Read reads a test file of a pipeline and checks it.
func Read(cfg *dsl.Config, path string) (*dsl.TestFile, hcl.Diagnostics) {
	t, diags := dsl.ReadTest(path, nil)
	if !diags.HasErrors() {
		diags = append(diags, cfg.CheckTest(t)...)
	}
	return t, diags
}

// paths lists the test files to run.
func (s *Suite) paths() ([]string, hcl.Diagnostics) {
	none := func(format string, args ...any) ([]string, hcl.Diagnostics) {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "No tests", Detail: fmt.Sprintf(format, args...)}}
	}
	all, err := dsl.TestFiles(s.o.Path, s.o.Folder)
	switch {
	case err != nil:
		return none("The test files could not be listed: %v.", err)
	case len(all) == 0:
		return none("There are no files named *%s, neither beside the pipeline nor in its folder %s.", dsl.TestSuffix,
			s.o.Folder)
	case len(s.o.Only) == 0:
		return all, nil
	}
	chosen := map[string]bool{}
	for _, name := range s.o.Only {
		path := filepath.Clean(name)
		i := slices.IndexFunc(all, func(f string) bool { return f == path || f == filepath.Join(s.Config.Dir, path) })
		if i < 0 {
			return none("There is no test file %s. There are %s.", name, strings.Join(all, ", "))
		}
		chosen[all[i]] = true
	}
	return slices.DeleteFunc(all, func(f string) bool { return !chosen[f] }), nil
}

// Count returns how many runs have a status.
func (s *Suite) Count(status Status) (n int) {
	for _, f := range s.Files {
		for _, r := range f.Runs {
			if r.Status == status {
				n++
			}
		}
	}
	return n
}

// Status returns the status of all files.
func (s *Suite) Status() Status {
	all := Skip
	for _, f := range s.Files {
		all = worse(all, f.Status)
	}
	return all
}

// Watcher is told how a suite goes on, by one goroutine.
type Watcher interface {
	Begin(f *File)
	Ran(f *File, r *Run) // in the order of the file
	End(f *File)
}

// Run runs the files one after the other. Cancelling ctx ends the runs that go on, and the others are skipped.
func (s *Suite) Run(ctx context.Context, w Watcher) {
	for _, f := range s.Files {
		w.Begin(f)
		f.Status = Skip
		f.start(ctx)
		for _, r := range f.Runs {
			<-r.done
			f.Status = worse(f.Status, r.Status)
			w.Ran(f, r)
			r.Plan = nil // it is large
		}
		if !s.o.Keep {
			os.RemoveAll(f.folder) // to make room for the next; what is left goes with the whole
		}
		w.End(f)
	}
}
