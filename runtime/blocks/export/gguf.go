package export

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/chat"
	"stepflow/dsl"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/gguf"
	"stepflow/runtime/llamacpp"
	"stepflow/runtime/modelcard"
)

// ggufFile is a file that llama.cpp reads.
type ggufFile struct {
	*Export
	kind gguf.Type
}

// quantizations are the types of tensors by the names that llama.cpp's conversion has for them.
var quantizations = map[string]gguf.Type{"f32": gguf.F32, "f16": gguf.F16, "bf16": gguf.BF16, "q8_0": gguf.Q8_0}

func (g *ggufFile) plan(p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	name := d.Str("quantization")
	if name == "" { // what the weights are: nothing is rounded
		name = map[gpu.DType]string{gpu.F32: "f32", gpu.BF16: "bf16"}[g.Stage.DType]
	}
	g.kind = quantizations[name]
	p.Hashed["quantization"] = name
	if err := llamacpp.CheckModel(g.Stage.Model); err != nil {
		return blocks.Problem(d, "model", "Not a model of llama.cpp", err)
	}
	tok := g.Stage.Tokenizer.Own()
	if tok == nil { // the run trains it, as GPT-2's was
		return nil
	}
	v, err := llamacpp.NewVocabulary(tok, g.Stage.Model.VocabSize)
	if err != nil {
		return blocks.Problem(d, "model", "Not a tokenizer of llama.cpp", fmt.Errorf("%s: %w", g.Stage.Tokenizer.Addr, err))
	}
	for _, w := range v.Warnings {
		p.Warn(fmt.Sprintf("%s %s", g.Stage.Tokenizer.Addr, w))
	}
	return nil
}

// fileName names the file as those of the hub are, whose programs look for the type at its end.
func (g *ggufFile) fileName() string { return "model-" + g.kind.String() + ".gguf" }

func (g *ggufFile) names() []string { return []string{g.fileName()} }

func (*ggufFile) library() (name, tag string) { return "", "gguf" }

func (g *ggufFile) use() modelcard.Section {
	command := "llama-cli -m " + g.fileName()
	if g.talks() {
		command += " -cnv"
	} else {
		command += ` -p "Once upon a time"`
	}
	return modelcard.Section{Title: "Use", Text: []string{"For llama.cpp, and what is built on it:", modelcard.Code(command)}}
}

// tensors returns the tensors of the file, which read returns.
func (g *ggufFile) tensors(read llamacpp.Read) []gguf.Tensor {
	return llamacpp.Tensors(g.Stage.Model, g.Stage.Params, g.kind, read)
}

func (g *ggufFile) bytes() int64 {
	f := gguf.File{Tensors: g.tensors(nil)}
	return f.TensorBytes()
}

func (g *ggufFile) details() []blocks.Line {
	count := map[gguf.Type]int{}
	for _, t := range g.tensors(nil) {
		count[t.Type]++
	}
	var text []string
	for _, t := range []gguf.Type{gguf.Q8_0, gguf.BF16, gguf.F16, gguf.F32} {
		if n := count[t]; n > 0 {
			text = append(text, fmt.Sprintf("%d %s", n, t))
		}
	}
	line := strings.Join(text, ", ")
	if count[gguf.F16] > 0 && g.kind == gguf.Q8_0 {
		line += ": rows that are not a multiple of 32 numbers, the block of Q8_0, are F16"
	}
	return []blocks.Line{{About: "tensors", Text: line}}
}

func (g *ggufFile) parts(ctx context.Context, tok *tokenizer.Tokenizer, f *result,
	flaw *forward.Flaw) ([]checkpoint.Part, error) {
	v, err := llamacpp.NewVocabulary(tok, g.Stage.Model.VocabSize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.Stage.Tokenizer.Addr, err)
	}
	read := func(name string, from, n int64) ([]float32, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		b, err := f.Elements(name, from, n)
		if err != nil {
			return nil, err
		}
		x := gpu.BytesFloat32(b, g.Stage.DType)
		shape, _ := f.weights.Shape(name)
		flaw.LookAt(name, shape, int(from), x)
		return x, nil
	}
	metadata := append(llamacpp.Metadata(g.Stage.Model, g.kind), gguf.KV{Key: "general.name", Value: g.title()})
	metadata = append(append(metadata, v.Metadata...), g.chat(tok)...)
	file := gguf.File{Metadata: metadata, Tensors: g.tensors(read)}
	return []checkpoint.Part{{Name: g.fileName(), Fill: file.Write}}, nil
}

// chat returns the chat templates, and the token with which they end an answer.
func (g *ggufFile) chat(tok *tokenizer.Tokenizer) (list []gguf.KV) {
	source := g.Stage.Tokenizer.Chat
	if !source.Any() {
		return nil
	}
	const key = "tokenizer.chat_template"
	var names []string
	for _, name := range slices.Sorted(maps.Keys(source.Templates)) {
		switch text := source.Templates[name]; name {
		case chat.Default:
			list = append(list, gguf.KV{Key: key, Value: text})
		default:
			names = append(names, name)
			list = append(list, gguf.KV{Key: key + "." + name, Value: text})
		}
	}
	if len(names) > 0 {
		list = append(list, gguf.KV{Key: key + "s", Value: names})
	}
	if id, ok := g.endOfTurn(tok); ok && id != tok.EOS {
		list = append(list, gguf.KV{Key: "tokenizer.ggml.eot_token_id", Value: uint32(id)})
	}
	return list
}
