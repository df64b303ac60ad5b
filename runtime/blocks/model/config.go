package model

import (
	"encoding/json"

	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops/llama"
)

// ConfigJSON is Hugging Face's config.json.
func ConfigJSON(c llama.Config, tok *tokenizer.Tokenizer, dtype gpu.DType) ([]byte, error) {
	name := map[gpu.DType]string{gpu.F32: "float32", gpu.BF16: "bfloat16"}[dtype]
	m := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "rope_parameters": ropeParameters(c), "attention_dropout": 0.0,
		"bos_token_id": special(tok.BOS), "eos_token_id": special(tok.EOS), "pad_token_id": nil, "torch_dtype": name, "dtype": name, "use_cache": true, "pretraining_tp": 1,
	}
	for _, f := range llama.Fields {
		m[f.Name] = f.Value(c)
	}
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// ropeParameters is the form newer versions of transformers write; older ones read rope_theta and rope_scaling.
func ropeParameters(c llama.Config) any {
	s := llama.RopeScaling{RopeType: "default"}
	if c.RopeScaling != nil {
		s = *c.RopeScaling
	}
	return struct {
		llama.RopeScaling
		RopeTheta float64 `json:"rope_theta"`
	}{s, c.RopeTheta}
}

func special(id int32) any {
	if id < 0 {
		return nil
	}
	return id
}
