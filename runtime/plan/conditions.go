package plan

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
)

// before tests the preconditions of a block.
func (f *Fold) before(b *dsl.Block, each dsl.Each) (diags hcl.Diagnostics) {
	if !f.lifecycle || !f.choice.has(b.Instance(each)) {
		return nil
	}
	for _, x := range b.Lifecycle.Before {
		v, d := f.Scope.Test(x, &each, cty.NilVal)
		if v == dsl.Fails {
			sentence(d, fmt.Sprintf("%s %s", b.Instance(each), refusal(b)))
		}
		if f.making == nil && v == dsl.Unknown && !d.HasErrors() { // all that the block refers to has run
			d = append(d, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown condition", Subject: x.Range.Ptr(),
				Detail: fmt.Sprintf("%s %s: whether its condition holds is unknown, since it depends on a value that was "+
					"not kept.", b.Instance(each), refusal(b))})
		}
		diags = append(diags, d...)
	}
	return diags
}

// refusal says what a precondition that does not hold means for a block.
func refusal(b *dsl.Block) string {
	if b.Kind.Repeat {
		return "does not run"
	}
	return "gets no value; what has run is kept"
}

// Accept tests the postconditions of a block with what it exports, as far as that is known.
func (f *Fold) Accept(a *Action, exports cty.Value) (diags hcl.Diagnostics) {
	if !f.lifecycle || !f.choice.has(a.Addr) {
		return nil
	}
	for _, x := range a.block.Lifecycle.After {
		v, d := f.Scope.Test(x, &a.each, exports)
		if v == dsl.Fails {
			sentence(d, a.refused())
		}
		diags = append(diags, d...)
	}
	return diags
}

// refused says what a false postcondition means for a block.
func (a *Action) refused() string {
	switch {
	case a.pending:
		return fmt.Sprintf("Nothing that refers to %s would run", a.Addr)
	case a.stepped() != nil:
		return fmt.Sprintf("Nothing that refers to %s runs. Its result is kept: to go on with it, change the condition, "+
			"which trains nothing again; to train again, change the stage", a.Addr)
	}
	return fmt.Sprintf("Nothing that refers to %s runs. Its result is kept: to go on with it, change the condition, "+
		"which runs nothing again; else change what it is made from", a.Addr)
}

// sentence adds a sentence to the last of some problems.
func sentence(diags hcl.Diagnostics, text string) {
	d := diags[len(diags)-1]
	if n := len(d.Detail); n > 0 && d.Detail[n-1] != '.' && d.Detail[n-1] != '!' && d.Detail[n-1] != '?' {
		d.Detail += "."
	}
	d.Detail += " " + text + "."
}

// Checks tests the check blocks with what is known so far: what is false is a warning.
func (f *Fold) Checks() hcl.Diagnostics {
	if !f.lifecycle {
		return nil
	}
	return f.Scope.Checks()
}
