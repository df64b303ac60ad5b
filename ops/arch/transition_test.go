package arch

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
	former "stepflow/ops/llama"
)

// old is the configuration as package llama has it.
func old(c Config) former.Config {
	o := former.Config{VocabSize: c.VocabSize, HiddenSize: c.HiddenSize, IntermediateSize: c.IntermediateSize, NumHiddenLayers: c.NumHiddenLayers,
		NumAttentionHeads: c.NumAttentionHeads, NumKeyValueHeads: c.NumKeyValueHeads, HeadDim: c.HeadDim, HiddenAct: c.HiddenAct,
		MaxPositionEmbeddings: c.MaxPositionEmbeddings, RMSNormEps: c.RMSNormEps, RopeTheta: c.RopeTheta, InitializerRange: c.InitializerRange,
		TieWordEmbeddings: c.TieWordEmbeddings, AttentionBias: c.AttentionBias, MLPBias: c.MLPBias, SlidingWindow: c.SlidingWindow}
	if s := c.RopeScaling; s != nil {
		x := former.RopeScaling(*s)
		o.RopeScaling = &x
	}
	return o
}

// oldProgram trains one step's forward and backward pass with package llama, as the runtime does.
func oldProgram(t *testing.T, c former.Config, mask bool, batch, seq int) *gpu.Program {
	return program(t, former.Declare(c, ids(c.NumHiddenLayers)), gpu.F32, c.HeadDim, mask, batch, seq,
		func(g *graph.Graph, weight func(string) graph.Value, in, targets, segments, cos, sin graph.Value) graph.Value {
			return former.Loss(g, c, weight, former.Inputs{IDs: in, Segments: segments, Cos: cos, Sin: sin}, targets, 7, former.Plain)
		})
}

func TestProgramsAreThoseOfLlama(t *testing.T) {
	for i, m := range llamas() {
		for _, mask := range []bool{false, true} {
			want := oldProgram(t, old(m.Config), mask, 2, 8)
			got := lossProgram(t, m, gpu.F32, mask, 2, 8)
			if got.Hash() != want.Hash() {
				t.Errorf("model %d, mask %t: another program, of %d launches instead of %d", i, mask, len(got.Launches), len(want.Launches))
			}
			for j := range got.Launches {
				if a, b := got.Launches[j], want.Launches[j]; a.Name != b.Name || a.Kernel != b.Kernel {
					t.Errorf("launch %d is %s %s, not %s %s", j, a.Kernel, a.Name, b.Kernel, b.Name)
				}
			}
		}
	}
}

func TestParametersAreThoseOfLlama(t *testing.T) {
	for _, m := range llamas() {
		c := old(m.Config)
		got, want := m.Declare(ids(m.NumHiddenLayers)), former.Declare(c, ids(m.NumHiddenLayers))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v\n%v", got, want)
		}
		for _, p := range want {
			if !slices.Equal(m.Init(p, 7), former.Init(c, p, 7)) {
				t.Errorf("%s starts otherwise", p.ID)
			}
		}
		var wants, oldWants []ops.Param
		for p := range m.Wants() {
			p.ID = ""
			wants = append(wants, p)
		}
		for p := range former.Wants(c) {
			p.ID = ""
			oldWants = append(oldWants, p)
		}
		for _, p := range oldWants {
			if !slices.ContainsFunc(wants, func(q ops.Param) bool {
				return q.Name == p.Name && q.Shape.Equal(p.Shape) && q.Kind == p.Kind && q.Layer == p.Layer
			}) {
				t.Errorf("%s is not wanted", p.Name)
			}
		}
		if len(wants) != len(oldWants) || m.LayerParams() != former.LayerParams(c) {
			t.Errorf("%d tensors, %d a layer; want %d, %d", len(wants), m.LayerParams(), len(oldWants), former.LayerParams(c))
		}
	}
}

// TestFoldersAreReadAsByLlama reads every config.json of the tests with both packages.
func TestFoldersAreReadAsByLlama(t *testing.T) {
	var texts [][]byte
	for _, c := range refusals {
		texts = append(texts, with(t, c.changes))
	}
	for _, x := range spellings {
		texts = append(texts, with(t, x.changes))
	}
	for _, x := range numbers {
		m := small()
		m[x.name] = x.value
		texts = append(texts, marshal(t, m))
	}
	for _, b := range texts {
		got, notes, err := ParseConfig(b)
		want, oldNotes, oldErr := former.ParseConfig(b)
		if oldErr != nil {
			if !strings.HasSuffix(oldErr.Error(), "granite with Llama's settings") && (err == nil || err.Error() != oldErr.Error()) {
				t.Errorf("%s\n got %v\nwant %v", b, err, oldErr)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(old(got.Config), want) || fmt.Sprint(notes) != fmt.Sprint(oldNotes) {
			t.Errorf("%s\n got %+v %v, %v\nwant %+v %v", b, got.Config, notes, err, want, oldNotes)
		}
	}
}

// TestConfigJSONIsThatOfLlama writes config.json as the runtime does.
func TestConfigJSONIsThatOfLlama(t *testing.T) {
	for _, m := range llamas() {
		got, err := m.ConfigJSON(map[string]any{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": nil, "torch_dtype": "float32", "dtype": "float32"})
		if err != nil {
			t.Fatal(err)
		}
		c := old(m.Config)
		s := former.RopeScaling{RopeType: "default"}
		if c.RopeScaling != nil {
			s = *c.RopeScaling
		}
		want := map[string]any{"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
			"pad_token_id": nil, "torch_dtype": "float32", "dtype": "float32", "use_cache": true, "pretraining_tp": 1,
			"rope_parameters": struct {
				former.RopeScaling
				RopeTheta float64 `json:"rope_theta"`
			}{s, c.RopeTheta}}
		for _, f := range former.Fields {
			want[f.Name] = f.Value(c)
		}
		b, err := json.MarshalIndent(want, "", "  ")
		if err != nil || string(got) != string(b)+"\n" {
			t.Errorf("%s\n%s", got, b)
		}
	}
}

// TestAttributesAreThoseOfTheLanguage compares with the rows of dsl/kinds.go.
func TestAttributesAreThoseOfTheLanguage(t *testing.T) {
	i := slices.IndexFunc(dsl.Kinds, func(k dsl.Kind) bool { return k.Name == "model" })
	var rows []dsl.Attr
	for _, a := range dsl.Kinds[i].Attrs {
		if a.Name != "from" && a.Name != "seed" {
			rows = append(rows, a)
		}
	}
	var exports []string
	for j, f := range llama.Fields {
		a := rows[j]
		_, whole := f.At(&Config{}).(*int)
		if f.Name != a.Name || f.sentence() != a.Doc || !reflect.DeepEqual(f.Min, a.Min) || !reflect.DeepEqual(f.Max, a.Max) ||
			!reflect.DeepEqual(f.Above, a.Above) || !slices.Equal(f.OneOf, a.OneOf) || whole != a.Whole {
			t.Errorf("%+v\n%s\n%+v", f, f.sentence(), a)
		}
		if f.Export {
			exports = append(exports, f.Name)
		}
	}
	for j, name := range exports {
		if dsl.Kinds[i].Exports[j].Name != name {
			t.Errorf("exports %v", exports)
		}
	}
}
