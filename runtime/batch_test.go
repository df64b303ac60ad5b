package runtime_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"stepflow/fineweb"
	"stepflow/gpu/cpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/plan"
	"stepflow/runtime/trainstate"
)

// The batch of a step, packed of the plan alone, is the one that follows the position which a run saved before it, in a stage that goes on
// with the data of the one before it too.
func TestBatchOfAStep(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir, "keep=9")))
	p := planOf(t, dir, "keep=9")
	tok := stageOf(find(p, "stage.one")).Tokenizer.Ready()
	if tok == nil {
		t.Fatal("the tokenizer that was trained is not there")
	}
	for _, c := range []struct {
		saved, stage string
		step         int // saved, of which the next one is asked for
	}{{"one", "stage.one", 4}, {"one", "stage.two", 6}, {"one", "stage.one", 2}} {
		ts, err := trainstate.Read(checkpoint.StepDir(filepath.Join(dir, ".stepflow", "blocks", "stage."+c.saved), c.step))
		must(t, err)
		a := find(p, c.stage)
		set, err := fineweb.OpenSet(t.Context(), stageOf(a).Data.Sources())
		must(t, err)
		defer set.Close()
		stream, err := set.Stream(fineweb.Train, tok, stageOf(a).Seq, ts.Position)
		must(t, err)
		want, err := stream.Next(stageOf(a).Batch)
		must(t, err)
		step := c.step + 1
		if "stage."+c.saved != c.stage {
			step = 1
		}
		packed := int64(0)
		got, err := stageOf(a).BatchOf(t.Context(), a.World, step, func(done, of int64) error { packed = of; return nil })
		must(t, err)
		if !reflect.DeepEqual(got.IDs, want.IDs) || !reflect.DeepEqual(got.Targets, want.Targets) || !reflect.DeepEqual(got.Documents, want.Documents) {
			t.Errorf("step %d of %s: another batch", step, c.stage)
		}
		if packed*int64(got.Length) != got.Before || got.Before == 0 {
			t.Errorf("step %d of %s: %d sequences before it, and %d tokens", step, c.stage, packed, got.Before)
		}
		tokens := 0
		for _, x := range got.Documents {
			if tokens += x.N; x.ID == "" || filepath.Base(x.File) != "d.jsonl" || x.Place == "" {
				t.Errorf("%+v has no place", x.Origin)
			}
		}
		if tokens != len(got.IDs) {
			t.Errorf("the documents hold %d of %d tokens", tokens, len(got.IDs))
		}
	}
	for _, step := range []int{0, 7} {
		a := find(p, "stage.one")
		if _, err := stageOf(a).BatchOf(t.Context(), a.World, step, nil); err == nil || !strings.Contains(err.Error(), "stage.one has steps 1 to 6") {
			t.Errorf("step %d: %v", step, err)
		}
	}
}

// A model that never saw what begins documents is not asked to begin one.
func TestEmptyPrompt(t *testing.T) {
	dir := pipeline(t)
	path := filepath.Join(dir, "main.hcl")
	write := func(first string) *plan.Plan {
		text := strings.Replace(tiny, `["the"]`, `["the", ""]`, 1)
		text = strings.Replace(text, "document_mask       = var.mask", "predict_first_token = "+first, 1)
		must(t, os.WriteFile(path, []byte(text), 0o644))
		p, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: cpu.PlanCaps("")})
		if (first == "false") != diags.HasErrors() || first == "false" && !strings.Contains(fmt.Sprint(diags.Errs()), "without the first tokens of documents") {
			t.Errorf("predict_first_token = %s: %v", first, diags.Errs())
		}
		return p
	}
	write("false")
	must(t, applyOn(t, cpuDevice(t, 1), write("true")))
}
