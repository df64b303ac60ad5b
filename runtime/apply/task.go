package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb/web"
	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// task runs one block and records it as running, then as done or failed. It returns the exports that the run gave.
func (r *runner) task(ctx context.Context, a *plan.Action) (made map[string]cty.Value, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	start := time.Now()
	t := a.Block.(blocks.Task)
	entry := r.entry(a)
	b := r.blockRun(ctx, a, entry)
	if x, ok := a.Block.(blocks.Picky); ok { // a deferred block was not checked before
		if err := x.Refuse(r.device.Caps()); err != nil {
			return nil, err
		}
	}
	if err := r.plan.RoomFor(a); err != nil { // what others write to the disk meanwhile was not planned
		return nil, err
	}
	if err := r.makeRoom(ctx, a); err != nil {
		return nil, err
	}
	defer r.fold.Disk.Changed(results.Folder(a.Addr))
	if w, ok := a.Block.(blocks.Writer); ok {
		w.Begin(b, r.dir.State)
	}
	ctx = r.watch(ctx, a, b)
	b.Observe.Event(ctx, observe.Event{Kind: observe.BlockStart, FromStep: a.FromStep, Saves: entry.Steps > 0})
	if err := r.record(a, entry); err != nil {
		return nil, err
	}
	together := r.lead(ctx, a, b)
	r.mu.Unlock()
	err = together(ctx, t.Run)
	r.mu.Lock()
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, gpu.ErrStopped)) {
		err = ErrInterrupted
	}
	b.Seal()
	err = r.plan.Config.Secrets.Error(err)
	b.Observe.End(err)
	entry.TraceEnded = entry.Trace != ""
	if err != nil {
		if !errors.Is(err, ErrInterrupted) {
			entry.Status, entry.Error = state.Failed, err.Error()
			b.Observe.Event(ctx, observe.Event{Kind: observe.BlockFailed, Message: err.Error()})
		}
		return nil, errors.Join(err, r.record(a, entry))
	}
	entry.Status, entry.Earlier, entry.Device = state.Done, "", r.plan.Caps.Name
	err = r.record(a, entry)
	if err == nil {
		err = results.NoteFate(r.dir.Path, results.Folder(a.Addr), entry)
	}
	if err != nil {
		return nil, err
	}
	if err := r.settled(a.Addr, entry); err != nil { // now that its result is recorded
		return nil, err
	}
	r.sendResult(a.Addr, entry)
	b.Observe.Event(ctx, observe.Event{Kind: observe.BlockDone, Values: entry.Values,
		Seconds: time.Since(start).Seconds()})
	r.ran(a, entry)
	made = blocks.FromState(a.Kind(), entry.Values)
	for k, v := range b.Sealed {
		made[k] = v.Mark(dsl.Sensitive)
	}
	r.sealed[a.Addr] = b.Sealed
	return made, nil
}

// ranksOf is how many ranks run a block.
func (r *runner) ranksOf(a *plan.Action) int {
	if x, ok := a.Block.(blocks.Collective); ok && r.comm != nil && x.Together() {
		return r.comm.Size()
	}
	return 1
}

// makeRoom makes the folder of a block that begins to run, with what it goes on from.
func (r *runner) makeRoom(ctx context.Context, a *plan.Action) error {
	from := a.Found
	if a.Base != nil {
		from = a.Base
	}
	if err := r.fold.Disk.Fetch(ctx, a.Addr, from); err != nil {
		return err
	}
	if a.Base != nil {
		return r.fold.Disk.Branch(a.Base, a.Addr, a.Recipe)
	}
	return r.fold.Disk.MakeRoom(a.Addr, a.Recipe, a.FromStep)
}

// entry returns the state's entry of a block that begins to run.
func (r *runner) entry(a *plan.Action) *state.Block {
	e := &state.Block{Status: state.Running, Recipe: a.Recipe, Attrs: a.Attrs, Inputs: a.Inputs,
		Secrets: r.dir.State.Seals(a.Secret), Protected: a.Protected(), Triggers: a.Triggers, Course: a.Course,
		Earlier: r.fold.MadeBefore(a)}
	if e.Earlier != "" {
		e.Device = r.plan.Caps.Name
	}
	if s, ok := a.Block.(blocks.Stepped); ok {
		e.Step, e.Steps = a.FromStep, s.NumSteps() // 0 steps if it is imported
	}
	if x, ok := a.Block.(blocks.Importable); ok {
		e.Import = x.Import()
	}
	if e.Steps > 0 && e.Import == nil {
		var before []int
		if from := cmp.Or(a.Base, a.Found); a.FromStep > 0 && from != nil {
			before = from.Ranks
		}
		e.Ranks = state.TrainedBy(before, a.FromStep > 0, r.ranksOf(a))
	}
	return e
}

// blockRun returns what a block is given to run with.
func (r *runner) blockRun(ctx context.Context, a *plan.Action, entry *state.Block) *blocks.Run {
	b := &blocks.Run{Planned: &a.Planned, Kind: a.Kind(), Hidden: a.Hidden, Recipe: a.Recipe, From: a.FromStep,
		Entry: entry, State: r.dir,
		Device: r.device, Scratch: r.scratch, All: r.plan.All(), Shared: r.shared,
		Note: func(f func(*state.State)) { r.locked(func() { f(r.dir.State) }) }}
	b.Result = func(x addr.Addr) (dir string, err error) {
		err = b.Observe.Inside(ctx, tracing.SpanVerify+" "+x.String(), func(ctx context.Context) (err error) {
			r.locked(func() { dir, err = r.result(ctx, x) })
			return err
		})
		return dir, err
	}
	b.Record = func() (err error) {
		r.locked(func() {
			noteBlock(entry, b.Observe) // it may go on in another trace
			r.noteTrace()
			err = r.record(a, entry)
		})
		return err
	}
	return b
}

// locked does something for a block that runs.
func (r *runner) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// watch starts the trace of a block that runs, and records it in the block's entry.
func (r *runner) watch(ctx context.Context, a *plan.Action, b *blocks.Run) context.Context {
	var before tracing.Reference
	if old := r.dir.State.Blocks[a.Addr.String()]; old != nil && a.FromStep > 0 {
		before = tracing.Reference(old.Trace)
	}
	b.Entry.Started = time.Now().UTC()
	ctx, b.Observe = r.obs.Block(ctx, place(a), before)
	b.Entry.Trace, b.Entry.TraceEnded = string(before), before != "" // it stays if this run is not traced
	noteBlock(b.Entry, b.Observe)
	return web.Watching(ctx, b.Observe.Download)
}

// record writes an entry to the state on disk.
func (r *runner) record(a *plan.Action, entry *state.Block) error {
	entry.Updated = time.Now().UTC().Truncate(time.Second)
	if entry.Status == state.Done && entry.Content == "" {
		return fmt.Errorf("%s ended without a content id", a.Addr)
	}
	kept := *entry // as it is now: the block goes on to change its entry
	kept.Values = maps.Clone(entry.Values)
	r.dir.State.Blocks[a.Addr.String()] = &kept
	return r.dir.Save()
}

// ran makes a block's result known to the blocks after it.
func (r *runner) ran(a *plan.Action, entry *state.Block) {
	found := &results.Found{Note: results.Note{Address: a.Addr.String(), Recipe: a.Recipe, Done: true,
		Values: entry.Values},
		Block: results.Folder(a.Addr), Leaf: filepath.Base(entry.Dir), ID: entry.Content}
	a.Made(found)
}
