package model

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/ops/arch"
	"stepflow/runtime/blocks"
)

// given returns the model of a block's attributes, with defaults. If it is not read from a folder and its sizes are
// known, it is checked. Its architecture is nil if only the folder tells it.
func given(a addr.Addr, d *dsl.Decoded) (m arch.Model, diags hcl.Diagnostics) {
	m.Arch = arch.Lookup(a.Type)
	names, partial, diags := readFields(&m.Config, d)
	switch {
	case d.Has("from") && d.Known("from") && d.Str("from") == "":
		return m, append(diags, d.Error("from", "No folder", "from is empty: name the folder of a model, or leave it out."))
	case d.Has("from"):
		if d.Given("seed") {
			diags = append(diags, d.Error("seed", "No first weights",
				"seed makes first weights, and from takes weights that are there: leave one of them out."))
		}
		return m, diags
	case m.Arch == nil:
		return m, append(diags, d.Error("from", "No architecture",
			fmt.Sprintf("%s takes its architecture from a folder: give from, "+
				"or name an architecture, such as model \"llama\" %q.", a, a.Name)))
	}
	for _, f := range m.Arch.Fields {
		if f.Needed && !d.Has(f.Name) {
			diags = append(diags, d.Error(f.Name, "Missing attribute",
				fmt.Sprintf("%s needs %s, unless it is read by from.", a, f.Name)))
		}
	}
	if diags.HasErrors() || partial {
		return m, diags
	}
	problems := m.CheckLists()
	if len(problems) == 0 {
		m.Fill(names...)
		problems = m.Check()
	}
	for _, x := range problems {
		diags = append(diags, d.Error(x.Attribute, "Impossible model", blocks.Sentence(x.What)+". "+x.Do))
	}
	return m, diags
}

// readFields reads the given attributes into a configuration, and returns their names. partial says that some that
// others depend on are unknown.
func readFields(c *arch.Config, d *dsl.Decoded) (names []string, partial bool, diags hcl.Diagnostics) {
	for _, f := range arch.Attributes() {
		switch {
		case !d.Has(f.Name):
			continue
		case !d.Known(f.Name) && f.Name == "vocab_size": // most often the tokenizer's; nothing else depends on it
			c.VocabSize = 1
		case !d.Known(f.Name):
			partial = true
		default:
			if err := readField(f.At(c), f.Name, d); err != nil {
				diags = append(diags, d.Error(f.Name, "Invalid value", blocks.Sentence(err.Error())+"."))
			}
		}
		names = append(names, f.Name)
	}
	return names, partial, diags
}

// readField reads a known attribute.
func readField(into any, name string, d *dsl.Decoded) (err error) {
	switch x := into.(type) {
	case *int:
		*x = d.Int(name)
	case *float64:
		*x = d.Float(name)
	case *string:
		*x = d.Str(name)
	case *bool:
		*x = d.Bool(name)
	case *[]int:
		for _, n := range d.Floats(name) {
			*x = append(*x, int(n))
		}
	case **arch.RopeScaling:
		*x, err = ropeScaling(d.Value(name))
	}
	return err
}

// ropeScaling reads the attribute rope_scaling, which has the form of rope_scaling in config.json.
func ropeScaling(v cty.Value) (*arch.RopeScaling, error) {
	b, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return nil, err
	}
	return arch.ParseRopeScaling(b)
}
