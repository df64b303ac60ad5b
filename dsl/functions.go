package dsl

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2/ext/customdecode"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// standard are the functions that do what those of Terraform 1.x do under the same name: go-cty's, and ours where
// go-cty has none or another.
var standard = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc, "pow": stdlib.PowFunc,
	"max": stdlib.MaxFunc, "min": stdlib.MinFunc, "signum": stdlib.SignumFunc, "parseint": stdlib.ParseIntFunc, "sum": sumFunc,

	"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc, "join": stdlib.JoinFunc,
	"lower": stdlib.LowerFunc, "upper": stdlib.UpperFunc, "title": stdlib.TitleFunc, "replace": replaceFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc,
	"split": stdlib.SplitFunc, "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc,
	"trimsuffix": stdlib.TrimSuffixFunc, "trimspace": stdlib.TrimSpaceFunc,
	"startswith": startsWithFunc, "endswith": endsWithFunc, "strcontains": strContainsFunc,

	"alltrue": allTrueFunc, "anytrue": anyTrueFunc, "chunklist": stdlib.ChunklistFunc, "coalesce": coalesceFunc, "coalescelist": stdlib.CoalesceListFunc,
	"compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc,
	"flatten": stdlib.FlattenFunc, "index": indexFunc, "keys": stdlib.KeysFunc, "length": lengthFunc, "lookup": lookupFunc, "matchkeys": matchKeysFunc,
	"merge": stdlib.MergeFunc, "one": oneFunc, "range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc,
	"setintersection": stdlib.SetIntersectionFunc, "setproduct": stdlib.SetProductFunc, "setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc,
	"slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "transpose": transposeFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,

	"base64decode": base64DecodeFunc, "base64encode": base64EncodeFunc, "csvdecode": stdlib.CSVDecodeFunc, "jsondecode": stdlib.JSONDecodeFunc,
	"jsonencode": stdlib.JSONEncodeFunc, "urlencode": urlEncodeFunc,

	"basename": baseNameFunc, "dirname": dirNameFunc, "pathexpand": pathExpandFunc, "abspath": absPathFunc,

	"timeadd": stdlib.TimeAddFunc, "timecmp": timeCmpFunc, "formatdate": stdlib.FormatDateFunc,

	"md5": hashFunc(md5.New, hexText), "sha1": hashFunc(sha1.New, hexText), "sha256": hashFunc(sha256.New, hexText), "sha512": hashFunc(sha512.New, hexText),
	"base64sha256": hashFunc(sha256.New, base64Text), "base64sha512": hashFunc(sha512.New, base64Text),

	"tonumber": stdlib.MakeToFunc(cty.Number), "tostring": stdlib.MakeToFunc(cty.String), "tobool": stdlib.MakeToFunc(cty.Bool),
	"tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)), "toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)), "tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),
	"sensitive": sensitiveFunc, "nonsensitive": nonsensitiveFunc, "issensitive": isSensitiveFunc,
	"try": tryFunc, "can": canFunc,
}

// inFolder are Terraform's functions that read files; a relative path starts at the pipeline's folder.
var inFolder = map[string]func(dir string) function.Function{
	"file":       func(dir string) function.Function { return readFunc(dir, plainText) },
	"filebase64": func(dir string) function.Function { return readFunc(dir, base64Text) },
	"fileexists": fileExistsFunc,
	"filemd5":    func(dir string) function.Function { return readFunc(dir, hashed(md5.New, hexText)) },
	"filesha1":   func(dir string) function.Function { return readFunc(dir, hashed(sha1.New, hexText)) },
	"filesha256": func(dir string) function.Function { return readFunc(dir, hashed(sha256.New, hexText)) },
	"filesha512": func(dir string) function.Function { return readFunc(dir, hashed(sha512.New, hexText)) },
}

// Different says what a function does otherwise than Terraform's, on purpose.
var Different = map[string]string{
	"file":   "Paths start at the pipeline's folder, not at the current one; so do those of `fileexists`, `filebase64` and `filemd5` … `filesha512`. At most 16 MiB are read.",
	"format": "Widths and precisions have at most four digits; so for `formatlist`.",
	"log":    "A result that is not a finite number is an error; so for `pow` and `parseint`.",
}

// leftOut says why there is no function that Terraform has.
var leftOut = []struct {
	why   string
	names []string
}{
	{"Its result differs each time, and a block with another value is another block, which would run again.", []string{"timestamp", "plantimestamp", "uuid", "bcrypt"}},
	{"Write a list as `[a, b]`, or use `tolist`.", []string{"list"}},
	{"Write a map as `{ a = b }`, or use `tomap`.", []string{"map"}},
	{"Keep the data in JSON: `jsondecode` and `jsonencode` are there.", []string{"yamldecode", "yamlencode"}},
	{"Write the template as a text with `${…}` in the pipeline.", []string{"templatefile", "templatestring"}},
	{"`source` takes globs itself.", []string{"fileset"}},
	{"It is of no use in a pipeline.", []string{"base64gzip", "base64gunzip", "cidrhost", "cidrnetmask", "cidrsubnet", "cidrsubnets", "convert", "ephemeralasnull", "filebase64sha256", "filebase64sha512",
		"rsadecrypt", "textdecodebase64", "textencodebase64", "type", "urldecode", "uuidv5"}},
}

// whyLeftOut is the reason why a function of Terraform is not there; "" if Terraform has none.
func whyLeftOut(name string) string {
	for _, g := range leftOut {
		if slices.Contains(g.names, name) {
			return g.why
		}
	}
	return ""
}

// Own documents the functions that are stepflow's.
var Own = []struct{ Signature, Doc string }{
	{"bytes(text)", "Number of bytes in a text such as `\"16 GiB\"`."},
	{"env(name, default...)", "Value of an environment variable; an error if it is not set and there is no default."},
	{"params(model)", "Parameters of a model block's full model."},
	{"tokens_for_flops(flops, parameters)", "Tokens on which a model of so many parameters can be trained with so many FLOPs: flops / (6 parameters) (Kaplan et al. 2020)."},
}

// own are the functions of Own.
var own = map[string]function.Function{"bytes": bytesFunc, "env": envFunc, "params": paramsFunc, "tokens_for_flops": tokensForFLOPsFunc}

// known holds the names of all functions.
var known = func() map[string]bool {
	all := map[string]bool{}
	for _, names := range []([]string){slices.Collect(maps.Keys(standard)), slices.Collect(maps.Keys(own)), slices.Collect(maps.Keys(inFolder))} {
		for _, n := range names {
			all[n] = true
		}
	}
	return all
}()

// FunctionNames lists all functions.
func FunctionNames() []string { return slices.Sorted(maps.Keys(known)) }

// functions gives all functions, those of files relative to dir; what they cost goes to the meter.
func functions(dir string, m *meter) map[string]function.Function {
	all := make(map[string]function.Function, len(known))
	for n, f := range standard {
		all[n] = m.bounded(n, f)
	}
	for n, f := range own {
		all[n] = m.bounded(n, f)
	}
	for n, f := range inFolder {
		all[n] = m.bounded(n, f(dir))
	}
	return all
}

// gathers are the functions that find one type for the elements of an argument, though their parameters do not say so.
var gathers = map[string]cty.Type{"tolist": cty.List(cty.DynamicPseudoType), "toset": cty.Set(cty.DynamicPseudoType), "tomap": cty.Map(cty.DynamicPseudoType), "setproduct": cty.List(cty.DynamicPseudoType)}

// bounded is a function that refuses what would take too much time or memory, and says nothing of sensitive arguments.
func (m *meter) bounded(name string, f function.Function) function.Function {
	check := costs[name]
	// prepare charges for the arguments and converts them, which HCL would do before anything can be counted.
	prepare := func(args []cty.Value) ([]cty.Value, error) {
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
	spec := &function.Spec{
		Type: func(args []cty.Value) (cty.Type, error) {
			list, err := prepare(args)
			if err != nil {
				return cty.NilType, hideArgs(err, args)
			}
			t, err := f.ReturnTypeForValues(list)
			return t, hideArgs(err, args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			list, err := prepare(args)
			if err != nil {
				return cty.NilVal, hideArgs(err, args)
			}
			v, err := f.Call(list)
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

// open lets a parameter take what the function itself will check.
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
			return errors.New("the call failed; the reason is not shown, since it may quote a sensitive value")
		}
	}
	var p function.PanicError
	if errors.As(err, &p) {
		return errors.New("the result is not defined for these arguments")
	}
	return err
}

// plainArgs are the arguments without marks.
func plainArgs(args []cty.Value) []cty.Value {
	list := make([]cty.Value, len(args))
	for i, a := range args {
		list[i], _ = a.UnmarkDeep()
	}
	return list
}

// hashed gives the hash of a file's bytes, written by text.
func hashed(h func() hash.Hash, text func([]byte) (string, error)) func([]byte) (string, error) {
	return func(b []byte) (string, error) {
		x := h()
		x.Write(b)
		return text(x.Sum(nil))
	}
}
