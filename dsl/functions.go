package dsl

import (
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// standard are go-cty's functions under Terraform's names.
var standard = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc, "pow": stdlib.PowFunc,
	"max": stdlib.MaxFunc, "min": stdlib.MinFunc, "signum": stdlib.SignumFunc, "parseint": stdlib.ParseIntFunc,
	"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc, "join": stdlib.JoinFunc,
	"lower": stdlib.LowerFunc, "upper": stdlib.UpperFunc, "title": stdlib.TitleFunc, "replace": stdlib.ReplaceFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc,
	"split": stdlib.SplitFunc, "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc,
	"trimsuffix": stdlib.TrimSuffixFunc, "trimspace": stdlib.TrimSpaceFunc,
	"chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc,
	"contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "index": stdlib.IndexFunc,
	"keys": stdlib.KeysFunc, "length": stdlib.LengthFunc, "lookup": stdlib.LookupFunc, "merge": stdlib.MergeFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc,
	"setintersection": stdlib.SetIntersectionFunc, "setproduct": stdlib.SetProductFunc, "setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc,
	"slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,
	"csvdecode": stdlib.CSVDecodeFunc, "jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc,
	"tonumber": stdlib.MakeToFunc(cty.Number), "tostring": stdlib.MakeToFunc(cty.String), "tobool": stdlib.MakeToFunc(cty.Bool),
	"tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)), "toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)), "tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),
	"timeadd": stdlib.TimeAddFunc, "formatdate": stdlib.FormatDateFunc,
}

// Own documents the functions that are stepflow's.
var Own = []struct{ Signature, Doc string }{
	{"bytes(text)", "Number of bytes in a text such as `\"16 GiB\"`."},
	{"env(name, default...)", "Value of an environment variable; an error if it is not set and there is no default."},
	{"file(path)", "Contents of a text file, relative to the pipeline's folder."},
	{"params(model)", "Parameters of a model block's full model."},
	{"sum(numbers)", "Sum of a list of numbers."},
	{"tokens_for_flops(flops, parameters)", "Tokens on which a model of so many parameters can be trained with so many FLOPs: flops / (6 parameters) (Kaplan et al. 2020)."},
}

// FunctionNames lists all functions.
func FunctionNames() []string { return slices.Sorted(maps.Keys(functions(""))) }

var builtin = func() map[string]function.Function {
	all := map[string]function.Function{}
	for k, f := range standard {
		all[k] = f
	}
	number := func(f func(args []cty.Value) (cty.Value, error), params ...function.Parameter) function.Function {
		return function.New(&function.Spec{Params: params, Type: function.StaticReturnType(cty.Number),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f(args) }})
	}
	all["bytes"] = number(func(args []cty.Value) (cty.Value, error) {
		n, err := ParseBytes(args[0].AsString())
		if err != nil {
			return cty.NilVal, function.NewArgError(0, err)
		}
		return cty.NumberIntVal(n), nil
	}, function.Parameter{Name: "text", Type: cty.String})
	all["tokens_for_flops"] = number(func(args []cty.Value) (cty.Value, error) {
		if args[1].AsBigFloat().Sign() <= 0 {
			return cty.NilVal, function.NewArgErrorf(1, "the number of parameters must be positive")
		}
		q := new(big.Float).Quo(args[0].AsBigFloat(), new(big.Float).Mul(big.NewFloat(6), args[1].AsBigFloat()))
		return cty.NumberVal(q), nil
	}, function.Parameter{Name: "flops", Type: cty.Number}, function.Parameter{Name: "parameters", Type: cty.Number})
	all["params"] = number(func(args []cty.Value) (cty.Value, error) {
		t := args[0].Type()
		if !t.IsObjectType() || !t.HasAttribute("num_parameters") {
			return cty.NilVal, function.NewArgErrorf(0, "a model block is wanted, such as model.llama.target")
		}
		return args[0].GetAttr("num_parameters"), nil
	}, function.Parameter{Name: "model", Type: cty.DynamicPseudoType})
	all["sum"] = number(func(args []cty.Value) (cty.Value, error) {
		s := new(big.Float)
		for it := args[0].ElementIterator(); it.Next(); {
			_, v := it.Element()
			if v.IsNull() {
				return cty.NilVal, function.NewArgErrorf(0, "a null is no number")
			}
			if !v.IsKnown() {
				return cty.UnknownVal(cty.Number), nil
			}
			s.Add(s, v.AsBigFloat())
		}
		return cty.NumberVal(s), nil
	}, function.Parameter{Name: "numbers", Type: cty.List(cty.Number)})
	all["env"] = function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "name", Type: cty.String}},
		VarParam: &function.Parameter{Name: "default", Type: cty.String},
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if v, ok := os.LookupEnv(args[0].AsString()); ok {
				return cty.StringVal(v), nil
			}
			if len(args) > 1 {
				return args[1], nil
			}
			return cty.NilVal, function.NewArgErrorf(0, "the environment has no %s and no default was given", args[0].AsString())
		}})
	return all
}()

// functions gives all functions, file relative to dir.
func functions(dir string) map[string]function.Function {
	all := make(map[string]function.Function, len(builtin)+1)
	for k, f := range builtin {
		all[k] = f
	}
	all["file"] = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			p := args[0].AsString()
			if !filepath.IsAbs(p) {
				p = filepath.Join(dir, p)
			}
			b, err := os.ReadFile(p)
			if err != nil {
				return cty.NilVal, function.NewArgError(0, fmt.Errorf("reading the file: %w", err))
			}
			return cty.StringVal(string(b)), nil
		}})
	return all
}
