package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks/all"
	"stepflow/runtime/words"
)

// selected plans what the selection leaves. Where it names instances, all instances of their blocks are planned first,
// to see which instances need which; then those that are chosen are planned for themselves.
func (p *Plan) selected(ctx context.Context) hcl.Diagnostics {
	c, diags := p.fold.choose(p.Select)
	p.fold.choice = c
	if diags.HasErrors() {
		return diags
	}
	isKeyed := func(a addr.Addr) bool { return a.Key != "" }
	keyed := slices.ContainsFunc(c.target, isKeyed) || slices.ContainsFunc(c.exclude, isKeyed)
	holds := p.fold.lifecycle
	p.fold.lifecycle = holds && !keyed // else conditions of instances that will be left out would count
	p.fold.Scope.Conditions = p.fold.lifecycle
	diags = p.blocks(ctx)
	p.fold.lifecycle = holds
	if diags.HasErrors() || ctx.Err() != nil {
		return diags
	}
	if dd := p.instancesExist(); dd.HasErrors() {
		return append(diags, dd...)
	}
	if keyed {
		c.instances = p.chosenInstances()
		p.begin()
		diags = p.blocks(ctx)
	}
	return append(diags, p.replaceable()...)
}

// begin empties the plan, which is then made again.
func (p *Plan) begin() {
	p.fold.begin()
	p.fold.making = map[string]addr.Addr{}
	p.Actions, p.index, p.leftOut = nil, map[addr.Addr]int{}, map[addr.Addr]bool{}
	clear(p.Outputs)
	clear(p.OutputDoc)
}

// instancesExist refuses addresses of instances that a block does not have.
func (p *Plan) instancesExist() (diags hcl.Diagnostics) {
	c := p.fold.choice
	for _, a := range slices.Concat(c.target, c.exclude, c.replace) {
		if a.Key == "" || p.Action(a) != nil || !c.hasBlock(a.Block()) || p.fold.recorded(a) {
			continue
		}
		var names []string
		for _, x := range p.Actions {
			if x.Addr.Block() == a.Block() {
				names = append(names, x.Addr.String())
			}
		}
		diags = append(diags, wrongSelection("%s has no instance %s.%s", a.Block(), a, dsl.Suggest(a.String(), names)))
	}
	return diags
}

// chosenInstances returns the instances of blocks that the selection leaves. A block that is deferred may need any
// instance of the blocks that it refers to.
func (p *Plan) chosenInstances() map[addr.Addr]bool {
	c, chosen := p.fold.choice, map[addr.Addr]bool{}
	inputs := map[addr.Addr][]addr.Addr{}
	for _, a := range p.Actions {
		inputs[a.Addr] = p.inputs(a)
	}
	if len(c.exclude) > 0 {
		for _, a := range p.Actions { // in dependency order
			lacks := slices.ContainsFunc(inputs[a.Addr], func(in addr.Addr) bool { return !chosen[in] })
			chosen[a.Addr] = !lacks && !matches(c.exclude, a.Addr)
		}
		return chosen
	}
	var need func(addr.Addr)
	need = func(a addr.Addr) {
		if !chosen[a] {
			chosen[a] = true
			for _, in := range inputs[a] {
				need(in)
			}
		}
	}
	for _, b := range p.Config.Blocks { // outputs that are targets show all instances
		if b.Kind.Name != "output" || !matches(c.target, b.Addr) {
			continue
		}
		for _, a := range p.Actions {
			if slices.Contains(b.Refs, a.Addr.Block()) {
				need(a.Addr)
			}
		}
	}
	for _, a := range p.Actions {
		if matches(c.target, a.Addr) {
			need(a.Addr)
		}
	}
	return chosen
}

// inputs lists the blocks that an action needs.
func (p *Plan) inputs(a *Action) (list []addr.Addr) {
	if a.Verb == Deferred {
		for _, x := range p.Actions {
			if slices.Contains(a.block.Refs, x.Addr.Block()) || a.mayName(x) {
				list = append(list, x.Addr)
			}
		}
		return list
	}
	for in := range a.Inputs {
		if x, err := addr.Parse(in); err == nil && p.Action(x) != nil {
			list = append(list, x)
		}
	}
	for _, x := range a.Seen {
		if p.Action(x) != nil {
			list = append(list, x)
		}
	}
	for _, x := range p.Actions { // instances of blocks that only its lifecycle names
		if b := x.Addr.Block(); slices.Contains(a.block.Refs, b) && !slices.Contains(a.block.Reads, b) {
			list = append(list, x.Addr)
		}
	}
	return list
}

// mayName reports whether x is an earlier instance of the chain that a is of.
func (a *Action) mayName(x *Action) bool {
	return a.block.Chained && x.block == a.block && x.each.Index < a.each.Index
}

// Needing adds to a set of instances those that need one of them, or that share what it makes.
func (p *Plan) Needing(set map[addr.Addr]bool) {
	for before := -1; before < len(set); { // a longer stage may stand before the shorter one that it goes on from
		before = len(set)
		for _, a := range p.Actions {
			needs := func(in addr.Addr) bool { return set[in] }
			if !set[a.Addr] && (set[a.After] || slices.ContainsFunc(p.inputs(a), needs)) {
				set[a.Addr] = true
			}
		}
	}
}

// replaceable refuses to replace what does not run.
func (p *Plan) replaceable() (diags hcl.Diagnostics) {
	c := p.fold.choice
	for _, a := range c.replace {
		runs := slices.ContainsFunc(p.Actions, func(x *Action) bool {
			return matches([]addr.Addr{a}, x.Addr) && (x.task() != nil || x.Verb == Deferred)
		})
		switch {
		case runs:
		case p.LeavesOut(a):
			diags = append(diags, wrongSelection("-replace %s: it is left out by %s.", a, c.part()))
		default:
			diags = append(diags, wrongSelection("-replace %s: nothing runs there. It takes a tokenizer, a stage, an "+
				"evaluation or an export.", a))
		}
	}
	return diags
}

// partial warns of a plan that leaves something out.
func (p *Plan) partial() hcl.Diagnostics {
	left := p.LeftOut()
	if len(left) == 0 {
		return nil
	}
	text := fmt.Sprintf("%s leaves out %s. Plan without it to see all that changes.", p.Select.part(), words.Few(left))
	if len(p.waits) > 0 {
		text += fmt.Sprintf(" %s is not destroyed yet, since a block that is left out may need what it made.",
			words.Few(p.waits))
	}
	return hcl.Diagnostics{{Severity: hcl.DiagWarning, Summary: "Partial plan", Detail: text}}
}

// leaveOut leaves a block out. Its own errors are found even so.
func (p *Plan) leaveOut(b *dsl.Block) hcl.Diagnostics {
	p.leftOut[b.Addr] = true
	return p.fold.Scope.Check(b, all.Sound)
}

// partly reports whether a block is an output of blocks of which some instances are left out.
func (p *Plan) partly(b *dsl.Block) bool {
	if b.Kind.Name != "output" {
		return false
	}
	for a := range p.leftOut {
		if slices.Contains(b.Refs, a.Block()) {
			return true
		}
	}
	return false
}

// LeavesOut reports whether a selection leaves out a block, or an instance of it. Only the state may have it.
func (p *Plan) LeavesOut(a addr.Addr) bool {
	return p.leftOut[a] || p.leftOut[a.Block()] || matches(p.fold.choice.exclude, a)
}

// KeepsOutput reports whether an output stays as the state has it: a selection leaves it out, or the
// configuration no longer has it and it is not a target.
func (p *Plan) KeepsOutput(name string) bool {
	a := addr.Addr{Kind: "output", Name: name}
	return p.LeavesOut(a) || p.Config.Block(a) == nil && !p.fold.choice.hasOrphan(a)
}

// LeftOut lists the blocks and instances that a selection leaves out, outputs apart, in the order of the pipeline; then
// those that a removed block would let go.
func (p *Plan) LeftOut() (list []string) {
	for _, b := range p.Config.Blocks {
		if b.Kind.Name == "output" {
			continue
		}
		if p.leftOut[b.Addr] {
			list = append(list, b.Addr.String())
		}
		var instances []string
		for a := range p.leftOut {
			if a.Key != "" && a.Block() == b.Addr {
				instances = append(instances, a.String())
			}
		}
		slices.Sort(instances)
		list = append(list, instances...)
	}
	return append(list, p.stay...)
}
