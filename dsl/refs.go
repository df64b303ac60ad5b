package dsl

import (
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"stepflow/dsl/addr"
)

// UnusedBlock is the summary of the warning about a block that nothing refers to.
const UnusedBlock = "Unused block"

// reference is one use of a name in an expression.
type reference struct {
	addr addr.Addr // var, local or a block, without key
	rng  hcl.Range
}

// refsOf lists what a body refers to, and reports names that don't exist. repeated says that each and count have values
// in it, though not in its own count and for_each; iterators are the names of the dynamic blocks around it.
func (m *module) refsOf(b *hclsyntax.Body, repeated bool, iterators ...string) (refs []reference,
	diags hcl.Diagnostics) {
	for _, a := range sortedAttrs(b) {
		r, d := m.refsOfExpr(a.Expr, repeated && a.Name != "count" && a.Name != "for_each", iterators...)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	for _, sub := range b.Blocks {
		if sub.Type == dynamicName {
			r, d := m.dynamicRefs(sub, repeated, iterators)
			refs, diags = append(refs, r...), append(diags, d...)
			continue
		}
		r, d := m.refsOf(sub.Body, repeated, iterators...)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	return refs, diags
}

func (m *module) refsOfExpr(e hclsyntax.Expression, repeated bool, iterators ...string) (refs []reference,
	diags hcl.Diagnostics) {
	for _, t := range e.Variables() {
		if slices.Contains(iterators, t.RootName()) {
			continue
		}
		r, d := m.refOf(t, repeated)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	return refs, append(diags, checkFunctions(e)...)
}

// refOf resolves the start of a traversal such as data.fineweb_edu.corpus.validation. Most name one thing; each, count
// and path none, and a module what all its instances give.
func (m *module) refOf(t hcl.Traversal, repeated bool) ([]reference, hcl.Diagnostics) {
	switch root := t.RootName(); root {
	case "each", "count":
		if !repeated {
			return nil, hcl.Diagnostics{failure(t.SourceRange(), "Unknown name",
				"%s has a value only in a block with for_each or count.", root)}
		}
		return nil, nil
	case "path":
		return nil, nil
	case "module":
		return m.moduleRef(t)
	case "self":
		return nil, hcl.Diagnostics{failure(t.SourceRange(), "Unknown name",
			"self has a value only in a postcondition, where it is the block itself.")}
	case "var":
		return refTo(m, t, "variable", m.variables)
	case "local":
		return refTo(m, t, "local value", m.localOf)
	}
	return m.blockRef(t)
}

// stepName returns the name of a traversal's step; "" if it has no such step, or one that is not a name.
func stepName(t hcl.Traversal, i int) string {
	if i < len(t) {
		if a, ok := t[i].(hcl.TraverseAttr); ok {
			return a.Name
		}
	}
	return ""
}

// refTo resolves var.NAME and local.NAME among the names there are.
func refTo[T any](m *module, t hcl.Traversal, kind string, names map[string]T) ([]reference, hcl.Diagnostics) {
	a := addr.Addr{Module: m.path, Kind: t.RootName(), Name: stepName(t, 1)}
	if _, ok := names[a.Name]; !ok {
		return nil, hcl.Diagnostics{failure(t.SourceRange(), "Unknown "+kind, "There is no %s %q.%s%s",
			kind, a.Name, Suggest(a.Name, slices.Sorted(maps.Keys(names))), m.elsewhere(a))}
	}
	return []reference{{a, t.SourceRange()}}, nil
}

// blockRef resolves a reference to a block, and checks that the block has what is read of it.
func (m *module) blockRef(t hcl.Traversal) ([]reference, hcl.Diagnostics) {
	root, rng := t.RootName(), t.SourceRange()
	k := KindOf(root)
	switch {
	case k == nil || k.NoLabel:
		hint := insteadOf(root)
		if hint == "" {
			hint = Suggest(root, roots()) + " Values are var.NAME, local.NAME and blocks such as stage.NAME."
		}
		return nil, hcl.Diagnostics{failure(rng, "Unknown name", "There is no %q.%s", root, hint)}
	case k.Name == "output":
		return nil, hcl.Diagnostics{failure(rng, "Unknown name", "Nothing can refer to an output, which only "+
			"shows a value. To use a value in several places, give it a name in a locals block.")}
	}
	a, n := addr.Addr{Module: m.path, Kind: root, Name: stepName(t, 1)}, 2
	if k.Types != nil {
		a.Type, a.Name, n = stepName(t, 1), stepName(t, 2), 3
	}
	b := m.config.byAddr[a]
	if b == nil {
		d := m.config.noBlock(a, rng)
		d.Detail += m.elsewhere(a)
		return nil, hcl.Diagnostics{d}
	}
	refs := []reference{{a, rng}}
	if name := stepName(t, n); name != "" {
		if d := b.checkExport(name, rng); d != nil {
			return refs, hcl.Diagnostics{d}
		}
	}
	return refs, nil
}

// roots lists the names that a reference may start with, except var and local.
func roots() []string {
	names := append([]string{"each", "count", "path", "module"}, addr.Kinds...)
	return slices.DeleteFunc(names, func(n string) bool { return n == "output" })
}

// noBlock is the error of a reference to a block that is not there.
func (c *Config) noBlock(a addr.Addr, at hcl.Range) *hcl.Diagnostic {
	var names []string
	if c.moduleOf(a.Module) == nil {
		for path := a.Module; path != ""; path, _, _ = addr.Split(path) {
			x := c.callOf(addr.Addr{Module: path})
			if x != nil && x.repeated() && path == x.path() {
				return failure(at, "Missing instance key", "%s is repeated, so name an instance, as in %s%s.", x, x, x.keyHint())
			}
		}
		return failure(at, "Unknown module", "There is no %s.%s", a.Module, Suggest(a.Module,
			slices.Collect(maps.Keys(c.byPath))))
	}
	for b := range c.byAddr {
		if b.Kind == a.Kind && b.Module == a.Module {
			b.Module = ""
			names = append(names, b.String())
		}
	}
	sort.Strings(names)
	a.Module = ""
	given := strings.TrimRight(a.String(), ".")
	hint := Suggest(given, names)
	if len(names) > 0 && hint == "" {
		hint = " There are " + strings.Join(names, ", ") + "."
	}
	return failure(at, "Unknown block", "There is no %s.%s", given, hint)
}

// checkExport reports a value that a block does not offer, or that only an instance of it does; nil for others.
func (b *Block) checkExport(name string, at hcl.Range) *hcl.Diagnostic {
	if key := b.exampleKey(); key != "" {
		return failure(at, "Missing instance key", "%s is repeated, so name an instance, as in %s%s.%s; "+
			"[for x in %s : x.%s] takes all of them.", b.Addr, b.Addr, key, name, b.Addr, name)
	}
	return b.offers(name, at)
}

// offers reports a value that a block, or each instance of it, does not offer; nil for others.
func (b *Block) offers(name string, at hcl.Range) *hcl.Diagnostic {
	names := []string{"address"}
	for _, e := range b.Kind.Exports {
		if only(e.Only, b.Addr.Type) {
			names = append(names, e.Name)
		}
	}
	if slices.Contains(names, name) {
		return nil
	}
	return failure(at, "Unknown attribute", "%s offers no %q.%s It offers %s.",
		b.Addr, name, Suggest(name, names), strings.Join(names, ", "))
}

// checkFunctions reports calls of functions that don't exist, with a suggestion.
func checkFunctions(e hclsyntax.Expression) (diags hcl.Diagnostics) {
	_ = hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		if call, ok := n.(*hclsyntax.FunctionCallExpr); ok && !known[call.Name] {
			hint := Suggest(call.Name, FunctionNames())
			if why := whyLeftOut(call.Name); why != "" {
				hint = " Terraform's is left out on purpose. " + strings.ReplaceAll(why, "`", "")
			}
			diags = append(diags, failure(call.NameRange, "Unknown function", "There is no function %q.%s",
				call.Name, hint))
		}
		return nil
	})
	return diags
}

// link resolves references, orders the blocks, and reports cycles and what is not used.
func (c *Config) link() (diags hcl.Diagnostics) {
	edges, diags := c.edges()
	order, cycle := c.sort(edges)
	diags = append(diags, cycle...)
	c.cyclic = len(cycle) > 0
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

// unused warns of blocks, locals and variables that nothing refers to.
func (c *Config) unused(edges map[addr.Addr][]reference) (diags hcl.Diagnostics) {
	used := map[addr.Addr]bool{}
	use := func(list []reference) {
		for _, r := range list {
			used[r.addr] = true
		}
	}
	for a, list := range edges {
		if !a.IsModule() { // to be in a module is no use
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
				if r.addr.Name != v.Name { // its own validation is no use
					used[r.addr] = true
				}
			}
		}
	}
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
				name := func(a addr.Addr) string { return strings.TrimSuffix(a.String(), ".") }
				names := []string{name(r.addr)}
				for i := len(path) - 1; i >= 0 && path[i].addr != r.addr; i-- {
					names = append([]string{name(path[i].addr)}, names...)
				}
				names = append([]string{name(r.addr)}, names...)
				diags = append(diags, failure(r.rng, "Cycle",
					"%s: each needs the value of the next. Remove one of these references.",
					strings.Join(names, " needs ")))
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
