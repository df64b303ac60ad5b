package export

import (
	"context"
	"encoding/json"
	"fmt"

	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
)

// besides is how many files an export has beside its weights.
const besides = 5

// parts returns these files.
func (e *Export) parts(tok *tokenizer.Tokenizer) ([]checkpoint.Part, error) {
	cfg, err := model.ConfigJSON(e.Stage.Model, tok, e.Stage.DType)
	if err != nil {
		return nil, err
	}
	parts := []checkpoint.Part{checkpoint.Bytes(checkpoint.ConfigFile, cfg),
		checkpoint.Bytes(checkpoint.TokenizerFile, tok.JSON())}
	for _, x := range []struct {
		name string
		v    any
	}{
		{"generation_config.json", map[string]any{"_from_model_config": true, "bos_token_id": model.Special(tok.BOS),
			"eos_token_id": model.Special(tok.EOS)}},
		{"tokenizer_config.json", map[string]any{"tokenizer_class": "PreTrainedTokenizerFast",
			"model_max_length": e.Stage.Model.MaxPositionEmbeddings,
			"bos_token":        tokenName(tok, tok.BOS), "eos_token": tokenName(tok, tok.EOS), "clean_up_tokenization_spaces": false}},
		{"special_tokens_map.json", specialTokens(tok)},
	} {
		b, err := json.MarshalIndent(x.v, "", "  ")
		if err != nil {
			return nil, err
		}
		parts = append(parts, checkpoint.Bytes(x.name, append(b, '\n')))
	}
	return parts, nil
}

func tokenName(tok *tokenizer.Tokenizer, id int32) any {
	if id < 0 {
		return nil
	}
	return tok.Token(id)
}

func specialTokens(tok *tokenizer.Tokenizer) map[string]string {
	m := map[string]string{}
	if tok.BOS >= 0 {
		m["bos_token"] = tok.Token(tok.BOS)
	}
	if tok.EOS >= 0 {
		m["eos_token"] = tok.Token(tok.EOS)
	}
	return m
}

// shards returns the tensors of a checkpoint as one file, or as several below the shard size with an index, in Hugging
// Face's layout. Cancelling ctx ends reading them; flaw collects what is not finite in them.
func (e *Export) shards(ctx context.Context, f *checkpoint.File, flaw *forward.Flaw) (parts []checkpoint.Part,
	err error) {
	lists := e.split()
	var total int64
	tensor := func(p ops.Param) checkpoint.Tensor {
		total += e.bytes(p)
		return checkpoint.Tensor{Name: p.Name, Shape: p.Shape, DType: e.Stage.DType, Data: func() ([]byte, error) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			b, _, err := f.Raw(p.Name)
			flaw.Look(p.Name, p.Shape, gpu.BytesFloat32(b, e.Stage.DType))
			return b, err
		}}
	}
	weightMap := map[string]string{}
	for i, list := range lists {
		name := checkpoint.ModelFile
		if len(lists) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(lists))
		}
		var tensors []checkpoint.Tensor
		for _, p := range list {
			weightMap[p.Name] = name
			tensors = append(tensors, tensor(p))
		}
		parts = append(parts, checkpoint.Tensors(name, tensors))
	}
	if len(lists) == 1 {
		return parts, nil
	}
	b, err := json.MarshalIndent(map[string]any{"metadata": map[string]any{"total_size": total},
		"weight_map": weightMap}, "", "  ")
	return append(parts, checkpoint.Bytes(checkpoint.ModelFile+".index.json", append(b, '\n'))), err
}

// bytes is what a parameter takes in an export.
func (e *Export) bytes(p ops.Param) int64 {
	return gpu.Type{Shape: p.Shape, DType: e.Stage.DType}.Bytes()
}

// split puts the parameters into files below the shard size, in order.
func (e *Export) split() (lists [][]ops.Param) {
	var size int64
	for _, p := range e.Stage.Params {
		n := e.bytes(p)
		if len(lists) == 0 || size+n > e.ShardSize && size > 0 {
			lists, size = append(lists, nil), 0
		}
		lists[len(lists)-1] = append(lists[len(lists)-1], p)
		size += n
	}
	return lists
}
