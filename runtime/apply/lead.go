package apply

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/gpu/ranks"
	"stepflow/runtime/blocks"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// order is what rank 0 has the others do: run a block together with it, or end.
type order struct {
	Run  *runOrder `json:"run,omitempty"`
	Done *doneWord `json:"done,omitempty"`
}

// runOrder is a block that begins to run on all ranks.
type runOrder struct {
	Address string                `json:"address"`
	Scratch string                `json:"scratch,omitempty"` // the state's folder, where that is not the pipeline's
	State   json.RawMessage       `json:"state"`
	Told    map[string]*plan.Told `json:"told"`    // of the block and those that it is made from
	Program string                `json:"program"` // see collectives
	Trace   tracing.Reference     `json:"trace,omitempty"`
	Of      tracing.Reference     `json:"run_trace,omitempty"` // what names the run
}

// doneWord is how the run of rank 0 ended.
type doneWord struct {
	Interrupted bool   `json:"interrupted,omitempty"`
	Error       string `json:"error,omitempty"`
}

// word is what a rank says of a block that all have planned, or run.
type word struct {
	Error       string   `json:"error,omitempty"`
	Interrupted bool     `json:"interrupted,omitempty"`
	Warnings    []string `json:"warnings,omitempty"`
}

// together runs a block.
type together func(ctx context.Context, run func(context.Context, *blocks.Run) error) error

// lead has the other ranks run a block with this one, if it is one that ranks run together. The lock is held.
func (r *runner) lead(ctx context.Context, a *plan.Action, b *blocks.Run) together {
	if r.ranksOf(a) == 1 {
		return func(ctx context.Context, run func(context.Context, *blocks.Run) error) error { return run(ctx, b) }
	}
	o, err := r.order(ctx, a, b)
	b.Comm = r.comm
	return func(ctx context.Context, run func(context.Context, *blocks.Run) error) error {
		if err != nil {
			return err
		}
		if err := ranks.Tell(r.comm, order{Run: o}); err != nil {
			return r.part(err)
		}
		words, err := ranks.Gather(r.comm, word{})
		if err != nil {
			return r.part(err)
		}
		if err := disagree(words); err != nil { // all are where they were before
			return err
		}
		err = run(ctx, b)
		if err != nil && !ranks.IsJoint(err) {
			r.comm.Abort(err)
			return r.part(err)
		}
		words, e := ranks.Gather(r.comm, wordOf(err))
		if e != nil {
			return r.part(errors.Join(err, e))
		}
		tell(ctx, b.Observe, words)
		if err != nil {
			return err
		}
		if err := disagree(words); err != nil {
			r.comm.Abort(err)
			return r.part(err)
		}
		return nil
	}
}

// part notes that the ranks no longer work together.
func (r *runner) part(err error) error {
	r.locked(func() { r.parted = true })
	return err
}

// disagree returns the errors of the other ranks, of those that did what rank 0 did without one.
func disagree(words []word) error {
	var errs []error
	for rank, w := range words {
		if w.Error != "" && rank > 0 {
			errs = append(errs, fmt.Errorf("rank %d: %s", rank, w.Error))
		}
	}
	return errors.Join(errs...)
}

// tell gives the warnings of the other ranks, as far as rank 0 did not give them.
func tell(ctx context.Context, b *observe.Block, words []word) {
	given := b.Warnings()
	for rank, w := range words {
		for _, text := range w.Warnings {
			if rank > 0 && !slices.Contains(given, text) {
				b.Warn(ctx, "rank %d: %s", rank, text)
			}
		}
	}
}

// wordOf is what a rank says of a block that it has run.
func wordOf(err error) (w word) {
	if err != nil {
		w.Error, w.Interrupted = err.Error(), errors.Is(err, ErrInterrupted)
	}
	return w
}

// order returns what the others need to know of a block that begins to run.
func (r *runner) order(ctx context.Context, a *plan.Action, b *blocks.Run) (*runOrder, error) {
	for in := range a.Inputs { // here, so that ranks do not fetch the same files
		x, err := addr.Parse(in)
		if err == nil {
			err = r.fold.Fetch(ctx, x)
		}
		if err != nil {
			return nil, err
		}
	}
	told, err := r.fold.Tell(a, r.sealed)
	if err != nil {
		return nil, err
	}
	st := *r.dir.State
	st.Outputs, st.Unsent = map[string]state.Output{}, nil
	text, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	o := &runOrder{Address: a.Addr.String(), State: text, Told: told, Program: collectives(a.Block), Trace: b.Observe.Reference(),
		Of: r.obs.Run()}
	if r.scratch {
		o.Scratch = r.dir.Path
	}
	return o, nil
}

// dismiss ends the ranks that follow, with the error that the run of rank 0 ended with, unless they have parted.
func dismiss(c gpu.Communicator, parted bool, err error) error {
	if c == nil || parted {
		return err
	}
	done := &doneWord{Interrupted: errors.Is(err, ErrInterrupted)}
	if err != nil {
		done.Error = err.Error()
	}
	return errors.Join(err, ranks.Tell(c, order{Done: done}))
}

// Dismiss ends the ranks that follow, where rank 0 runs nothing.
func Dismiss(c gpu.Communicator, err error) error { return dismiss(c, false, err) }

// ranked is a trace whose spans say on which of several ranks they are.
func ranked(t *tracing.Tracing, c gpu.Communicator) *tracing.Tracing {
	if c == nil {
		return t
	}
	return t.With(tracing.KV{Key: tracing.Rank, Value: c.Rank()})
}

// collectives names the operations of a block's program in which ranks take part, in their order: they are the same on all
// ranks, while the rest of the programs may differ.
func collectives(b blocks.Block) string {
	x, ok := b.(blocks.Programmed)
	if !ok || x.DeviceProgram() == nil {
		return ""
	}
	return hex.EncodeToString(ranks.Collectives(x.DeviceProgram()))
}
