package plan

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

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

// Steps returns the trained steps among its files.
func (o *Orphan) Steps() (n int) {
	for _, h := range o.Holds {
		n += h.Steps
	}
	return n
}

// Bytes returns the size of its files.
func (o *Orphan) Bytes() (n int64) {
	for _, h := range o.Holds {
		n += h.Bytes
	}
	return n
}

// orphans finds the blocks of the state that the configuration no longer has, and whose results no other block takes
// over.
func (p *Plan) orphans() (diags hcl.Diagnostics) {
	taken := map[string]bool{}
	for _, a := range p.Actions {
		if a.Found != nil {
			taken[a.Found.Block] = true
		}
	}
	for _, name := range p.State.Names() {
		x, err := addr.Parse(name)
		if err != nil || p.Action(x) != nil || taken[results.Folder(p.fold.lies(x))] {
			continue
		}
		o := &Orphan{Addr: name, Fate: Keep, Why: "not in the configuration"}
		if o.Holds, err = results.Holdings(p.StateDir, p.fold.lies(x)); err != nil {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unreadable result",
				Detail: fmt.Sprintf("What %s has on disk is unknown: %v.", name, err)})
		}
		if i := slices.IndexFunc(p.Config.Removed, func(r *dsl.Removal) bool { return r.Covers(x) }); i >= 0 {
			r := p.Config.Removed[i]
			if o.Fate = Forget; r.Destroy {
				o.Fate = Destroy
			}
			o.Why = "removed at " + r.Place()
		}
		p.Orphans = append(p.Orphans, o)
	}
	return diags
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

// Reached returns the folders of the state, relative to it, that the configuration reaches: those of its blocks, and
// those in which their results were found.
func (p *Plan) Reached() map[string]bool {
	reached := map[string]bool{}
	for _, a := range p.Actions {
		reached[results.Folder(p.fold.lies(a.Addr))] = true
		if a.Found != nil {
			reached[a.Found.Block] = true
		}
	}
	return reached
}
