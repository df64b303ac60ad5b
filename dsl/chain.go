package dsl

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// A block with count may name its own earlier instances, as in stage.grown[count.index - 1], so that several blocks,
// each made from the one before, are one block. Inside an instance, the block is the tuple of the instances before it.

// chain takes the references of a block to its earlier instances out of a list, and notes that it is a chain. How many
// instances there are cannot depend on them, and what orders whole blocks means all of them.
func (b *Block) chain(refs []reference) (others []reference) {
	all := append([]hcl.Expression{b.Count}, b.after...)
	for _, t := range b.Lifecycle.Triggers {
		all = append(all, t.expr)
	}
	for _, r := range refs {
		if b.Count == nil || r.addr != b.Addr ||
			slices.ContainsFunc(all, func(e hcl.Expression) bool { return holds(e.Range(), r.rng) }) {
			others = append(others, r)
			continue
		}
		b.Chained = true
	}
	return others
}

// namesItself is the error of a reference of a repeated block to itself that makes no chain; nil for other references.
func (b *Block) namesItself(r reference) *hcl.Diagnostic {
	switch {
	case b == nil || r.addr != b.Addr:
		return nil
	case b.ForEach != nil:
		return failure(r.rng, "Cycle", "%s names itself. Instances made by for_each have no order, so none comes before "+
			"another: with count, an instance may name those before it, such as %s[count.index - 1].", b.inside(), b.inside())
	case b.Count != nil:
		return failure(r.rng, "Cycle", "%s names itself here. Only its attributes and preconditions may name "+
			"earlier instances, such as %s[count.index - 1].", b.inside(), b.inside())
	}
	return nil
}

// Earlier runs do with the first instances of a chain in scope, which the next one may name.
func (s *Scope) Earlier(b *Block, exports []cty.Value, do func()) {
	if b.Chained {
		s.Set(b.Addr, cty.TupleVal(exports))
		defer s.unset(b)
	}
	do()
}

// unset takes a block out of scope.
func (s *Scope) unset(b *Block) {
	delete(s.values, b.Addr)
	s.forget(b.Addr)
}

// tooLate puts problems of an instance of a chain that names an instance which is not before it into words.
func (b *Block) tooLate(diags hcl.Diagnostics, each Each) {
	if !b.Chained {
		return
	}
	for _, d := range diags {
		index, ok := b.indexOf(d)
		if !ok || index >= 0 && index < each.Index {
			continue
		}
		self := b.inside()
		d.Summary = "Not an earlier instance"
		switch {
		case index >= each.Index:
			d.Detail = fmt.Sprintf("%s names %s[%d], which comes no earlier than itself. An instance may name those before "+
				"it, such as %s[count.index - 1].", b.Instance(each), self, index, self)
		default:
			d.Detail = fmt.Sprintf("%s names %s[%d], and there is no instance before the first. Begin with another value: "+
				"count.index == 0 ? … : %s[count.index - 1].", b.Instance(each), self, index, self)
		}
	}
}

// indexOf returns the number of the block's own instance that a problem is about; ok is false if it is about none.
func (b *Block) indexOf(d *hcl.Diagnostic) (index int, ok bool) {
	var key cty.Value
	switch e := d.Expression.(type) {
	case *hclsyntax.IndexExpr:
		t, isName := e.Collection.(*hclsyntax.ScopeTraversalExpr)
		if !isName || !b.named(t.Traversal) {
			return 0, false
		}
		v, _, err := contained(func() (cty.Value, hcl.Diagnostics) { return e.Key.Value(d.EvalContext) })
		if err != nil {
			return 0, false
		}
		key = v
	case *hclsyntax.ScopeTraversalExpr:
		n := b.steps()
		if len(e.Traversal) <= n || !b.named(e.Traversal[:n]) {
			return 0, false
		}
		step, isIndex := e.Traversal[n].(hcl.TraverseIndex)
		if !isIndex {
			return 0, false
		}
		key = step.Key
	default:
		return 0, false
	}
	key, _ = key.Unmark()
	if key.IsNull() || !key.IsKnown() || key.Type() != cty.Number || !key.AsBigFloat().IsInt() {
		return 0, false
	}
	i, _ := key.AsBigFloat().Int64()
	return int(i), true
}

// steps returns how many names the address of the block has.
func (b *Block) steps() int {
	if b.Addr.Type != "" {
		return 3
	}
	return 2
}

// named reports whether a traversal is the name of the block.
func (b *Block) named(t hcl.Traversal) bool {
	if len(t) != b.steps() || t.RootName() != b.Addr.Kind || stepName(t, len(t)-1) != b.Addr.Name {
		return false
	}
	return b.Addr.Type == "" || stepName(t, 1) == b.Addr.Type
}
