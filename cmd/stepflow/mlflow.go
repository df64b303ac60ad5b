package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"stepflow/dsl"
	"stepflow/runtime/apply"
	"stepflow/runtime/mlflow"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
)

// tracker returns what shows a run in MLflow, where its variables name a server; nil for nothing.
func (a *app) tracker(p *plan.Plan) *mlflow.Tracker {
	server, err := mlflow.FromEnvironment(os.Getenv)
	if err != nil {
		a.warn(err)
	}
	if server == nil {
		return nil
	}
	variables := map[string]string{}
	for n, v := range p.Config.Variables {
		variables[n] = dsl.Show(v.Value)
	}
	return server.Track(mlflow.Pipeline{Name: pipelineName(p), Dir: p.StateDir, Version: version(),
		Variables: variables, Blocks: trackedBlocks(p), Redact: p.Config.Secrets.Redact}, a.warn)
}

// trackedBlocks are the blocks of a plan.
func trackedBlocks(p *plan.Plan) map[string]mlflow.Block {
	list := map[string]mlflow.Block{}
	for _, x := range p.Actions {
		list[x.Addr.String()] = mlflow.Block{Attrs: x.Attrs, Inputs: slices.Collect(maps.Keys(x.Inputs))}
	}
	return list
}

// tracked sends what is left of a run that ended with err, and says what MLflow has of it.
func (a *app) tracked(t *mlflow.Tracker, p *plan.Plan, err error) {
	if t == nil {
		return
	}
	outcome := mlflow.Finished
	switch {
	case errors.Is(err, apply.ErrInterrupted):
		outcome = mlflow.Killed
	case err != nil:
		outcome = mlflow.Failed
	}
	a.interrupt.hold("Interrupted: the next apply sends to MLflow what is missing there. Once more stops at once.")
	slow := time.AfterFunc(2*time.Second, func() {
		if !a.json && a.ctx.Err() == nil {
			fmt.Fprintln(a.stderr, "Sending to MLflow what is missing there. Ctrl-C leaves the rest to the next apply.")
		}
	})
	s, ok := t.End(a.ctx, outcome, trackedBlocks(p))
	slow.Stop()
	if !ok {
		return
	}
	if s.Page != "" && a.json {
		a.line(map[string]any{"type": "mlflow", "address": s.Page, "run_id": s.RunID, "steps": s.Steps, "left": s.Left})
	} else if s.Page != "" {
		fmt.Fprintf(a.stdout, "MLflow: %s\n", s.Page)
	}
	if s.Err == nil {
		return
	}
	missing := "Not all of the run is there"
	switch {
	case s.Left > 0 && s.Page == "": // it did not say what it has
		missing = "Up to " + words.Plural(s.Left, "step") + " of the run are not there"
	case s.Left > 0:
		missing = words.Plural(s.Left, "step") + " of the run are not there"
	}
	a.warn(fmt.Errorf("MLflow at %s: %w. %s. Its files have everything, and the next apply sends what is missing",
		s.Server, s.Err, missing))
}
