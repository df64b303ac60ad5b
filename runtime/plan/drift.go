package plan

import (
	"context"
	"fmt"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
)

// DriftKind is how something differs from the state.
type DriftKind string

const (
	DataChanged DriftKind = "changed" // data are others than those that the last run saw
	ResultGone  DriftKind = "gone"    // what a block made is gone or damaged
	ResultFound DriftKind = "found"   // the result or checkpoint of a block is there, and the state does not have it
)

// Drift is something that is no longer as the state records it, though nobody ran anything.
type Drift struct {
	Address string    `json:"address"`
	Kind    DriftKind `json:"change"`
	Why     string    `json:"reason"`
}

// drift compares the state with the data and with the results on disk. Blocks that the plan leaves out are not looked
// at.
func (p *Plan) drift(ctx context.Context) error {
	for _, a := range p.Actions {
		if why := p.dataChanged(a); why != "" {
			p.Drift = append(p.Drift, Drift{a.Addr.String(), DataChanged, why})
		}
	}
	for _, name := range p.State.Names() {
		x, err := addr.Parse(name)
		if err != nil || p.LeavesOut(x) {
			continue
		}
		why, err := p.resultGone(ctx, x, p.State.Blocks[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if why != "" {
			p.Drift = append(p.Drift, Drift{name, ResultGone, why})
		}
	}
	for _, a := range p.Actions {
		if p.unrecorded(a) {
			why := a.Why
			if a.Verb == Resume {
				why = fmt.Sprintf("its checkpoint at step %d is on disk", a.FromStep)
			}
			p.Drift = append(p.Drift, Drift{a.Addr.String(), ResultFound, why})
		}
	}
	return nil
}

// unrecorded reports whether a result or checkpoint was found in the block's own folder that is not in its entry of the
// state.
func (p *Plan) unrecorded(a *Action) bool {
	if a.Found == nil || a.Found.Block != results.Folder(p.fold.lies(a.Addr)) {
		return false
	}
	b := p.State.Blocks[a.Addr.String()]
	return b == nil || b.Recipe != a.Recipe || a.Found.Done && (b.Status != state.Done || b.Dir != a.Found.Dir())
}

// dataChanged returns how data differ from those that the last run saw; "" if they do not, or no run saw them.
func (p *Plan) dataChanged(a *Action) string {
	source, ok := a.Block.(blocks.Source)
	if !ok {
		return ""
	}
	_, secret := a.Secret["source"]
	if was, is := p.State.Sources[a.Addr.String()], source.Seen(secret); was != nil && is != nil {
		if was.Key == is.Key && was.Identity != is.Identity {
			return fmt.Sprintf("since %s: %s then, %s now", was.Seen.Format(time.DateOnly), extent(was), extent(is))
		}
		return ""
	}
	var users []string
	for _, name := range p.State.Names() {
		b := p.State.Blocks[name]
		if id, used := b.Inputs[a.Addr.String()]; used && b.Status == state.Done && id != a.id {
			users = append(users, name)
		}
	}
	if len(users) == 0 {
		return ""
	}
	return "the files, or how they are read, are no longer those of " + words.Few(users)
}

// extent writes how many rows and files remote data have.
func extent(s *state.Source) string {
	return fmt.Sprintf("%d rows in %s", s.Rows, words.Plural(len(s.Files), "file"))
}

// resultGone returns what is wrong with a result that the state records; "" if nothing is. The error says that it could
// not be read.
func (p *Plan) resultGone(ctx context.Context, x addr.Addr, b *state.Block) (string, error) {
	if b.Status != state.Done {
		return "", nil
	}
	c := p.fold.Disk.Check(ctx, b.Dir)
	switch a := p.Action(x); {
	case a != nil && a.Found != nil && a.Found.Away != nil && a.Found.ID == b.Content:
		return "", nil
	case p.fold.Disk.Gone(b.Dir):
		return b.Dir + " is gone", nil
	case results.IsDamage(c.Err):
		return p.fold.cfg.Secrets.Redact(c.Err.Error()), nil
	case c.Err != nil:
		return "", c.Err
	case c.ID != b.Content:
		return b.Dir + " is not what the state recorded", nil
	case a != nil && a.writer() != nil && a.Verb == Run && a.Recipe == b.Recipe:
		return a.Why, nil
	}
	return "", nil
}
