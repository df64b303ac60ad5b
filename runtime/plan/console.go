package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

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

// outputs is the name that stands for the outputs.
const outputs = "output"

// NewConsole returns a console with these names beside those of the pipeline.
func (p *Plan) NewConsole(more map[string]any) (*Console, error) {
	values := map[string]cty.Value{}
	for name, v := range p.Outputs {
		if p.OutputDoc[name].Sensitive {
			v = v.Mark(dsl.Sensitive)
		}
		values[name] = v
	}
	c := &Console{plan: p, more: map[string]cty.Value{outputs: cty.ObjectVal(values)}}
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
	delete(fields, outputs)
	maps.Copy(fields, c.more[outputs].AsValueMap())
	return cty.ObjectVal(fields)
}

// Complete lists the names that an expression may use and that start with a text.
func (c *Console) Complete(start string) []string {
	names := c.plan.Config.Complete(start)
	add := func(n string) {
		if strings.HasPrefix(n, start) {
			names = append(names, n)
		}
	}
	for _, a := range c.plan.Actions {
		if a.Addr.Key != "" {
			add(a.Addr.String())
		}
	}
	for n, v := range c.more {
		for k := range v.Type().AttributeTypes() {
			if n == outputs {
				add(n + "." + k)
			} else {
				add(n + "[" + dsl.Show(cty.StringVal(k)) + "]")
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
