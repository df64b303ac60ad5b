package dsl

import (
	"bytes"
	"encoding/json"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Plain turns a value into what encoding/json writes; whole numbers beyond 2^53 keep all digits. An unknown value is
// left out of objects and null elsewhere. unknown has the form of the value, with true for what is unknown and false
// for a part that is known as a whole. A sensitive value is null.
func Plain(v cty.Value) (known, unknown any) {
	v, marks := v.Unmark()
	_, sensitive := marks[Sensitive]
	t := v.Type()
	switch {
	case !v.IsKnown():
		return nil, true
	case v.IsNull(), sensitive:
		return nil, false
	case t == cty.String:
		return v.AsString(), false
	case t == cty.Bool:
		return v.True(), false
	case t == cty.Number:
		f := v.AsBigFloat()
		x, _ := f.Float64()
		if f.IsInt() && (x >= 1<<53 || x <= -(1<<53)) {
			return json.Number(Show(v)), false
		}
		return x, false
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		list, flags, some := []any{}, []any{}, false
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			x, u := Plain(e)
			list, flags, some = append(list, x), append(flags, u), some || u != false
		}
		if some {
			return list, flags
		}
		return list, false
	case t.IsMapType() || t.IsObjectType():
		m, flags := map[string]any{}, map[string]any{}
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			x, u := Plain(e)
			if u != true {
				m[k.AsString()] = x
			}
			if u != false {
				flags[k.AsString()] = u
			}
		}
		if len(flags) > 0 {
			return m, flags
		}
		return m, false
	}
	return nil, false
}

// TypeJSON returns a value's type in Terraform's JSON of types, such as "number" or ["list","string"].
func TypeJSON(v cty.Value) json.RawMessage {
	b, err := ctyjson.MarshalType(v.Type())
	if err != nil {
		return json.RawMessage(`"dynamic"`)
	}
	return b
}

// HiddenType is TypeJSON for a sensitive value. It returns nil if the type would reveal the names of an object's
// attributes.
func HiddenType(v cty.Value) json.RawMessage {
	t := TypeJSON(v)
	if bytes.Contains(t, []byte(`"object"`)) {
		return nil
	}
	return t
}
