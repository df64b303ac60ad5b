package dsl

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"stepflow/dsl/addr"
)

// Each is the instance of a repeated block.
type Each struct {
	Key   string // as in addr.Addr.Key
	Index int
	Name  cty.Value // each.key
	Value cty.Value // each.value

	Unknown bool // count.index is not known: how many instances there are is not
}

// exampleKey is what an instance of a repeated block may be named by in a message, or "" of any other block.
func (b *Block) exampleKey() string {
	switch {
	case b.Count != nil:
		return "[0]"
	case b.ForEach != nil:
		return `["key"]`
	}
	return ""
}

// tooEarly marks the diagnostics of a count or for_each that depends on other blocks.
const tooEarly = "too early"

// Instances evaluates count or for_each: one instance without them. Keys must be known in a plan.
func (s *Scope) Instances(b *Block) ([]Each, hcl.Diagnostics) {
	list, diags := s.instances(b)
	return list, s.config.Secrets.Diagnostics(diags)
}

func (s *Scope) instances(b *Block) ([]Each, hcl.Diagnostics) {
	fail := func(e hcl.Expression, summary, detail string) ([]Each, hcl.Diagnostics) {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: e.Range().Ptr()}}
	}
	early := func(e hcl.Expression, summary, detail string) ([]Each, hcl.Diagnostics) {
		list, diags := fail(e, summary, detail)
		diags[0].Extra = tooEarly
		return list, diags
	}
	ctx := s.context(b.uses, nil)
	switch {
	case b.Count != nil:
		v, diags := b.Count.Value(ctx)
		if diags.HasErrors() {
			return nil, diags
		}
		v, marks := v.Unmark()
		if !v.IsKnown() {
			return early(b.Count, "Unknown count", "The number of instances must be known before anything runs; this value is known only after other blocks have run.")
		}
		n, err := convert.Convert(v, cty.Number)
		if err != nil || n.IsNull() {
			return fail(b.Count, "Wrong type", "count takes a whole number.")
		}
		k, acc := n.AsBigFloat().Int64()
		if acc != big.Exact || k < 0 || k > 10000 {
			return fail(b.Count, "Invalid count", fmt.Sprintf("count takes a whole number from 0 to 10000, not %s.", Show(n.WithMarks(marks))))
		}
		list := make([]Each, k)
		for i := range list {
			list[i] = Each{Key: addr.IntKey(i), Index: i}
		}
		return list, diags
	case b.ForEach != nil:
		v, diags := b.ForEach.Value(ctx)
		if diags.HasErrors() {
			return nil, diags
		}
		if v.IsMarked() {
			return fail(b.ForEach, "Sensitive for_each", "Keys stand in addresses, so they cannot come from a sensitive value.")
		}
		if !v.IsKnown() {
			return early(b.ForEach, "Unknown for_each", "The keys must be known before anything runs; this value is known only after other blocks have run.")
		}
		t := v.Type()
		if v.IsNull() || !(t.IsMapType() || t.IsObjectType() || t.IsSetType() && (t.ElementType() == cty.String || v.LengthInt() == 0)) {
			return fail(b.ForEach, "Wrong type", "for_each takes a map, an object, or a set of strings such as toset([\"a\", \"b\"]).")
		}
		var list []Each
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			if t.IsSetType() {
				k = e
			}
			if k.IsKnown() && k.IsNull() {
				return fail(b.ForEach, "Null key", "for_each holds null; every instance needs a key.")
			}
			if !k.IsKnown() {
				return early(b.ForEach, "Unknown for_each", "The keys must be known before anything runs.")
			}
			list = append(list, Each{Key: addr.StringKey(k.AsString()), Name: k, Value: e})
		}
		return list, diags
	}
	return []Each{{}}, nil
}

// SetInstances puts what the instances of a block offer into scope.
func (s *Scope) SetInstances(b *Block, instances []Each, exports []cty.Value) {
	switch {
	case b.Count != nil:
		s.Set(b.Addr, cty.TupleVal(exports))
	case b.ForEach != nil:
		m := map[string]cty.Value{}
		for i, each := range instances {
			m[each.Name.AsString()] = exports[i]
		}
		s.Set(b.Addr, cty.ObjectVal(m))
	default:
		s.Set(b.Addr, exports[0])
	}
}

// Merge joins the problems of a block's instances: one that several have at the same place is reported once, with their addresses
// where others do not have it.
func Merge(b *Block, instances []Each, problems []hcl.Diagnostics) (diags hcl.Diagnostics) {
	if len(instances) == 1 {
		return problems[0]
	}
	type key struct{ place, summary string }
	first := map[key]*hcl.Diagnostic{}
	in := map[*hcl.Diagnostic][]addr.Addr{}
	other := map[*hcl.Diagnostic]bool{} // not in the same words
	for i, list := range problems {
		a := b.Addr
		a.Key = instances[i].Key
		for _, d := range list {
			k := key{summary: d.Summary}
			if d.Subject != nil {
				k.place = d.Subject.String()
			}
			f := first[k]
			if f == nil {
				f, first[k] = d, d
				diags = append(diags, d)
			}
			other[f] = other[f] || f.Detail != d.Detail
			if n := len(in[f]); n == 0 || in[f][n-1] != a {
				in[f] = append(in[f], a)
			}
		}
	}
	for _, d := range diags {
		list := in[d]
		if len(list) == len(instances) && !other[d] {
			continue
		}
		var names []string
		for _, a := range list[:min(3, len(list))] {
			names = append(names, a.String())
		}
		more := ""
		if n := len(list) - len(names); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		if other[d] {
			d.Detail += fmt.Sprintf(" This is of %s; the like is wrong in %s%s.", names[0], strings.Join(names[1:], ", "), more)
		} else {
			d.Detail += fmt.Sprintf(" This is so in %s%s.", strings.Join(names, ", "), more)
		}
	}
	return diags
}
