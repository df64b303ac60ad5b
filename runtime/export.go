package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops/llama"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/state"
)

// Export is a planned export block.
type Export struct {
	Stage     *Stage
	Path      string
	ShardSize int64
}

func (p *planner) export(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	ref, _, _ := d.Ref("model")
	e := &Export{Stage: p.use(a, ref).Stage, Path: p.relative(d.Str("path"))}
	var err error
	if e.ShardSize, err = dsl.ParseBytes(d.Str("max_shard_size")); err != nil || e.ShardSize < 1 {
		return nil, problem(d, "max_shard_size", "Invalid value", fmt.Errorf("%q is no size: write it like \"5 GB\"", d.Str("max_shard_size")))
	}
	if err := ours(e.Path); err != nil {
		return nil, problem(d, "path", "Folder in use", err)
	}
	a.Export = e
	return map[string]cty.Value{"path": cty.StringVal(e.Path)}, nil
}

// exportMark is a file that tells that stepflow wrote a folder and may write it again.
const exportMark = "stepflow_export.json"

// ours refuses a folder that holds things stepflow did not write.
func ours(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, exportMark)); err != nil {
		return fmt.Errorf("%s exists and was not written by an export: choose another path, or empty it", dir)
	}
	return nil
}

// check tells whether the folder still holds what this recipe wrote.
func (e *Export) check(recipe string) error {
	var mark struct {
		Recipe string `json:"recipe"`
	}
	b, err := os.ReadFile(filepath.Join(e.Path, exportMark))
	if err != nil || json.Unmarshal(b, &mark) != nil {
		return fmt.Errorf("%s is gone", e.Path)
	}
	if mark.Recipe != recipe {
		return fmt.Errorf("%s was written by another run", e.Path)
	}
	for _, name := range []string{fileConfig, fileTokenizer} {
		if _, err := os.Stat(filepath.Join(e.Path, name)); err != nil {
			return fmt.Errorf("%s lacks %s", e.Path, name)
		}
	}
	f, err := checkpoint.OpenFolder(e.Path)
	if err != nil {
		return err
	}
	return f.Close()
}

// configJSON is Hugging Face's config.json.
func configJSON(c llama.Config, tok *tokenizer.Tokenizer, dtype gpu.DType) ([]byte, error) {
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
func ropeParameters(c llama.Config) map[string]any {
	m := map[string]any{"rope_theta": c.RopeTheta, "rope_type": "default"}
	if s := c.RopeScaling; s != nil && s.RopeType == "llama3" {
		m["rope_type"], m["factor"], m["low_freq_factor"], m["high_freq_factor"] = s.RopeType, s.Factor, s.LowFreqFactor, s.HighFreqFactor
		m["original_max_position_embeddings"] = s.OriginalMaxPositionEmbeddings
	}
	return m
}

func special(id int32) any {
	if id < 0 {
		return nil
	}
	return id
}

// export writes a stage's result as a Hugging Face folder, beside the old one and then in its place.
func (r *runner) export(a *Action, entry *state.Block) error {
	e := a.Export
	dir, err := r.contentDir(e.Stage.Addr)
	if err != nil {
		return err
	}
	tok, err := r.tokenizer(e.Stage.Tokenizer)
	if err != nil {
		return err
	}
	if err := ours(e.Path); err != nil {
		return err
	}
	parent := filepath.Dir(filepath.Clean(e.Path))
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".stepflow-export-") // a name that nobody's folder has
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := writeShards(r.ctx, dir, tmp, e); err != nil {
		return err
	}
	cfg, err := configJSON(e.Stage.Model, tok, e.Stage.DType)
	if err != nil {
		return err
	}
	files := map[string]any{
		"generation_config.json": map[string]any{"_from_model_config": true, "bos_token_id": special(tok.BOS), "eos_token_id": special(tok.EOS)},
		"tokenizer_config.json": map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": e.Stage.Model.MaxPositionEmbeddings,
			"bos_token": tokenName(tok, tok.BOS), "eos_token": tokenName(tok, tok.EOS), "clean_up_tokenization_spaces": false},
		"special_tokens_map.json": specialTokens(tok),
		exportMark:                map[string]any{"stage": e.Stage.Addr.String(), "recipe": a.Recipe},
	}
	for name, v := range files {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(tmp, name), append(b, '\n')); err != nil {
			return err
		}
	}
	for name, b := range map[string][]byte{fileConfig: cfg, fileTokenizer: tok.JSON()} {
		if err := durable.WriteFile(filepath.Join(tmp, name), b); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(e.Path); err != nil {
		return err
	}
	if err := os.Rename(tmp, e.Path); err != nil {
		return err
	}
	// The state keeps a small folder whose manifest says what was exported.
	where := e.Path
	if a.hidden["path"] {
		where = dsl.Hidden
	}
	record, err := json.Marshal(map[string]string{"path": where, "recipe": a.Recipe})
	if err != nil {
		return err
	}
	entry.Dir = filepath.Join(a.Dir(), "export")
	entry.Values = map[string]any{"path": e.Path}
	return r.writeContent(entry, checkpoint.Bytes("export.json", record))
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

// writeShards copies the tensors of a checkpoint into one file, or into several below the shard
// size with an index, as Hugging Face lays them out. It ends with ctx.
func writeShards(ctx context.Context, from, to string, e *Export) error {
	f, err := checkpoint.Open(filepath.Join(from, fileModel))
	if err != nil {
		return err
	}
	defer f.Close()
	var shards [][]checkpoint.Tensor
	var size, total int64
	for _, p := range e.Stage.Params {
		t := checkpoint.Tensor{Name: p.Name, Shape: p.Shape, DType: e.Stage.DType, Data: func() ([]byte, error) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			b, _, err := f.Raw(p.Name)
			return b, err
		}}
		n := gpu.Type{Shape: t.Shape, DType: t.DType}.Bytes()
		if len(shards) == 0 || size+n > e.ShardSize && size > 0 {
			shards, size = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], t)
		size += n
		total += n
	}
	weightMap := map[string]string{}
	for i, list := range shards {
		name := fileModel
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		for _, t := range list {
			weightMap[t.Name] = name
		}
		if err := durable.Write(filepath.Join(to, name), func(w io.Writer) error { return checkpoint.WriteTensors(w, list) }); err != nil {
			return err
		}
	}
	if len(shards) == 1 {
		return nil
	}
	b, err := json.MarshalIndent(map[string]any{"metadata": map[string]any{"total_size": total}, "weight_map": weightMap}, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(to, fileModel+".index.json"), append(b, '\n'))
}
