package plan

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"stepflow/dsl"
)

// Console evaluates expressions over a plan: what the pipeline's own expressions may name, output.NAME, and names that
// stand for values of JSON.
type Console struct {
	plan *Plan
	more map[string]cty.Value
}

// NewConsole returns a console with these names beside those of the pipeline.
func (p *Plan) NewConsole(more map[string]any) (*Console, error) {
	outputs := map[string]cty.Value{}
	for name, v := range p.Outputs {
		if p.OutputDoc[name].Sensitive {
			v = v.Mark(dsl.Sensitive)
		}
		outputs[name] = v
	}
	c := &Console{plan: p, more: map[string]cty.Value{"output": cty.ObjectVal(outputs)}}
	for name, x := range more {
		b, err := json.Marshal(x)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		t, err := ctyjson.ImpliedType(b)
		if err == nil {
			c.more[name], err = ctyjson.Unmarshal(b, t)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return c, nil
}

// Eval returns the value of an expression. file holds its text for the problems.
func (c *Console) Eval(text string) (v cty.Value, file *hcl.File, diags hcl.Diagnostics) {
	return c.plan.fold.Scope.Eval(text, c.more)
}

// Assert tests the conditions of the test for which the pipeline was loaded.
func (c *Console) Assert() hcl.Diagnostics { return c.plan.fold.Scope.Assert(c.more) }

// Value returns the outputs, and the names beside those of the pipeline that no output has.
func (c *Console) Value() cty.Value {
	fields := maps.Clone(c.more)
	delete(fields, "output")
	maps.Copy(fields, c.more["output"].AsValueMap())
	return cty.ObjectVal(fields)
}
