package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/dsl"
	"stepflow/gpu/cuda"
	"stepflow/gpu/group"
	"stepflow/report"
	"stepflow/runtime/apply"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/saved"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
	"stepflow/tracing"
)

func applyCommand() command {
	var approve, verify bool
	return command{name: "apply", args: "[flags] [DIR | PLANFILE]", most: 1,
		short: "Runs what is not up to date.",
		synopsis: "Plans, then runs what is not up to date, and goes on where an interrupted run stopped. Ctrl-C, " +
			"SIGTERM or SIGHUP finishes the step, saves a checkpoint and exits with 130; a second one stops at once.",
		example: "stepflow apply pipelines/quickstart\n" +
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 stepflow apply pipelines/quickstart",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			selecting(a, f)
			locking(a, f)
			ranked(a, f)
			f.BoolVar(&approve, "auto-approve", false, "do not ask before trained work is thrown away")
			f.BoolVar(&verify, "verify", false,
				"run everything again in an empty folder and compare it with the state; nothing is replaced")
			f.StringVar(&a.ui, "ui", "", "serve the report of the run while it goes on, at an address such as :8080; "+
				"on loopback unless a host is named")
			f.IntVar(&a.parallelism, "parallelism", 1,
				"how many blocks run at once. Only one uses the device and only one exports at a time, so it is mostly "+
					"tokenizers that run beside others")
			f.IntVar(&a.threads, "threads", 0,
				"threads of the CPU device; 0 for one a processor (the result does not depend on it)")
		},
		run: func(a *app, args []string) int {
			if a.parallelism < 1 {
				return a.misuse("stepflow apply: -parallelism is at least 1, not %d", a.parallelism)
			}
			return a.asRanks(func() int { return a.planAndApply(args, approve, verify) })
		}}
}

// planAndApply plans a pipeline, or reads a saved plan, and runs it; with verify, beside the state.
func (a *app) planAndApply(args []string, approve, verify bool) int {
	file, err := a.savedPlan(args)
	if err != nil {
		return a.fail(err)
	}
	if file != nil {
		args = []string{file.Path}
	}
	if !verify {
		if err := a.idle(args); err != nil {
			return a.fail(err)
		}
	}
	a.lifecycle = true
	word := map[bool]string{true: "yes", false: "no"}
	p, ok := a.planTogether(args, group.Fact{Name: "-verify", Value: word[verify], Shown: true},
		group.Fact{Name: "whether a saved plan is applied", Value: word[file != nil], Shown: true})
	if !ok {
		return exitError
	}
	if file != nil {
		if err := a.agree(file.Match(p)); err != nil {
			return a.fail(err)
		}
	}
	switch {
	case verify && p.Select.RefreshOnly:
		return a.misuse("stepflow apply: -verify and -refresh-only exclude each other: the first runs " +
			"everything again, the second nothing")
	case verify && a.ranks.Number() > 0:
		return a.followRank(p)
	case verify:
		return a.verify(args, p)
	}
	switch {
	case a.ranks.Number() > 0:
	case a.json:
		a.line(planJSON(p))
	default:
		a.printPlan(p, false, false)
	}
	if p.Select.RefreshOnly {
		if a.ranks.Number() > 0 {
			return exitOK
		}
		return a.refresh(p)
	}
	if err := a.agree(p.Room()); err != nil { // before anything is asked
		return a.fail(err)
	}
	if !approve && file == nil && a.ranks.Number() == 0 { // a saved plan showed what is lost
		err = a.confirm(p)
	}
	if err := a.agree(err); err != nil {
		return a.fail(err)
	}
	if a.ranks.Number() > 0 {
		return a.followRank(p)
	}
	return a.apply(p, approve && file == nil)
}

// idle waits until no process uses the state, or returns an error. A plan made beside that process would soon be
// wrong, since the state changes.
func (a *app) idle(args []string) error {
	path, err := a.stateOf(dirArg(args))
	if err != nil {
		return nil // planning says what is wrong
	}
	access, err := a.access("apply", path)
	if err != nil {
		return err
	}
	return access.Idle(a.ctx, path)
}

// savedPlan reads the plan file that the argument names, and takes its flags; nil for a pipeline.
func (a *app) savedPlan(args []string) (*saved.Plan, error) {
	path := dirArg(args)
	if st, err := os.Stat(path); err != nil || st.IsDir() || strings.HasSuffix(path, ".hcl") {
		return nil, nil
	}
	s, err := saved.Read(path)
	if err != nil {
		return nil, err
	}
	if !a.selection.Empty() {
		return nil, fmt.Errorf("%s holds what is to run: give %s to plan -out", path, a.selection.Flags())
	}
	a.stateDir, a.selection, a.backend = s.StateDir, s.Select, cmp.Or(a.backend, s.Backend)
	a.artifacts = cmp.Or(a.artifacts, s.Artifacts)
	switch kind, _, err := a.which(); {
	case err != nil:
		return nil, err
	case kind == s.Device || s.Device == "":
	case a.device == "cpu": // what it is when nothing is said
		a.device = s.Device
	default:
		return nil, fmt.Errorf("%s was planned for -device %s, not %s", path, s.Device, a.device)
	}
	if s.DeviceMemory > 0 {
		beside := int64(0)
		if s.Device == "cuda" {
			beside = cuda.Reserve
		}
		a.deviceMemory = fmt.Sprint(s.DeviceMemory + beside)
	}
	a.given = append(slices.Clone(s.Flags), a.given...)
	return s, nil
}

// verify runs the pipeline again beside the state and compares.
func (a *app) verify(args []string, p *plan.Plan) int {
	a.interrupt.hold("Interrupted: ending and removing the copy. Once more stops at once.")
	device, err := a.openDevice()
	if err != nil {
		return a.fail(err)
	}
	defer device.Close()
	copy, err := state.NewScratch()
	if err != nil {
		return a.fail(err)
	}
	defer copy.Remove()
	a.interrupt.atExit(func() { copy.Remove() })
	view := newProgress(a, "verify", nil)
	same, changed, err := apply.Verify(a.ctx, a.options(args), p, copy, apply.Options{Device: device, Comm: a.ranks.Communicator(), Emit: view.event,
		Planned: view.planned})
	a.together = a.ranks.Ended() == nil
	view.end()
	if errors.Is(err, apply.ErrInterrupted) || a.ctx.Err() != nil {
		return a.fail(apply.ErrInterrupted)
	}
	if a.json {
		a.line(map[string]any{"type": "verify", "same": same, "not_verified": changed, "valid": err == nil})
	} else if err == nil || len(same)+len(changed) > 0 {
		fmt.Fprintf(a.stdout, "%d blocks came out the same, bit for bit.\n", len(same))
		if len(changed) > 0 {
			fmt.Fprintf(a.stdout, "Not verified: %s. What is configured has changed since the state's results were "+
				"made; apply it first.\n", strings.Join(changed, ", "))
		}
	}
	if err != nil {
		return a.fail(err)
	}
	return exitOK
}

// serve shows the run at the address of -ui while it goes on.
func (a *app) serve(run *report.Run) (stop func(), err error) {
	if a.ui == "" {
		return func() {}, nil
	}
	reader := report.NewReader(run.Dir)
	s, err := report.Serve(a.ui, func() (*report.Page, error) { return a.pageOf(reader) })
	if err != nil {
		return func() {}, err
	}
	fmt.Fprintf(a.stderr, "The run shows itself at %s\n", s.URL)
	return func() { s.Close() }, nil
}

// logVariable asks for log lines on the standard error: debug, info, warn or error.
const logVariable = "STEPFLOW_LOG"

// logger takes what happens to the standard error, where STEPFLOW_LOG asks for it, and out by OpenTelemetry; nil for
// neither.
func (a *app) logger(trace *tracing.Tracing) (*slog.Logger, error) {
	var handlers []slog.Handler
	if s := os.Getenv(logVariable); s != "" {
		var level slog.Level
		if err := level.UnmarshalText([]byte(s)); err != nil {
			return nil, fmt.Errorf("%s is %q; it takes debug, info, warn or error", logVariable, s)
		}
		handlers = append(handlers, tracing.WithTraceIDs(slog.NewTextHandler(a.stderr,
			&slog.HandlerOptions{Level: level})))
	}
	if l := trace.Log(); l != nil {
		handlers = append(handlers, l.Handler())
	}
	if len(handlers) == 0 {
		return nil, nil
	}
	return slog.New(slog.NewMultiHandler(handlers...)), nil
}

// telemetryEnd sends what is left, says what became of the spans, and reports whether any can be looked at.
func (a *app) telemetryEnd(trace *tracing.Tracing, done *apply.Applied) bool {
	err := trace.Shutdown()
	all, lost := trace.Spans()
	if a.json {
		if trace.On() {
			a.line(map[string]any{"type": "telemetry", "trace_id": done.TraceID, "spans": all, "lost": lost})
		}
	} else if trace.On() {
		fmt.Fprintf(a.stdout, "Trace %s: %d spans.\n", done.TraceID, all)
	}
	if lost > 0 {
		fmt.Fprintf(a.stderr, "%s %d of %d spans were not sent: the collector was slow or not there\n",
			a.paint(yellow, "Warning:"), lost, all)
	}
	if done.StepsUntraced > 0 {
		fmt.Fprintf(a.stderr, "%s %s got no spans: the budget of %d was spent; telemetry { max_spans } raises it\n",
			a.paint(yellow, "Warning:"), words.Plural(done.StepsUntraced, "step"), done.Plan.MaxSpans)
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "%s telemetry was not sent in full: %v\n", a.paint(yellow, "Warning:"), err)
	}
	return trace.On() && lost < all
}

// pipelineName is the name of a pipeline's folder.
func pipelineName(p *plan.Plan) string {
	dir, err := filepath.Abs(p.Config.Dir)
	if err != nil {
		dir = p.Config.Dir
	}
	return filepath.Base(dir)
}

// apply runs a plan.
func (a *app) apply(p *plan.Plan, approve bool) int {
	end := &ending{interrupt: a.interrupt, apply: "apply"}
	again := plan.Selection{Replace: a.selection.Replace}.Flags()
	if again != "" { // without it, what was there is put back
		end.apply += " with " + again
	}
	end.say()
	if a.ctx.Err() != nil {
		return a.fail(apply.ErrInterrupted)
	}
	trace, err := tracing.Setup(a.ctx, version(), slog.New(slog.NewTextHandler(a.stderr, nil)))
	if err != nil {
		return a.fail(err)
	}
	log, err := a.logger(trace)
	if err != nil {
		return a.fail(err)
	}
	access, err := a.access("apply", p.StateDir)
	if err != nil {
		return a.fail(err)
	}
	place, err := a.artifactsOf(p.StateDir)
	if err != nil {
		return a.fail(err)
	}
	device, err := a.openDevice()
	if err != nil {
		return a.fail(err)
	}
	defer device.Close()
	jobs, err := a.jobs(p)
	if err != nil {
		return a.fail(err)
	}
	tracker := a.tracker(p)
	view := newProgress(a, pipelineName(p), p)
	defer view.end()
	run := report.FromPlan(p, version())
	stop := func() {}
	defer func() { stop() }()
	sum := newSummary()
	emit := func(e observe.Event) {
		end.event(e)
		sum.event(e)
		view.event(e)
		if e.Seam != nil {
			tracker.Seam(e.Addr.String(), e.Seam.Change, e.Seam.Before, e.Seam.After)
		}
	}
	o := apply.Options{Device: device, Comm: a.ranks.Communicator(), Trace: trace, Log: log, Emit: emit, Planned: view.planned, AutoApprove: approve,
		Access: access, Artifacts: place, Waiting: a.sending(place),
		Parallelism: a.parallelism, Jobs: jobs,
		Begin: func() error { // under the lock: the record of another run that goes on stays
			err := run.Save()
			if err == nil {
				stop, err = a.serve(run)
			}
			if err == nil {
				tracker.Start()
			}
			return err
		},
		// Deferred blocks were planned on the way.
		End: func(p *plan.Plan) error { return report.FromPlan(p, version()).Save() }}
	done, err := apply.Apply(a.ctx, p, o)
	a.together = a.ranks.Ended() == nil
	view.end()
	if !a.json {
		for _, line := range sum.made(done.Plan, finished(err)) {
			fmt.Fprintln(a.stdout, wrapped(line, a.columns()))
		}
	}
	traced := a.telemetryEnd(trace, done)
	a.sent(place, done.Sent)
	a.tracked(tracker, done.Plan, err)
	a.diagnostics(done.Checks, a.files)
	code, whole := a.applied(done.Plan, err)
	switch {
	case a.json:
	case whole:
		a.printNext(sum.next(a, done, traced, trace.File()))
	case code == exitInterrupted && a.leave(err):
	case code == exitInterrupted:
		fmt.Fprintln(a.stderr, end.next())
	case sum.begun:
		fmt.Fprintf(a.stderr, "What has ended is kept: run %s again to go on, once this is mended.\n", end.apply)
	}
	return code
}

// finished reports whether a run came to its end, though blocks may have ended with flaws.
func finished(err error) bool {
	var flawed *apply.FlawedError
	return err == nil || errors.As(err, &flawed)
}

// applied says what a run came to, and returns whether all of it ran. Where blocks ended with flaws alone it did, and
// outputs are as they are.
func (a *app) applied(p *plan.Plan, err error) (code int, whole bool) {
	if !finished(err) {
		return a.fail(err), false
	}
	var flawed *apply.FlawedError
	errors.As(err, &flawed)
	if a.json {
		a.line(map[string]any{"type": "outputs", "outputs": outputsJSON(p)})
	} else {
		a.printOutputs(p, err == nil)
	}
	if flawed == nil {
		return exitOK, true
	}
	for _, text := range flawed.Blocks {
		a.fail(errors.New(text))
	}
	a.diagnostics(flawed.Outputs, a.files)
	return exitError, true
}

// printOutputs says that a run has ended, and prints the outputs.
func (a *app) printOutputs(p *plan.Plan, sound bool) {
	if sound {
		fmt.Fprintln(a.stdout, a.paint(green, "Apply complete."))
	} else {
		fmt.Fprintln(a.stdout, a.paint(red, "Apply ran to its end, with errors."))
	}
	if n := len(p.LeftOut()); n > 0 {
		fmt.Fprintf(a.stdout, "Left out: %s. Apply without -target and -exclude for the rest.\n", words.Plural(n, "block"))
	}
	for _, n := range slices.Sorted(maps.Keys(p.Outputs)) {
		v := p.Outputs[n]
		switch {
		case p.OutputDoc[n].Sensitive:
			fmt.Fprintf(a.stdout, "  %s = %s\n", n, dsl.Hidden)
		case v.IsWhollyKnown():
			a.showOutput("  "+n, plan.OutputOf(v))
		default:
			fmt.Fprintf(a.stdout, "  %s = %s\n", n, dsl.Show(v))
		}
	}
}
