package dsl

import (
	"fmt"
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

// refsOf lists what a body refers to, and reports names that don't exist.
func (c *Config) refsOf(b *hclsyntax.Body, repeated bool) (refs []reference, diags hcl.Diagnostics) {
	for _, a := range sortedAttrs(b) {
		r, d := c.refsOfExpr(a.Expr, repeated && a.Name != "count" && a.Name != "for_each") // these two say which instances there are
		refs, diags = append(refs, r...), append(diags, d...)
	}
	for _, sub := range b.Blocks {
		r, d := c.refsOf(sub.Body, repeated)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	return refs, diags
}

func (c *Config) refsOfExpr(e hclsyntax.Expression, repeated bool) (refs []reference, diags hcl.Diagnostics) {
	for _, t := range e.Variables() {
		r, d := c.refOf(t, repeated)
		diags = append(diags, d...)
		if r.addr.Kind != "" {
			refs = append(refs, r)
		}
	}
	return refs, append(diags, checkFunctions(e)...)
}

// refOf resolves the start of a traversal such as data.fineweb_edu.corpus.validation.
func (c *Config) refOf(t hcl.Traversal, repeated bool) (reference, hcl.Diagnostics) {
	rng := t.SourceRange()
	unknown := func(what, detail string) hcl.Diagnostics {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unknown " + what, Subject: rng.Ptr(), Detail: detail}}
	}
	step := func(i int) string {
		if i < len(t) {
			if a, ok := t[i].(hcl.TraverseAttr); ok {
				return a.Name
			}
		}
		return ""
	}
	root := t.RootName()
	switch root {
	case "each", "count":
		if !repeated {
			return reference{}, unknown("name", fmt.Sprintf("%s has a value only in a block with for_each or count.", root))
		}
		return reference{}, nil
	case "path":
		return reference{}, nil
	case "var", "local":
		a := addr.Addr{Kind: root, Name: step(1)}
		var names []string
		ok := false
		if root == "var" {
			_, ok = c.Variables[a.Name]
		} else {
			_, ok = c.localOf[a.Name]
		}
		if !ok {
			if root == "var" {
				names = slices.Sorted(maps.Keys(c.Variables))
			} else {
				names = slices.Sorted(maps.Keys(c.localOf))
			}
			kind := map[string]string{"var": "variable", "local": "local value"}[root]
			return reference{}, unknown(kind, fmt.Sprintf("There is no %s %q.%s", kind, a.Name, Suggest(a.Name, names)))
		}
		return reference{a, rng}, nil
	}
	k := KindOf(root)
	switch {
	case k == nil || k.NoLabel:
		var names []string
		for _, n := range append([]string{"each", "count", "path"}, addr.Kinds...) {
			if n != "output" {
				names = append(names, n)
			}
		}
		return reference{}, unknown("name", fmt.Sprintf("Nothing is called %q.%s Values are var.NAME, local.NAME and the blocks, such as stage.NAME.", root, Suggest(root, names)))
	case k.Name == "output":
		return reference{}, unknown("name", "Nothing can refer to an output: it is what the pipeline shows. To use a value in several places, give it a name in a locals block.")
	}
	a, n := addr.Addr{Kind: root, Name: step(1)}, 2
	if k.Types != nil {
		a, n = addr.Addr{Kind: root, Type: step(1), Name: step(2)}, 3
	}
	if c.byAddr[a] == nil {
		var names []string
		for b := range c.byAddr {
			if b.Kind == root {
				names = append(names, b.String())
			}
		}
		sort.Strings(names)
		given := strings.TrimRight(a.String(), ".")
		detail := fmt.Sprintf("There is no %s.%s", given, Suggest(given, names))
		if len(names) > 0 && !strings.Contains(detail, "Did you") {
			detail += " There are " + strings.Join(names, ", ") + "."
		}
		return reference{}, unknown("block", detail)
	}
	if name, b := step(n), c.byAddr[a]; name != "" {
		if key := b.exampleKey(); key != "" {
			return reference{a, rng}, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Missing instance key", Subject: rng.Ptr(),
				Detail: fmt.Sprintf("%s is repeated, so an instance has to be named first, as in %s%s.%s; [for x in %s : x.%s] takes all of them.", a, a, key, name, a, name)}}
		}
		names := []string{"address"}
		for _, e := range k.Exports {
			if only(e.Only, a.Type) {
				names = append(names, e.Name)
			}
		}
		if !slices.Contains(names, name) {
			return reference{a, rng}, unknown("attribute", fmt.Sprintf("%s offers no %q.%s It offers %s.", a, name, Suggest(name, names), strings.Join(names, ", ")))
		}
	}
	return reference{a, rng}, nil
}

// checkFunctions reports calls of functions that don't exist, with a suggestion.
func checkFunctions(e hclsyntax.Expression) (diags hcl.Diagnostics) {
	_ = hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
			if !known[call.Name] {
				hint := Suggest(call.Name, FunctionNames())
				if why := whyLeftOut(call.Name); why != "" {
					hint = " Terraform's is left out on purpose. " + strings.ReplaceAll(why, "`", "")
				}
				diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown function", Subject: call.NameRange.Ptr(),
					Detail: fmt.Sprintf("There is no function %q.%s", call.Name, hint)})
			}
		}
		return nil
	})
	return diags
}

// link resolves references, orders the blocks and reports cycles and unused blocks.
func (c *Config) link() (diags hcl.Diagnostics) {
	used := map[addr.Addr]bool{}
	edges := map[addr.Addr][]reference{}
	for _, l := range c.locals {
		r, d := c.refsOfExpr(l.expr, false)
		l.refs, diags = r, append(diags, d...)
		edges[addr.Addr{Kind: "local", Name: l.name}] = r
	}
	for _, b := range c.Blocks {
		r, d := c.refsOf(b.body, b.Count != nil || b.ForEach != nil)
		diags = append(diags, d...)
		edges[b.Addr], b.uses = r, r
	}
	if c.Telemetry != nil {
		r, d := c.refsOf(c.Telemetry.body, false)
		diags = append(diags, d...)
		c.Telemetry.uses = r
		for _, x := range r {
			used[x.addr] = true
		}
	}
	for _, v := range c.Variables {
		for _, r := range v.uses {
			if r.addr.Name != v.Name { // its own validation does not count
				used[r.addr] = true
			}
		}
	}
	for _, rs := range edges {
		for _, r := range rs {
			used[r.addr] = true
		}
	}
	order, cycle := c.sort(edges)
	diags = append(diags, cycle...)
	c.cyclic = len(cycle) > 0
	if !c.cyclic {
		c.Blocks = order
	}
	through := map[addr.Addr][]addr.Addr{}
	for _, b := range c.Blocks {
		if b.Kind.Lazy && !used[b.Addr] {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: UnusedBlock, Subject: b.DeclRange.Ptr(),
				Detail: fmt.Sprintf("Nothing refers to %s, so it has no effect. Remove it, or use it.", b.Addr)})
		}
		b.Refs = c.blockRefs(edges, b.Addr, through)
	}
	for _, l := range c.locals {
		l.blocks = c.blockRefs(edges, addr.Addr{Kind: "local", Name: l.name}, through)
		if !used[addr.Addr{Kind: "local", Name: l.name}] {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Unused local", Subject: l.rng.Ptr(),
				Detail: fmt.Sprintf("Nothing refers to local.%s, so it has no effect. Remove it, or use it.", l.name)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Variables)) {
		v := c.Variables[name]
		if !used[addr.Addr{Kind: "var", Name: name}] {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Unused variable", Subject: v.Range.Ptr(),
				Detail: fmt.Sprintf("Nothing refers to var.%s, so it has no effect. Remove it, or use it.", name)})
		}
	}
	return diags
}

// blockRefs lists the blocks a refers to, through locals too. What locals refer to is kept in through.
func (c *Config) blockRefs(edges map[addr.Addr][]reference, a addr.Addr, through map[addr.Addr][]addr.Addr) (list []addr.Addr) {
	seen := map[addr.Addr]bool{}
	add := func(x addr.Addr) {
		if !seen[x] {
			seen[x] = true
			list = append(list, x)
		}
	}
	for _, r := range edges[a] {
		switch r.addr.Kind {
		case "var":
		case "local":
			blocks, ok := through[r.addr]
			if !ok {
				through[r.addr] = nil // a cycle, which is reported, ends here
				blocks = c.blockRefs(edges, r.addr, through)
				through[r.addr] = blocks
			}
			for _, x := range blocks {
				add(x)
			}
		default:
			add(r.addr)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].String() < list[j].String() })
	return list
}

// sort orders blocks after what they refer to; of free ones, the one declared first comes first.
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
				names := []string{r.addr.String()}
				for i := len(path) - 1; i >= 0 && path[i].addr != r.addr; i-- {
					names = append([]string{path[i].addr.String()}, names...)
				}
				names = append([]string{r.addr.String()}, names...)
				diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Cycle", Subject: r.rng.Ptr(),
					Detail: fmt.Sprintf("%s: each needs the next to be known first. Cut one of these references.", strings.Join(names, " needs "))})
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
	sort.SliceStable(roots, func(i, j int) bool {
		a, b := roots[i].DeclRange, roots[j].DeclRange
		return a.Filename < b.Filename || a.Filename == b.Filename && a.Start.Byte < b.Start.Byte
	})
	for _, b := range roots {
		if state[b.Addr] == 0 {
			path = []reference{{addr: b.Addr}}
			visit(b.Addr)
		}
	}
	for _, l := range c.locals {
		a := addr.Addr{Kind: "local", Name: l.name}
		if state[a] == 0 {
			path = []reference{{addr: a}}
			visit(a)
		}
	}
	return order, diags
}
