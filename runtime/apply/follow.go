package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/gpu/ranks"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// EndedError says that the run of rank 0 ended with an error, of which rank 0 tells the user.
type EndedError struct{ Text string }

func (e *EndedError) Error() string { return "rank 0 ended the run: " + e.Text }

// follower is a rank that follows rank 0.
type follower struct {
	plan   *plan.Plan
	comm   gpu.Communicator
	device gpu.Device
	obs    *observe.Observer
	shared *blocks.Shared
}

// Follow runs, on a rank other than 0, the blocks that rank 0 runs together with it, until rank 0 ends. It takes no lock, and
// writes neither state nor metrics nor results. p is the plan that this rank made for itself. Signals are rank 0's: it
// tells the others where to stop.
func Follow(ctx context.Context, p *plan.Plan, o Options) error {
	f := &follower{plan: p, comm: o.Comm, device: o.Device,
		shared: &blocks.Shared{Watched: map[string]*fineweb.Watched{}, Counted: map[addr.Addr]bool{}},
		obs: &observe.Observer{Secrets: p.Config.Secrets, Trace: ranked(o.Trace, o.Comm), Device: o.Device.Caps().Name,
			Budget: p.TraceBudget()}}
	for {
		var next order
		if err := ranks.Hear(f.comm, &next); err != nil {
			return p.Config.Secrets.Error(err)
		}
		switch {
		case next.Run != nil:
			if err := f.run(context.WithoutCancel(ctx), next.Run); err != nil {
				return p.Config.Secrets.Error(err)
			}
		case next.Done == nil:
			err := errors.New("rank 0 gave an order that this rank does not know")
			f.comm.Abort(err)
			return err
		case next.Done.Interrupted:
			return ErrInterrupted
		case next.Done.Error != "":
			return &EndedError{next.Done.Error}
		default:
			return nil
		}
	}
}

// run runs a block together with rank 0. An error means that the ranks no longer work together.
func (f *follower) run(ctx context.Context, o *runOrder) error {
	a, b, err := f.prepare(ctx, o)
	words, e := ranks.Gather(f.comm, f.word(nil, err))
	if e != nil {
		return errors.Join(err, e)
	}
	if disagree(words) != nil { // rank 0 says so
		return nil
	}
	ctx, b.Observe = f.obs.Join(ctx, place(a), o.Of, o.Trace)
	err = a.Block.(blocks.Task).Run(ctx, b)
	b.Observe.End(err)
	if err != nil && !ranks.IsJoint(err) {
		f.comm.Abort(err)
		return fmt.Errorf("%s: %w", a.Addr, err)
	}
	_, e = ranks.Gather(f.comm, f.word(b, err))
	return e
}

// word is what this rank says of a block.
func (f *follower) word(b *blocks.Run, err error) word {
	w := wordOf(f.plan.Config.Secrets.Error(err))
	if b != nil {
		w.Warnings = b.Observe.Warnings()
	}
	return w
}

// prepare plans a block as rank 0 did, and returns what it is given to run with.
func (f *follower) prepare(ctx context.Context, o *runOrder) (*plan.Action, *blocks.Run, error) {
	at, err := addr.Parse(o.Address)
	if err != nil {
		return nil, nil, err
	}
	st := &state.Dir{Path: f.plan.StateDir, State: &state.State{}}
	if o.Scratch != "" {
		st.Path = o.Scratch
	}
	if err := json.Unmarshal(o.State, st.State); err != nil {
		return nil, nil, err
	}
	if err := seen(ctx, st.Path); err != nil {
		return nil, nil, err
	}
	q, a, err := f.plan.Follow(ctx, st, at, o.Told)
	if err != nil {
		return nil, nil, err
	}
	x, ok := a.Block.(blocks.Collective)
	switch {
	case !ok || !x.Together():
		return nil, nil, fmt.Errorf("rank 0 runs %s on all ranks, and this rank does not know how", at)
	case collectives(a.Block) != o.Program:
		return nil, nil, fmt.Errorf("the program of %s exchanges other tensors than rank 0's: their devices have different memory, "+
			"or the ranks run different binaries", at)
	}
	if x, ok := a.Block.(blocks.Picky); ok {
		if err := x.Refuse(f.device.Caps()); err != nil {
			return nil, nil, err
		}
	}
	entry := st.State.Blocks[at.String()]
	if entry == nil {
		return nil, nil, fmt.Errorf("rank 0 told nothing of the state of %s", at)
	}
	b := &blocks.Run{Planned: &a.Planned, Kind: a.Kind(), Hidden: a.Hidden, Recipe: a.Recipe, From: a.FromStep, Entry: entry,
		State: st, Device: f.device, Comm: f.comm, Scratch: o.Scratch != "", All: q.All(), Shared: f.shared,
		Record: func() error { return nil },
		Note:   func(change func(*state.State)) { change(st.State) }}
	b.Result = func(x addr.Addr) (string, error) {
		made := st.State.Blocks[x.String()]
		if made == nil || made.Status != state.Done {
			return "", fmt.Errorf("%s has not run", x)
		}
		dir := filepath.Join(st.Path, made.Dir) // rank 0 has checked its bytes
		return dir, seen(ctx, dir)
	}
	if a.FromStep > 0 {
		err = seen(ctx, checkpoint.StepDir(filepath.Join(st.Path, results.Folder(at)), a.FromStep))
	}
	return a, b, err
}

// place is where a block stands in the configuration.
func place(a *plan.Action) observe.Place {
	return observe.Place{Addr: a.Addr, File: a.Range.Filename, Line: a.Range.Start.Line}
}

// patience is how long a rank waits for a folder to show itself that rank 0 has written: network file systems keep for up to a
// minute that there is none.
var patience = 75 * time.Second

// seen waits until this rank sees a folder that rank 0 sees.
func seen(ctx context.Context, dir string) error {
	for began := time.Now(); ; {
		_, err := os.Stat(dir)
		if err == nil {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("this rank does not see a folder that rank 0 sees: %w. All ranks need the same files: put the pipeline, "+
				"its state and its temporary files (TMPDIR) on a file system that all machines share", err)
		}
		select {
		case <-ctx.Done():
			return ErrInterrupted
		case <-time.After(200 * time.Millisecond):
		}
	}
}
