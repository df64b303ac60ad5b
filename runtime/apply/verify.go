package apply

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"stepflow/runtime/blocks"
	"stepflow/runtime/durable"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
)

// Verify runs the pipeline again in a scratch folder, without exports, and compares the result of every block with the
// one that the state records. It returns the addresses with equal results, and those not compared because their
// configuration has changed since.
func Verify(ctx context.Context, o plan.Options, p *plan.Plan, s *state.Scratch, a Options) (same, changed []string,
	err error) {
	if err := trainedByOthers(p); err != nil {
		return nil, nil, dismiss(a.Comm, false, err)
	}
	o.StateDir, o.Caps = filepath.Join(s.Path, "state"), p.Caps
	if err := carry(p, o.StateDir); err != nil {
		return nil, nil, dismiss(a.Comm, false, err)
	}
	q, diags := plan.New(ctx, o)
	if diags.HasErrors() {
		return nil, nil, dismiss(a.Comm, false, diags)
	}
	for _, x := range q.Actions { // writers write outside the scratch folder
		if _, writes := x.Block.(blocks.Writer); writes {
			x.Skip = true
		}
	}
	a.Scratch = true
	var flawed *FlawedError // results that are not finite are compared like others
	if _, err := Apply(ctx, q, a); err != nil && !errors.As(err, &flawed) {
		return nil, nil, err
	}
	again, err := state.Read(o.StateDir)
	if err != nil {
		return nil, nil, err
	}
	recipes := map[string]string{}
	for _, x := range p.Actions {
		recipes[x.Addr.String()] = x.Recipe
	}
	var errs []error
	for _, name := range p.State.Names() {
		was, now := p.State.Blocks[name], again.State.Blocks[name]
		if was.Status != state.Done || was.Import != nil || now == nil {
			continue
		}
		if was.Recipe != recipes[name] {
			changed = append(changed, name)
			continue
		}
		if was.Content != now.Content {
			errs = append(errs, fmt.Errorf("%s: running it again made %.12s…, the state has %.12s…", name, now.Content,
				was.Content))
			continue
		}
		same = append(same, name)
	}
	return same, changed, errors.Join(errs...)
}

// trainedByOthers returns an error for stages that another number of ranks trained than there are now: sums are made in the
// order of ranks, so that their bits are those of so many.
func trainedByOthers(p *plan.Plan) error {
	var errs []error
	for _, x := range p.Actions {
		b := p.State.Blocks[x.Addr.String()]
		if b == nil || b.Status != state.Done || b.Steps == 0 || b.Import != nil || b.Recipe != x.Recipe {
			continue
		}
		by, now := []int{1}, p.Ranks
		if len(b.Ranks) > 0 {
			by = b.Ranks
		}
		if t, ok := x.Block.(blocks.Collective); !ok || !t.Together() {
			now = 1
		}
		switch {
		case len(by) > 1:
			errs = append(errs, fmt.Errorf("%s was trained by %s ranks: no single run makes its bits again; leave it out with -exclude",
				x.Addr, b.RanksText()))
		case by[0] != now:
			errs = append(errs, fmt.Errorf("%s was trained by %s, and would be by %d now, which makes other bits: verify it with -ranks %d", x.Addr,
				words.Plural(by[0], "rank"), now, by[0]))
		}
	}
	return errors.Join(errs...)
}

// carry puts imported results into another state. They were not made here, so they cannot be made again. Of the blocks
// that they were fitted to it notes what they made, by which the results are found.
func carry(p *plan.Plan, stateDir string) error {
	dir, err := state.Open(stateDir)
	if err != nil {
		return err
	}
	for _, a := range p.Actions {
		old := p.State.Blocks[a.Addr.String()]
		if old == nil || old.Import == nil || a.Verb != plan.UpToDate || a.Found.Away != nil {
			continue
		}
		own, entry := results.Folder(a.Addr), *old
		entry.Dir = filepath.Join(own, a.Found.Leaf)
		to := filepath.Join(stateDir, own)
		err := durable.MkdirAll(filepath.Dir(to), 0o777)
		if err == nil {
			err = results.Share(filepath.Join(p.StateDir, a.Found.Block), to)
		}
		if err != nil {
			return errors.Join(err, dir.Close())
		}
		dir.State.Blocks[a.Addr.String()] = &entry
		for in := range old.Inputs {
			if b := p.State.Blocks[in]; b != nil {
				dir.State.Blocks[in] = &state.Block{Status: state.Running, Recipe: b.Recipe, Earlier: b.Content,
					Device: b.Device}
			}
		}
	}
	return errors.Join(dir.Save(), dir.Close())
}
