package model

import (
	"reflect"
	"testing"

	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops/arch"
)

// TestExportedSettingsAreReadBack writes config.json as an export does, with each kind of scaling: the same is read from it.
func TestExportedSettingsAreReadBack(t *testing.T) {
	for _, s := range []*arch.RopeScaling{nil, {RopeType: "linear", Factor: 2}, {RopeType: "dynamic", Factor: 2},
		{RopeType: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 64},
		{RopeType: "yarn", Factor: 4, OriginalMaxPositionEmbeddings: 64, AttentionFactor: 1.5, BetaFast: 16, BetaSlow: 2}} {
		c := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 12, HiddenSize: 8, IntermediateSize: 16,
			NumHiddenLayers: 2, NumAttentionHeads: 2, RopeTheta: 500000, RopeScaling: s, AttentionBias: true}}
		c.Fill()
		b, err := ConfigJSON(c, &tokenizer.Tokenizer{BOS: -1}, gpu.F32)
		if err != nil {
			t.Fatal(err)
		}
		got, notes, err := arch.ParseConfig(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, c) || len(notes) > 0 {
			t.Errorf("%+v (%+v), %v; want %+v (%+v)", got, got.RopeScaling, notes, c, s)
		}
	}
}
