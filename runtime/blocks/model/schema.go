package model

import (
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/ops/arch"
)

// auto is the type of a model whose architecture is that of the folder it is read from.
const auto = "auto"

// The language has the architectures as types of the model block, and their fields as its attributes.
func init() {
	var types []string
	for _, a := range arch.All() {
		types = append(types, a.Type)
	}
	var attrs []dsl.Attr
	var exports []dsl.Export
	var counts []string // what the number of parameters reveals
	for _, a := range arch.Attributes() {
		attrs = append(attrs, attribute(a))
		if a.Export {
			exports = append(exports, dsl.Export{Name: a.Name, Type: cty.Number, Doc: "As configured."})
		}
		if a.Counts {
			counts = append(counts, a.Name)
		}
	}
	exports = append(exports,
		dsl.Export{Name: "num_parameters", Type: cty.Number, From: counts, Doc: "Parameters of the full model."},
		dsl.Export{Name: "layer_parameters", Type: cty.Number, From: counts, Doc: "Parameters of one layer."})
	dsl.Extend("model", append(types, auto), attrs, exports)
}

// attribute is a field of a configuration as the language has it.
func attribute(a arch.Attribute) dsl.Attr {
	x := dsl.Attr{Name: a.Name, Doc: a.Doc, Min: a.Min, Max: a.Max, Above: a.Above, OneOf: a.OneOf}
	switch a.At(&arch.Config{}).(type) {
	case *int:
		x.Type, x.Whole = cty.Number, true
	case *float64:
		x.Type = cty.Number
	case *string:
		x.Type = cty.String
	case *bool:
		x.Type = cty.Bool
	case *[]int:
		x.Type, x.Whole = cty.List(cty.Number), true
	default:
		x.Type = cty.DynamicPseudoType
	}
	if a.Only != nil {
		x.Only = append(append([]string{}, a.Only...), auto)
	}
	return x
}
