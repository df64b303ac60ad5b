package dsl

import (
	"math/big"

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

	Unknown bool // count.index is unknown, because the number of instances is
}

// Instance returns the address of an instance of the block.
func (b *Block) Instance(each Each) addr.Addr {
	a := b.Addr
	a.Key = each.Key
	return a
}

// unknown is what is known of a block's exports before anything is: their types.
func (b *Block) unknown() cty.Value {
	if b == nil || b.exampleKey() != "" {
		return cty.DynamicVal
	}
	return b.Kind.Export(b.Addr.String(), b.Addr.Type, nil, nil)
}

// exampleKey returns a key of a repeated block to use in a message; "" for other blocks.
func (b *Block) exampleKey() string {
	switch {
	case b.Count != nil:
		return "[0]"
	case b.ForEach != nil:
		return `["key"]`
	}
	return ""
}

// tooEarly marks the error of a count or for_each that only other blocks decide.
const tooEarly = "too early"

// Instances evaluates count or for_each; a block without them has one instance. The keys must be known in a plan.
func (s *Scope) Instances(b *Block) ([]Each, hcl.Diagnostics) {
	list, diags := s.instances(b)
	return list, tag(b.in, s.config.Secrets.Diagnostics(diags))
}

func (s *Scope) instances(b *Block) ([]Each, hcl.Diagnostics) {
	e := b.Count
	if e == nil {
		e = b.ForEach
	}
	if e == nil {
		return []Each{{}}, nil
	}
	v, diags := e.Value(s.context(b.in, b.uses, nil))
	if diags.HasErrors() {
		return nil, diags
	}
	list := byKey
	if b.Count != nil {
		list = byCount
	}
	instances, d := list(v, e.Range())
	if d != nil {
		return nil, hcl.Diagnostics{d}
	}
	return instances, diags
}

// early is the error of a count or for_each that only other blocks decide.
func early(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	d := failure(at, summary, "%s", detail)
	d.Extra = tooEarly
	return d
}

// byCount lists the instances of a block with count.
func byCount(v cty.Value, at hcl.Range) ([]Each, *hcl.Diagnostic) {
	v, marks := v.Unmark()
	if !v.IsKnown() {
		return nil, early(at, "Unknown count", "The number of instances must be known before anything runs; "+
			"this value is known only after other blocks have run.")
	}
	n, err := convert.Convert(v, cty.Number)
	if err != nil || n.IsNull() {
		return nil, failure(at, "Wrong type", "count takes a whole number.")
	}
	k, acc := n.AsBigFloat().Int64()
	if acc != big.Exact || k < 0 || k > 10000 {
		return nil, failure(at, "Invalid count", "count takes a whole number from 0 to 10000, not %s.",
			Show(n.WithMarks(marks)))
	}
	list := make([]Each, k)
	for i := range list {
		list[i] = Each{Key: addr.IntKey(i), Index: i}
	}
	return list, nil
}

// byKey lists the instances of a block with for_each.
func byKey(v cty.Value, at hcl.Range) (list []Each, problem *hcl.Diagnostic) {
	t := v.Type()
	switch {
	case v.IsMarked():
		return nil, failure(at, "Sensitive for_each",
			"Keys are part of addresses, so they cannot come from a sensitive value.")
	case !v.IsKnown():
		return nil, early(at, "Unknown for_each", "The keys must be known before anything runs; "+
			"this value is known only after other blocks have run.")
	case v.IsNull() || !t.IsMapType() && !t.IsObjectType() && !setOfStrings(v):
		return nil, failure(at, "Wrong type",
			`for_each takes a map, an object, or a set of strings such as toset(["a", "b"]).`)
	}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if t.IsSetType() {
			k = e
		}
		switch {
		case !k.IsKnown():
			return nil, early(at, "Unknown for_each", "The keys must be known before anything runs.")
		case k.IsNull():
			return nil, failure(at, "Null key", "for_each holds null; every instance needs a key.")
		}
		list = append(list, Each{Key: addr.StringKey(k.AsString()), Name: k, Value: e})
	}
	return list, nil
}

// setOfStrings reports whether a value is a set of strings. The empty set is one, whatever its type.
func setOfStrings(v cty.Value) bool {
	return v.Type().IsSetType() && (v.Type().ElementType() == cty.String || v.LengthInt() == 0)
}

// SetInstances puts the exports of a block's instances into scope.
func (s *Scope) SetInstances(b *Block, instances []Each, exports []cty.Value) {
	s.Set(b.Addr, together(b.Count != nil, b.ForEach != nil, instances, exports))
}

// together returns what instances give in all: a tuple with count, an object with for_each, and else what the only one
// gives.
func together(count, forEach bool, instances []Each, values []cty.Value) cty.Value {
	switch {
	case count:
		return cty.TupleVal(values)
	case forEach:
		m := map[string]cty.Value{}
		for i, each := range instances {
			m[each.Name.AsString()] = values[i]
		}
		return cty.ObjectVal(m)
	}
	return values[0]
}
