package trial

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/runtime/apply"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
)

// apply runs a plan, and returns a plan of what is there then.
func (a *attempt) apply(ctx context.Context, o plan.Options, p *plan.Plan) (*plan.Plan, hcl.Diagnostics) {
	device, release, err := a.run.file.suite.o.Device(ctx)
	if err != nil {
		return p, a.problems(err)
	}
	defer release()
	if a.run.Interrupt != nil {
		var diags hcl.Diagnostics
		if p, diags = a.interrupted(ctx, o, p, device); diags.HasErrors() {
			return p, diags
		}
	}
	done, err := apply.Apply(ctx, p, apply.Options{Device: device, Emit: a.event, AutoApprove: true, Scratch: true})
	if err != nil {
		return p, append(a.problems(err), done.Checks...)
	}
	a.Plan = done.Plan
	o.Select.Replace = nil // it was replaced
	return a.plan(ctx, o)
}

// interrupted runs a plan up to the step of the interrupt, as Ctrl-C would end it, and plans again.
func (a *attempt) interrupted(ctx context.Context, o plan.Options, p *plan.Plan,
	device gpu.Device) (*plan.Plan, hcl.Diagnostics) {
	at := a.run.Interrupt
	inner, interrupt := context.WithCancel(ctx)
	defer interrupt()
	emit := func(e observe.Event) {
		a.event(e)
		ours := at.Stage == addr.Addr{} || at.Stage.Covers(e.Addr)
		if e.Kind == observe.StepDone && ours && e.Step.Step >= at.AtStep {
			interrupt()
		}
	}
	_, err := apply.Apply(inner, p, apply.Options{Device: device, Emit: emit, AutoApprove: true})
	switch {
	case err == nil:
		return p, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Nothing was interrupted", Subject: at.Range.Ptr(),
			Detail: fmt.Sprintf("run.%s came to its end without a step %d that it should end after.", a.run.Name,
				at.AtStep)}}
	case !errors.Is(err, apply.ErrInterrupted):
		return p, a.problems(err)
	}
	return a.plan(ctx, o)
}

// event notes what growth and merges did to the loss of a stage.
func (a *attempt) event(e observe.Event) {
	if e.Seam == nil {
		return
	}
	all := a.names["seam"].(map[string]any)
	of, ok := all[e.Addr.String()].(map[string]any)
	if !ok {
		of = map[string]any{}
		all[e.Addr.String()] = of
	}
	of[e.Seam.Change] = map[string]any{"before": finite(e.Seam.Before), "after": finite(e.Seam.After)}
}

// finite returns a number, or nil for one that is not finite, which conditions see as null.
func finite(x float64) any {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return x
}
