package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/runtime/plan"
)

// outcome is what came of a run.
type outcome struct {
	Status  Status
	Why     string               // why it was skipped
	Diags   hcl.Diagnostics      // what is wrong
	Sources map[string]*hcl.File // for showing where
	Secrets *dsl.Secrets
	Plan    *plan.Plan // as it was planned, or applied; nil if that failed
	value   cty.Value  // what run.NAME stands for
}

// grace is how long a run may take to end once it must.
const grace = 30 * time.Second

// within runs a run in the time that it has.
func (r *Run) within(ctx context.Context, before []*Run) {
	limit := r.file.suite.o.Timeout
	inner, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	ended := make(chan outcome, 1)
	go func() {
		a := &attempt{run: r, names: map[string]any{"seam": map[string]any{}}}
		a.try(inner, before)
		ended <- a.outcome
	}()
	select {
	case r.outcome = <-ended:
	case <-inner.Done():
		select {
		case r.outcome = <-ended:
		case <-time.After(grace):
		}
	}
	r.Seconds = time.Since(start).Seconds()
	switch {
	case ctx.Err() != nil:
		r.cut("Interrupted", fmt.Sprintf("run.%s was interrupted.", r.Name))
	case inner.Err() != nil:
		r.cut("Out of time", fmt.Sprintf("run.%s did not end within %s. Train less in it, or give it more time with "+
			"-timeout.", r.Name, limit))
	}
}

// cut notes why a run did not come to its end.
func (r *Run) cut(summary, detail string) {
	r.outcome = outcome{Status: Error, Sources: r.Sources, Secrets: r.Secrets, Diags: hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: summary, Subject: r.Range.Ptr(), Detail: detail}}}
}

// attempt is a run that goes on.
type attempt struct {
	run *Run
	outcome
	names map[string]any // what conditions may name beside what the pipeline has
}

// try plans or applies the pipeline, and tests what came of that.
func (a *attempt) try(ctx context.Context, before []*Run) {
	o, err := a.options(before)
	if err != nil {
		a.conclude(a.problems(err))
		return
	}
	p, diags := a.plan(ctx, o)
	if !diags.HasErrors() {
		a.names["changes"] = p.Changes()
		if a.run.Command == dsl.TestApply {
			diags = nil // what checks say is known at the end
			p, diags = a.apply(ctx, o, p)
		}
	}
	if !diags.HasErrors() {
		diags = append(diags, a.test(p)...)
	} else if a.run.Asserts > 0 && a.unexpected(diags) == nil {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Conditions were not tested",
			Subject: a.run.Range.Ptr(), Detail: fmt.Sprintf("What was expected to fail ended run.%s, so there is nothing "+
				"to test its assert blocks with. Move them to a run of their own.", a.run.Name)})
	}
	a.conclude(diags)
}

// options returns the options of the run's plans. All that the run makes lies in folders of its own.
func (a *attempt) options(before []*Run) (o plan.Options, err error) {
	s := a.run.file.suite
	runs := map[string]cty.Value{}
	for _, b := range before {
		if b.value != cty.NilVal {
			runs[b.Name] = b.value
		}
	}
	folder := filepath.Join(a.run.file.folder, a.run.StateKey)
	o = plan.Options{Path: s.o.Path, Inputs: s.o.Inputs, StateDir: filepath.Join(folder, "state"),
		Exports: filepath.Join(folder, "exports"), Caps: s.o.Caps, Cache: s.o.Cache, Lifecycle: true, Patient: true,
		Select: plan.Selection{Target: a.run.Target, Exclude: a.run.Exclude, Replace: a.run.Replace}}
	o.Inputs.Test = &dsl.TestInput{Path: a.run.file.Path, Run: a.run.Name, Runs: runs, Mock: a.run.file.mock}
	return o, os.MkdirAll(folder, 0o777)
}

// plan plans the pipeline. Warnings are not for tests, but for what checks say.
func (a *attempt) plan(ctx context.Context, o plan.Options) (*plan.Plan, hcl.Diagnostics) {
	p, diags := plan.New(ctx, o)
	a.Sources, a.Secrets = p.Config.Files, p.Config.Secrets
	var kept hcl.Diagnostics
	for _, d := range diags {
		if _, failed := dsl.FailedIn(d); failed || d.Severity == hcl.DiagError {
			kept = append(kept, d)
		}
	}
	return p, kept
}

// test tests the conditions of the run.
func (a *attempt) test(p *plan.Plan) hcl.Diagnostics {
	if a.Plan == nil {
		a.Plan = p
	}
	a.names["plan"], a.names["state"] = a.run.file.suite.o.Planned(a.Plan), a.run.file.suite.o.State(p)
	c, err := p.NewConsole(a.names)
	if err != nil {
		return a.problems(err)
	}
	a.value = c.Value()
	return c.Assert()
}

// conclude compares what failed with what was expected to.
func (a *attempt) conclude(diags hcl.Diagnostics) {
	a.Diags = a.unexpected(diags)
	for _, x := range a.run.Expected {
		failed := func(d *hcl.Diagnostic) bool {
			of, ok := dsl.FailedIn(d)
			return ok && x.Covers(of)
		}
		if !slices.ContainsFunc(diags, failed) && !a.Diags.HasErrors() {
			a.Diags = append(a.Diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Missing expected failure",
				Subject: x.Range.Ptr(), Extra: dsl.Failed(""),
				Detail: fmt.Sprintf("A condition of %s was expected to be false, and none is.", x.Name)})
		}
	}
	a.Status = Pass
	for _, d := range a.Diags {
		d.Severity = hcl.DiagError // also of a check, which is a warning elsewhere
		if _, failed := dsl.FailedIn(d); failed {
			a.Status = worse(a.Status, Fail)
		} else {
			a.Status = Error
		}
	}
}

// unexpected returns the problems but for the failures that are expected.
func (a *attempt) unexpected(diags hcl.Diagnostics) (rest hcl.Diagnostics) {
	for _, d := range diags {
		of, failed := dsl.FailedIn(d)
		expected := func(x dsl.ExpectedFailure) bool { return x.Covers(of) }
		if !failed || !slices.ContainsFunc(a.run.Expected, expected) {
			rest = append(rest, d)
		}
	}
	return rest
}

// problems makes problems of an error, and of those that it joins.
func (a *attempt) problems(err error) (diags hcl.Diagnostics) {
	var list hcl.Diagnostics
	switch e := err.(type) {
	case hcl.Diagnostics:
		return e
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			diags = append(diags, a.problems(part)...)
		}
		return diags
	case interface{ Unwrap() error }:
		if errors.As(err, &list) {
			return a.problems(e.Unwrap())
		}
	}
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Run failed", Subject: a.run.Range.Ptr(),
		Detail: a.Secrets.Redact(err.Error())}}
}
