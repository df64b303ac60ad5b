package export

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/hashicorp/hcl/v2"

	"stepflow/chat"
	"stepflow/dsl"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/modelcard"
)

// huggingFace is a folder that transformers reads.
type huggingFace struct {
	*Export
	shardSize  int64 // in bytes
	apart      bool  // without the adapters that the stage keeps apart
	generation generation
}

// specialTokensFile names the special tokens.
const specialTokensFile = "special_tokens_map.json"

func (h *huggingFace) plan(p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	var err error
	if h.shardSize, err = dsl.ParseBytes(d.Str("max_shard_size")); err != nil {
		return blocks.Problem(d, "max_shard_size", "Invalid value", err)
	}
	if h.apart = d.Given("merge") && !d.Bool("merge"); h.apart && !h.Stage.KeepApart {
		return hcl.Diagnostics{d.Error("merge", "No adapters apart", fmt.Sprintf("merge = false writes the weights that adapters are added "+
			"to, and %s has no adapters beside its weights: set merge = false there, or leave it out here.", h.Stage.Addr))}
	}
	p.Hashed["max_shard_size"] = fmt.Sprint(h.shardSize)
	return h.planGeneration(d)
}

func (h *huggingFace) bytes() (n int64) {
	for _, p := range h.Stage.Params {
		n = gpu.Sum(n, gpu.Product(p.Elems(), h.Stage.DType.Size()))
	}
	return n
}

func (*huggingFace) details() []blocks.Line { return nil }

func (*huggingFace) library() (name, tag string) { return "transformers", "" }

func (h *huggingFace) use() modelcard.Section {
	return modelcard.Section{Title: "Use", Code: `from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this file lies
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
` + h.generates()}
}

// generates is the Python code that generates a text with model and tokenizer: an answer, if the model was tuned to answer.
func (e *Export) generates() string {
	inputs := `inputs = tokenizer("Once upon a time", return_tensors="pt")`
	if e.talks() {
		inputs = `messages = [{"role": "user", "content": "What is light?"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")`
	}
	return inputs + `
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0]))`
}

func (h *huggingFace) names() []string {
	list := append(h.tokenizerNames(), checkpoint.ConfigFile, checkpoint.GenerationFile)
	n := len(h.split())
	for i := range n {
		list = append(list, shardName(i, n))
	}
	if n > 1 {
		list = append(list, checkpoint.IndexFile)
	}
	return list
}

func (h *huggingFace) parts(ctx context.Context, tok *tokenizer.Tokenizer, from *result,
	flaw *forward.Flaw) ([]checkpoint.Part, error) {
	parts, err := h.besides(tok)
	if err != nil {
		return nil, err
	}
	shards, err := h.shards(ctx, from, flaw)
	return append(parts, shards...), err
}

// besides returns the files beside the weights.
func (h *huggingFace) besides(tok *tokenizer.Tokenizer) ([]checkpoint.Part, error) {
	generation, err := h.generationConfig(tok)
	if err != nil {
		return nil, err
	}
	cfg, err := model.ConfigJSON(h.Stage.Model.Folded(), tok, h.Stage.DType)
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(generation, "", "  ")
	if err != nil {
		return nil, err
	}
	parts, err := h.tokenizerParts(tok)
	return append(parts, checkpoint.Bytes(checkpoint.ConfigFile, cfg), checkpoint.Bytes(checkpoint.GenerationFile, append(b, '\n'))), err
}

// tokenizerParts are the files of the tokenizer, with the chat template.
func (e *Export) tokenizerParts(tok *tokenizer.Tokenizer) ([]checkpoint.Part, error) {
	parts := []checkpoint.Part{checkpoint.Bytes(checkpoint.TokenizerFile, tok.JSON())}
	talk := e.Stage.Tokenizer.Chat
	if text, ok := talk.Alone(); ok {
		parts = append(parts, checkpoint.Bytes(chat.TemplateFile, []byte(text)))
	}
	config := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": e.Stage.Model.MaxPositionEmbeddings,
		"bos_token": tokenName(tok, tok.BOS), "eos_token": tokenName(tok, tok.EOS), "clean_up_tokenization_spaces": false}
	special := specialTokens(tok)
	if talk.Any() { // the template finds the tokens that it was written for
		maps.Copy(config, talk.Config(tok))
		special = talk.SpecialTokens(tok)
	}
	for _, x := range []struct {
		name string
		v    any
	}{
		{chat.TokenizerConfig, config},
		{specialTokensFile, special},
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

// shards returns the weights of a result as one file, or as several below the shard size with an index, in Hugging
// Face's layout.
func (h *huggingFace) shards(ctx context.Context, f *result, flaw *forward.Flaw) (parts []checkpoint.Part,
	err error) {
	lists := h.split()
	var total int64
	tensor := func(p ops.Param) checkpoint.Tensor {
		total += h.tensorBytes(p)
		return stored(ctx, f, p.Name, p.Name, checkpoint.Tensor{Name: p.Name, Shape: p.Shape, DType: h.Stage.DType}, flaw)
	}
	weightMap := map[string]string{}
	for i, list := range lists {
		name := shardName(i, len(lists))
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
	return append(parts, checkpoint.Bytes(checkpoint.IndexFile, append(b, '\n'))), err
}

// shardName is the name of file i of n with weights.
func shardName(i, n int) string {
	if n == 1 {
		return checkpoint.ModelFile
	}
	return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, n)
}

// tensorBytes is what a parameter takes in an export.
func (h *huggingFace) tensorBytes(p ops.Param) int64 {
	return gpu.Type{Shape: p.Shape, DType: h.Stage.DType}.Bytes()
}

// split puts the parameters into files below the shard size, in order.
func (h *huggingFace) split() (lists [][]ops.Param) {
	var size int64
	for _, p := range h.Stage.Params {
		n := h.tensorBytes(p)
		if len(lists) == 0 || size+n > h.shardSize && size > 0 {
			lists, size = append(lists, nil), 0
		}
		lists[len(lists)-1] = append(lists[len(lists)-1], p)
		size += n
	}
	return lists
}
