package dsl

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// quantified returns alltrue, or anytrue. Null counts as false.
func quantified(all bool) function.Function {
	return pure(cty.Bool, func(args []cty.Value) (cty.Value, error) {
		unknown := false
		for it := args[0].ElementIterator(); it.Next(); {
			_, v := it.Element()
			switch {
			case !v.IsKnown():
				unknown = true
			case (!v.IsNull() && v.True()) != all:
				return cty.BoolVal(!all), nil
			}
		}
		if unknown {
			return cty.UnknownVal(cty.Bool), nil
		}
		return cty.BoolVal(all), nil
	}, param("list", cty.List(cty.Bool)))
}

var allTrueFunc, anyTrueFunc = quantified(true), quantified(false)

// coalesceFunc returns the first argument that is neither null nor an empty text, in the common type of all.
var coalesceFunc = function.New(&function.Spec{
	VarParam: &function.Parameter{Name: "values", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true,
		AllowDynamicType: true},
	Type: func(args []cty.Value) (cty.Type, error) {
		if len(args) == 0 {
			return cty.NilType, errors.New("at least one argument is needed")
		}
		types := make([]cty.Type, len(args))
		for i, a := range args {
			types[i] = a.Type()
		}
		t, _ := convert.UnifyUnsafe(types)
		if t == cty.NilType {
			return t, errors.New("all arguments must have one type")
		}
		return t, nil
	},
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		for i, a := range args {
			a, err := convert.Convert(a, t)
			if err != nil {
				return cty.NilVal, function.NewArgError(i, err)
			}
			if !a.IsKnown() {
				return cty.UnknownVal(t), nil
			}
			if a.IsNull() || t == cty.String && a.AsString() == "" {
				continue
			}
			return a, nil
		}
		return cty.NilVal, errors.New("every argument is null or an empty text")
	},
})

// indexFunc finds a value in a list.
var indexFunc = pure(cty.Number, func(args []cty.Value) (cty.Value, error) {
	if t := args[0].Type(); !t.IsListType() && !t.IsTupleType() {
		return cty.NilVal, function.NewArgErrorf(0, "a list is wanted, not %s", t.FriendlyName())
	}
	if !args[0].IsKnown() {
		return cty.UnknownVal(cty.Number), nil
	}
	if args[0].LengthInt() == 0 {
		return cty.NilVal, function.NewArgErrorf(0, "the list is empty, so nothing can be found in it")
	}
	for it := args[0].ElementIterator(); it.Next(); {
		i, v := it.Element()
		same, err := stdlib.Equal(v, args[1])
		if err != nil {
			return cty.NilVal, err
		}
		if !same.IsKnown() {
			return cty.UnknownVal(cty.Number), nil
		}
		if same.True() {
			return i, nil
		}
	}
	return cty.NilVal, errors.New("the value is not in the list")
}, param("list", cty.DynamicPseudoType), param("value", cty.DynamicPseudoType))

// lengthFunc counts the elements of a collection, or the characters of a text as a reader sees them.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true,
		AllowUnknown: true, AllowMarked: true}},
	Type: func(args []cty.Value) (cty.Type, error) {
		switch t := args[0].Type(); {
		case t == cty.String, t == cty.DynamicPseudoType, t.IsTupleType(), t.IsObjectType(), t.IsCollectionType():
			return cty.Number, nil
		default:
			return cty.NilType, function.NewArgErrorf(0, "a list, a map or a text is wanted, not %s", t.FriendlyName())
		}
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		v, marks := args[0].Unmark() // marks of elements do not hide the length
		n := cty.UnknownVal(cty.Number)
		switch t := v.Type(); {
		case t.IsTupleType():
			n = cty.NumberIntVal(int64(t.Length()))
		case t.IsObjectType():
			n = cty.NumberIntVal(int64(len(t.AttributeTypes())))
		case !v.IsKnown():
		case t == cty.String:
			var err error
			if n, err = stdlib.Strlen(v); err != nil {
				return cty.NilVal, err
			}
		default:
			n = v.Length()
		}
		return n.WithMarks(marks), nil
	},
})

// lookupFunc returns an element of a map or object, or a default if there is none.
var lookupFunc = function.New(&function.Spec{
	Params: []function.Parameter{
		{Name: "map", Type: cty.DynamicPseudoType, AllowMarked: true},
		{Name: "key", Type: cty.String, AllowMarked: true},
	},
	VarParam: &function.Parameter{Name: "default", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true,
		AllowDynamicType: true, AllowMarked: true},
	Type: func(args []cty.Value) (cty.Type, error) {
		if len(args) > 3 {
			return cty.NilType, fmt.Errorf("it takes two or three arguments, not %d", len(args))
		}
		switch t := args[0].Type(); {
		case t.IsMapType():
			if len(args) == 3 {
				if _, err := convert.Convert(args[2], t.ElementType()); err != nil {
					return cty.NilType, function.NewArgErrorf(2,
						"the default must have the type of the map's elements, %s", t.ElementType().FriendlyName())
				}
			}
			return t.ElementType(), nil
		case t.IsObjectType():
			key, _ := args[1].Unmark()
			switch {
			case !key.IsKnown():
				return cty.DynamicPseudoType, nil
			case t.HasAttribute(key.AsString()):
				return t.AttributeType(key.AsString()), nil
			case len(args) == 3:
				return args[2].Type(), nil
			}
			return cty.NilType, function.NewArgErrorf(0, "the object has no attribute %q, and no default was given",
				key.AsString())
		default:
			return cty.NilType, function.NewArgErrorf(0, "a map is wanted, not %s", t.FriendlyName())
		}
	},
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		m, marks := args[0].Unmark()
		key, more := args[1].Unmark()
		if !m.IsKnown() || !key.IsKnown() {
			return cty.UnknownVal(t).WithMarks(marks, more), nil
		}
		k := key.AsString()
		switch {
		case m.Type().IsObjectType() && m.Type().HasAttribute(k):
			return m.GetAttr(k).WithMarks(marks, more), nil
		case m.Type().IsMapType() && m.HasIndex(key).True():
			return m.Index(key).WithMarks(marks, more), nil
		case len(args) == 3:
			v, err := convert.Convert(args[2], t)
			if err != nil {
				return cty.NilVal, function.NewArgError(2, err)
			}
			return v.WithMarks(marks, more), nil
		}
		return cty.NilVal, function.NewArgErrorf(1, "the map has no key %q, and no default was given", k)
	},
})

// matchKeysFunc keeps the values whose key, at the same index of the second list, is in the third.
var matchKeysFunc = function.New(&function.Spec{
	Params: []function.Parameter{param("values", cty.List(cty.DynamicPseudoType)),
		param("keys", cty.List(cty.DynamicPseudoType)), param("wanted", cty.List(cty.DynamicPseudoType))},
	Type: func(args []cty.Value) (cty.Type, error) {
		if t, _ := convert.UnifyUnsafe([]cty.Type{args[1].Type(), args[2].Type()}); t == cty.NilType {
			return t, errors.New("the two lists of keys must have one type")
		}
		return args[0].Type(), nil
	},
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		if !args[0].IsWhollyKnown() || !args[1].IsWhollyKnown() || !args[2].IsWhollyKnown() {
			return cty.UnknownVal(t), nil
		}
		if args[0].LengthInt() != args[1].LengthInt() {
			return cty.NilVal, errors.New("there must be as many keys as values")
		}
		both, _ := convert.UnifyUnsafe([]cty.Type{args[1].Type(), args[2].Type()})
		keys, err := convert.Convert(args[1], both)
		if err != nil {
			return cty.NilVal, function.NewArgError(1, err)
		}
		wanted, err := convert.Convert(args[2], both)
		if err != nil {
			return cty.NilVal, function.NewArgError(2, err)
		}
		set := map[string]bool{}
		for _, w := range wanted.AsValueSlice() {
			set[w.GoString()] = true
		}
		var list []cty.Value
		values := args[0].AsValueSlice()
		for i, k := range keys.AsValueSlice() {
			if set[k.GoString()] {
				list = append(list, values[i])
			}
		}
		if len(list) == 0 {
			return cty.ListValEmpty(t.ElementType()), nil
		}
		return cty.ListVal(list), nil
	},
})

// oneFunc returns the element of a list of one, and null for an empty list.
var oneFunc = function.New(&function.Spec{
	Params: []function.Parameter{param("list", cty.DynamicPseudoType)},
	Type: func(args []cty.Value) (cty.Type, error) {
		switch t := args[0].Type(); {
		case t.IsListType() || t.IsSetType():
			return t.ElementType(), nil
		case t.IsTupleType() && t.Length() == 0:
			return cty.DynamicPseudoType, nil
		case t.IsTupleType() && t.Length() == 1:
			return t.TupleElementType(0), nil
		case t.IsTupleType():
			return cty.NilType, function.NewArgErrorf(0, "a list of at most one element is wanted; this has %d",
				t.Length())
		default:
			return cty.NilType, function.NewArgErrorf(0, "a list, a set or a tuple is wanted, not %s", t.FriendlyName())
		}
	},
	Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
		switch n := args[0].LengthInt(); n {
		case 0:
			return cty.NullVal(t), nil
		case 1:
			it := args[0].ElementIterator()
			it.Next()
			_, v := it.Element()
			return v, nil
		default:
			return cty.NilVal, function.NewArgErrorf(0, "a list of at most one element is wanted; this has %d", n)
		}
	},
})

var sumFunc = pure(cty.Number, func(args []cty.Value) (cty.Value, error) {
	if t := args[0].Type(); !t.IsListType() && !t.IsSetType() && !t.IsTupleType() {
		return cty.NilVal, function.NewArgErrorf(0, "a list of numbers is wanted, not %s", t.FriendlyName())
	}
	if args[0].LengthInt() == 0 {
		return cty.NilVal, function.NewArgErrorf(0, "an empty list has no sum")
	}
	s := new(big.Float).SetPrec(512)
	unknown := false
	for it := args[0].ElementIterator(); it.Next(); {
		_, v := it.Element()
		n, err := convert.Convert(v, cty.Number)
		if err != nil || n.IsNull() {
			return cty.NilVal, function.NewArgErrorf(0, "a list of numbers is wanted; it holds %s", describe(v))
		}
		if !n.IsKnown() {
			unknown = true
			continue
		}
		s.Add(s, n.AsBigFloat())
	}
	if unknown {
		return cty.UnknownVal(cty.Number), nil
	}
	return cty.NumberVal(s), nil
}, param("numbers", cty.DynamicPseudoType))

// describe names a value of the wrong type.
func describe(v cty.Value) string {
	if v.IsNull() {
		return "null"
	}
	return "a value of type " + v.Type().FriendlyName()
}

// transposeFunc swaps the keys and values of a map of lists of texts.
var transposeFunc = pure(cty.Map(cty.List(cty.String)), func(args []cty.Value) (cty.Value, error) {
	if !args[0].IsWhollyKnown() {
		return cty.UnknownVal(cty.Map(cty.List(cty.String))), nil
	}
	keys := map[string][]cty.Value{}
	for it := args[0].ElementIterator(); it.Next(); { // in order of the keys
		k, list := it.Element()
		if list.IsNull() {
			return cty.NilVal, function.NewArgErrorf(0, "the list of %q is null", k.AsString())
		}
		for _, v := range list.AsValueSlice() {
			if v.IsNull() {
				return cty.NilVal, function.NewArgErrorf(0, "the list of %q holds null", k.AsString())
			}
			keys[v.AsString()] = append(keys[v.AsString()], k)
		}
	}
	if len(keys) == 0 {
		return cty.MapValEmpty(cty.List(cty.String)), nil
	}
	out := map[string]cty.Value{}
	for k, list := range keys {
		out[k] = cty.ListVal(list)
	}
	return cty.MapVal(out), nil
}, param("map", cty.Map(cty.List(cty.String))))

// toFunc returns go-cty's function that converts to a type, changed so that a marked element does not mark its list or
// map.
func toFunc(want cty.Type) function.Function {
	plain := stdlib.MakeToFunc(want)
	bare := func(v cty.Value) []cty.Value { v, _ = v.UnmarkDeep(); return []cty.Value{v} }
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowNull: true,
			AllowDynamicType: true, AllowMarked: true}},
		Type: func(args []cty.Value) (cty.Type, error) { return plain.ReturnTypeForValues(bare(args[0])) },
		Impl: func(args []cty.Value, t cty.Type) (cty.Value, error) {
			v, err := convert.Convert(args[0], t)
			if err != nil {
				return plain.Call(bare(args[0])) // says why
			}
			return v, nil
		},
	})
}
