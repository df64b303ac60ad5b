package dsl

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// moduleRef resolves a reference to a module, such as module.x.NAME or module.x["k"].NAME. Where the key is a constant,
// it depends on that instance alone.
func (m *module) moduleRef(t hcl.Traversal) ([]reference, hcl.Diagnostics) {
	name, at := stepName(t, 1), t.SourceRange()
	x := m.callOf[name]
	if name == "" {
		return nil, hcl.Diagnostics{failure(at, "Unknown module", "module is followed by the name of a module, as in "+
			"module.run.loss.")}
	}
	if x == nil {
		return refTo(m, t, "module", m.callOf)
	}
	all := []reference{{x.all.addr, at}}
	if x.vague {
		return all, nil
	}
	n, instance := 2, -1
	switch i, keyed := x.index(t); {
	case !x.repeated() && keyed:
		return all, hcl.Diagnostics{failure(at, "Not repeated", "%s has neither count nor for_each, so it has no instance "+
			"to name. Write module.%s.NAME.", x, name)}
	case !x.repeated():
		instance = 0
	case keyed:
		n, instance = 3, i
	case stepName(t, 2) != "":
		return all, hcl.Diagnostics{failure(at, "Missing instance key", "%s is repeated, so name an instance, as in "+
			"module.%s%s.%s; [for x in module.%s : x.%s] takes all of them.", x, name, x.keyHint(), stepName(t, 2), name,
			stepName(t, 2))}
	}
	if instance < 0 { // all of them; or one that is not there, as evaluating says
		return all, nil
	}
	child := x.modules[instance]
	output := stepName(t, n)
	if output == "" {
		if len(child.outputOf) == 0 {
			return all, nil
		}
		return child.outputs(at), nil
	}
	if child.outputOf[output] == nil {
		return all, hcl.Diagnostics{child.noOutput(output, at)}
	}
	return []reference{{child.outputOf[output].addr, at}}, nil
}

// index returns which instance a traversal names; -1 for one that is not there. keyed reports whether it has a key.
func (x *call) index(t hcl.Traversal) (i int, keyed bool) {
	if len(t) < 3 {
		return -1, false
	}
	step, ok := t[2].(hcl.TraverseIndex)
	if !ok {
		return -1, false
	}
	key := Show(step.Key)
	if step.Key.Type() == cty.String {
		key = addr.StringKey(step.Key.AsString())
	}
	return slices.IndexFunc(x.instances, func(e Each) bool { return e.Key == key }), true
}

// noOutput is the error of an output that a module does not have.
func (m *module) noOutput(name string, at hcl.Range) *hcl.Diagnostic {
	names := slices.Sorted(maps.Keys(m.outputOf))
	hint := nearest(name, names)
	if len(names) == 0 {
		hint = " It has none."
	} else if hint == "" {
		hint = " It has " + strings.Join(names, ", ") + "."
	}
	return failure(at, "Unknown output", "The module %s has no output %q.%s", m.path, name, hint)
}

// dependsOn is the address for what all blocks of a module come after.
func (m *module) dependsOn() addr.Addr { return addr.Addr{Module: m.path, Kind: "depends_on"} }

// order resolves depends_on of the modules that a module calls, and puts each of these into what the module is made of.
func (m *module) order(edges map[addr.Addr][]reference) (diags hcl.Diagnostics) {
	for _, x := range m.calls {
		refs, d := m.afterRefs(x.after)
		diags = append(diags, d...)
		whole := addr.Addr{Module: x.path()}
		if inside := m.addr(); inside.IsModule() {
			edges[inside] = append(edges[inside], reference{whole, x.rng})
		}
		for _, child := range x.modules {
			edges[child.dependsOn()] = append(slices.Clone(refs), m.afterModules(x.rng)...)
			if x.repeated() {
				edges[whole] = append(edges[whole], reference{child.addr(), x.rng})
			}
		}
	}
	return diags
}

// afterModules refers to what all blocks of the module come after.
func (m *module) afterModules(at hcl.Range) []reference {
	for x := m; x.by != nil; x = x.by.in {
		if len(x.by.after) > 0 {
			return []reference{{m.dependsOn(), at}}
		}
	}
	return nil
}

// afterRefs resolves a depends_on.
func (m *module) afterRefs(list []hcl.Expression) (refs []reference, diags hcl.Diagnostics) {
	for _, e := range list {
		a, problem := addressIn("depends_on", e, true)
		switch {
		case problem != nil:
		case a.Module != "":
			problem = m.noModule(a, e.Range())
		default:
			a = a.Block()
			if a = a.In(m.path); m.config.byAddr[a] == nil {
				problem = m.config.noBlock(a, e.Range())
				problem.Detail += m.elsewhere(a)
			}
		}
		if problem != nil {
			diags = append(diags, problem)
			continue
		}
		if a.IsModule() {
			a = a.In(m.path)
		}
		refs = append(refs, reference{a, e.Range()})
	}
	return refs, diags
}

// noModule is the error of the address of a module that is not called here; nil if it is. The address is relative to
// the module.
func (m *module) noModule(a addr.Addr, at hcl.Range) *hcl.Diagnostic {
	parent, name, _ := addr.Split(a.Module)
	x := m.callOf[name]
	switch {
	case parent != "" || !a.IsModule():
		return failure(at, "Inside a module", "%s is inside a module, and only its outputs are seen from here. Name the "+
			"module, as in [module.%s].", a, strings.TrimPrefix(strings.SplitN(a.Module, ".module.", 2)[0], "module."))
	case x == nil:
		return failure(at, "Unknown module", "There is no module %q.%s", name,
			Suggest(name, slices.Sorted(maps.Keys(m.callOf))))
	case !x.vague && a.Block() != a && m.config.moduleOf(a.In(m.path).Module) == nil:
		return failure(at, "Unknown module", "%s has no instance %s.", x, a.In(m.path))
	}
	return nil
}

// idle reports whether a module gives nothing that is used, and has nothing that runs.
func (x *call) idle(used map[addr.Addr]bool) bool {
	if x.vague || len(x.modules) == 0 || used[x.all.addr] {
		return false
	}
	for _, m := range x.modules {
		if slices.ContainsFunc(m.calls, func(y *call) bool { return y.vague }) {
			return false
		}
		for _, o := range m.outputOf {
			if used[o.addr] {
				return false
			}
		}
	}
	for _, b := range x.in.config.Blocks {
		if b.Kind.Runs && (addr.Addr{Module: x.path()}).Covers(b.Addr) {
			return false
		}
	}
	return true
}

// offered lists the outputs of a module for completion.
func (x *call) offered() (names []string) {
	names = []string{"module." + x.name}
	for i, m := range x.modules {
		at := names[0]
		if x.repeated() {
			at += "[" + x.instances[i].Key + "]"
		}
		for output := range m.outputOf {
			names = append(names, at+"."+output)
		}
	}
	return names
}
