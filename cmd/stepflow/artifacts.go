package main

import (
	"fmt"
	"sync/atomic"

	"stepflow/dsl"
	"stepflow/runtime/artifacts"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// artifactsVariable names the place of artifacts where no flag does.
const artifactsVariable = "STEPFLOW_ARTIFACTS"

// artifactsOf returns where the results of a state are kept too: where the flag, the environment, or else the state
// says; nil for nowhere.
func (a *app) artifactsOf(folder string) (*artifacts.Place, error) {
	place, _, err := a.placeOf(folder)
	return place, err
}

// placeOf is artifactsOf with the lineage of the state.
func (a *app) placeOf(folder string) (p *artifacts.Place, lineage string, err error) {
	address := a.places().Artifacts
	d, err := state.Read(folder)
	if err == nil {
		lineage = d.State.Lineage
		if address == "" {
			address = d.State.Artifacts
		}
	}
	if address == "" {
		return nil, lineage, nil // planning says what is wrong with a state
	}
	p, err = artifacts.Open(address)
	return p, lineage, err
}

// elsewhere returns where a pipeline's results are found besides its state's folder; nil for nowhere.
func (a *app) elsewhere(pipeline string) (results.Elsewhere, error) {
	folder, err := a.stateOf(pipeline)
	if err != nil {
		return nil, nil // reading the pipeline says what is wrong
	}
	place, lineage, err := a.placeOf(folder)
	if err != nil || place == nil || lineage == "" {
		return nil, err
	}
	return place.For(lineage), nil
}

// sending returns what says, after a run, what is still to be sent to a place.
func (a *app) sending(place *artifacts.Place) func(left string) {
	var said atomic.Value
	a.interrupt.atExit(func() {
		if left, ok := said.Load().(string); ok {
			fmt.Fprintf(a.stderr, "Not sent to %s: %s. The next apply sends it.\n", place, left)
		}
	})
	return func(left string) {
		a.interrupt.hold("Interrupted: sending " + left + ". Once more stops at once, and the next apply sends it.")
		if was := said.Swap(left); was == left || a.json {
			return
		}
		fmt.Fprintf(a.stderr, "Sending to %s: %s\n", place, left)
	}
}

// sent says what a run sent to a place.
func (a *app) sent(place *artifacts.Place, s artifacts.Sent) {
	switch {
	case place == nil:
	case a.json:
		a.line(map[string]any{"type": "artifacts", "place": place.String(), "sent": s.Folders, "bytes": s.Bytes})
	case s.Folders == 1:
		fmt.Fprintf(a.stdout, "Sent a result or a checkpoint to %s (%s).\n", place, dsl.FormatBytes(s.Bytes))
	case s.Folders > 1:
		fmt.Fprintf(a.stdout, "Sent %d results and checkpoints to %s (%s).\n",
			s.Folders, place, dsl.FormatBytes(s.Bytes))
	}
}
