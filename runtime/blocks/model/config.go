package model

import (
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops/arch"
)

// ConfigJSON is Hugging Face's config.json of a model with its tokenizer, whose weights are of an element type.
func ConfigJSON(m arch.Model, tok *tokenizer.Tokenizer, dtype gpu.DType) ([]byte, error) {
	name := map[gpu.DType]string{gpu.F32: "float32", gpu.BF16: "bfloat16"}[dtype]
	return m.ConfigJSON(map[string]any{"bos_token_id": Special(tok.BOS), "eos_token_id": Special(tok.EOS),
		"pad_token_id": nil,
		"torch_dtype":  name, "dtype": name})
}

// Special is the id of a special token as config.json has it: null for none.
func Special(id int32) any {
	if id < 0 {
		return nil
	}
	return id
}
