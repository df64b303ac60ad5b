package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/results"
)

// Fate is what apply will do with a block in the state that the configuration no longer has.
type Fate string

const (
	Keep    Fate = "keep"    // nothing: only a removed block, state rm or state gc lets it go
	Forget  Fate = "forget"  // remove it from the state, and leave its files
	Destroy Fate = "destroy" // remove it from the state, and delete its files
)

// Orphan is a block in the state that the configuration no longer has.
type Orphan struct {
	Addr  string            `json:"address"`
	Fate  Fate              `json:"action"`
	Why   string            `json:"reason"`
	Holds []results.Holding `json:"holds,omitempty"`
}

// orphans finds the blocks of the state that the configuration no longer has, and whose results no other block takes
// over. Those that a selection leaves out stay as they are.
func (p *Plan) orphans(ctx context.Context) error {
	taken := map[string]bool{}
	for _, a := range p.fold.done { // also those that are left out
		if a.Found != nil {
			taken[a.Found.Block] = true
		}
	}
	var list, lie []addr.Addr
	for _, name := range p.State.Names() {
		x, err := addr.Parse(name)
		there := p.Action(x) != nil || p.leftOut[x] || p.leftOut[x.Block()]
		if err == nil && !there && !taken[results.Folder(p.fold.lies(x))] {
			list, lie = append(list, x), append(lie, p.fold.lies(x))
		}
	}
	held, err := results.Holdings(p.StateDir, lie)
	if err != nil {
		return fmt.Errorf("what blocks have on disk that the configuration no longer has is unknown: %w", err)
	}
	wanted := p.wantedByOthers(ctx, list)
	for i, x := range list {
		o := &Orphan{Addr: x.String(), Fate: Keep, Why: "not in the configuration", Holds: held[lie[i]]}
		if r := p.removal(x); r != nil {
			o.Fate, o.Why = Forget, "removed at "+r.Place()
			if r.Destroy {
				o.Fate = Destroy
			}
		}
		switch {
		case o.Fate == Destroy && wanted(results.Folder(lie[i])):
			p.stay, p.waits = append(p.stay, o.Addr), append(p.waits, o.Addr)
		case p.fold.choice.hasOrphan(x):
			p.Orphans = append(p.Orphans, o)
		case o.Fate != Keep:
			p.stay = append(p.stay, o.Addr)
		}
	}
	return nil
}

// wantedByOthers returns a function that reports whether a block that a selection leaves out may take over what lies in
// a folder. To know it, the whole pipeline is planned; if that fails, all may be wanted.
func (p *Plan) wantedByOthers(ctx context.Context, list []addr.Addr) func(folder string) bool {
	destroyed := func(x addr.Addr) bool {
		r := p.removal(x)
		return r != nil && r.Destroy && p.fold.choice.hasOrphan(x)
	}
	if !p.Select.Partial() || !slices.ContainsFunc(list, destroyed) {
		return func(string) bool { return false }
	}
	f := p.Again(p.State)
	f.choice, f.lifecycle, f.making = &choice{}, false, map[string]addr.Addr{}
	f.came, f.imports = p.fold.came, p.fold.imports
	whole := &Plan{Config: p.Config, Outputs: map[string]cty.Value{}, OutputDoc: map[string]OutputDoc{}, State: p.State,
		index: map[addr.Addr]int{}, leftOut: map[addr.Addr]bool{}, fold: f}
	if whole.blocks(ctx).HasErrors() {
		return func(string) bool { return true }
	}
	wanted := whole.Reached()
	return func(folder string) bool { return wanted[folder] }
}

// removal returns the removed block that is about a block; nil if there is none.
func (p *Plan) removal(a addr.Addr) *dsl.Removal {
	for _, r := range p.Config.Removed {
		if r.Covers(a) {
			return r
		}
	}
	return nil
}

// losses lists the trained work that destroying the orphan throws away.
func (o *Orphan) losses() (list []Loss) {
	for _, h := range o.Holds {
		if o.Fate == Destroy && h.Steps > 0 {
			list = append(list, Loss{Block: o.Addr, Folder: h.Folder, Steps: h.Steps, Seconds: h.Seconds,
				Why: "it is " + o.Why, Destroyed: true})
		}
	}
	return list
}

// Recipes adds the recipes of the plan's blocks to a set.
func (p *Plan) Recipes(set map[string]bool) {
	for _, a := range p.Actions {
		set[a.Recipe] = true
		if a.Base != nil {
			set[a.Base.Recipe] = true
		}
	}
}

// Reached returns the folders of the state, relative to it, that the configuration reaches: those of its blocks, and
// those in which their results were found.
func (p *Plan) Reached() map[string]bool {
	reached := map[string]bool{}
	for _, a := range p.Actions {
		reached[results.Folder(p.fold.lies(a.Addr))] = true
		for _, f := range []*results.Found{a.Found, a.Base} {
			if f != nil {
				reached[f.Block] = true
			}
		}
	}
	return reached
}
