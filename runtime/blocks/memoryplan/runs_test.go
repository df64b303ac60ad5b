package memoryplan

import (
	"math"
	"testing"

	"stepflow/dsl/addr"
	"stepflow/gpu/cpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/state"
)

// TestRuns: of the stages of a state, those count that the law is about, with the mean number of parameters over all tokens
// since the first.
func TestRuns(t *testing.T) {
	m := &model.Model{Model: searchOf(cpu.PlanCaps(""), 6, bothWays...).model}
	m.VocabSize = 50_000
	stage := func(step string, loss any, inputs map[string]string, more ...string) *state.Block {
		b := &state.Block{Status: state.Done, Content: "made", Step: 1e8, Inputs: inputs, Values: map[string]any{"loss": loss},
			Attrs: map[string]string{"train.stop_at": step, "train.batch_size": "4", "train.sequence_length": "128"}}
		for i := 0; i < len(more); i += 2 {
			b.Attrs[more[i]] = more[i+1]
		}
		return b
	}
	first := map[string]string{"model.llama.m": "id"}
	st := &state.State{Blocks: map[string]*state.Block{
		"stage.whole":     stage("1", 5.0, first),
		"stage.seed":      stage("0.5", 6.0, first, "layers", "2"), // left before the end of its schedule
		"stage.next":      stage("1", 5.5, map[string]string{"stage.seed": "made"}, "grow.layers", "4"),
		"stage.tuned":     stage("1", 3.0, map[string]string{"stage.next": "made"}, "train.objective", `"sft"`),
		"stage.of_older":  stage("1", 4.0, map[string]string{"stage.seed": "another"}),
		"stage.of_other":  stage("1", 4.0, map[string]string{"model.llama.gone": "id"}),
		"stage.is_nan":    stage("1", math.NaN(), first),
		"stage.imported":  {Status: state.Done, Inputs: first, Attrs: map[string]string{"train.stop_at": "1"}, Import: &state.Import{}},
		"evaluate.x.fine": {Status: state.Done, Values: map[string]any{"loss": 2.0}, Attrs: map[string]string{}},
	}}
	w := &blocks.World{State: st, ID: func(addr.Addr) string { return "id" }, Find: func(a addr.Addr) *blocks.Planned {
		if a.Name != "m" {
			return nil
		}
		return &blocks.Planned{Block: m}
	}}
	list := runs(w, m.VocabSize)
	if len(list) != 2 || list[0].Stage != "stage.next" || list[1].Stage != "stage.whole" {
		t.Fatalf("%+v", list)
	}
	mean := (m.WithLayers(2).Params() + m.Params()) / 2
	if r := list[0]; r.Parameters != mean || r.Tokens != 2*1e8*4*128 || r.Loss != 5.5 || r.Law != loss(mean, r.Tokens) {
		t.Errorf("%+v, and the mean is %g", r, mean)
	}
	for _, b := range st.Blocks {
		b.Step = 10
	}
	if list := runs(w, m.VocabSize); len(list) != 0 {
		t.Errorf("too few tokens for the law: %+v", list)
	}
	if list := runs(w, m.VocabSize+1); len(list) != 0 {
		t.Errorf("another vocabulary: %+v", list)
	}
}
