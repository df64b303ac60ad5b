package dsl

import (
	"cmp"
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

// refTo resolves a name such as var.NAME or local.NAME among those there are.
func refTo[T any](m *module, t hcl.Traversal, kind string, names map[string]T) ([]reference, hcl.Diagnostics) {
	a := addr.Addr{Module: m.path, Kind: t.RootName(), Name: stepName(t, 1)}
	if _, ok := names[a.Name]; !ok {
		return nil, hcl.Diagnostics{failure(t.SourceRange(), "Unknown "+kind, "There is no %s %q.%s%s",
			kind, a.Name, nearest(a.Name, slices.Sorted(maps.Keys(names))), m.elsewhere(a))}
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
			hint = cmp.Or(subtracted(root), Suggest(root, roots())) + " Values are var.NAME, local.NAME and blocks such as stage.NAME."
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
		b.Addr, name, nearest(name, names), strings.Join(names, ", "))
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
