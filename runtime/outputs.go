package runtime

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"stepflow/dsl"
	"stepflow/runtime/state"
)

// OutputDoc is what an output block says besides its value.
type OutputDoc struct {
	Description string
	Sensitive   bool
}

// Change is what apply will do with an output.
type Change string

const (
	Create Change = "create"
	Update Change = "update"
	Delete Change = "delete"
	NoOp   Change = "no-op"
)

// OutputChange compares an output with what the last apply left in the state.
type OutputChange struct {
	Name      string
	Change    Change
	Before    state.Output // zero where there was none
	After     cty.Value    // cty.NilVal where it is removed; unknown where a run must come first
	Sensitive bool         // either of the two is not shown
}

func (p *Plan) setOutput(b *dsl.Block, d *dsl.Decoded) hcl.Diagnostics {
	doc := OutputDoc{d.Str("description"), d.Bool("sensitive")}
	if d.Sensitive["description"] {
		doc.Description = dsl.Hidden
	}
	if diags := d.CheckOutput(); diags.HasErrors() {
		return diags
	}
	p.Outputs[b.Addr.Name], p.OutputDoc[b.Addr.Name] = d.Value("value"), doc
	return nil
}

// OutputChanges compares all outputs with the state, by name.
func (p *Plan) OutputChanges() (list []OutputChange) {
	names := slices.Collect(maps.Keys(p.Outputs))
	for n := range p.State.Outputs {
		if _, ok := p.Outputs[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		before, was := p.State.Outputs[n]
		after, is := p.Outputs[n]
		c := OutputChange{Name: n, Change: NoOp, Before: before, After: after, Sensitive: before.Sensitive || p.OutputDoc[n].Sensitive}
		switch {
		case !was:
			c.Change = Create
		case !is:
			c.Change = Delete
		case before.Sensitive != p.OutputDoc[n].Sensitive:
			c.Change = Update
		case !after.IsWhollyKnown():
			if p.runs() { // else it tells a sensitive value that was not kept, and nothing changes it
				c.Change = Update
			}
		case before.Sensitive && before.Seal != p.State.Seal(sealed(after)), !before.Sensitive && !same(before, after):
			c.Change = Update
		}
		list = append(list, c)
	}
	return list
}

// sealed is the text that stands for a value in a seal.
func sealed(v cty.Value) string {
	o := outputOf(v)
	b, err := json.Marshal([]any{o.Value, o.Type})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// same reports whether an output of the state has a value. Older states hold no types.
func same(o state.Output, v cty.Value) bool {
	now := outputOf(v)
	if len(o.Type) == 0 {
		now.Type = nil
	}
	a, errA := json.Marshal([]any{o.Value, o.Type})
	b, errB := json.Marshal([]any{now.Value, now.Type})
	return errA == nil && errB == nil && string(a) == string(b)
}

// outputOf is a known value as the state keeps it.
func outputOf(v cty.Value) state.Output {
	x, _ := Plain(v)
	return state.Output{Value: x, Type: TypeJSON(v)}
}

// OutputText writes the value of an output in the state in the language's syntax.
func OutputText(o state.Output) string {
	if o.Sensitive {
		return dsl.Hidden
	}
	b, err := json.Marshal(o.Value)
	if err != nil {
		return fmt.Sprint(o.Value)
	}
	t, err := ctyjson.ImpliedType(b)
	if err != nil {
		return string(b)
	}
	v, err := ctyjson.Unmarshal(b, t)
	if err != nil {
		return string(b)
	}
	return dsl.Show(v)
}

// outputs evaluates the output blocks and stores them, of sensitive ones a seal. problems say why some have no value.
func (r *runner) outputs() (problems hcl.Diagnostics, err error) {
	before := r.dir.State.Outputs
	r.dir.State.Outputs = map[string]state.Output{}
	for _, b := range r.plan.Config.Blocks {
		if b.Kind.Name != "output" {
			continue
		}
		d, diags := r.pl.scope.Decode(b, nil)
		if diags.HasErrors() {
			r.pl.ofNothing(b, "", diags)
			problems = append(problems, diags...)
			delete(r.plan.Outputs, b.Addr.Name)
			continue
		}
		name, v := b.Addr.Name, d.Value("value")
		doc := r.plan.OutputDoc[name]
		r.plan.Outputs[name] = v
		o := state.Output{Description: doc.Description, Sensitive: doc.Sensitive}
		switch {
		case doc.Sensitive && v.IsWhollyKnown():
			o.Seal, o.Type = r.dir.State.Seal(sealed(v)), HiddenType(v)
		case doc.Sensitive: // it tells what was not kept
			o.Seal = before[name].Seal
		case !v.IsWhollyKnown():
			problems = append(problems, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Output without a value", Subject: b.DeclRange.Ptr(),
				Detail: fmt.Sprintf("output.%s is made of something that has no value.", name)})
			delete(r.plan.Outputs, name)
			continue
		default:
			x := outputOf(v)
			o.Value, o.Type = x.Value, x.Type
		}
		r.dir.State.Outputs[name] = o
	}
	for _, l := range r.pl.scope.LocalProblems() {
		r.pl.ofNothing(nil, l.Name, l.Diags)
		problems = append(problems, l.Diags...)
	}
	return problems, r.dir.Save()
}
