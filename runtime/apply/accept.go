package apply

import (
	"github.com/zclconf/go-cty/cty"

	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// accept tests the postconditions of a block that has run. The result of one that fails stays as it is, and its entry
// in the state says why nothing goes on from it.
func (r *runner) accept(a *plan.Action, exports cty.Value) error {
	diags := r.fold.Accept(a, exports)
	if !diags.HasErrors() {
		return nil
	}
	b := r.dir.State.Blocks[a.Addr.String()]
	b.Error = r.plan.Config.Secrets.Error(diags).Error()
	if err := r.dir.Save(); err != nil {
		return err
	}
	return diags
}

// accepted notes in the entry of a block that does not run what its lifecycle block says now: its result meets the
// conditions, whatever an earlier run said of it.
func (r *runner) accepted(b *state.Block, a *plan.Action) error {
	if b == nil {
		return nil
	}
	b.Protected, b.Triggers = a.Protected(), a.Triggers
	if b.Status == state.Done {
		b.Error = ""
	}
	return results.NoteFate(r.dir.Path, results.Folder(a.Addr), b)
}
