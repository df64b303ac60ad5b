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
// the local if b is nil.
func (s *Scope) NullReads(d *hcl.Diagnostic, b *Block, local string) []NullRead {
	node, ok := d.Expression.(hclsyntax.Node)
	if !ok || d.EvalContext == nil {
		return nil
	}
	reads, bound := s.nullReads(node, d.EvalContext)
	if len(reads) > 0 || !bound {
		return reads
	}
	if b != nil {
		reads, _ = s.nullReads(b.body, s.context(b.uses, nil))
	} else if l := s.config.localOf[local]; l != nil {
		reads, _ = s.nullReads(l.expr, s.context(l.refs, nil))
	}
	return reads
}

// nullReads lists the nulls that the expressions of a node read. bound reports whether one reads a name such as
// each.value. A read does not count inside a part of the expression whose value has no null, such as coalesce(x, 0).
func (s *Scope) nullReads(node hclsyntax.Node, ctx *hcl.EvalContext) (reads []NullRead, bound bool) {
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
		r, _ := s.config.refOf(t, true)
		switch r.addr.Kind {
		case "var":
		case "":
			bound = true
		case "local":
			if l := s.config.localOf[r.addr.Name]; l != nil {
				more, _ := s.nullReads(l.expr, s.context(l.refs, nil))
				reads = append(reads, more...)
			}
		default:
			n := 2
			if r.addr.Type != "" {
				n = 3
			}
			if v, ok := s.value(r.addr); ok {
				if v, diags := t[n:].TraverseRel(v); diags.HasErrors() || holdsNull(v) {
					reads = append(reads, NullRead{r.addr, t[n:]})
				}
			}
		}
	}
	return reads, bound
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
