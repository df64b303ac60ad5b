package dsl

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"maps"
	"slices"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	yaml "github.com/zclconf/go-cty-yaml"
)

// standard holds the functions that do what Terraform 1.x does under the same name: go-cty's, and ours where go-cty has
// none, or one that differs.
var standard = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc,
	"pow": stdlib.PowFunc, "max": stdlib.MaxFunc, "min": stdlib.MinFunc, "signum": stdlib.SignumFunc,
	"parseint": stdlib.ParseIntFunc, "sum": sumFunc,

	"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc,
	"indent": stdlib.IndentFunc, "join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "upper": stdlib.UpperFunc,
	"title": stdlib.TitleFunc, "replace": replaceFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc,
	"split": stdlib.SplitFunc, "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "trim": stdlib.TrimFunc,
	"trimprefix": stdlib.TrimPrefixFunc, "trimsuffix": stdlib.TrimSuffixFunc, "trimspace": stdlib.TrimSpaceFunc,
	"startswith": startsWithFunc, "endswith": endsWithFunc, "strcontains": strContainsFunc,

	"alltrue": allTrueFunc, "anytrue": anyTrueFunc, "chunklist": stdlib.ChunklistFunc, "coalesce": coalesceFunc,
	"coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc,
	"contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc,
	"flatten": stdlib.FlattenFunc, "index": indexFunc, "keys": stdlib.KeysFunc, "length": lengthFunc,
	"lookup": lookupFunc, "matchkeys": matchKeysFunc, "merge": stdlib.MergeFunc, "one": oneFunc,
	"range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc, "setintersection": stdlib.SetIntersectionFunc,
	"setproduct": stdlib.SetProductFunc, "setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc,
	"slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "transpose": transposeFunc, "values": stdlib.ValuesFunc,
	"zipmap": stdlib.ZipmapFunc,

	"base64decode": base64DecodeFunc, "base64encode": base64EncodeFunc, "csvdecode": stdlib.CSVDecodeFunc,
	"jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc, "urlencode": urlEncodeFunc,
	"yamldecode": yaml.YAMLDecodeFunc, "yamlencode": yaml.YAMLEncodeFunc,

	"basename": baseNameFunc, "dirname": dirNameFunc, "pathexpand": pathExpandFunc, "abspath": absPathFunc,

	"timeadd": stdlib.TimeAddFunc, "timecmp": timeCmpFunc, "formatdate": stdlib.FormatDateFunc,

	"md5": hashFunc(md5.New, hexText), "sha1": hashFunc(sha1.New, hexText), "sha256": hashFunc(sha256.New, hexText),
	"sha512": hashFunc(sha512.New, hexText), "base64sha256": hashFunc(sha256.New, base64Text),
	"base64sha512": hashFunc(sha512.New, base64Text),

	"tonumber": toFunc(cty.Number), "tostring": toFunc(cty.String), "tobool": toFunc(cty.Bool),
	"tolist": toFunc(cty.List(cty.DynamicPseudoType)), "toset": toFunc(cty.Set(cty.DynamicPseudoType)),
	"tomap":     toFunc(cty.Map(cty.DynamicPseudoType)),
	"sensitive": sensitiveFunc, "nonsensitive": nonsensitiveFunc, "issensitive": isSensitiveFunc,
	"try": tryFunc, "can": canFunc, "type": typeFunc,
}

// inFolder holds Terraform's functions that read files. A relative path starts at the pipeline's folder.
var inFolder = map[string]func(dir string) function.Function{
	"file":       func(dir string) function.Function { return readFunc(dir, plainText) },
	"filebase64": func(dir string) function.Function { return readFunc(dir, base64Text) },
	"fileexists": fileExistsFunc,
	"fileset":    fileSetFunc,
	"filemd5":    func(dir string) function.Function { return readFunc(dir, hashed(md5.New, hexText)) },
	"filesha1":   func(dir string) function.Function { return readFunc(dir, hashed(sha1.New, hexText)) },
	"filesha256": func(dir string) function.Function { return readFunc(dir, hashed(sha256.New, hexText)) },
	"filesha512": func(dir string) function.Function { return readFunc(dir, hashed(sha512.New, hexText)) },
}

// Different says how functions differ from Terraform's on purpose.
var Different = map[string]string{
	"file": "A relative path starts at the pipeline's folder, not at the current one, also in `fileexists`, " +
		"`fileset`, `templatefile`, `filebase64` and `filemd5` … `filesha512`. A file has at most 16 MiB.",
	"fileset": "Patterns are those of `source`: a wildcard matches no `.` or `_` at the beginning of a name, and braces " +
		"have no meaning. It looks at no more than 100,000 names.",
	"format": "Widths and precisions have at most four digits, also in `formatlist`.",
	"type":   "It may stand anywhere, not in the console alone, and returns a text.",
	"log":    "A result that is not finite is an error, also of `pow` and `parseint`.",
}

// leftOut lists Terraform's functions that are missing here, and why.
var leftOut = []struct {
	why   string
	names []string
}{
	{"Its result differs each time, so the blocks that use it would run again each time.",
		[]string{"timestamp", "plantimestamp", "uuid", "bcrypt"}},
	{"Write a list as `[a, b]`, or use `tolist`.", []string{"list"}},
	{"Write a map as `{ a = b }`, or use `tomap`.", []string{"map"}},
	{"Write the template as a text with `${…}` in the pipeline.", []string{"templatestring"}},
	{"It is of no use in a pipeline.", []string{"base64gzip", "base64gunzip", "cidrhost", "cidrnetmask", "cidrsubnet",
		"cidrsubnets", "convert", "ephemeralasnull", "filebase64sha256", "filebase64sha512", "rsadecrypt",
		"textdecodebase64", "textencodebase64", "urldecode", "uuidv5"}},
}

// whyLeftOut returns why a function of Terraform is missing here; "" for other names.
func whyLeftOut(name string) string {
	for _, g := range leftOut {
		if slices.Contains(g.names, name) {
			return g.why
		}
	}
	return ""
}

// Own documents the functions that Terraform does not have.
var Own = []struct{ Signature, Doc string }{
	{"bytes(text)", "Number of bytes in a text such as `\"16 GiB\"`."},
	{"env(name, default...)", "Value of an environment variable; an error if it is not set and there is no default."},
	{"params(model)", "Parameters of a model block's full model."},
	{"tokens_for_flops(flops, parameters)",
		"Tokens on which a model of this size can train with this many FLOPs: flops / (6 parameters) " +
			"(Kaplan et al. 2020)."},
}

// own are the functions of Own.
var own = map[string]function.Function{"bytes": bytesFunc, "env": envFunc, "params": paramsFunc,
	"tokens_for_flops": tokensForFLOPsFunc}

// known holds the names of all functions.
var known = func() map[string]bool {
	all := map[string]bool{templateFile: true}
	for _, functions := range []map[string]function.Function{standard, own} {
		for n := range functions {
			all[n] = true
		}
	}
	for n := range inFolder {
		all[n] = true
	}
	return all
}()

// FunctionNames lists all functions.
func FunctionNames() []string { return slices.Sorted(maps.Keys(known)) }

// functions returns all functions. Those of files start at dir, and the meter counts what calls cost.
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
	all[templateFile] = m.bounded(templateFile, m.templateFunc(dir, all))
	return all
}

func param(name string, t cty.Type) function.Parameter {
	return function.Parameter{Name: name, Type: t}
}

// pure returns a function with a fixed result type.
func pure(t cty.Type, f func(args []cty.Value) (cty.Value, error), params ...function.Parameter) function.Function {
	return function.New(&function.Spec{Params: params, Type: function.StaticReturnType(t),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f(args) }})
}

// textFunc returns a function of one text.
func textFunc(f func(string) (string, error)) function.Function {
	return pure(cty.String, func(args []cty.Value) (cty.Value, error) {
		s, err := f(args[0].AsString())
		if err != nil {
			return cty.NilVal, function.NewArgError(0, err)
		}
		return cty.StringVal(s), nil
	}, param("text", cty.String))
}

// testFunc returns a function that tests one text with another.
func testFunc(f func(text, part string) bool) function.Function {
	return pure(cty.Bool, func(args []cty.Value) (cty.Value, error) {
		return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
	}, param("text", cty.String), param("part", cty.String))
}
