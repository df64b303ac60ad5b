package apply

import (
	"context"
	"errors"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// Refresh records in the state how the data and the results on disk differ from it, as a plan found, and gives blocks
// that have moved their addresses of now. It runs and removes nothing, and leaves outputs as they are. A block whose
// result is gone is recorded as failed, with what it made: what was made from that stays up to date.
func Refresh(ctx context.Context, p *plan.Plan, access *state.Access) (err error) {
	if !p.Changes() {
		return nil
	}
	dir, err := open(ctx, p, access)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	saw(p, dir.State)
	r := &runner{plan: p, fold: p.Again(dir.State), dir: dir}
	if err := r.relocate(); err != nil {
		return err
	}
	for _, d := range p.Drift {
		switch b := dir.State.Blocks[d.Address]; d.Kind {
		case plan.ResultGone:
			b.Status, b.Error, b.Earlier, b.Content = state.Failed, d.Why, b.Content, ""
			b.Updated = time.Now().UTC().Truncate(time.Second)
		case plan.ResultFound:
			x, err := addr.Parse(d.Address)
			if err != nil {
				return err
			}
			a := p.Action(x)
			entry := r.found(a, results.Folder(x))
			entry.Updated = time.Now().UTC().Truncate(time.Second)
			dir.State.Blocks[d.Address] = entry
		}
	}
	return dir.Save()
}
