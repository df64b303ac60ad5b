package dsl

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/ext/customdecode"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// gathers holds the functions that find one type for the elements of an argument, although their parameters do not say
// so.
var gathers = map[string]cty.Type{
	"tolist":     cty.List(cty.DynamicPseudoType),
	"toset":      cty.Set(cty.DynamicPseudoType),
	"tomap":      cty.Map(cty.DynamicPseudoType),
	"setproduct": cty.List(cty.DynamicPseudoType),
}

// bounded returns a function that refuses calls that would take too much time or memory, and that quotes no sensitive
// arguments.
func (m *meter) bounded(name string, f function.Function) function.Function {
	lazy := name == "try" || name == "can"
	spec := &function.Spec{
		Type: func(args []cty.Value) (cty.Type, error) {
			list, err := m.prepare(name, f, args)
			if err != nil {
				return cty.NilType, hideArgs(err, args)
			}
			t, err := f.ReturnTypeForValues(list)
			return t, hideArgs(err, args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			list, err := m.prepare(name, f, args)
			if err != nil {
				return cty.NilVal, hideArgs(err, args)
			}
			v, err := f.Call(list)
			unknown := slices.ContainsFunc(list, func(a cty.Value) bool { return !a.IsWhollyKnown() })
			if err == nil && !lazy && !v.IsKnown() && !unknown { // what go-cty makes of a null without a type
				err = errors.New("the result is not defined for null")
			}
			var w int64
			if err == nil {
				w, err = weigh(v)
			}
			if err == nil {
				err = m.spend(w)
			}
			return v, hideArgs(err, args)
		},
	}
	for _, p := range f.Params() {
		spec.Params = append(spec.Params, open(p))
	}
	if p := f.VarParam(); p != nil {
		q := open(*p)
		spec.VarParam = &q
	}
	return function.New(spec)
}

// prepare counts the arguments of a call and converts them. HCL would convert them before they can be counted.
func (m *meter) prepare(name string, f function.Function, args []cty.Value) ([]cty.Value, error) {
	if err := m.spend(0); err != nil {
		return nil, err
	}
	list := make([]cty.Value, len(args))
	for i, a := range args {
		want := cty.DynamicPseudoType
		if i < len(f.Params()) {
			want = f.Params()[i].Type
		} else if p := f.VarParam(); p != nil {
			want = p.Type
		}
		w, err := weigh(a)
		if err == nil {
			err = m.spend(w)
		}
		if err == nil {
			list[i], err = m.convertTo(a, want)
		}
		if err != nil {
			return nil, function.NewArgError(i, err)
		}
		if t, ok := gathers[name]; ok && !a.IsNull() && (a.Type().IsTupleType() || a.Type().IsObjectType()) {
			if x, err := m.convertTo(a, t); err == nil {
				list[i] = x
			}
		}
	}
	if name == "coalesce" {
		if err := m.spend(int64(len(args) * len(args))); err != nil {
			return nil, err
		}
	}
	check := costs[name]
	if check == nil {
		return list, nil
	}
	n, err := check(plainArgs(list))
	if err == nil && n > maxValue {
		err = fmt.Errorf("the result would be too large: more than %s", FormatBytes(maxValue))
	}
	if err == nil {
		err = m.spend(int64(n))
	}
	return list, err
}

// open lets a parameter take any value: the function itself checks it.
func open(p function.Parameter) function.Parameter {
	if customdecode.CustomExpressionDecoderForType(p.Type) == nil {
		p.Type = cty.DynamicPseudoType
	}
	p.AllowNull, p.AllowUnknown, p.AllowDynamicType, p.AllowMarked = true, true, true, true
	return p
}

// hideArgs replaces an error that may quote sensitive arguments.
func hideArgs(err error, args []cty.Value) error {
	if err == nil {
		return nil
	}
	for _, a := range args {
		if a.ContainsMarked() {
			return errors.New("the call failed; the reason is not shown, because it may quote a sensitive value")
		}
	}
	var p function.PanicError
	if errors.As(err, &p) {
		return errors.New("the result is not defined for these arguments")
	}
	return err
}

// plainArgs returns the arguments without marks.
func plainArgs(args []cty.Value) []cty.Value {
	list := make([]cty.Value, len(args))
	for i, a := range args {
		list[i], _ = a.UnmarkDeep()
	}
	return list
}

// costs returns how large the result of a function will be, for functions that multiply their arguments, or an error
// for arguments that are refused. Unknown and null arguments count as 0.
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
		if _, ok := slashed(what); ok { // it may match before each byte, and each $ may be the whole match
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
	"distinct": func(args []cty.Value) (float64, error) { // comparisons
		n := float64(lengthOf(args, 0))
		return n * n / 2, nil
	},
	"jsondecode": func(args []cty.Value) (float64, error) { return 0, checkJSON(textOf(args, 0)) },
	"yamldecode": func(args []cty.Value) (float64, error) { return yamlCost(textOf(args, 0)) },
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

// formatListCost counts the format once for each result.
func formatListCost(args []cty.Value) (float64, error) {
	n := 1
	for i := range args {
		n = max(n, lengthOf(args, i))
	}
	return float64(len(textOf(args, 0))) * float64(n), checkVerbs(textOf(args, 0))
}

// checkJSON refuses JSON that nests further than values may.
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
