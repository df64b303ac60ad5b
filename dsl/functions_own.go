package dsl

import (
	"math/big"
	"os"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

var bytesFunc = pure(cty.Number, func(args []cty.Value) (cty.Value, error) {
	n, err := ParseBytes(args[0].AsString())
	if err != nil {
		return cty.NilVal, function.NewArgError(0, err)
	}
	return cty.NumberIntVal(n), nil
}, param("text", cty.String))

var tokensForFLOPsFunc = pure(cty.Number, func(args []cty.Value) (cty.Value, error) {
	if args[1].AsBigFloat().Sign() <= 0 {
		return cty.NilVal, function.NewArgErrorf(1, "the number of parameters must be positive")
	}
	q := new(big.Float).Quo(args[0].AsBigFloat(), new(big.Float).Mul(big.NewFloat(6), args[1].AsBigFloat()))
	return cty.NumberVal(q), nil
}, param("flops", cty.Number), param("parameters", cty.Number))

var paramsFunc = pure(cty.Number, func(args []cty.Value) (cty.Value, error) {
	t := args[0].Type()
	if !t.IsObjectType() || !t.HasAttribute("num_parameters") {
		return cty.NilVal, function.NewArgErrorf(0, "params takes a model block, such as model.llama.target")
	}
	return args[0].GetAttr("num_parameters"), nil
}, param("model", cty.DynamicPseudoType))

var envFunc = function.New(&function.Spec{
	Params:   []function.Parameter{param("name", cty.String)},
	VarParam: &function.Parameter{Name: "default", Type: cty.String},
	Type:     function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if v, ok := os.LookupEnv(args[0].AsString()); ok {
			return cty.StringVal(v), nil
		}
		if len(args) > 1 {
			return args[1], nil
		}
		return cty.NilVal, function.NewArgErrorf(0, "the environment has no %s, and no default was given",
			args[0].AsString())
	}})
