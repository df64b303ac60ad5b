package main

import (
	"fmt"
	"slices"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
)

// forget removes blocks from the state, and with -delete their files. It checks all names before it removes the first.
func (a *app) forget(o *stateFlags, given []string) int {
	read, err := a.state()
	if err != nil {
		return a.fail(err)
	}
	if _, err := inState(read.State, given); err != nil {
		return a.fail(err)
	}
	d, err := a.openState("state rm", read.Path)
	if err != nil {
		return a.fail(err)
	}
	return a.closed(d, a.forgetIn(d, given, o))
}

// forgetIn is forget with the state open.
func (a *app) forgetIn(d *state.Dir, given []string, o *stateFlags) int {
	names, err := inState(d.State, given) // another process may have removed one meanwhile
	if err != nil {
		return a.fail(err)
	}
	holds, err := holdings(d.Path, names)
	if err != nil {
		return a.fail(err)
	}
	remove, files := results.Forget, "its files stay"
	if o.remove {
		remove, files = results.Destroy, "deleted"
		var folders []string
		for _, n := range names {
			for _, h := range holds[n] {
				folders = append(folders, h.Folder)
			}
		}
		if err := results.CheckProtected(d.State, folders); err != nil {
			return a.fail(err)
		}
	}
	if err := remove(d, names); err != nil {
		return a.fail(err)
	}
	if a.json {
		a.line(map[string]any{"removed": names, "deleted": o.remove, "holds": holds})
		return exitOK
	}
	for _, n := range names {
		fmt.Fprintf(a.stdout, "Removed %s", n)
		if len(holds[n]) > 0 {
			fmt.Fprintf(a.stdout, "; %s: %s", files, held(holds[n]))
		}
		fmt.Fprintln(a.stdout, ".")
	}
	return exitOK
}

// inState returns the blocks in the state that addresses name; one without a key names all instances, and a module all
// that is in it.
func inState(s *state.State, given []string) (names []string, err error) {
	for _, g := range given {
		list := covered(s.Names(), g)
		if len(list) == 0 {
			return nil, fmt.Errorf("the state has no block %s.%s Nothing was removed", g, instead(s, g))
		}
		names = append(names, list...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// covered returns those of some blocks that an address names, in their order.
func covered(all []string, given string) (names []string) {
	what, bad := addr.ParseAny(given)
	for _, n := range all {
		if x, err := addr.Parse(n); n == given || bad == nil && err == nil && what.Covers(x) {
			names = append(names, n)
		}
	}
	return names
}

// instead names blocks in the state for an address that is not one of them: those that it covers, or one like it.
func instead(s *state.State, given string) string {
	if list := covered(s.Names(), given); len(list) > 0 {
		return " It has " + words.Few(list) + "."
	}
	return dsl.Suggest(given, s.Names())
}

// holdings returns what blocks have on disk, by their addresses.
func holdings(stateDir string, names []string) (map[string][]results.Holding, error) {
	var list []addr.Addr
	for _, n := range names {
		x, err := addr.Parse(n)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	held, err := results.Holdings(stateDir, list)
	out := map[string][]results.Holding{}
	for a, h := range held {
		out[a.String()] = h
	}
	return out, err
}
