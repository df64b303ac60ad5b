package dsl

import (
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl/addr"
)

// link resolves references, orders the blocks, and reports cycles and what is not used.
func (c *Config) link() (diags hcl.Diagnostics) {
	edges, diags := c.edges()
	order, cycles := c.sort(edges)
	diags = append(diags, cycles...)
	c.cyclic = len(cycles) > 0
	if !c.cyclic {
		c.Blocks = order
	}
	through := map[addr.Addr][]addr.Addr{}
	for _, b := range c.Blocks {
		b.Refs, b.Reads = c.blockRefs(edges, edges[b.Addr], through), c.blockRefs(edges, b.uses, through)
	}
	for _, n := range c.named {
		n.blocks = c.blockRefs(edges, n.refs, through)
	}
	return append(diags, c.unused(edges)...)
}

// edges resolves what each name and each block names.
func (c *Config) edges() (edges map[addr.Addr][]reference, diags hcl.Diagnostics) {
	edges = map[addr.Addr][]reference{}
	for _, m := range c.modules {
		for _, n := range m.names {
			after, d := n.in.afterRefs(n.after)
			edges[n.addr] = slices.Concat(n.resolve(), after)
			diags = append(diags, tag(n.in, append(n.diags, d...))...)
			if n.variable != nil {
				diags = append(diags, tag(m, m.readValidations(n.variable))...)
			}
		}
		diags = append(diags, tag(m, m.order(edges))...)
	}
	for _, b := range c.Blocks {
		r, d := b.in.refsOf(b.body, b.Count != nil || b.ForEach != nil)
		b.uses = r
		r, dd := b.lifecycleRefs()
		diags = append(diags, tag(b.in, append(b.cite(d), dd...))...)
		edges[b.Addr] = b.chain(slices.Concat(b.uses, r, b.in.afterModules(b.DeclRange)))
		if inside := b.in.addr(); inside.IsModule() {
			edges[inside] = append(edges[inside], reference{b.Addr, b.DeclRange})
		}
	}
	diags = Once(diags)
	for _, m := range c.modules {
		diags = append(diags, tag(m, m.defaultsRefs(diags))...)
	}
	for _, x := range c.imports {
		diags = append(diags, x.refs(c)...)
	}
	diags = append(diags, c.checkRefs()...)
	if c.Telemetry != nil {
		r, d := c.root().refsOf(c.Telemetry.body, false)
		diags = append(diags, d...)
		c.Telemetry.uses = r
	}
	return edges, diags
}

// used lists what something refers to.
func (c *Config) used(edges map[addr.Addr][]reference) map[addr.Addr]bool {
	used := map[addr.Addr]bool{}
	use := func(list []reference) {
		for _, r := range list {
			used[r.addr] = true
		}
	}
	for a, list := range edges {
		if !a.IsModule() { // what is in a module is not used by that
			use(list)
		}
	}
	for _, x := range c.imports {
		use(x.uses)
	}
	for _, x := range c.checks {
		for _, a := range x.asserts {
			use(a.uses)
		}
	}
	if c.Telemetry != nil {
		use(c.Telemetry.uses)
	}
	for _, m := range c.modules {
		for _, x := range m.calls {
			use(x.uses)
			if x.vague {
				use(x.refs())
			}
		}
		for _, v := range m.variables {
			for _, r := range v.uses {
				if r.addr.Name != v.Name { // its own validation does not use it
					used[r.addr] = true
				}
			}
		}
	}
	return used
}

// unused warns of blocks, locals and variables that nothing refers to.
func (c *Config) unused(edges map[addr.Addr][]reference) (diags hcl.Diagnostics) {
	used := c.used(edges)
	check := func(a addr.Addr, at hcl.Range, summary string) {
		if !used[a] {
			a.Module = ""
			diags = append(diags, warning(at, summary,
				"Nothing refers to %s, so it has no effect. Remove it, or use it.", a))
		}
	}
	for _, b := range c.Blocks {
		if b.Kind.Lazy && b.in.first() {
			check(b.Addr, b.DeclRange, UnusedBlock)
		}
	}
	for _, m := range c.modules {
		if !m.first() {
			continue // of several that use one folder
		}
		for _, n := range m.names {
			switch {
			case n.addr.Kind == "local":
				check(n.addr, n.rng, "Unused local")
			case n.addr.Kind == "module" && n.call.idle(used):
				check(n.addr, n.rng, "Unused module")
			}
		}
		diags = append(diags, m.unusedDefaults()...)
		for _, name := range slices.Sorted(maps.Keys(m.variables)) {
			check(addr.Addr{Module: m.path, Kind: "var", Name: name}, m.variables[name].Range, "Unused variable")
		}
	}
	return diags
}

// blockRefs lists the blocks among references, also through names. through keeps what names refer to.
func (c *Config) blockRefs(edges map[addr.Addr][]reference, refs []reference,
	through map[addr.Addr][]addr.Addr) (list []addr.Addr) {
	seen := map[addr.Addr]bool{}
	add := func(x addr.Addr) {
		if !seen[x] {
			seen[x] = true
			list = append(list, x)
		}
	}
	for _, r := range refs {
		if c.byAddr[r.addr] != nil {
			add(r.addr)
			continue
		}
		blocks, ok := through[r.addr]
		if !ok {
			through[r.addr] = nil // ends a cycle, which is reported elsewhere
			blocks = c.blockRefs(edges, edges[r.addr], through)
			through[r.addr] = blocks
		}
		for _, x := range blocks {
			add(x)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].String() < list[j].String() })
	return list
}

// cycle is the error of a reference to something that is on the path to it.
func cycle(path []reference, r reference) *hcl.Diagnostic {
	name := func(a addr.Addr) string { return strings.TrimSuffix(a.String(), ".") }
	names := []string{name(r.addr)}
	for i := len(path) - 1; i >= 0 && path[i].addr != r.addr; i-- {
		names = append([]string{name(path[i].addr)}, names...)
	}
	names = append([]string{name(r.addr)}, names...)
	return failure(r.rng, "Cycle", "%s: each needs the value of the next. Remove one of these references.",
		strings.Join(names, " needs "))
}

// sort orders blocks after those they refer to, and otherwise as they are declared.
func (c *Config) sort(edges map[addr.Addr][]reference) (order []*Block, diags hcl.Diagnostics) {
	const (
		open = iota + 1
		done
	)
	state := map[addr.Addr]int{}
	var path []reference
	var visit func(a addr.Addr)
	visit = func(a addr.Addr) {
		state[a] = open
		for _, r := range edges[a] {
			switch state[r.addr] {
			case open:
				if d := c.byAddr[a].namesItself(r); d != nil {
					diags = append(diags, d)
					continue
				}
				diags = append(diags, cycle(path, r))
			case 0:
				path = append(path, r)
				visit(r.addr)
				path = path[:len(path)-1]
			}
		}
		state[a] = done
		if b := c.byAddr[a]; b != nil {
			order = append(order, b)
		}
	}
	roots := append([]*Block(nil), c.Blocks...)
	place := map[*module]int{}
	for i, m := range c.modules {
		place[m] = i
	}
	sort.SliceStable(roots, func(i, j int) bool {
		if x, y := place[roots[i].in], place[roots[j].in]; x != y {
			return x < y
		}
		return before(roots[i].DeclRange, roots[j].DeclRange)
	})
	for _, b := range roots {
		if state[b.Addr] == 0 {
			path = []reference{{addr: b.Addr}}
			visit(b.Addr)
		}
	}
	for _, m := range c.modules {
		for _, n := range m.names {
			if state[n.addr] == 0 {
				path = []reference{{addr: n.addr}}
				visit(n.addr)
			}
		}
	}
	return order, diags
}
