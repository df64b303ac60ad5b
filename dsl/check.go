package dsl

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"stepflow/dsl/addr"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// check converts a value to the type want and tests it against the schema. problem is "" if it is sound, and does not
// quote a sensitive value.
func (a *Attr) check(v cty.Value, want cty.Type, sensitive bool) (_ cty.Value, problem string) {
	if v.IsNull() {
		if a.Required && want != cty.DynamicPseudoType { // the value of an output may be null
			return v, fmt.Sprintf("%s is null, and it is required.", a.Name)
		}
		if a.Default != cty.NilVal {
			return a.Default, ""
		}
		return cty.NullVal(want), ""
	}
	if a.Ref != nil {
		return a.reference(v, sensitive)
	}
	c, err := convert.Convert(v, want)
	if err != nil {
		what := fmt.Sprintf("%s takes a %s, not a %s", a.Name, typeName(*a), v.Type().FriendlyName())
		switch {
		case sensitive:
			return v, what + "."
		case want.IsListType() && v.IsKnown() && v.Type().IsPrimitiveType() && convertible(v, want.ElementType()):
			return v, fmt.Sprintf("%s. Write %s = [%s].", what, a.Name, Show(v))
		}
		return v, fmt.Sprintf("%s: %v.", what, err)
	}
	if c.IsKnown() {
		problem = a.checkKnown(c, want, sensitive)
	}
	return Float64(c), problem
}

// convertible reports whether a value can be converted to a type.
func convertible(v cty.Value, to cty.Type) bool {
	_, err := convert.Convert(v, to)
	return err == nil
}

// checkKnown tests a known value of type want.
func (a *Attr) checkKnown(c cty.Value, want cty.Type, sensitive bool) string {
	show := Show
	if sensitive {
		show = func(cty.Value) string { return Hidden }
	}
	switch {
	case want == cty.String && a.OneOf != nil && !slices.Contains(a.OneOf, c.AsString()):
		hint := ""
		if !sensitive {
			hint = Suggest(c.AsString(), a.OneOf)
		}
		return fmt.Sprintf("%s is %s.%s It takes %s.", a.Name, show(c), hint, strings.Join(a.OneOf, ", "))
	case a.Bytes:
		return a.checkBytes(c, sensitive, show)
	case a.Filled && c.CanIterateElements() && c.LengthInt() == 0:
		if a.Required {
			return a.Name + " is an empty list: give at least one value."
		}
		return a.Name + " is an empty list: give at least one value, or leave it out."
	case want == cty.Number:
		return a.number(a.Name, c, show)
	case want.IsListType():
		return a.checkElements(c, want.ElementType(), show)
	case want == cty.DynamicPseudoType:
		return beyond(a.Name, c)
	}
	return ""
}

// checkBytes tests a number of bytes.
func (a *Attr) checkBytes(c cty.Value, sensitive bool, show func(cty.Value) string) string {
	switch n, err := ParseBytes(c.AsString()); {
	case err != nil && sensitive:
		return fmt.Sprintf("%s is %s, which is not a number of bytes.", a.Name, Hidden)
	case err != nil:
		return fmt.Sprintf("%s: %v.", a.Name, err)
	case n < 1:
		return fmt.Sprintf("%s is %s; the least is 1 byte.", a.Name, show(c))
	}
	return ""
}

// checkElements tests the elements of a list.
func (a *Attr) checkElements(c cty.Value, of cty.Type, show func(cty.Value) string) (problem string) {
	i := 0
	for it := c.ElementIterator(); it.Next() && problem == ""; i++ {
		_, e := it.Element()
		name := fmt.Sprintf("%s[%d]", a.Name, i)
		switch {
		case e.IsNull():
			problem = name + " is null; every element needs a value."
		case of == cty.Number && e.IsKnown():
			problem = a.number(name, e, show)
		}
	}
	return problem
}

// number tests a number against the attribute's range.
func (a *Attr) number(name string, v cty.Value, show func(cty.Value) string) string {
	f := v.AsBigFloat()
	x, _ := f.Float64()
	text := show(v)
	switch {
	case math.IsInf(x, 0):
		return fmt.Sprintf("%s is beyond what a 64-bit floating-point number holds.", name)
	case x == 0 && f.Sign() != 0:
		return fmt.Sprintf("%s is too close to 0 for a 64-bit floating-point number.", name)
	case a.Whole && !f.IsInt():
		return fmt.Sprintf("%s takes a whole number, not %s.", name, text)
	case a.Min != nil && x < *a.Min:
		return fmt.Sprintf("%s is %s; the least is %s.", name, text, plainNumber(*a.Min))
	case a.Max != nil && x > *a.Max:
		return fmt.Sprintf("%s is %s; the most is %s.", name, text, plainNumber(*a.Max))
	case a.Above != nil && x <= *a.Above:
		return fmt.Sprintf("%s is %s; it must be more than %s.", name, text, plainNumber(*a.Above))
	case a.Below != nil && x >= *a.Below:
		return fmt.Sprintf("%s is %s; it must be less than %s.", name, text, plainNumber(*a.Below))
	}
	return ""
}

// plainNumber writes a bound: in full, or as 1e300 where that has more digits than a float64 holds.
func plainNumber(x float64) string {
	if math.Abs(x) > 1<<53 {
		return strings.Replace(strconv.FormatFloat(x, 'g', -1, 64), "e+", "e", 1)
	}
	return showNumber(big.NewFloat(x))
}

// beyond reports a number anywhere in a value that is beyond the range of float64.
func beyond(name string, v cty.Value) (problem string) {
	_ = cty.Walk(v, func(_ cty.Path, x cty.Value) (bool, error) {
		if x.IsKnown() && !x.IsNull() && x.Type() == cty.Number {
			if f, _ := x.AsBigFloat().Float64(); math.IsInf(f, 0) {
				problem = fmt.Sprintf("%s holds a number beyond what a 64-bit floating-point number holds.", name)
			}
		}
		return problem == "", nil
	})
	return problem
}

// Float64 rounds the numbers in a value to float64, with which a run computes, so that numbers that differ only beyond
// that are equal, and so is a default that is written out. Integers beyond 2^53 stay exact.
func Float64(v cty.Value) cty.Value {
	r, err := cty.Transform(v, func(_ cty.Path, x cty.Value) (cty.Value, error) {
		bare, marks := x.Unmark()
		if bare.Type() != cty.Number || !bare.IsKnown() || bare.IsNull() || bare.AsBigFloat().IsInt() {
			return x, nil
		}
		f, _ := bare.AsBigFloat().Float64()
		if math.IsInf(f, 0) {
			return x, nil
		}
		return cty.NumberFloatVal(f).WithMarks(marks), nil
	})
	if err != nil {
		return v
	}
	return r
}

// reference returns the address in a block's exports.
func (a *Attr) reference(v cty.Value, sensitive bool) (cty.Value, string) {
	if !v.IsKnown() {
		return cty.UnknownVal(cty.String), ""
	}
	want, usual := "a "+strings.Join(a.Ref, " or "), a.Ref[0]
	if strings.ContainsAny(usual[:1], "aeiou") {
		want = "an" + want[1:]
	}
	if k := KindOf(usual); k != nil && len(k.Types) > 0 {
		usual += "." + k.Types[0]
	}
	t := v.Type()
	if !t.IsObjectType() || !t.HasAttribute("address") {
		hint := ""
		if t.IsTupleType() || t.IsObjectType() {
			hint = " If the block has count or for_each, name one instance, such as " + usual + ".NAME[\"key\"]."
		}
		return v, fmt.Sprintf("%s takes %s block, written without quotes, such as %s.NAME, not %s.%s",
			a.Name, want, usual, t.FriendlyName(), hint)
	}
	x := v.GetAttr("address")
	if x.Type() != cty.String || x.IsNull() {
		return v, fmt.Sprintf("%s takes %s block.", a.Name, want)
	}
	if !x.IsKnown() {
		return x, ""
	}
	if at, _, err := addr.ParsePart(x.AsString()); err == nil && slices.Contains(a.Ref, at.Kind) {
		return x, ""
	}
	if sensitive {
		return v, fmt.Sprintf("%s takes %s block.", a.Name, want)
	}
	return v, fmt.Sprintf("%s takes %s block, not %s.", a.Name, want, x.AsString())
}
