package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"stepflow/gpu/cuda"
	"stepflow/runtime/apply"
	"stepflow/runtime/plan"
	"stepflow/runtime/slurm"
	"stepflow/tracing"
)

// jobs say how blocks are run that have an executor; nil where none has.
func (a *app) jobs(p *plan.Plan) (*apply.Jobs, error) {
	if !slices.ContainsFunc(p.Actions, func(x *plan.Action) bool { return x.Remote() }) {
		return nil, nil
	}
	binary, err := exec.LookPath(os.Args[0]) // by the name that it was called by, which the nodes may see where a link leads elsewhere
	if err == nil {
		binary, err = filepath.Abs(binary)
	} else {
		binary, err = os.Executable()
	}
	if err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(p.Config.Dir)
	if err != nil {
		return nil, err
	}
	kind, _, err := a.which()
	if err != nil {
		return nil, err
	}
	j := &apply.Jobs{Binary: binary, Dir: dir}
	j.Call = apply.Call{Path: path, Flags: a.given, Device: kind, Capability: a.capability}
	if m := p.Caps.Memory; m > 0 { // what a plan comes to depends on it
		if kind == "cuda" {
			m += cuda.Reserve
		}
		j.DeviceMemory = strconv.FormatInt(m, 10)
	}
	return j, nil
}

// runBlock runs the block that an order names, in a job. Before the job's time limit, it saves a checkpoint and queues the job
// again.
func (a *app) runBlock(file string) int {
	order, err := apply.ReadOrder(file)
	if err != nil {
		return a.fail(err)
	}
	if n, _ := strconv.Atoi(os.Getenv("SLURM_STEP_NUM_TASKS")); n > 1 {
		return a.fail(order.Fail(os.Getenv("SLURM_JOB_ID"), fmt.Errorf("srun has started %d processes, and a block in a job does not run on "+
			"several ranks yet: give its executor one node and one task", n)))
	}
	a.interrupt.hold("Told to end: finishing the step and saving a checkpoint.")
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	var late atomic.Bool
	limit := make(chan os.Signal, 1)
	signal.Notify(limit, syscall.SIGUSR1)
	go func() {
		<-limit
		late.Store(true)
		fmt.Fprintln(a.stderr, "The time limit is near: finishing the step and saving a checkpoint.")
		cancel()
	}()
	a.ctx = ctx
	a.given, a.device, a.deviceMemory, a.capability = order.Flags, order.Device, order.DeviceMemory, order.Capability
	a.stateDir, a.lifecycle = order.StateDir, true
	a.selection = plan.Selection{Target: append([]string{order.Address}, order.Beside...)}
	if order.Replace {
		a.selection.Replace = []string{order.Address}
	}
	a.threads = allotted(a.env)
	job := os.Getenv("SLURM_JOB_ID")
	host, _ := os.Hostname()
	fmt.Fprintf(a.stderr, "%s job %s on %s: %s\n", time.Now().UTC().Format(time.RFC3339), job, host, order.Address)
	unlock, err := order.Lock(ctx, 10*time.Minute, func() {
		fmt.Fprintln(a.stderr, "Another job makes this block: waiting for it to end. The node of an earlier job may not have answered.")
	})
	if errors.Is(err, apply.ErrInterrupted) {
		return a.fail(err)
	}
	if err != nil {
		return a.fail(order.Fail(job, err))
	}
	defer unlock()
	o := a.options([]string{order.Path})
	if o.Caps, err = a.caps(); err != nil {
		return a.fail(order.Fail(job, err))
	}
	o.Patient = true
	p, diags := plan.New(ctx, o)
	a.files, a.secrets = p.Config.Files, p.Config.Secrets
	if diags.HasErrors() && ctx.Err() == nil {
		a.diagnostics(diags, p.Config.Files)
		return a.fail(order.Fail(job, p.Config.Secrets.Error(diags)))
	}
	trace, err := tracing.Setup(ctx, version(), slog.New(slog.NewTextHandler(a.stderr, nil)))
	if err != nil {
		return a.fail(order.Fail(job, err))
	}
	device, err := a.openDevice()
	if err != nil {
		return a.fail(order.Fail(job, err))
	}
	defer device.Close()
	view := newProgress(a, order.Address, p)
	err = apply.ErrInterrupted
	if ctx.Err() == nil {
		err = apply.RunJob(ctx, p, order, job, apply.Options{Device: device, Trace: trace, Emit: view.event})
	}
	view.end()
	if e := trace.Shutdown(); e != nil {
		fmt.Fprintf(a.stderr, "Warning: telemetry was not sent in full: %v\n", e)
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, apply.ErrInterrupted) && late.Load():
		return a.requeue(job)
	case errors.Is(err, apply.ErrInterrupted):
		return exitInterrupted
	}
	return a.fail(err)
}

// requeue queues the job again, which Slurm then ends.
func (a *app) requeue(job string) int {
	if err := slurm.Requeue(context.Background(), job); err != nil {
		fmt.Fprintf(a.stderr, "Warning: the job could not be queued again: %v\n", err)
		return exitInterrupted
	}
	fmt.Fprintln(a.stderr, "Saved; the job is queued again.")
	time.Sleep(10 * time.Second) // Slurm ends the job, and what it would make of an exit code is another end
	return exitInterrupted
}

// allotted is how many threads a job may have on its node; 0 where Slurm does not say.
func allotted(env []string) int {
	for _, name := range []string{"SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"} {
		for _, s := range env {
			if v, ok := strings.CutPrefix(s, name+"="); ok {
				if n, err := strconv.Atoi(v); err == nil && n > 0 {
					return n
				}
			}
		}
	}
	return 0
}

// leave says which jobs an interrupted run has left, and asks whether to cancel them. It reports whether there are any.
func (a *app) leave(err error) bool {
	left := leftIn(err)
	if len(left) == 0 {
		return false
	}
	ids := slices.SortedFunc(maps.Keys(left), func(x, y string) int {
		i, _ := strconv.Atoi(x)
		j, _ := strconv.Atoi(y)
		return i - j
	})
	for _, id := range ids {
		fmt.Fprintf(a.stderr, "Job %s goes on: %s\n", id, left[id])
	}
	if in, ok := a.stdin.(*os.File); ok && isTerminal(in) && a.yes("Cancel them? Only \"yes\" is taken; else they go on: ") {
		if err := slurm.Cancel(context.Background(), ids...); err != nil {
			a.fail(err)
			return true
		}
		fmt.Fprintln(a.stderr, "Cancelled. What they saved is kept: apply again to go on from there.")
		return true
	}
	fmt.Fprintf(a.stderr, "Apply again to follow them. To end them: scancel %s\n", strings.Join(ids, " "))
	return true
}

// leftIn collects the jobs of all errors that were joined.
func leftIn(err error) map[string]string {
	all := map[string]string{}
	var walk func(error)
	walk = func(err error) {
		if l, ok := err.(*apply.LeftError); ok {
			maps.Copy(all, l.Jobs)
		}
		switch x := err.(type) {
		case interface{ Unwrap() []error }:
			for _, e := range x.Unwrap() {
				walk(e)
			}
		case interface{ Unwrap() error }:
			walk(x.Unwrap())
		}
	}
	walk(err)
	return all
}
