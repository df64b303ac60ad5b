package apply

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// RunJob makes the one block that an order names, in a job. It has no lock of the state and does not write it: what would be
// recorded goes to the order's report, which the apply that follows the job takes into the state. The plan is of that block alone.
func RunJob(ctx context.Context, p *plan.Plan, order *Order, job string, o Options) (err error) {
	at, err := addr.Parse(order.Address)
	if err != nil {
		return err
	}
	report := &Report{Job: job}
	defer func() {
		err = p.Config.Secrets.Error(err)
		report.Ended, report.Interrupted = true, errors.Is(err, ErrInterrupted)
		if err != nil && !report.Interrupted {
			report.Error = err.Error()
		}
		err = errors.Join(err, report.write(order.Result))
	}()
	a := p.Action(at)
	if a == nil {
		return fmt.Errorf("the pipeline has no %s any more", order.Address)
	}
	for _, x := range p.Actions {
		if _, input := a.Inputs[x.Addr.String()]; input && (x.Verb.Works() || x.Verb == plan.Same || x.Verb == plan.Deferred) {
			return fmt.Errorf("%s is to run in this job, and needs %s, which is not done: %s", order.Address, x.Addr, x.Why)
		}
	}
	if a.Recipe != order.Recipe {
		return fmt.Errorf("in this job %s would be something else than apply planned: the pipeline, its data, the variables or stepflow "+
			"have changed since, or the nodes see other files. Apply again", order.Address)
	}
	if a.Verb.Works() {
		if err := refuse(p, o.Device.Caps()); err != nil {
			return err
		}
		if err := readable(ctx, p); err != nil {
			return err
		}
	}
	before := p.State.Copy()
	dir := (&state.Dir{Path: p.StateDir, State: p.State}).Apart(func(s *state.State) error {
		report.Entry = s.Blocks[order.Address]
		report.Rates, report.Exports, report.Sources = changed(s.Rates, before.Rates), changed(s.Exports, before.Exports), s.Sources
		return report.write(order.Result)
	})
	o.AutoApprove, o.Parallelism = true, 1
	r := newRunner(p, dir, o)
	r.skip = besides(p, at)
	r.startTrace(ctx)
	defer func() { r.endTrace(err) }()
	if err := r.walk(ctx); err != nil {
		return err
	}
	entry := dir.State.Blocks[order.Address]
	if entry == nil || entry.Status != state.Done {
		return fmt.Errorf("%s ended without a result", order.Address)
	}
	report.Entry = entry
	return nil
}

// besides are the blocks of a job's plan that its run has nothing to do with: all but the one that it makes, and those that are done
// and that this one refers to, by way of others too.
func besides(p *plan.Plan, at addr.Addr) map[addr.Addr]bool {
	refs := map[addr.Addr][]addr.Addr{}
	for _, x := range p.Actions {
		refs[x.Addr.Block()] = x.Refs()
	}
	needed := map[addr.Addr]bool{}
	for left := []addr.Addr{at.Block()}; len(left) > 0; left = left[1:] {
		if !needed[left[0]] {
			needed[left[0]] = true
			left = append(left, refs[left[0]]...)
		}
	}
	skip := map[addr.Addr]bool{}
	for _, x := range p.Actions {
		if x.Addr != at && (!needed[x.Addr.Block()] || x.Verb != plan.UpToDate && x.Verb != plan.Ready) {
			skip[x.Addr] = true
		}
	}
	return skip
}

// Lock keeps other jobs from making the same block until unlock is called. A job that was queued again, since its node did not answer,
// may still run there: then this waits for it, as long as patience.
func (o *Order) Lock(ctx context.Context, patience time.Duration, wait func()) (unlock func(), err error) {
	for start := time.Now(); ; {
		unlock, err := state.LockFolder(filepath.Dir(o.Result))
		switch {
		case err == nil:
			return unlock, nil
		case time.Since(start) > patience:
			return nil, fmt.Errorf("another job makes %s, and did not end within %s", o.Address, patience)
		}
		if wait != nil {
			wait()
			wait = nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ErrInterrupted
		}
	}
}

// changed are the entries of a map that another lacks or has otherwise.
func changed[V comparable](now, before map[string]V) map[string]V {
	out := map[string]V{}
	for k, v := range now {
		if was, ok := before[k]; !ok || was != v {
			out[k] = v
		}
	}
	return out
}

// sealed returns why a block cannot run in a job; nil if it can.
func sealed(a *plan.Action) error {
	for _, e := range a.Kind().Exports {
		if a.Hidden[e.Name] && e.Late {
			return fmt.Errorf("%s runs in a job, and its value %s is sensitive: it would be kept nowhere, so the run that follows the job "+
				"would not have it. Let the block run here, with executor = null", a.Addr, e.Name)
		}
	}
	return nil
}

// busy lists the folders of blocks that jobs write to.
func (r *runner) busy() (folders []string) {
	for name, b := range r.dir.State.Blocks {
		if x, err := addr.Parse(name); err == nil && b.Job != nil {
			folders = append(folders, results.Folder(x))
		}
	}
	slices.Sort(folders)
	return folders
}

// Fail reports why a job cannot begin.
func (o *Order) Fail(job string, problem error) error {
	if problem == nil {
		return nil
	}
	return errors.Join(problem, (&Report{Job: job, Ended: true, Error: problem.Error()}).write(o.Result))
}
