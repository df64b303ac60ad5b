package dsl

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// NullRead is a place where an expression reads a null, or a value that holds one, from a block.
type NullRead struct {
	Block addr.Addr     // without key
	Path  hcl.Traversal // after the block's address; empty for the whole block
}

// NullReads lists the nulls of blocks that the expression that failed with d reads, also through locals. If it reads a
// name that is bound around it (each.value, or the variable of a for), NullReads lists all nulls that block b reads, or
// the named value if b is nil.
func (s *Scope) NullReads(d *hcl.Diagnostic, b *Block, name addr.Addr) []NullRead {
	node, ok := d.Expression.(hclsyntax.Node)
	if !ok || d.EvalContext == nil {
		return nil
	}
	m, n := s.config.root(), s.config.named[name]
	switch {
	case b != nil:
		m = b.in
	case n != nil:
		m = n.in
	}
	reads, bound := s.nullReads(m, node, d.EvalContext)
	if len(reads) > 0 || !bound {
		return reads
	}
	if b != nil {
		reads, _ = s.nullReads(m, b.body, s.context(m, b.uses, nil))
	} else if n != nil {
		reads = s.nullsOf(n)
	}
	return reads
}

// nullReads lists the nulls that the expressions of a node read. bound reports whether one reads a name such as
// each.value. A read does not count inside a part of the expression whose value has no null, such as coalesce(x, 0).
func (s *Scope) nullReads(m *module, node hclsyntax.Node, ctx *hcl.EvalContext) (reads []NullRead, bound bool) {
	var sound []hcl.Range
	var names []hcl.Traversal
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
		part, ok := n.(hclsyntax.Expression)
		if !ok {
			return nil
		}
		if t, ok := part.(*hclsyntax.ScopeTraversalExpr); ok {
			names = append(names, t.Traversal)
		}
		v, diags, err := contained(func() (cty.Value, hcl.Diagnostics) { return part.Value(ctx) })
		if err == nil && !diags.HasErrors() && !holdsNull(v) {
			sound = append(sound, part.Range())
		}
		return nil
	})
	for _, t := range names {
		if within(t.SourceRange(), sound) {
			continue
		}
		refs, _ := m.refOf(t, true)
		bound = bound || len(refs) == 0
		for _, r := range refs {
			reads = append(reads, s.nullsAt(r.addr, t)...)
		}
	}
	return reads, bound
}

// nullsAt lists the nulls that a traversal reads from what it names.
func (s *Scope) nullsAt(a addr.Addr, t hcl.Traversal) []NullRead {
	if n := s.config.named[a]; n != nil {
		return s.nullsOf(n)
	}
	if s.config.byAddr[a] == nil {
		return nil
	}
	n := 2
	if a.Type != "" {
		n = 3
	}
	if v, ok := s.value(a); ok {
		if v, diags := t[n:].TraverseRel(v); diags.HasErrors() || holdsNull(v) {
			return []NullRead{{a, t[n:]}}
		}
	}
	return nil
}

// nullsOf lists the nulls that a name reads.
func (s *Scope) nullsOf(n *named) (reads []NullRead) {
	if n.call == nil {
		reads, _ = s.nullReads(n.in, n.expr, s.context(n.in, n.refs, n.each))
		return reads
	}
	for _, r := range n.refs {
		if o := s.config.named[r.addr]; o != nil {
			reads = append(reads, s.nullsOf(o)...)
		}
	}
	return reads
}

func within(r hcl.Range, list []hcl.Range) bool {
	for _, x := range list {
		if x.Filename == r.Filename && x.Start.Byte <= r.Start.Byte && r.End.Byte <= x.End.Byte {
			return true
		}
	}
	return false
}

// holdsNull reports whether a value is null or holds a null.
func holdsNull(v cty.Value) (null bool) {
	v, _ = v.UnmarkDeep()
	_ = cty.Walk(v, func(_ cty.Path, x cty.Value) (bool, error) {
		null = null || x.IsNull()
		return !null, nil
	})
	return null
}
