package dsl

import (
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// Scope is what expressions can see: variables, locals, and the exports of the blocks set so far.
type Scope struct {
	config *Config
	values map[addr.Addr]cty.Value // by block, all its instances
}

// NewScope makes a scope without blocks.
func (c *Config) NewScope() *Scope { return &Scope{config: c, values: map[addr.Addr]cty.Value{}} }

// Set makes the exports of a block visible: an object, or for a repeated block a tuple or an object
// of them.
func (s *Scope) Set(a addr.Addr, v cty.Value) { s.values[a] = v }

// Each is the instance of a repeated block.
type Each struct {
	Key   string // as in addr.Addr.Key
	Index int
	Name  cty.Value // each.key
	Value cty.Value // each.value
}

// context builds what an expression is evaluated in.
func (s *Scope) context(each *Each) *hcl.EvalContext {
	vars := map[string]cty.Value{}
	for n, v := range s.config.Variables {
		vars[n] = v.Value
	}
	tree := map[string]map[string]cty.Value{}
	typed := map[string]map[string]map[string]cty.Value{}
	for a, v := range s.values {
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
	abs, err := filepath.Abs(s.config.Dir)
	if err != nil {
		abs = s.config.Dir
	}
	all := map[string]cty.Value{
		"var":  cty.ObjectVal(vars),
		"path": cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal(abs)}),
	}
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
			all["count"] = cty.ObjectVal(map[string]cty.Value{"index": cty.NumberIntVal(int64(each.Index))})
		}
	}
	ctx := &hcl.EvalContext{Variables: all, Functions: functions(s.config.Dir)}
	s.addLocals(ctx)
	return ctx
}

// addLocals evaluates the locals whose references are known, in as many rounds as they need.
func (s *Scope) addLocals(ctx *hcl.EvalContext) {
	locals := map[string]cty.Value{}
	ctx.Variables["local"] = cty.EmptyObjectVal
	for round := 0; round < len(s.config.locals); round++ {
		before := len(locals)
		for _, l := range s.config.locals {
			if _, done := locals[l.name]; done || !s.ready(l, locals) {
				continue
			}
			v, diags := l.expr.Value(ctx)
			if diags.HasErrors() {
				v = cty.DynamicVal // reported by CheckLocals
			}
			locals[l.name] = v
			ctx.Variables["local"] = cty.ObjectVal(locals)
		}
		if len(locals) == before {
			return
		}
	}
}

func (s *Scope) ready(l *local, locals map[string]cty.Value) bool {
	for _, r := range l.refs {
		switch r.addr.Kind {
		case "var":
		case "local":
			if _, ok := locals[r.addr.Name]; !ok {
				return false
			}
		default:
			if _, ok := s.values[r.addr]; !ok {
				return false
			}
		}
	}
	return true
}

// CheckLocals reports errors inside locals, once all blocks are set.
func (s *Scope) CheckLocals() (diags hcl.Diagnostics) {
	ctx := s.context(nil)
	for _, l := range s.config.locals {
		_, d := l.expr.Value(ctx)
		diags = append(diags, d...)
	}
	return diags
}
