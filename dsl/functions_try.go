package dsl

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/customdecode"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// markFunc returns a function that changes or reports the mark of a value.
func markFunc(t func(cty.Value) cty.Type, f func(cty.Value) cty.Value) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true,
			AllowDynamicType: true, AllowMarked: true}},
		Type: func(args []cty.Value) (cty.Type, error) { return t(args[0]), nil },
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f(args[0]), nil },
	})
}

var (
	sensitiveFunc    = markFunc(cty.Value.Type, func(v cty.Value) cty.Value { return v.Mark(Sensitive) })
	nonsensitiveFunc = markFunc(cty.Value.Type, func(v cty.Value) cty.Value {
		v, marks := v.Unmark()
		delete(marks, Sensitive)
		return v.WithMarks(marks)
	})
	typeFunc = markFunc(func(cty.Value) cty.Type { return cty.String },
		func(v cty.Value) cty.Value { return cty.StringVal(typeexpr.TypeString(v.Type())) })
	isSensitiveFunc = markFunc(func(cty.Value) cty.Type { return cty.Bool },
		func(v cty.Value) cty.Value { return cty.BoolVal(v.HasMark(Sensitive)) })
)

// attempt evaluates an expression that may fail. ready is false if it depends on an unknown value, and so may fail
// later.
func attempt(arg cty.Value) (v cty.Value, diags hcl.Diagnostics, ready bool, err error) {
	closure := customdecode.ExpressionClosureFromVal(arg)
	for _, t := range closure.Expression.Variables() {
		if x, d := t.TraverseAbs(closure.EvalContext); !d.HasErrors() && !x.IsWhollyKnown() {
			return cty.DynamicVal, nil, false, nil
		}
	}
	v, diags, err = contained(closure.Value)
	if err == nil && !diags.HasErrors() {
		_, err = weigh(v)
	}
	if errors.Is(err, errRange) { // an error of the expression like others
		return cty.DynamicVal, hcl.Diagnostics{exhausted{err, closure.Expression.Range()}.diagnostic()}, true, nil
	}
	return v, diags, true, err
}

// tryFunc and canFunc evaluate each expression once; HCL's own do it twice at each level of nesting.
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
