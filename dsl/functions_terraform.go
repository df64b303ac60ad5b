package dsl

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/customdecode"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

func param(name string, t cty.Type) function.Parameter {
	return function.Parameter{Name: name, Type: t}
}

// pure makes a function of a fixed result type.
func pure(t cty.Type, f func(args []cty.Value) (cty.Value, error), params ...function.Parameter) function.Function {
	return function.New(&function.Spec{Params: params, Type: function.StaticReturnType(t),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f(args) }})
}

// textFunc makes a function of one text.
func textFunc(f func(string) (string, error)) function.Function {
	return pure(cty.String, func(args []cty.Value) (cty.Value, error) {
		s, err := f(args[0].AsString())
		if err != nil {
			return cty.NilVal, function.NewArgError(0, err)
		}
		return cty.StringVal(s), nil
	}, param("text", cty.String))
}

// testFunc makes a function that tests one text with another.
func testFunc(f func(text, part string) bool) function.Function {
	return pure(cty.Bool, func(args []cty.Value) (cty.Value, error) {
		return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
	}, param("text", cty.String), param("part", cty.String))
}

var (
	startsWithFunc  = testFunc(strings.HasPrefix)
	endsWithFunc    = testFunc(strings.HasSuffix)
	strContainsFunc = testFunc(strings.Contains)

	urlEncodeFunc    = textFunc(func(s string) (string, error) { return url.QueryEscape(s), nil })
	base64EncodeFunc = textFunc(func(s string) (string, error) { return base64Text([]byte(s)) })
	base64DecodeFunc = textFunc(func(s string) (string, error) {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return "", errors.New("the text is not base64")
		}
		return plainText(b)
	})

	baseNameFunc   = textFunc(func(s string) (string, error) { return filepath.Base(s), nil })
	dirNameFunc    = textFunc(func(s string) (string, error) { return filepath.Dir(s), nil })
	absPathFunc    = textFunc(func(s string) (string, error) { p, err := filepath.Abs(s); return filepath.ToSlash(p), err })
	pathExpandFunc = textFunc(func(s string) (string, error) {
		if s != "~" && !strings.HasPrefix(s, "~/") {
			return s, nil
		}
		home, err := os.UserHomeDir()
		return filepath.Join(home, strings.TrimPrefix(s, "~")), err
	})
)

func hexText(b []byte) (string, error)    { return hex.EncodeToString(b), nil }
func base64Text(b []byte) (string, error) { return base64.StdEncoding.EncodeToString(b), nil }

func plainText(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", errors.New("the bytes are not text in UTF-8")
	}
	return string(b), nil
}

func hashFunc(h func() hash.Hash, text func([]byte) (string, error)) function.Function {
	f := hashed(h, text)
	return textFunc(func(s string) (string, error) { return f([]byte(s)) })
}

var timeCmpFunc = pure(cty.Number, func(args []cty.Value) (cty.Value, error) {
	var at [2]time.Time
	for i, a := range args {
		t, err := time.Parse(time.RFC3339, a.AsString())
		if err != nil {
			return cty.NilVal, function.NewArgErrorf(i, "%q is not a time such as 2017-11-22T00:00:00Z", a.AsString())
		}
		at[i] = t
	}
	return cty.NumberIntVal(int64(at[0].Compare(at[1]))), nil
}, param("a", cty.String), param("b", cty.String))

// replaceFunc replaces a text, or what a regular expression between slashes matches.
var replaceFunc = pure(cty.String, func(args []cty.Value) (cty.Value, error) {
	text, what, by := args[0].AsString(), args[1].AsString(), args[2].AsString()
	if pattern, ok := slashed(what); ok {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return cty.NilVal, function.NewArgError(1, err)
		}
		return cty.StringVal(re.ReplaceAllString(text, by)), nil
	}
	return cty.StringVal(strings.ReplaceAll(text, what, by)), nil
}, param("text", cty.String), param("substring", cty.String), param("replacement", cty.String))

// slashed takes a regular expression out of its slashes.
func slashed(s string) (pattern string, ok bool) {
	if len(s) > 1 && s[0] == '/' && s[len(s)-1] == '/' {
		return s[1 : len(s)-1], true
	}
	return "", false
}

// quantified reports whether all, or any, of a list are true; null is not.
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

// coalesceFunc gives the first argument that is neither null nor an empty text, in a type that all have in common.
var coalesceFunc = function.New(&function.Spec{
	VarParam: &function.Parameter{Name: "values", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true},
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
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowDynamicType: true, AllowUnknown: true, AllowMarked: true}},
	Type: func(args []cty.Value) (cty.Type, error) {
		if t := args[0].Type(); t != cty.String && t != cty.DynamicPseudoType && !t.IsTupleType() && !t.IsObjectType() && !t.IsCollectionType() {
			return cty.NilType, function.NewArgErrorf(0, "a list, a map or a text is wanted, not %s", t.FriendlyName())
		}
		return cty.Number, nil
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		v, marks := args[0].Unmark() // the elements' marks do not hide how many there are
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

// lookupFunc gives an element of a map or object, or a default where there is none.
var lookupFunc = function.New(&function.Spec{
	Params:   []function.Parameter{{Name: "map", Type: cty.DynamicPseudoType, AllowMarked: true}, {Name: "key", Type: cty.String, AllowMarked: true}},
	VarParam: &function.Parameter{Name: "default", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true, AllowMarked: true},
	Type: func(args []cty.Value) (cty.Type, error) {
		if len(args) > 3 {
			return cty.NilType, fmt.Errorf("it takes two or three arguments, not %d", len(args))
		}
		switch t := args[0].Type(); {
		case t.IsMapType():
			if len(args) == 3 {
				if _, err := convert.Convert(args[2], t.ElementType()); err != nil {
					return cty.NilType, function.NewArgErrorf(2, "the default must have the type of the map's elements, %s", t.ElementType().FriendlyName())
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
			return cty.NilType, function.NewArgErrorf(0, "the object has no attribute %q, and no default was given", key.AsString())
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

// matchKeysFunc keeps the values whose key, at the same place of the second list, is in the third.
var matchKeysFunc = function.New(&function.Spec{
	Params: []function.Parameter{param("values", cty.List(cty.DynamicPseudoType)), param("keys", cty.List(cty.DynamicPseudoType)), param("wanted", cty.List(cty.DynamicPseudoType))},
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

// oneFunc gives the element of a list of one, and null of an empty one.
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
			return cty.NilType, function.NewArgErrorf(0, "a list of no or one element is wanted; this has %d", t.Length())
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
			return cty.NilVal, function.NewArgErrorf(0, "a list of no or one element is wanted; this has %d", n)
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

// describe names a value that is not what is wanted.
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

// markFunc makes a function that changes how a value is marked, or tells it.
func markFunc(t func(cty.Value) cty.Type, f func(cty.Value) cty.Value) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true, AllowMarked: true}},
		Type:   func(args []cty.Value) (cty.Type, error) { return t(args[0]), nil },
		Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f(args[0]), nil },
	})
}

var (
	sensitiveFunc    = markFunc(cty.Value.Type, func(v cty.Value) cty.Value { return v.Mark(Sensitive) })
	nonsensitiveFunc = markFunc(cty.Value.Type, func(v cty.Value) cty.Value {
		v, marks := v.Unmark()
		delete(marks, Sensitive)
		return v.WithMarks(marks)
	})
	isSensitiveFunc = markFunc(func(cty.Value) cty.Type { return cty.Bool }, func(v cty.Value) cty.Value { return cty.BoolVal(v.HasMark(Sensitive)) })
)

// attempt evaluates an expression that may fail. ready is false where it depends on what is not known yet, and so may fail later.
func attempt(arg cty.Value) (v cty.Value, diags hcl.Diagnostics, ready bool, err error) {
	closure := customdecode.ExpressionClosureFromVal(arg)
	for _, t := range closure.Expression.Variables() {
		if x, d := t.TraverseAbs(closure.EvalContext); !d.HasErrors() && !x.IsWhollyKnown() {
			return cty.DynamicVal, nil, false, nil
		}
	}
	v, diags, err = contained(closure.Value)
	return v, diags, true, err
}

// tryFunc and canFunc evaluate each expression once, where HCL's own do it twice at each level of nesting.
var (
	tryFunc = function.New(&function.Spec{
		VarParam: &function.Parameter{Name: "expressions", Type: customdecode.ExpressionClosureType},
		Type:     function.StaticReturnType(cty.DynamicPseudoType),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			var why strings.Builder
			for _, a := range args {
				v, diags, ready, err := attempt(a)
				if err != nil || !ready || !diags.HasErrors() {
					return v, err
				}
				for _, d := range diags.Errs() {
					fmt.Fprintf(&why, "\n- %v", d)
				}
			}
			if len(args) == 0 {
				return cty.NilVal, errors.New("at least one expression is needed")
			}
			return cty.NilVal, fmt.Errorf("no expression succeeded:%s", why.String())
		},
	})
	canFunc = pure(cty.Bool, func(args []cty.Value) (cty.Value, error) {
		_, diags, ready, err := attempt(args[0])
		if err != nil || !ready {
			return cty.UnknownVal(cty.Bool), err
		}
		return cty.BoolVal(!diags.HasErrors()), nil
	}, param("expression", customdecode.ExpressionClosureType))
)

// readFunc reads a file, relative to dir, and writes its bytes as text.
func readFunc(dir string, text func([]byte) (string, error)) function.Function {
	return textFunc(func(path string) (string, error) {
		b, err := readFile(inDir(dir, path), maxText)
		if err != nil {
			return "", fmt.Errorf("reading the file: %w", err)
		}
		s, err := text(b)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", path, err)
		}
		return s, nil
	})
}

func inDir(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func fileExistsFunc(dir string) function.Function {
	return pure(cty.Bool, func(args []cty.Value) (cty.Value, error) {
		st, err := os.Stat(inDir(dir, args[0].AsString()))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return cty.False, nil
		case err != nil:
			return cty.NilVal, function.NewArgError(0, err)
		case !st.Mode().IsRegular():
			return cty.NilVal, function.NewArgErrorf(0, "%s is not a regular file", args[0].AsString())
		}
		return cty.True, nil
	}, param("path", cty.String))
}

// costs says how large the result of a function will be, from arguments that would otherwise be multiplied; or that they
// cannot be. Unknown and null arguments count for nothing.
var costs = map[string]func(args []cty.Value) (float64, error){
	"format":     func(args []cty.Value) (float64, error) { return 0, checkVerbs(textOf(args, 0)) },
	"formatlist": func(args []cty.Value) (float64, error) { return formatListCost(args) },
	"indent": func(args []cty.Value) (float64, error) {
		return numberOf(args, 0) * float64(strings.Count(textOf(args, 1), "\n")), nil
	},
	"join": func(args []cty.Value) (float64, error) {
		n := 0
		for i := range args[min(1, len(args)):] {
			n += lengthOf(args, i+1)
		}
		return float64(len(textOf(args, 0))) * float64(n), nil
	},
	"replace": func(args []cty.Value) (float64, error) {
		text, what, by := textOf(args, 0), textOf(args, 1), textOf(args, 2)
		if _, ok := slashed(what); ok { // it may match before each byte, and each $ stand for the whole match
			return (float64(len(text))+1)*float64(len(by)) + float64(strings.Count(by, "$"))*float64(len(text)), nil
		}
		return float64(strings.Count(text, what)) * float64(len(by)), nil
	},
	"setproduct": func(args []cty.Value) (float64, error) {
		n := elementCost * float64(len(args))
		for i := range args {
			n *= float64(lengthOf(args, i))
		}
		return n, nil
	},
	"distinct":   func(args []cty.Value) (float64, error) { n := float64(lengthOf(args, 0)); return n * n / 2, nil }, // comparisons
	"jsondecode": func(args []cty.Value) (float64, error) { return 0, checkJSON(textOf(args, 0)) },
}

func textOf(args []cty.Value, i int) string {
	if i >= len(args) || args[i].Type() != cty.String || args[i].IsNull() || !args[i].IsKnown() {
		return ""
	}
	return args[i].AsString()
}

func numberOf(args []cty.Value, i int) float64 {
	if i >= len(args) || args[i].Type() != cty.Number || args[i].IsNull() || !args[i].IsKnown() {
		return 0
	}
	f, _ := args[i].AsBigFloat().Float64()
	return f
}

func lengthOf(args []cty.Value, i int) int {
	if i >= len(args) {
		return 0
	}
	return int(elements(args[i]))
}

var longVerb = regexp.MustCompile(`%[^%a-zA-Z]*[0-9]{5}`)

// checkVerbs refuses widths and precisions of five digits.
func checkVerbs(format string) error {
	if v := longVerb.FindString(format); v != "" {
		return function.NewArgErrorf(0, "the verb %s… is too wide: a width has at most four digits", v)
	}
	return nil
}

// formatListCost is what the format takes for each of the results.
func formatListCost(args []cty.Value) (float64, error) {
	n := 1
	for i := range args {
		n = max(n, lengthOf(args, i))
	}
	return float64(len(textOf(args, 0))) * float64(n), checkVerbs(textOf(args, 0))
}

// checkJSON refuses what nests further than values may.
func checkJSON(s string) error {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxNesting {
				return function.NewArgErrorf(0, "more than %d brackets stand inside each other", maxNesting)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}
