package main

import (
	"fmt"

	"stepflow/dsl/addr"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// rename gives a block in the state another address, and moves its files. An address without a key moves all instances,
// and a module's moves all that is in it.
func (a *app) rename(o *stateFlags, args []string) int {
	var ends [2]addr.Addr
	for i, s := range args {
		x, err := addr.ParseAny(s)
		if err != nil {
			return a.fail(err)
		}
		ends[i] = x
	}
	from, to := ends[0], ends[1]
	if from.Kind != to.Kind || from.Type != to.Type {
		return a.fail(fmt.Errorf("%s cannot become %s: only the name and the key may differ. Nothing was moved",
			from, to))
	}
	read, err := a.state() // without a lock it makes no folder
	if err != nil {
		return a.fail(err)
	}
	d, err := a.openState("state mv", read.Path)
	if err != nil {
		return a.fail(err)
	}
	return a.closed(d, a.renameIn(d, from, to, o))
}

// renameIn is rename with the state open.
func (a *app) renameIn(d *state.Dir, from, to addr.Addr, o *stateFlags) int {
	list := d.State.Moving(from, to)
	if len(list) == 0 {
		return a.fail(fmt.Errorf("the state has no block %s.%s Nothing was moved", from,
			instead(d.State, from.String())))
	}
	for _, m := range list {
		if d.State.Has(m.To) {
			return a.fail(fmt.Errorf("the state has a block %s already: let it go with \"stepflow state rm %s\", or "+
				"move it first. Nothing was moved", m.To, m.To.Word()))
		}
	}
	if !o.dryRun {
		if err := results.NewDisk(d.Path).Relocate(d, list); err != nil {
			return a.fail(err)
		}
	}
	if a.json {
		a.line(map[string]any{"moved": movesJSON(list), "dry_run": o.dryRun})
		return exitOK
	}
	verb := "Moved"
	if o.dryRun {
		verb = "Would move"
	}
	for _, m := range list {
		fmt.Fprintf(a.stdout, "%s %s to %s.\n", verb, m.From, m.To)
	}
	return exitOK
}
