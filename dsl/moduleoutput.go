package dsl

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// outputs lists what all instances of the module give.
func (x *call) outputs() (refs []reference) {
	for _, m := range x.modules {
		refs = append(refs, m.outputs(x.rng)...)
	}
	return refs
}

// outputs lists what a module gives.
func (m *module) outputs(at hcl.Range) (refs []reference) {
	for _, name := range slices.Sorted(maps.Keys(m.outputOf)) {
		refs = append(refs, reference{m.outputOf[name].addr, at})
	}
	return refs
}

// value returns what the module gives: an object, or for a repeated module a tuple or an object of them.
func (x *call) value(s *Scope) cty.Value {
	return x.valueOf(func(m *module) cty.Value {
		fields := map[string]cty.Value{}
		for name, o := range m.outputOf {
			fields[name], _ = s.value(o.addr)
		}
		return cty.ObjectVal(fields)
	})
}

// valueOf returns what a module gives from what each instance does.
func (x *call) valueOf(give func(m *module) cty.Value) cty.Value {
	if x.vague {
		return cty.DynamicVal
	}
	list := make([]cty.Value, len(x.modules))
	for i, m := range x.modules {
		list[i] = give(m)
	}
	return together(x.count != nil, x.forEach != nil, x.instances, list)
}

// giveOutputs adds to the names that an expression sees the outputs of modules that it refers to one by one.
func (m *module) giveOutputs(tree map[string]map[string]cty.Value, given map[addr.Addr]cty.Value) {
	for a := range given {
		_, name, _ := addr.Split(a.Module)
		if _, ok := tree["module"][name]; ok {
			continue // all of it
		}
		if tree["module"] == nil {
			tree["module"] = map[string]cty.Value{}
		}
		tree["module"][name] = m.callOf[name].valueOf(func(child *module) cty.Value {
			fields := map[string]cty.Value{}
			for output, o := range child.outputOf {
				if v, ok := given[o.addr]; ok {
					fields[output] = v
				}
			}
			return cty.ObjectVal(fields)
		})
	}
}
