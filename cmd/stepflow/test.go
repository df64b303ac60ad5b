package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/runtime/apply"
	"stepflow/runtime/durable"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
	"stepflow/runtime/trial"
)

func testCommand() command {
	var t tester
	return command{name: "test", args: "[flags] [DIR]", most: 1,
		short: "Runs the test files of a pipeline.",
		synopsis: "Runs the files named *" + dsl.TestSuffix + " beside the pipeline and in its folder tests. Each run " +
			"in them plans or applies the pipeline, which it may make smaller, and tests conditions on what comes of " +
			"that. State, exports and generated documents lie in a temporary folder, which is removed at the end; the " +
			"pipeline's own state and exports are not touched. The exit code is 0 if all passed, and 1 if one failed or " +
			"could not be tested.",
		example: "stepflow test pipelines/quickstart\n" +
			"stepflow test -filter tests/plan" + dsl.TestSuffix + " -junit-xml=report.xml",
		flags: func(a *app, f *flag.FlagSet) {
			t = tester{app: a}
			f.BoolVar(&a.json, "json", false, "write JSON for machines")
			planning(a, f)
			f.Func("filter", "run only this test file; can be repeated", func(s string) error {
				t.only = append(t.only, s)
				return nil
			})
			testDirectory(f, &t.folder)
			f.StringVar(&t.junit, "junit-xml", "", "write what came of the tests to this file, as JUnit XML")
			f.BoolVar(&t.verbose, "verbose", false, "show the plan of each run")
			f.BoolVar(&t.keep, "keep", false, "keep the temporary folder, and say where it is")
			f.DurationVar(&t.timeout, "timeout", 10*time.Minute, "time that a run may take")
			f.IntVar(&a.parallelism, "parallelism", 4, "runs at once, of those that may run beside each other")
			f.IntVar(&a.threads, "threads", 0,
				"threads of the CPU device, shared by the runs; 0 for one a processor (the result does not depend on it)")
		},
		run: func(_ *app, args []string) int { return t.run(args) }}
}

// tester is one call of test.
type tester struct {
	app           *app
	only          []string
	folder, junit string
	verbose, keep bool
	timeout       time.Duration
}

func (t *tester) run(args []string) int {
	a := t.app
	switch {
	case a.parallelism < 1:
		return a.misuse("stepflow test: -parallelism is at least 1, not %d", a.parallelism)
	case t.timeout <= 0:
		return a.misuse("stepflow test: -timeout is more than 0, not %s", t.timeout)
	}
	a.interrupt.hold("Interrupted: ending the runs and removing what they made. Once more stops at once.")
	caps, err := a.caps()
	if err != nil {
		return a.fail(err)
	}
	scratch, err := state.NewScratch()
	if err != nil {
		return a.fail(err)
	}
	a.interrupt.atExit(func() { scratch.Remove() })
	code := t.suite(args, caps, scratch)
	if err := t.clear(scratch); err != nil {
		return a.fail(err)
	}
	return code
}

// clear removes what the runs made, unless it is to be kept.
func (t *tester) clear(s *state.Scratch) error {
	if !t.keep {
		return s.Remove()
	}
	path, err := s.Keep()
	if t.app.json {
		t.app.line(map[string]any{"type": "test_kept", "path": path})
	} else {
		fmt.Fprintf(t.app.stdout, "Kept in %s.\n", path)
	}
	return err
}

// suite runs the tests, and says what came of them.
func (t *tester) suite(args []string, caps gpu.Caps, scratch *state.Scratch) int {
	a := t.app
	pool := t.pool(caps)
	defer pool.close()
	s, files, diags := trial.Load(trial.Options{Path: dirArg(args), Folder: t.folder, Only: t.only, Inputs: a.inputs(),
		Caps: caps, Cache: a.cache, Scratch: scratch.Path, Keep: t.keep, Parallelism: a.parallelism, Timeout: t.timeout,
		Device: pool.lend, Planned: figures, State: func(p *plan.Plan) map[string]any {
			return stateJSON(p.State)["blocks"].(map[string]any)
		}})
	a.secrets = s.Config.Secrets
	if diags.HasErrors() {
		a.diagnostics(diags, files)
		return exitError
	}
	if a.json {
		t.abstract(s)
	}
	s.Run(a.ctx, t)
	t.summary(s)
	if t.junit != "" {
		if err := t.writeJUnit(s); err != nil {
			return a.fail(err)
		}
	}
	switch {
	case a.ctx.Err() != nil:
		return a.fail(apply.ErrInterrupted)
	case s.Status() != trial.Pass:
		return exitError
	}
	return exitOK
}

// figures are what plan -json shows of each block.
func figures(p *plan.Plan) map[string]any {
	m := map[string]any{}
	for _, x := range p.Actions {
		m[x.Addr.String()] = actionJSON(p, x)
	}
	return m
}

// abstract says what will run.
func (t *tester) abstract(s *trial.Suite) {
	m := map[string][]string{}
	for _, f := range s.Files {
		m[f.Path] = []string{}
		for _, r := range f.Runs {
			m[f.Path] = append(m[f.Path], r.Name)
		}
	}
	t.app.line(map[string]any{"type": "test_abstract", "test_abstract": m})
}

// Begin says that a file is being run.
func (t *tester) Begin(f *trial.File) {
	if t.app.json {
		t.app.line(map[string]any{"type": "test_file", "@testfile": f.Path,
			"test_file": map[string]any{"path": f.Path, "progress": "starting"}})
		return
	}
	fmt.Fprintf(t.app.stdout, "%s... in progress\n", f.Path)
}

// End says what came of a file.
func (t *tester) End(f *trial.File) {
	if t.app.json {
		t.app.line(map[string]any{"type": "test_file", "@testfile": f.Path,
			"test_file": map[string]any{"path": f.Path, "progress": "complete", "status": f.Status}})
		return
	}
	fmt.Fprintf(t.app.stdout, "%s... %s\n", f.Path, t.word(f.Status))
}

// Ran says what came of a run.
func (t *tester) Ran(f *trial.File, r *trial.Run) {
	a := t.app
	a.secrets = r.Secrets
	if a.json {
		m := map[string]any{"path": f.Path, "run": r.Name, "progress": "complete", "status": r.Status,
			"elapsed": int64(1000 * r.Seconds)}
		if r.Why != "" {
			m["message"] = r.Why
		}
		if t.verbose && r.Plan != nil {
			m["plan"] = planJSON(r.Plan)
		}
		a.line(map[string]any{"type": "test_run", "@testfile": f.Path, "@testrun": r.Name, "test_run": m})
		for _, d := range r.Diags {
			m := jsonDiagnostic(d)
			m["@testfile"], m["@testrun"] = f.Path, r.Name
			a.line(m)
		}
		return
	}
	fmt.Fprintf(a.stdout, "  run %q... %s\n", r.Name, t.word(r.Status))
	if t.verbose && r.Plan != nil {
		a.printPlan(r.Plan, true, false)
	}
	a.diagnostics(r.Diags, r.Sources)
}

// word is a status as it is shown.
func (t *tester) word(s trial.Status) string {
	c := red
	switch s {
	case trial.Pass:
		c = green
	case trial.Skip:
		c = dim
	}
	return t.app.paint(c, string(s))
}

// summary says what came of all runs.
func (t *tester) summary(s *trial.Suite) {
	pass, fail, errs, skip := s.Count(trial.Pass), s.Count(trial.Fail), s.Count(trial.Error), s.Count(trial.Skip)
	if t.app.json {
		t.app.line(map[string]any{"type": "test_summary", "test_summary": map[string]any{"status": s.Status(),
			"passed": pass, "failed": fail, "errored": errs, "skipped": skip}})
		return
	}
	word := t.app.paint(green, "Success!")
	if s.Status() != trial.Pass {
		word = t.app.paint(red, "Failure!")
	}
	text := fmt.Sprintf("\n%s %d passed, %d failed", word, pass, fail+errs)
	if skip > 0 {
		text += fmt.Sprintf(", %d skipped", skip)
	}
	fmt.Fprintln(t.app.stdout, text+".")
}

// writeJUnit writes the file of -junit-xml.
func (t *tester) writeJUnit(s *trial.Suite) error {
	plain := *t.app
	plain.noColor = true
	b, err := s.JUnit(func(r *trial.Run) string {
		var text strings.Builder
		for _, d := range r.Secrets.Diagnostics(r.Diags) {
			text.WriteString(plain.renderDiagnostic(d, r.Sources))
		}
		return text.String()
	})
	if err == nil {
		_, err = durable.UserFile{Path: t.junit, Refusal: "exists and is not JUnit XML; choose another name",
			Ours: func(r io.Reader) bool {
				head := make([]byte, 512)
				n, _ := io.ReadFull(r, head)
				return bytes.Contains(head[:n], []byte("<testsuites"))
			}}.Write(b)
	}
	return err
}

// pool lends devices to runs.
type pool struct {
	open func() (gpu.Device, error)
	free chan gpu.Device // nil for one that is not open yet
}

// pool returns as many devices as runs may use at once: of the CPU a share for each, of a card one.
func (t *tester) pool(caps gpu.Caps) *pool {
	a := t.app
	n, p := 1, &pool{open: a.openDevice}
	if caps.Kind == "cpu" {
		threads := a.threads
		if threads == 0 {
			threads = runtime.GOMAXPROCS(0)
		}
		n = a.parallelism
		p.open = func() (gpu.Device, error) { return cpu.Open(max(threads/n, 1), os.Getenv("STEPFLOW_CPU_ISA")) }
	}
	p.free = make(chan gpu.Device, n)
	for range n {
		p.free <- nil
	}
	return p
}

// lend waits for a device.
func (p *pool) lend(ctx context.Context) (d gpu.Device, release func(), err error) {
	select {
	case d = <-p.free:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if d == nil {
		if d, err = p.open(); err != nil {
			p.free <- nil
			return nil, nil, err
		}
	}
	return d, func() { p.free <- d }, nil
}

// close closes the devices that nobody uses.
func (p *pool) close() {
	for {
		select {
		case d := <-p.free:
			if d != nil {
				d.Close()
			}
		default:
			return
		}
	}
}
