package dsl

import (
	"slices"

	"github.com/zclconf/go-cty/cty"
)

// SchemaJSON returns the table as plain data, for editors and other tools.
func SchemaJSON() map[string]any {
	kinds := map[string]any{}
	for _, list := range [][]Kind{Meta, Kinds} {
		for _, k := range list {
			if k.Repeat {
				k.Blocks = append(slices.Clip(k.Blocks), lifecycleOf(&k))
			}
			exports := map[string]any{}
			for _, e := range k.Exports {
				exports[e.Name] = map[string]any{"type": e.Type.FriendlyName(), "known_in_plan": !e.Late,
					"description": e.Doc}
			}
			kinds[k.Name] = map[string]any{"types": k.Types, "attributes": schemaAttrs(k.Attrs),
				"blocks": schemaNested(k.Blocks), "exports": exports, "repeatable": k.Repeat, "description": k.Doc}
		}
	}
	dynamic := schemaNested([]Nested{dynamicBlock})[dynamicName]
	return map[string]any{"format_version": "1.0", "blocks": kinds, "dynamic": dynamic, "functions": FunctionNames(),
		"test_file": schemaNested(TestBlocks)}
}

func schemaAttrs(attrs []Attr) map[string]any {
	out := map[string]any{}
	for _, a := range attrs {
		m := map[string]any{"type": typeName(a), "required": a.Required, "description": a.Doc}
		if a.Default != cty.NilVal {
			m["default"] = Show(a.Default)
		}
		if a.Defaults != nil {
			defaults := map[string]string{}
			for typ, v := range a.Defaults {
				defaults[typ] = Show(v)
			}
			m["defaults"] = defaults
		}
		if a.OneOf != nil {
			m["one_of"] = a.OneOf
		}
		for name, bound := range map[string]*float64{"minimum": a.Min, "maximum": a.Max, "exclusive_minimum": a.Above,
			"exclusive_maximum": a.Below} {
			if bound != nil {
				m[name] = *bound
			}
		}
		if a.Only != nil {
			m["only"] = a.Only
		}
		if a.Group != "" {
			m["group"] = a.Group
		}
		out[a.Name] = m
	}
	return out
}

func schemaNested(blocks []Nested) map[string]any {
	out := map[string]any{}
	for _, n := range blocks {
		out[n.Name] = map[string]any{"labels": n.Label, "named": n.Named, "open": n.Open, "required": n.Required,
			"repeatable": n.Repeat, "only": n.Only, "attributes": schemaAttrs(n.Attrs), "blocks": schemaNested(n.Blocks),
			"description": n.Doc}
	}
	return out
}
