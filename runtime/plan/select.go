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
// address names a block with all its instances, or one instance.
type Selection struct {
	Target  []string `json:"target,omitempty"`  // only these, and what they need
	Exclude []string `json:"exclude,omitempty"` // all but these, and but what needs them
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

// choice is a selection in a pipeline.
type choice struct {
	Selection
	target, exclude, replace []addr.Addr
	blocks                   map[addr.Addr]bool // to be planned; nil for all
	instances                map[addr.Addr]bool // of these blocks; nil for all
}

// matches reports whether an instance of a block is one of the addresses.
func matches(list []addr.Addr, a addr.Addr) bool {
	return slices.Contains(list, a) || a.Key != "" && slices.Contains(list, a.Block())
}

// choose reads the addresses of a selection, and finds the blocks that it leaves.
func choose(cfg *dsl.Config, s Selection) (*choice, hcl.Diagnostics) {
	c := &choice{Selection: s}
	diags := c.read(cfg)
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
		c.need(cfg, x.Block())
	}
	for _, b := range cfg.Blocks { // in dependency order
		lacks := slices.ContainsFunc(b.Refs, func(r addr.Addr) bool { return !c.blocks[r] })
		switch {
		case len(c.exclude) > 0:
			c.blocks[b.Addr] = !lacks && !slices.Contains(c.exclude, b.Addr)
		case b.Kind.Name == "output" && !lacks: // what it shows is planned anyway
			c.blocks[b.Addr] = true
		}
	}
	return c, nil
}

// need chooses a block and what it needs.
func (c *choice) need(cfg *dsl.Config, a addr.Addr) {
	if c.blocks[a] {
		return
	}
	c.blocks[a] = true
	for _, r := range cfg.Block(a).Refs {
		c.need(cfg, r)
	}
}

// read parses the addresses.
func (c *choice) read(cfg *dsl.Config) (diags hcl.Diagnostics) {
	var names []string
	for _, b := range cfg.Blocks {
		names = append(names, b.Addr.String())
	}
	for _, f := range []struct {
		flag   string
		addrs  []string
		parsed *[]addr.Addr
	}{
		{"-target", c.Target, &c.target}, {"-exclude", c.Exclude, &c.exclude}, {"-replace", c.Replace, &c.replace},
	} {
		for _, text := range f.addrs {
			a, err := addr.Parse(text)
			if err != nil {
				diags = append(diags, wrongSelection("%s: %v.", f.flag, err))
				continue
			}
			if cfg.Block(a) == nil {
				diags = append(diags, wrongSelection("%s %s: the pipeline has no such block.%s", f.flag, text,
					dsl.Suggest(a.Block().String(), names)))
				continue
			}
			*f.parsed = append(*f.parsed, a)
		}
	}
	return diags
}

func wrongSelection(format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Wrong selection", Detail: fmt.Sprintf(format, args...)}
}

// hasBlock reports whether a block is planned.
func (c *choice) hasBlock(a addr.Addr) bool { return c.blocks == nil || c.blocks[a] }

// has reports whether an instance of a planned block is planned.
func (c *choice) has(a addr.Addr) bool { return c.instances == nil || c.instances[a] }
