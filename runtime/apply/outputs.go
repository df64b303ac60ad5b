package apply

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
)

// outputs evaluates the output blocks and stores their values, or for sensitive ones a seal. problems say why some
// have none.
func (r *runner) outputs() (problems hcl.Diagnostics, err error) {
	before := r.dir.State.Outputs
	r.dir.State.Outputs = map[string]state.Output{}
	for name, was := range before {
		if r.plan.KeepsOutput(name) {
			r.dir.State.Outputs[name] = was
		}
	}
	for _, b := range r.plan.Config.Blocks {
		if b.Kind.Name != "output" || r.plan.KeepsOutput(b.Addr.Name) {
			continue
		}
		d, diags := r.fold.Output(b)
		if diags.HasErrors() {
			r.fold.OfNothing(b, addr.Addr{}, diags)
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
			o.Seal, o.Type = r.dir.State.Seal(plan.SealedText(v)), dsl.HiddenType(v)
		case doc.Sensitive: // it reveals a value that was not kept
			o.Seal = before[name].Seal
		case !v.IsWhollyKnown():
			problems = append(problems, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Output without a value",
				Subject: b.DeclRange.Ptr(),
				Detail:  fmt.Sprintf("output.%s depends on something that has no value.", name)})
			delete(r.plan.Outputs, name)
			continue
		default:
			x := plan.OutputOf(v)
			o.Value, o.Type = x.Value, x.Type
		}
		r.dir.State.Outputs[name] = o
	}
	for _, l := range r.fold.Scope.LocalProblems() {
		r.fold.OfNothing(nil, l.Addr, l.Diags)
		problems = append(problems, l.Diags...)
	}
	return problems, r.dir.Save()
}

// FlawedError ends a run in which all blocks have run and are recorded, but evaluations gave NaN or infinity, or
// outputs have no value. Outputs that have a value are recorded too.
type FlawedError struct {
	Blocks  []string        // what is wrong with the results of evaluations, of this run or an earlier one
	Outputs hcl.Diagnostics // why outputs have no value
}

func (e *FlawedError) Error() string {
	text := slices.Clone(e.Blocks)
	for _, d := range e.Outputs {
		text = append(text, d.Error())
	}
	return strings.Join(text, "\n")
}

// flawed returns the error of a run that came to its end; nil if nothing is wrong.
func (r *runner) flawed(outputs hcl.Diagnostics) error {
	e := &FlawedError{Outputs: outputs}
	for _, a := range r.plan.Actions {
		if b := r.dir.State.Blocks[a.Addr.String()]; b != nil && b.Status == state.Done {
			if s := blocks.Diagnosis(b.Values); s != "" {
				e.Blocks = append(e.Blocks, fmt.Sprintf("%s: %s", a.Addr, s))
			}
		}
	}
	if len(e.Blocks) == 0 && len(outputs) == 0 {
		return nil
	}
	return e
}
