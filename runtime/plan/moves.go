package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
)

// The state that a plan is made of has every entry at its address of now. Its files are still where they were: lies
// says where. Apply moves them before anything else.

// lies returns the address in whose folder the files of a block are.
func (f *Fold) lies(a addr.Addr) addr.Addr {
	if from, ok := f.came[a]; ok {
		return from
	}
	return a
}

// move gives an entry of the state its new address. An address that the state has already is left as it is.
func (f *Fold) move(m state.Move) (ok bool) {
	if f.world.State.Has(m.To) {
		return false
	}
	f.world.State.Rename(m)
	f.came[m.To] = f.lies(m.From)
	delete(f.came, m.From)
	return true
}

// follow moves the entries of the state as moved blocks say.
func (f *Fold) follow(list []*dsl.Move) (diags hcl.Diagnostics) {
	for _, x := range list {
		for _, m := range f.world.State.Moving(x.From, x.To) {
			if !f.move(m) {
				diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Block not moved",
					Subject: x.Range.Ptr(), Detail: fmt.Sprintf("The state has both %s and %s, so the first does not move to "+
						"the second. To move it, let the second go with \"stepflow state rm %s\" or move that one first.",
						m.From, m.To, m.To.Word())})
			}
		}
	}
	return diags
}

// rekey moves the entry of a block that gained or lost count or for_each: between the address without a key and [0] of
// count, as Terraform does, or the only key of for_each.
func (f *Fold) rekey(b *dsl.Block, instances []dsl.Each) {
	was := f.keys(b.Addr)
	if len(was) == 0 {
		return
	}
	var is []string // keys
	for _, each := range instances {
		is = append(is, each.Key)
	}
	from, to := b.Addr, b.Addr
	var ok bool
	if from.Key, to.Key, ok = rekeyed(was, is); ok {
		f.move(state.Move{From: from, To: to})
	}
}

// rekeyed returns which key has become which where instances gained or lost keys.
func rekeyed(was, is []string) (from, to string, ok bool) {
	first := func(keys []string) (key string, ok bool) {
		if zero := addr.IntKey(0); slices.Contains(keys, zero) {
			return zero, true
		}
		if len(keys) == 1 {
			return keys[0], true
		}
		return "", false
	}
	single := func(keys []string) bool { return slices.Contains(keys, "") }
	switch {
	case single(was) && !single(is):
		to, ok = first(is)
	case len(was) > 0 && !single(was) && single(is):
		from, ok = first(was)
	}
	return from, to, ok
}

// rekeyModules does for modules what rekey does for blocks, the outer ones first.
func (f *Fold) rekeyModules() {
	was := f.moduleKeys()
	for _, x := range f.cfg.Modules() {
		from, to, ok := rekeyed(was[x.Path], x.Keys)
		if !ok {
			continue
		}
		parent, name, _ := addr.Split(x.Path)
		before, now := addr.Addr{Module: addr.Child(parent, name, from)}, addr.Addr{Module: addr.Child(parent, name, to)}
		for _, m := range f.world.State.Moving(before, now) {
			f.move(m)
		}
		was = f.moduleKeys()
	}
}

// moduleKeys lists the keys under which the state has instances of modules, by the path without the key.
func (f *Fold) moduleKeys() map[string][]string {
	keys, seen := map[string][]string{}, map[string]bool{}
	for _, name := range f.world.State.Names() {
		x, err := addr.Parse(name)
		if err != nil {
			continue
		}
		for path := x.Module; path != "" && !seen[path]; {
			seen[path] = true
			parent, name, key := addr.Split(path)
			call := addr.Child(parent, name, "")
			keys[call] = append(keys[call], key)
			path = parent
		}
	}
	return keys
}

// keys lists the keys under which the state has instances of a block.
func (f *Fold) keys(block addr.Addr) []string {
	if f.stateKeys == nil {
		f.stateKeys = map[addr.Addr][]string{}
		for _, name := range f.world.State.Names() {
			if x, err := addr.Parse(name); err == nil {
				f.stateKeys[x.Block()] = append(f.stateKeys[x.Block()], x.Key)
			}
		}
	}
	return f.stateKeys[block]
}

// moves lists the entries of the state that have another address now.
func (f *Fold) moves() (list []state.Move) {
	for to, from := range f.came {
		list = append(list, state.Move{From: from, To: to})
	}
	slices.SortFunc(list, func(a, b state.Move) int { return strings.Compare(a.From.String(), b.From.String()) })
	return list
}

// movesLeftOut refuses a selection that leaves out a block which has moved, as Terraform does. Apply moves entries and
// files before anything else, and whether a move is right is known only of blocks that are planned.
func (p *Plan) movesLeftOut() hcl.Diagnostics {
	var left, list []string
	for _, m := range p.Moves {
		for _, a := range []addr.Addr{m.From, m.To} {
			if p.LeavesOut(a) {
				left, list = append(left, "-target "+a.String()), append(list, m.String())
			}
		}
	}
	if len(left) == 0 {
		return nil
	}
	instead := "Exclude something else"
	if len(p.Select.Target) > 0 {
		instead = "Add " + strings.Join(left, " ")
	}
	return hcl.Diagnostics{wrongSelection("%s leaves out what has moved: %s. %s, or apply the moves first, without a "+
		"selection.", p.Select.part(), words.Few(slices.Compact(list)), instead)}
}

// stillThere reports moved and removed blocks whose instance the configuration still has.
func (p *Plan) stillThere() (diags hcl.Diagnostics) {
	check := func(a addr.Addr, at hcl.Range, verb string) {
		if x := p.Action(a); x != nil {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: verb + " block still exists",
				Subject: at.Ptr(), Detail: fmt.Sprintf("%s is declared at %s. Remove that instance, or this block.",
					a, dsl.FileLine(x.Range))})
		}
	}
	for _, m := range p.Config.Moved {
		check(m.From, m.Range, "Moved")
	}
	for _, r := range p.Config.Removed {
		check(r.From, r.Range, "Removed")
	}
	return diags
}
