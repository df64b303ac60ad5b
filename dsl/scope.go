package dsl

import (
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// Scope holds what expressions can see: variables, locals, and the exports of the blocks set so far.
type Scope struct {
	config *Config
	path   cty.Value
	values map[addr.Addr]cty.Value // exports of a block, with all its instances
	locals map[string]*localValue  // locals evaluated so far
	users  map[addr.Addr][]*local  // locals that name a block or a local
}

// localValue is the value of a local.
type localValue struct {
	value cty.Value
	diags hcl.Diagnostics
}

// NewScope returns a scope without blocks.
func (c *Config) NewScope() *Scope {
	abs, err := filepath.Abs(c.Dir)
	if err != nil {
		abs = c.Dir
	}
	s := &Scope{config: c, path: cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal(abs)}),
		values: map[addr.Addr]cty.Value{}, locals: map[string]*localValue{}, users: map[addr.Addr][]*local{}}
	for _, l := range c.locals {
		for _, r := range l.refs {
			s.users[r.addr] = append(s.users[r.addr], l)
		}
	}
	return s
}

// Set makes the exports of a block visible: an object, or for a repeated block a tuple or an object
// of them. Locals made from earlier exports of the block are evaluated again.
func (s *Scope) Set(a addr.Addr, v cty.Value) {
	s.values[a] = v
	s.forget(a)
}

func (s *Scope) forget(a addr.Addr) {
	for _, l := range s.users[a] {
		if s.locals[l.name] != nil {
			delete(s.locals, l.name)
			s.forget(addr.Addr{Kind: "local", Name: l.name})
		}
	}
}

// context returns the context of an expression, with only the values that it names, so that the cost depends on the
// expression and not on the size of the pipeline.
func (s *Scope) context(uses []reference, each *Each) *hcl.EvalContext {
	tree := map[string]map[string]cty.Value{"var": {}, "local": {}}
	typed := map[string]map[string]map[string]cty.Value{}
	for _, r := range uses {
		v, ok := s.value(r.addr)
		if !ok {
			v = cty.DynamicVal // a block that is not set yet
		}
		a := r.addr
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
	all := map[string]cty.Value{"path": s.path}
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

// value returns the value of a variable, a local or a block. ok is false for a block that is not set, and for a local
// made from one.
func (s *Scope) value(a addr.Addr) (v cty.Value, ok bool) {
	switch a.Kind {
	case "var":
		x := s.config.Variables[a.Name]
		if x == nil {
			return v, false
		}
		return x.Value, true
	case "local":
		if s.config.cyclic {
			return v, false
		}
		l := s.local(a.Name)
		if l == nil {
			return v, false
		}
		return l.value, true
	}
	v, ok = s.values[a]
	return v, ok
}

// local returns the value of a local; nil if a block that it needs is not set.
func (s *Scope) local(name string) *localValue {
	if v := s.locals[name]; v != nil {
		return v
	}
	l := s.config.localOf[name]
	if l == nil {
		return nil
	}
	for _, r := range l.refs {
		if _, ok := s.value(r.addr); !ok {
			return nil
		}
	}
	v := &localValue{}
	v.value, v.diags = l.expr.Value(s.context(l.refs, nil))
	if v.diags.HasErrors() {
		v.value = cty.DynamicVal
	}
	s.config.Secrets.Add(v.value)
	s.locals[name] = v
	return v
}

// CheckLocals reports the errors of locals, used or not, for which all blocks that they need are set.
func (s *Scope) CheckLocals() (diags hcl.Diagnostics) {
	for _, x := range s.LocalProblems() {
		diags = append(diags, x.Diags...)
	}
	return diags
}

// LocalProblem is the errors of a local, and the blocks that it is made from.
type LocalProblem struct {
	Name  string
	Refs  []addr.Addr
	Diags hcl.Diagnostics
}

// LocalProblems returns the errors of CheckLocals by local.
func (s *Scope) LocalProblems() (list []LocalProblem) {
	if s.config.cyclic {
		return nil
	}
	for _, l := range s.config.locals {
		if v := s.local(l.name); v != nil && len(v.diags) > 0 {
			list = append(list, LocalProblem{l.name, l.blocks, s.config.Secrets.Diagnostics(v.diags)})
		}
	}
	return list
}
