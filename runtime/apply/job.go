package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/durable"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/slurm"
	"stepflow/runtime/state"
)

// RunBlock is the command that a job runs, with the file of its order. Users have no use for it.
const RunBlock = "run-block"

// Jobs say how a job is begun: the binary, and the command line of the plan.
type Jobs struct {
	Binary string
	Dir    string // that apply runs in
	Call
}

// LeftError says that a run ended and its jobs go on.
type LeftError struct {
	Jobs map[string]string // number → address of the block
}

func (e *LeftError) Error() string { return ErrInterrupted.Error() }

func (e *LeftError) Unwrap() error { return ErrInterrupted }

// lookEvery is the time between two looks at what a job has written.
const lookEvery = 200 * time.Millisecond

// The states of jobs are asked for at the interval that slurm.Interval gives, and once a job has lived for a while, at ten times that.
// The files of a job that has ended may take some intervals to be seen on another node.
const (
	while  = 60
	slowly = 10
	settle = 5
)

// jobTask has a job make a block: it submits one, or follows the one that goes on, and takes what it made into the state.
func (r *runner) jobTask(ctx context.Context, a *plan.Action) (made map[string]cty.Value, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	start := time.Now()
	if err := sealed(a); err != nil {
		return nil, err
	}
	if err := r.plan.RoomFor(a); err != nil {
		return nil, err
	}
	entry := r.entry(a)
	if old := r.dir.State.Blocks[a.Addr.String()]; old != nil && old.Job != nil && old.Recipe == a.Recipe {
		entry = old
	}
	f := &followed{runner: r, a: a, entry: entry, folder: jobFolder(r.dir.Path, a.Addr), speed: &metrics.Tail{}}
	if f.folder, err = filepath.Abs(f.folder); err != nil {
		return nil, err
	}
	f.emit(observe.Event{Kind: observe.BlockStart, FromStep: a.FromStep, Job: true})
	defer r.fold.Disk.Changed(results.Folder(a.Addr))
	for {
		if entry.Job == nil {
			if err = f.submit(ctx); err != nil {
				break
			}
		} else {
			f.notice("goes on as job %s of %s", entry.Job.ID, entry.Job.Executor)
		}
		r.mu.Unlock()
		again, report, problem := f.follow(ctx)
		r.mu.Lock()
		if ctx.Err() != nil && problem == nil && report == nil {
			return nil, &LeftError{map[string]string{entry.Job.ID: a.Addr.String()}}
		}
		tries := entry.Job.Tries
		if report != nil {
			report.take(r.dir.State)
			if report.Entry != nil && report.Entry.Recipe == a.Recipe {
				job := entry.Job
				*entry = *report.Entry
				entry.Job = job
			}
		}
		entry.Job = nil
		if err = problem; err == nil {
			break
		}
		if !again || tries >= a.On.Retries {
			break
		}
		f.warn("%s. It is submitted again (retry %d of %d)", strings.TrimSuffix(err.Error(), "."), tries+1, a.On.Retries)
		f.tries, err = tries+1, nil
		entry.Status, entry.Error = state.Running, ""
	}
	r.fold.Disk.Changed(results.Folder(a.Addr))
	if err != nil {
		err = r.plan.Config.Secrets.Error(err)
		entry.Status, entry.Error = state.Failed, err.Error()
		f.emit(observe.Event{Kind: observe.BlockFailed, Message: err.Error()})
		return nil, errors.Join(err, r.record(a, entry))
	}
	if entry.Status != state.Done {
		return nil, errors.Join(fmt.Errorf("the job ended and says that it made %s, which is not there", a.Addr), r.record(a, entry))
	}
	entry.Error, entry.Earlier = "", ""
	if err := r.record(a, entry); err != nil {
		return nil, err
	}
	if err := results.NoteFate(r.dir.Path, results.Folder(a.Addr), entry); err != nil {
		return nil, err
	}
	if err := r.settled(a.Addr, entry); err != nil {
		return nil, err
	}
	r.sendResult(a.Addr, entry)
	f.emit(observe.Event{Kind: observe.BlockDone, Values: entry.Values, Seconds: time.Since(start).Seconds()})
	r.ran(a, entry)
	return blocks.FromState(a.Kind(), entry.Values), nil
}

// followed is a block whose job is followed.
type followed struct {
	*runner
	a      *plan.Action
	entry  *state.Block
	folder string
	tries  int
	speed  *metrics.Tail
	said   string // of the job's state
	mute   bool   // it was said that Slurm does not answer
}

func (f *followed) emit(e observe.Event) {
	e.Addr, e.Message = f.a.Addr, f.plan.Config.Secrets.Redact(e.Message)
	if f.obs.Emit != nil {
		f.obs.Emit(e)
	}
}

func (f *followed) notice(format string, args ...any) {
	f.emit(observe.Event{Kind: observe.Notice, Message: fmt.Sprintf(format, args...)})
}

func (f *followed) warn(format string, args ...any) {
	f.emit(observe.Event{Kind: observe.Warned, Message: fmt.Sprintf(format, args...)})
}

// report is the file that the job writes.
func (f *followed) report() string { return filepath.Join(f.folder, reportName) }

func (f *followed) log() string { return filepath.Join(f.folder, logName) }

// submit submits a job, and records it. The state has all that the job's own plan needs before.
func (f *followed) submit(ctx context.Context) error {
	if err := durable.MkdirAll(f.folder, 0o777); err != nil {
		return err
	}
	if err := os.Remove(f.report()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	order := filepath.Join(f.folder, orderName)
	if err := writePrivate(order, f.orderOf(f.a)); err != nil {
		return err
	}
	if err := f.record(f.a, f.entry); err != nil {
		return err
	}
	request := f.a.Request(f.plan.Caps.Kind)
	j := slurm.Job{Name: "stepflow:" + f.a.Addr.String(), Log: f.log(), Dir: f.jobs.Dir,
		Script: script(f.a.On.Setup, f.jobs.Binary, order, request.Tasks()), Request: request}
	id, err := f.send(ctx, j)
	if err != nil {
		return err
	}
	f.entry.Job = &state.Job{ID: id, Executor: f.a.On.Addr.String(), Tries: f.tries, Submitted: time.Now().UTC().Truncate(time.Second)}
	if err := f.record(f.a, f.entry); err != nil {
		return errors.Join(err, slurm.Cancel(context.WithoutCancel(ctx), id))
	}
	f.said = ""
	f.notice("job %s: sbatch %s", id, request)
	return nil
}

// send submits a job, again and again while the controller does not answer.
func (f *followed) send(ctx context.Context, j slurm.Job) (string, error) {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		f.mu.Unlock()
		id, err := slurm.Submit(ctx, j)
		f.mu.Lock()
		var mute *slurm.Unreachable
		if err == nil || !errors.As(err, &mute) {
			return id, err
		}
		f.unanswered(err)
		f.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return "", ErrInterrupted
		}
	}
}

// unanswered says once that Slurm does not answer.
func (f *followed) unanswered(err error) {
	if !f.mute {
		f.mute = true
		f.warn("Slurm does not answer, and is asked again until it does: %v", err)
	}
}

// script is what a job runs. The shell becomes the process, which so gets the signals.
func script(setup, binary, order string, tasks int) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	run := quote(binary) + " " + RunBlock + " " + quote(order)
	if tasks > 1 {
		run = "srun --kill-on-bad-exit=1 " + run
	}
	if setup != "" {
		setup = "set -e\n" + setup + "\nset +e\n"
	}
	return "#!/bin/bash\n" + setup + "exec " + run + "\n"
}

// follow waits until the job has ended, and shows what it does meanwhile. again says that the block may be submitted again. Without
// a report and a problem, the run was interrupted.
func (f *followed) follow(ctx context.Context) (again bool, _ *Report, problem error) {
	id, since := f.entry.Job.ID, time.Now()
	var asked, gone time.Time
	var status slurm.Status
	for {
		report, err := readReport(f.report())
		if err == nil && report != nil {
			f.progress(report)
			if report.Ended && !report.Interrupted {
				return f.outcome(report, status)
			}
		}
		every := f.asks.Every
		if time.Since(since) > while*every && gone.IsZero() {
			every *= slowly
		}
		if time.Since(asked) >= every {
			asked = time.Now()
			s, err := f.asks.Of(ctx, id)
			var mute *slurm.Unreachable
			switch {
			case ctx.Err() != nil:
			case errors.As(err, &mute):
				f.unanswered(err)
			case err != nil:
				return false, nil, err
			default:
				status, f.mute = s, false
				f.tell(id, s)
				if !s.Ended() {
					gone = time.Time{}
				} else if gone.IsZero() {
					gone = time.Now()
				}
			}
		}
		if !gone.IsZero() && (time.Since(gone) > settle*f.asks.Every || report != nil && report.Ended) {
			return f.ended(report, status)
		}
		select {
		case <-ctx.Done():
			return false, nil, nil
		case <-time.After(lookEvery):
		}
	}
}

// tell tells the state of a job, when it changes.
func (f *followed) tell(id string, s slurm.Status) {
	text := strings.ToLower(strings.ReplaceAll(s.State, "_", " "))
	switch {
	case s.State == "":
		text = "not known to Slurm any more"
	case s.Waits() && s.Reason != "":
		text += " (" + s.Reason + ")"
	case s.Nodes != "":
		text += " on " + s.Nodes
	}
	if text != f.said {
		f.said = text
		f.notice("job %s: %s", id, text)
	}
}

// progress tells the steps that are new.
func (f *followed) progress(report *Report) {
	if report.Entry == nil || report.Entry.Steps == 0 {
		return
	}
	path := filepath.Join(f.dir.Path, results.Folder(f.a.Addr), metrics.FileName)
	_ = f.speed.Read(path, func() {}, func(s *metrics.Step) {
		f.emit(observe.Event{Kind: observe.StepDone, Step: s, Steps: report.Entry.Steps})
	})
	if report.Entry.Step > f.entry.Step { // a checkpoint
		f.mu.Lock()
		defer f.mu.Unlock()
		job := f.entry.Job
		*f.entry = *report.Entry
		f.entry.Job = job
		_ = f.record(f.a, f.entry) // the next checkpoint, or the end, tries again
	}
}

// outcome is what a job said that has come to its end.
func (f *followed) outcome(report *Report, s slurm.Status) (again bool, _ *Report, problem error) {
	if report.Error == "" {
		if s.Waits() { // its node was given up, and went on all the same
			_ = slurm.Cancel(context.Background(), f.entry.Job.ID)
		}
		return false, report, nil
	}
	return false, report, fmt.Errorf("job %s failed%s: %s", f.entry.Job.ID, on(s), report.Error)
}

// on names the nodes of a job.
func on(s slurm.Status) string {
	if s.Nodes == "" {
		return ""
	}
	return " on " + s.Nodes
}

// ended says what became of a job that ended, or is gone, without having come to its end.
func (f *followed) ended(report *Report, s slurm.Status) (again bool, _ *Report, problem error) {
	id := f.entry.Job.ID
	if report != nil && report.Ended && !report.Interrupted {
		return f.outcome(report, s)
	}
	e, ok := endings[s.State]
	if !ok {
		e = ending{what: fmt.Sprintf("ended as %s", s.State)}
		if s.State == "" {
			e = endings["vanished"]
		}
	}
	if report != nil && report.Interrupted && (s.State == "COMPLETED" || s.State == "FAILED") {
		e = ending{"was told to end, and saved what it had", true, ""}
	}
	text := fmt.Sprintf("job %s%s %s", id, on(s), e.what)
	if s.Exit != "" && s.Exit != "0:0" && s.State == "FAILED" {
		text += fmt.Sprintf(" (exit code %s)", s.Exit)
	}
	if e.remedy != "" {
		text += ". " + e.remedy
	}
	if lines := lastLines(f.log(), 5); len(lines) > 0 {
		text += fmt.Sprintf(". The last lines of %s:\n  %s", f.log(), strings.Join(lines, "\n  "))
	} else {
		text += fmt.Sprintf(". It left no log in %s", f.log())
	}
	return e.again, report, errors.New(text)
}

// ending is how Slurm ends a job.
type ending struct {
	what   string
	again  bool // another job may do better
	remedy string
}

var endings = map[string]ending{
	"NODE_FAIL": {"lost its node", true, ""},
	"BOOT_FAIL": {"got a node that did not start", true, ""},
	"PREEMPTED": {"was preempted by another job", true, ""},
	"TIMEOUT": {"reached its time limit", true, "What was saved is kept: set the executor's time higher, or let the stage save " +
		"checkpoints more often"},
	"DEADLINE": {"reached its deadline", false, ""},
	"OUT_OF_MEMORY": {"took more memory than it asked for", false, "Set mem of the executor higher, or let the stage take less " +
		"(stepflow plan says how much it takes)"},
	"CANCELLED": {"was cancelled", false, "Apply again to submit it anew; what was saved is kept"},
	"REVOKED":   {"was taken over by another cluster", false, ""},
	"FAILED":    {"failed before it said why", false, ""},
	"COMPLETED": {"ended without having written what it made", true, "Do the nodes see the state's folder under the same path?"},
	"vanished": {"is not known to Slurm any more, and left no result", true,
		"Its node may have been lost, or the job was removed"},
}

// recall looks, before anything runs, at the jobs that an earlier run left: it takes in what those made that have ended. Those that go
// on are followed where their block comes up. It refuses to run where a job goes on that makes something else than the pipeline says.
func (r *runner) recall(ctx context.Context) error {
	changed := false
	for _, name := range r.dir.State.Names() {
		b := r.dir.State.Blocks[name]
		at, err := addr.Parse(name)
		if err != nil || b.Job == nil {
			continue
		}
		job := b.Job
		report, err := readReport(filepath.Join(jobFolder(r.dir.Path, at), reportName))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		live := report == nil || !report.Ended || report.Interrupted
		if live {
			s, err := r.asks.Of(ctx, job.ID)
			if ctx.Err() != nil {
				return ErrInterrupted
			}
			if err != nil {
				return fmt.Errorf("%s runs in job %s, and whether that goes on is unknown: %w", name, job.ID, err)
			}
			live = !s.Ended()
		}
		if a := r.plan.Action(at); live && !r.plan.LeavesOut(at) && (a == nil || a.Recipe != b.Recipe || !a.Remote()) {
			return fmt.Errorf("%s runs in job %s, which makes something else than the pipeline says now, or would run here now. Wait for it, "+
				"or cancel it (scancel %s), and apply again", name, job.ID, job.ID)
		}
		if live {
			continue
		}
		changed = true
		if report != nil {
			report.take(r.dir.State)
			if report.Entry != nil && report.Entry.Recipe == b.Recipe {
				*b = *report.Entry
			}
		}
		b.Job = nil
		r.fold.Disk.Changed(results.Folder(at))
	}
	if !changed {
		return nil
	}
	return r.dir.Save()
}
