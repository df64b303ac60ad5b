package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
)

// Selection says which blocks to plan, where that is not all of them, and which to run though they are up to date. Each
// address names a block with all its instances, one instance, or a module with all that is in it.
type Selection struct {
	Target  []string `json:"target,omitempty"`  // only these, and what they need
	Exclude []string `json:"exclude,omitempty"` // all but these and what needs them
	Replace []string `json:"replace,omitempty"` // run again from the start

	RefreshOnly bool `json:"refresh_only,omitempty"` // record what differs from the state, and run nothing
}

// Partial reports whether blocks may be left out.
func (s Selection) Partial() bool { return len(s.Target)+len(s.Exclude) > 0 }

// Empty reports whether nothing is selected.
func (s Selection) Empty() bool { return !s.Partial() && len(s.Replace) == 0 && !s.RefreshOnly }

// Flags writes the flags that select the same.
func (s Selection) Flags() string {
	var words []string
	if s.RefreshOnly {
		words = append(words, "-refresh-only")
	}
	add := func(flag string, list []string) {
		for _, a := range list {
			words = append(words, flag+" "+a)
		}
	}
	add("-target", s.Target)
	add("-exclude", s.Exclude)
	add("-replace", s.Replace)
	return strings.Join(words, " ")
}

// part writes the flags that leave something out.
func (s Selection) part() string { return Selection{Target: s.Target, Exclude: s.Exclude}.Flags() }

// choice is a selection in a pipeline.
type choice struct {
	Selection
	target, exclude, replace []addr.Addr
	blocks                   map[addr.Addr]bool // to be planned; nil for all
	instances                map[addr.Addr]bool // of these blocks; nil for all
}

// matches reports whether a block, or an instance of one, is what one of the addresses names.
func matches(list []addr.Addr, a addr.Addr) bool {
	return slices.ContainsFunc(list, func(x addr.Addr) bool { return x.Covers(a) })
}

// named lists the blocks that an address names, or an instance of which it names.
func (f *Fold) named(a addr.Addr) (list []addr.Addr) {
	if a.Key != "" {
		a = a.Block()
	}
	if f.cfg.Block(a) != nil { // most of them
		return []addr.Addr{a}
	}
	for _, b := range f.cfg.Blocks {
		if a.Covers(b.Addr) {
			list = append(list, b.Addr)
		}
	}
	return list
}

// choose reads the addresses of a selection, and finds the blocks that it leaves.
func (f *Fold) choose(s Selection) (*choice, hcl.Diagnostics) {
	c, cfg := &choice{Selection: s}, f.cfg
	diags := f.readChoice(c)
	if len(s.Target) > 0 && len(s.Exclude) > 0 {
		diags = append(diags, wrongSelection("-target and -exclude exclude each other: write what is to run with "+
			"-target, or what is not to run with -exclude."))
	}
	if s.RefreshOnly && len(s.Replace) > 0 {
		diags = append(diags, wrongSelection("-refresh-only and -replace exclude each other: the first runs nothing."))
	}
	if !s.Partial() || diags.HasErrors() {
		return c, diags
	}
	c.blocks = map[addr.Addr]bool{}
	for _, x := range c.target {
		for _, a := range f.named(x) {
			c.need(cfg, a)
		}
	}
	for _, b := range cfg.Blocks { // in dependency order
		lacks := slices.ContainsFunc(b.Refs, func(r addr.Addr) bool { return !c.blocks[r] })
		switch {
		case len(c.exclude) > 0:
			c.blocks[b.Addr] = !lacks && !matches(c.exclude, b.Addr)
		case b.Kind.Name == "output" && !lacks: // what it shows is planned anyway
			c.blocks[b.Addr] = true
		}
	}
	return c, nil
}

// need chooses a block and what it needs.
func (c *choice) need(cfg *dsl.Config, a addr.Addr) {
	b := cfg.Block(a)
	if b == nil || c.blocks[a] { // only the state has it, or it was chosen before
		return
	}
	c.blocks[a] = true
	for _, r := range b.Refs {
		c.need(cfg, r)
	}
}

// readChoice parses the addresses of a selection. Only what the pipeline has can be replaced; what only the state has
// may be a target or excluded, as a removed block decides what becomes of it.
func (f *Fold) readChoice(c *choice) (diags hcl.Diagnostics) {
	for _, x := range []struct {
		flag   string
		addrs  []string
		parsed *[]addr.Addr
	}{
		{"-target", c.Target, &c.target}, {"-exclude", c.Exclude, &c.exclude}, {"-replace", c.Replace, &c.replace},
	} {
		for _, text := range x.addrs {
			a, err := addr.ParseAny(text)
			switch {
			case err != nil:
				diags = append(diags, wrongSelection("%s: %v.", x.flag, err))
			case len(f.named(a)) == 0 && (!f.recorded(a) || x.flag == "-replace"):
				diags = append(diags, wrongSelection("%s %s: the pipeline has no such block.%s", x.flag, text, f.meant(a)))
			default:
				*x.parsed = append(*x.parsed, a)
			}
		}
	}
	return diags
}

// meant says which block may be meant by an address that the pipeline does not have.
func (f *Fold) meant(a addr.Addr) string {
	for to, from := range f.came {
		if a == from {
			return fmt.Sprintf(" It has moved to %s.", to)
		}
	}
	var names []string
	for _, b := range f.cfg.Blocks {
		names = append(names, b.Addr.String())
	}
	return dsl.Suggest(a.Block().String(), names)
}

// recorded reports whether the state has a block, an instance of it, or something in a module.
func (f *Fold) recorded(a addr.Addr) bool {
	return slices.ContainsFunc(f.world.State.Names(), func(name string) bool {
		x, err := addr.Parse(name)
		return err == nil && a.Covers(x)
	})
}

func wrongSelection(format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Wrong selection", Detail: fmt.Sprintf(format, args...)}
}

// hasBlock reports whether a block is planned.
func (c *choice) hasBlock(a addr.Addr) bool { return c.blocks == nil || c.blocks[a] }

// hasOrphan reports whether the plan says what becomes of a block that only the state has. One that is excluded stays,
// and where there are targets, all others stay.
func (c *choice) hasOrphan(a addr.Addr) bool {
	return (len(c.target) == 0 || matches(c.target, a)) && !matches(c.exclude, a)
}

// has reports whether an instance of a planned block is planned.
func (c *choice) has(a addr.Addr) bool { return c.instances == nil || c.instances[a] }
