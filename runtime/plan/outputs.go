package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/state"
)

// OutputDoc is what an output block has besides its value.
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
	Before    state.Output // zero if there was none
	After     cty.Value    // cty.NilVal if it is removed; unknown if only the run gives it
	Sensitive bool         // before or after is not shown
}

// output evaluates an output block. An output that fails because a block gave null is a warning: apply does everything
// else before it ends with that error.
func (p *Plan) output(b *dsl.Block) hcl.Diagnostics {
	d, diags := p.fold.Output(b)
	switch {
	case !diags.HasErrors():
		return append(diags, p.setOutput(b, d)...)
	case p.fold.OfNothing(b, addr.Addr{}, diags):
		warnings(diags)
	}
	return diags
}

// Output evaluates an output block, if its preconditions hold.
func (f *Fold) Output(b *dsl.Block) (*dsl.Decoded, hcl.Diagnostics) {
	if diags := f.before(b, dsl.Each{}); diags.HasErrors() {
		return nil, diags
	}
	return f.Scope.Decode(b, nil)
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
		if _, ok := p.Outputs[n]; !ok && !p.KeepsOutput(n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		before, was := p.State.Outputs[n]
		after, is := p.Outputs[n]
		c := OutputChange{Name: n, Change: NoOp, Before: before, After: after,
			Sensitive: before.Sensitive || p.OutputDoc[n].Sensitive}
		switch {
		case !was:
			c.Change = Create
		case !is:
			c.Change = Delete
		case before.Sensitive != p.OutputDoc[n].Sensitive:
			c.Change = Update
		case !after.IsWhollyKnown():
			if p.runs() { // else it reveals a sensitive value that was not kept, and nothing changes it
				c.Change = Update
			}
		case before.Sensitive && before.Seal != p.State.Seal(SealedText(after)), !before.Sensitive && !same(before, after):
			c.Change = Update
		}
		list = append(list, c)
	}
	return list
}

// SealedText returns the text of a value that its seal hashes.
func SealedText(v cty.Value) string {
	o := OutputOf(v)
	b, err := json.Marshal([]any{o.Value, o.Type})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// same reports whether an output in the state has the value v. Older states hold no types.
func same(o state.Output, v cty.Value) bool {
	now := OutputOf(v)
	if len(o.Type) == 0 {
		now.Type = nil
	}
	a, errA := json.Marshal([]any{o.Value, o.Type})
	b, errB := json.Marshal([]any{now.Value, now.Type})
	return errA == nil && errB == nil && string(a) == string(b)
}

// OutputOf returns a known value as the state keeps it.
func OutputOf(v cty.Value) state.Output {
	x, _ := dsl.Plain(v)
	return state.Output{Value: x, Type: dsl.TypeJSON(v)}
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

// warnings turns errors of outputs into warnings: apply does everything else before it ends with the errors.
func warnings(diags hcl.Diagnostics) {
	for _, d := range diags {
		d.Severity = hcl.DiagWarning
	}
}

// dropOutputs removes outputs that have no value and will get none: they are made from the blocks of a local value that
// failed.
func (p *Plan) dropOutputs(refs []addr.Addr) {
	if p.runs() {
		return
	}
	for _, b := range p.Config.Blocks {
		v, ok := p.Outputs[b.Addr.Name]
		if b.Kind.Name == "output" && ok && !v.IsWhollyKnown() && slices.ContainsFunc(b.Refs,
			func(r addr.Addr) bool { return slices.Contains(refs, r) }) {
			delete(p.Outputs, b.Addr.Name)
		}
	}
}
