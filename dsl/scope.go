package dsl

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// Scope holds what expressions can see: variables, locals, and the exports of the blocks set so far.
type Scope struct {
	Conditions bool // test what outputs of modules say must be true

	config *Config
	early  bool                      // no block is set, and what blocks give is unknown
	values map[addr.Addr]cty.Value   // exports of a block, with all its instances
	names  map[addr.Addr]*namedValue // names evaluated so far
	users  map[addr.Addr][]*named    // names made of a block or of another name
	open   map[*named]bool           // names that are being evaluated
}

// NewScope returns a scope without blocks.
func (c *Config) NewScope() *Scope {
	s := &Scope{config: c, values: map[addr.Addr]cty.Value{}, names: map[addr.Addr]*namedValue{},
		users: map[addr.Addr][]*named{}, open: map[*named]bool{}}
	for _, n := range c.named {
		for _, r := range n.refs {
			s.users[r.addr] = append(s.users[r.addr], n)
		}
		if n.variable != nil { // whose conditions may name others
			for _, r := range n.variable.uses {
				s.users[r.addr] = append(s.users[r.addr], n)
			}
		}
	}
	return s
}

// Set makes the exports of a block visible: an object, or for a repeated block a tuple or an object
// of them. Names made from earlier exports of the block are evaluated again.
func (s *Scope) Set(a addr.Addr, v cty.Value) {
	s.values[a] = v
	s.forget(a)
}

func (s *Scope) forget(a addr.Addr) {
	for _, n := range s.users[a] {
		if s.names[n.addr] != nil {
			delete(s.names, n.addr)
			s.forget(n.addr)
		}
	}
}

// context returns the context of an expression, with only the values that it names, so that the cost depends on the
// expression and not on the size of the pipeline.
func (s *Scope) context(m *module, uses []reference, each *Each) *hcl.EvalContext {
	tree := map[string]map[string]cty.Value{"var": {}, "local": {}}
	given := map[addr.Addr]cty.Value{} // outputs of modules
	typed := map[string]map[string]map[string]cty.Value{}
	for _, r := range uses {
		v, ok := s.value(r.addr)
		if !ok {
			v = cty.DynamicVal // a block that is not set yet
		}
		a := r.addr
		switch a.Kind {
		case "output":
			given[a] = v
			continue
		case "for_each": // it is in each
			continue
		}
		if a.Type == "" {
			if tree[a.Kind] == nil {
				tree[a.Kind] = map[string]cty.Value{}
			}
			tree[a.Kind][a.Name] = v
			continue
		}
		if typed[a.Kind] == nil {
			typed[a.Kind] = map[string]map[string]cty.Value{}
		}
		if typed[a.Kind][a.Type] == nil {
			typed[a.Kind][a.Type] = map[string]cty.Value{}
		}
		typed[a.Kind][a.Type][a.Name] = v
	}
	m.giveOutputs(tree, given)
	all := map[string]cty.Value{"path": m.paths}
	for k, m := range tree {
		all[k] = cty.ObjectVal(m)
	}
	for k, types := range typed {
		m := map[string]cty.Value{}
		for t, names := range types {
			m[t] = cty.ObjectVal(names)
		}
		all[k] = cty.ObjectVal(m)
	}
	if each != nil {
		if each.Name != cty.NilVal {
			all["each"] = cty.ObjectVal(map[string]cty.Value{"key": each.Name, "value": each.Value})
		} else {
			index := cty.NumberIntVal(int64(each.Index))
			if each.Unknown {
				index = cty.UnknownVal(cty.Number)
			}
			all["count"] = cty.ObjectVal(map[string]cty.Value{"index": index})
		}
	}
	return &hcl.EvalContext{Variables: all, Functions: s.config.functions}
}

// value returns the value of a variable, of another name or of a block. ok is false for a block that is not set, and
// for a name made from one.
func (s *Scope) value(a addr.Addr) (v cty.Value, ok bool) {
	if n := s.config.named[a]; n != nil {
		if s.config.cyclic {
			return v, false
		}
		x := s.named(n)
		if x == nil {
			return v, false
		}
		return x.value, true
	}
	if a.Kind == "var" {
		x := s.config.Variables[a.Name]
		if x == nil {
			return v, false
		}
		return x.Value, true
	}
	if v, ok = s.values[a]; !ok && s.early {
		return s.config.byAddr[a].unknown(), true
	}
	return v, ok
}
