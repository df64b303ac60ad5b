package blocks

import (
	"encoding/json"
	"math"
	"testing"
)

func TestValuesThatJSONHasNoWordFor(t *testing.T) {
	v := Writable(map[string]any{"loss": math.NaN(), "perplexity": math.Inf(1), "low": math.Inf(-1), "tokens": 3.0, "texts": []string{"a"}})
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"loss":null,"low":null,"not_finite":{"loss":"NaN","low":"-Infinity","perplexity":"Infinity"},"perplexity":null,"texts":["a"],"tokens":3}`; string(b) != want {
		t.Errorf("%s, want %s", b, want)
	}
	if s := WhyNull(v); s != "loss is NaN, low is -Infinity, perplexity is Infinity" {
		t.Error(s)
	}
	if s := WhyNull(map[string]any{"loss": 1.0, "held_out_documents": nil}); s != "held_out_documents is not known" {
		t.Error(s)
	}
	if s := WhyNull(map[string]any{"loss": nil, "not_finite": map[string]any{"loss": "NaN"}, "diagnosis": "a weight"}); s != "a weight" {
		t.Error(s)
	}
}

func TestStderrName(t *testing.T) {
	for metric, want := range map[string]string{"acc": "acc_stderr", "exact_match,strict-match": "exact_match_stderr,strict-match"} {
		if got := StderrName(metric); got != want {
			t.Errorf("%s has %s, not %s", metric, got, want)
		}
	}
}
