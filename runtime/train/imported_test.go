package train

import (
	"encoding/json"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops/optim"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/trainstate"
)

// TestMomentsOfOthers: a state of an optimizer that would spoil what is trained with it is refused, and the error names the
// tensor. Names and types are looked at when the plan is made, numbers before anything runs.
func TestMomentsOfOthers(t *testing.T) {
	nan := float32(math.NaN())
	type tensor struct {
		dtype gpu.DType
		shape gpu.Shape
		bytes []byte
	}
	numbers := func(v ...float32) tensor { return tensor{gpu.F32, gpu.Shape{len(v)}, gpu.Float32Bytes(v, gpu.F32)} }
	codes := tensor{gpu.U8, gpu.Shape{2, 300}, make([]byte, 600)} // in three blocks
	for name, c := range map[string]struct {
		tensors map[string]tensor
		state   trainstate.State
		want    string
	}{
		"sound": {tensors: map[string]tensor{"adam_m/a": numbers(-1, 2), "adam_v/a": numbers(0, 2), "muon_m/b": codes,
			"muon_m_scale/b": numbers(0, 1, 2), "stored/b": numbers(nan), "of_another_program/b": numbers(nan)}},
		"no number": {tensors: map[string]tensor{"adam_m/a": numbers(1, nan)},
			want: "adam_m/a holds 1 non-finite value of 2, NaN at [1]"},
		"a negative root": {tensors: map[string]tensor{"adam_v/a": numbers(1, -1)}, want: "adam_v/a is -1 at [1], and is never below 0"},
		"a negative scale": {tensors: map[string]tensor{"muon_m/b": codes, "muon_m_scale/b": numbers(1, -2, 1)},
			want: "muon_m_scale/b is -2 at [1], and is never below 0"},
		"no scale":       {tensors: map[string]tensor{"muon_m/b": codes}, want: "muon_m/b has no scales, which muon_m_scale/b would hold"},
		"too few scales": {tensors: map[string]tensor{"muon_m/b": codes, "muon_m_scale/b": numbers(1)}, want: "of [1], and not of [3]"},
		"whole numbers": {tensors: map[string]tensor{"adam_m/a": {gpu.I32, gpu.Shape{1}, make([]byte, 4)}},
			want: "adam_m/a is of type I32, in which no optimizer keeps it"},
		"fewer updates than none": {state: trainstate.State{OptimizerSteps: map[string]int64{"a": -1}}, want: "a had -1 updates"},
		"a layer twice":           {state: trainstate.State{Layers: []string{"g0.0", "g0.0"}}, want: "the layer g0.0 twice"},
	} {
		dir := filepath.Join(t.TempDir(), "folder")
		var list []checkpoint.Tensor
		for n, x := range c.tensors {
			list = append(list, checkpoint.Tensor{Name: n, DType: x.dtype, Shape: x.shape,
				Data: func() ([]byte, error) { return x.bytes, nil }})
		}
		if c.state.Layers == nil {
			c.state.Layers = []string{"g0.0"}
		}
		b, err := json.Marshal(c.state)
		must(t, err)
		_, err = checkpoint.Write(dir, []checkpoint.Part{checkpoint.Tensors(checkpoint.OptimizerFile, list),
			checkpoint.Bytes(checkpoint.TrainerFile, b)})
		must(t, err)
		_, _, err = Moments(dir, len(c.state.Layers))
		if err == nil {
			err = CheckMoments(t.Context(), dir)
		}
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), dir)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestEveryStateIsKnown: an import takes over what any optimizer keeps, by the names of its states.
func TestEveryStateIsKnown(t *testing.T) {
	list := narrowLow("int8", false)
	list["adamw"], list["muon"] = narrowAdamW("int8", false), narrowMuon("int8", false)
	fira := list["galore"].(optim.Groups).Main.(optim.GaLore)
	fira.Fira = true
	list["fira"] = fira.With(narrowAdamW("int8", false))
	seen := map[string]bool{}
	for name, o := range list {
		s := narrowStage(gpu.BF16, o)
		for _, p := range s.Params {
			for _, x := range s.States(p) {
				seen[x.Name] = true
				if ok, _ := optim.Kept(x.Name); !ok {
					t.Errorf("%s keeps %s, which no import would take over", name, x.Name)
				}
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d states were seen: %v", len(seen), seen)
	}
}
