package dsl

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// mostModules is how many instances of modules a pipeline may have in all.
const mostModules = 10_000

// expand finds the modules that a pipeline uses, and adds their instances. open says that variables may be unknown.
func (c *Config) expand(open bool) (diags hcl.Diagnostics) {
	x := &expander{config: c, open: open, scope: c.NewScope()}
	x.scope.early = true
	for i := 0; i < len(c.modules); i++ { // it grows
		for _, call := range c.modules[i].calls {
			diags = append(diags, x.expand(call)...)
		}
	}
	c.arrange()
	return diags
}

// arrange puts the modules in the order in which they are called: each before those that it calls, and these before the
// next.
func (c *Config) arrange() {
	var order []*module
	var visit func(m *module)
	visit = func(m *module) {
		order = append(order, m)
		for _, x := range m.calls {
			for _, child := range x.modules {
				visit(child)
			}
		}
	}
	visit(c.root())
	c.modules = order
}

// expander adds the instances of modules.
type expander struct {
	config *Config
	open   bool
	scope  *Scope // of what is known before any block is
}

// expand adds the instances of a module, after those that its count or for_each needs.
func (e *expander) expand(x *call) (diags hcl.Diagnostics) {
	if x.state != 0 {
		return nil
	}
	x.state = opened
	defer func() { x.state = expanded }()
	src, problem := e.config.sourceOf(x)
	if problem != nil {
		x.vague = true
		return tag(x.in, hcl.Diagnostics{problem})
	}
	diags = tag(x.in, e.instances(x))
	if len(e.config.modules)+len(x.instances) > mostModules {
		x.vague, x.instances = true, nil
		return append(diags, failure(x.rng, "Too many modules", "With %s the pipeline has more than %d instances of "+
			"modules. Use fewer.", x, mostModules))
	}
	if len(x.instances) == 0 && !src.declared {
		diags = append(diags, e.unused(src)...)
	}
	for i := range x.instances {
		m := e.config.newModule(addr.Child(x.in.path, x.name, x.instances[i].Key), src)
		if m.by = x; src.first == nil {
			src.first = m
		}
		x.modules = append(x.modules, m)
		if d := m.declare(src.bodies); !src.declared {
			src.declared = true
			diags = append(diags, append(src.diags, d...)...)
		}
		m.bind(x, &x.instances[i])
	}
	if len(x.modules) > 0 {
		diags = append(diags, tag(x.in, x.checkInputs(x.modules[0]))...)
	}
	return diags
}

// unused returns what is wrong with the blocks of a folder that has no instance.
func (e *expander) unused(src *folder) hcl.Diagnostics {
	src.declared = true
	c := newConfig()
	c.Dir, c.functions, c.meter = e.config.Dir, e.config.functions, e.config.meter
	c.Secrets, c.concealed = e.config.Secrets, e.config.concealed
	return slices.Concat(src.diags, c.newModule("", src).declare(src.bodies))
}

// instances evaluates count or for_each of a module.
func (e *expander) instances(x *call) (diags hcl.Diagnostics) {
	expr, list := x.count, byCount
	switch {
	case x.forEach != nil:
		expr, list = x.forEach, byKey
	case x.count == nil:
		x.instances = []Each{{}}
		return nil
	}
	if diags = e.before(x.in, expr, map[hclsyntax.Expression]bool{}); diags.HasErrors() {
		x.vague = true
		return diags
	}
	uses, d := x.in.refsOfExpr(expr, false)
	x.uses = uses
	if diags = append(diags, d...); d.HasErrors() {
		x.vague = true
		return diags
	}
	v, d := expr.Value(e.scope.context(x.in, uses, nil))
	if diags = append(diags, d...); d.HasErrors() {
		x.vague = true
		return diags
	}
	instances, problem := list(v, expr.Range())
	if problem == nil {
		x.instances = instances
		if x.forEach != nil && !v.IsWhollyKnown() {
			x.lazy()
		}
		return diags
	}
	x.vague = true
	if problem.Extra != tooEarly {
		return append(diags, problem)
	}
	find := func(is func(addr.Addr) bool) (found addr.Addr) {
		seen := map[addr.Addr]bool{}
		for _, r := range uses {
			if found.Kind == "" {
				found = e.first(r.addr, is, seen)
			}
		}
		return found
	}
	if e.open && find(e.unset).Kind != "" {
		x.instances = []Each{{Key: "*", Unknown: x.count != nil, Name: cty.UnknownVal(cty.String), Value: cty.DynamicVal}}
		if x.count != nil {
			x.instances[0].Name = cty.NilVal
		}
		return diags
	}
	if b := find(func(a addr.Addr) bool { return e.config.byAddr[a] != nil }); b.Kind != "" {
		diags = append(diags, failure(expr.Range(), "Unknown instances", "How many instances %s has must be known when the "+
			"pipeline is loaded, from variables and locals alone; this depends on %s. To repeat by what a block gives, "+
			"repeat the blocks inside the module.", x, b))
	}
	return diags // else what it needs has errors
}

// unset reports whether an address is that of a variable of the pipeline that has no value.
func (e *expander) unset(a addr.Addr) bool {
	v := e.config.Variables[a.Name]
	return a.Kind == "var" && a.Module == "" && v != nil && !v.Value.IsWhollyKnown()
}

// before expands the modules that an expression needs, also through names.
func (e *expander) before(m *module, expr hclsyntax.Expression,
	seen map[hclsyntax.Expression]bool) (diags hcl.Diagnostics) {
	if seen[expr] {
		return nil
	}
	seen[expr] = true
	for _, t := range expr.Variables() {
		name := stepName(t, 1)
		var n *named
		switch t.RootName() {
		case "local":
			n = m.localOf[name]
		case "var":
			n = m.inputOf[name]
		case "module":
			x := m.callOf[name]
			if x == nil {
				continue
			}
			if x.state == opened {
				return append(diags, failure(t.SourceRange(), "Cycle", "The instances of %s depend on its own outputs. Remove "+
					"this reference.", x))
			}
			diags = append(diags, e.expand(x)...)
			for _, child := range x.modules {
				for _, o := range child.outputOf {
					diags = append(diags, e.before(child, o.expr, seen)...)
				}
			}
		}
		if n != nil {
			diags = append(diags, e.before(n.in, n.expr, seen)...)
		}
	}
	return diags
}

// first returns the first of what a name is made of for which is holds; the zero Addr if there is none.
func (e *expander) first(a addr.Addr, is func(addr.Addr) bool, seen map[addr.Addr]bool) addr.Addr {
	if is(a) {
		return a
	}
	n := e.config.named[a]
	if n == nil || seen[a] {
		return addr.Addr{}
	}
	seen[a] = true
	refs := n.resolve()
	if n.call != nil {
		refs = slices.Concat(n.call.uses, refs)
	}
	for _, r := range refs {
		if found := e.first(r.addr, is, seen); found.Kind != "" {
			return found
		}
	}
	return addr.Addr{}
}
