package dsl

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// named is a name for a value: a local value, an input or an output of a module, or what a module gives in all.
type named struct {
	addr     addr.Addr
	rng      hcl.Range // of its declaration
	expr     hclsyntax.Expression
	in       *module          // whose names the expression uses
	each     *Each            // count and each in the expression; nil for none
	variable *Variable        // that an input is for; nil of others
	of       *call            // that an input belongs to
	hidden   bool             // it is sensitive, whatever it is made from
	call     *call            // that the value is made of, instead of an expression
	after    []hcl.Expression // addresses of what an output comes after
	before   []*Condition     // what must be true of an output
	read     bool             // refs are set
	refs     []reference
	diags    hcl.Diagnostics // of refs

	blocks []addr.Addr // blocks it needs, also through other names
}

// resolve finds what the expression names.
func (n *named) resolve() []reference {
	switch {
	case n.read:
	case n.call != nil:
		n.refs = n.call.outputs()
	default:
		n.refs, n.diags = n.in.refsOfExpr(n.expr, n.each != nil)
		if n.later() {
			n.refs = append(n.refs, reference{n.of.each.addr, n.expr.Range()})
		}
		for _, x := range n.before {
			r, d := x.refs(n.in, false, nil)
			n.refs, n.diags = append(n.refs, r...), append(n.diags, d...)
		}
	}
	n.read = true
	return n.refs
}

// later reports whether the expression uses an each.value that is known later than the keys.
func (n *named) later() bool {
	return n.of != nil && n.of.each != nil && slices.ContainsFunc(n.expr.Variables(),
		func(t hcl.Traversal) bool { return t.RootName() == "each" })
}

// addLocals reads a locals block.
func (m *module) addLocals(b *hclsyntax.Block) (diags hcl.Diagnostics) {
	if len(b.Labels) > 0 {
		return hcl.Diagnostics{failure(b.DefRange(), "Wrong number of labels",
			"A locals block has no label: write locals { name = … }.")}
	}
	for _, a := range sortedAttrs(b.Body) {
		if old := m.localOf[a.Name]; old != nil {
			diags = append(diags, duplicate("local."+a.Name, a.NameRange, old.rng))
		}
		l := m.name("local", a.Name, a.NameRange)
		l.expr, m.localOf[a.Name] = a.Expr, l
	}
	for _, sub := range b.Body.Blocks {
		diags = append(diags, failure(sub.TypeRange, "Unknown block", "A locals block holds attributes only."))
	}
	return diags
}

// addOutput reads an output of a module.
func (m *module) addOutput(a addr.Addr, b *hclsyntax.Block) hcl.Diagnostics {
	if old := m.outputOf[a.Name]; old != nil {
		return hcl.Diagnostics{duplicate("output."+a.Name, b.DefRange(), old.rng)}
	}
	o := m.name(a.Kind, a.Name, b.DefRange())
	m.outputOf[a.Name] = o
	k := KindOf(a.Kind)
	diags := checkBody(b.Body, k.Attrs, k.Blocks, "", "output."+a.Name, rules{})
	block := &Block{Kind: k, Addr: a, in: m, DeclRange: o.rng}
	diags = append(diags, block.readLifecycle(b.Body)...)
	o.after, o.before = block.after, block.Lifecycle.Before
	o.expr = nothing(o.rng)
	if v := b.Body.Attributes["value"]; v != nil {
		o.expr = v.Expr
	}
	var d hcl.Diagnostics
	o.hidden, d = m.config.flag(b.Body, "sensitive", false)
	return append(diags, d...)
}

// nothing stands for an expression that is missing.
func nothing(at hcl.Range) hclsyntax.Expression {
	return &hclsyntax.LiteralValueExpr{Val: cty.DynamicVal, SrcRange: at}
}

// namedValue is the value of a name.
type namedValue struct {
	value cty.Value
	diags hcl.Diagnostics
}

// named returns the value of a name; nil if a block that it needs is not set.
func (s *Scope) named(n *named) *namedValue {
	if v := s.names[n.addr]; v != nil {
		return v
	}
	if s.open[n] { // it needs itself, which is reported elsewhere
		return nil
	}
	s.open[n] = true
	defer delete(s.open, n)
	for _, r := range n.resolve() {
		if _, ok := s.value(r.addr); !ok {
			return nil
		}
	}
	v, each := &namedValue{}, n.each
	if n.later() {
		all, _ := s.value(n.of.each.addr)
		each = each.of(all)
	}
	if n.call != nil {
		v.value = n.call.value(s)
	} else {
		v.value, v.diags = n.expr.Value(s.context(n.in, n.refs, each))
	}
	for _, x := range n.before {
		if !s.Conditions {
			break
		}
		_, d := s.test(x, nil, nil)
		v.diags = append(v.diags, d...)
	}
	if v.diags.HasErrors() {
		v.value = cty.DynamicVal
	}
	if n.hidden {
		v.value = v.value.Mark(Sensitive)
	}
	s.names[n.addr] = v // also for the conditions of other variables
	if n.variable != nil && !v.diags.HasErrors() {
		s.input(n, v)
	}
	s.config.Secrets.Add(v.value)
	return v
}

// CheckLocals reports the errors of names, used or not, for which all blocks that they need are set.
func (s *Scope) CheckLocals() (diags hcl.Diagnostics) {
	for _, x := range s.LocalProblems() {
		diags = append(diags, x.Diags...)
	}
	return diags
}

// LocalProblem is the errors of a local value, of an input or of an output of a module, and the blocks that it is made
// from.
type LocalProblem struct {
	Addr  addr.Addr
	Refs  []addr.Addr
	Diags hcl.Diagnostics
}

// LocalProblems returns the errors of CheckLocals by name.
func (s *Scope) LocalProblems() (list []LocalProblem) {
	if s.config.cyclic {
		return nil
	}
	for _, m := range s.config.modules {
		for _, n := range m.names {
			if v := s.named(n); v != nil && len(v.diags) > 0 {
				list = append(list, LocalProblem{n.addr, n.blocks, tag(m, s.config.Secrets.Diagnostics(v.diags))})
			}
		}
	}
	return list
}
