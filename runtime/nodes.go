package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/fineweb/hub"
	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/ops"
	"stepflow/ops/llama"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
)

// Tokenizer is a planned tokenizer block: read from a file, or trained by the run.
type Tokenizer struct {
	Addr      addr.Addr
	VocabSize int
	MaxBytes  int64
	TrainOn   *Data
	path      string
	hash      string
	loaded    *tokenizer.Tokenizer
}

func (p *planner) tokenizer(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	t := &Tokenizer{Addr: a.Addr}
	a.Token = t
	if a.Addr.Type == "huggingface" {
		t.path = p.relative(d.Str("file"))
		b, err := foreign.ReadFile(t.path, tokenizer.MaxBytes)
		if err != nil {
			return nil, problem(d, "file", "Unreadable tokenizer", err)
		}
		if t.loaded, err = tokenizer.Parse(b); err != nil {
			return nil, problem(d, "file", "Unreadable tokenizer", fmt.Errorf("%s: %w", t.path, err))
		}
		if name := d.Str("eos_token"); name != "" {
			id, ok := t.loaded.ID(name)
			if !ok {
				return nil, hcl.Diagnostics{d.Error("eos_token", "Unknown token", fmt.Sprintf("%s has no token %q.", t.path, name))}
			}
			t.loaded.EOS = id
		}
		sum := sha256.Sum256(b)
		t.hash, t.VocabSize = hex.EncodeToString(sum[:]), t.loaded.VocabSize()
		known := map[string]cty.Value{"vocab_size": number(float64(t.VocabSize))}
		if t.loaded.EOS < 0 {
			return nil, hcl.Diagnostics{d.Error("file", "No end-of-text token", "Documents are separated by an end-of-text token, and none of the usual ones is in the file. Name one with eos_token.")}
		}
		a.hashed["eos_token"] = strconv.Itoa(int(t.loaded.EOS)) // named or found
		known["eos_token_id"] = number(float64(t.loaded.EOS))
		return known, nil
	}
	ref, _, _ := d.Ref("train_on")
	t.TrainOn = p.use(a, ref).Data
	t.VocabSize = d.Int("vocab_size")
	var err error
	if t.MaxBytes, err = dsl.ParseBytes(d.Str("max_bytes")); err != nil {
		return nil, problem(d, "max_bytes", "Invalid value", err)
	}
	a.hashed["max_bytes"] = fmt.Sprint(t.MaxBytes)
	return map[string]cty.Value{"vocab_size": number(float64(t.VocabSize)), "eos_token_id": number(0)}, nil
}

// Model is a planned model block.
type Model struct {
	Addr   addr.Addr
	Config llama.Config
	Seed   uint64
	Folder string // weights to start from; empty for none
	hash   string
}

func (p *planner) model(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	m := &Model{Addr: a.Addr, Seed: uint64(d.Int("seed"))}
	a.model = m
	given, diags := givenConfig(a.Addr, d)
	if from := d.Str("from"); from != "" {
		folder, err := p.modelFolder(from)
		if err != nil {
			return nil, problem(d, "from", "Remote model", err)
		}
		m.Folder = folder
		if diags = append(diags, p.importModel(m, given, d)...); diags.HasErrors() {
			return nil, diags
		}
	} else {
		m.Config = given
	}
	if diags.HasErrors() {
		return nil, diags
	}
	c := m.Config
	for _, f := range llama.Fields { // a default counts the same whether it is written out or not
		a.hashed[f.Name] = f.Show(c)
	}
	layer := llama.LayerParams(c)
	total := ops.Count(llama.Declare(c, make([]string, c.NumHiddenLayers)), nil)
	return map[string]cty.Value{"vocab_size": number(float64(c.VocabSize)), "hidden_size": number(float64(c.HiddenSize)),
		"intermediate_size": number(float64(c.IntermediateSize)), "num_hidden_layers": number(float64(c.NumHiddenLayers)),
		"max_position_embeddings": number(float64(c.MaxPositionEmbeddings)), "num_parameters": number(float64(total)), "layer_parameters": number(float64(layer))}, nil
}

// modelFolder resolves the from of a model: a path, or hf://ORG/NAME[@REVISION] in the cache that
// Hugging Face's tools keep (HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub).
func (p *planner) modelFolder(from string) (string, error) {
	if !hub.Is(from) {
		if strings.Contains(from, "://") {
			return "", fmt.Errorf("%s cannot be fetched: give a folder, or hf://ORG/NAME of a model that was downloaded", from)
		}
		return p.relative(from), nil
	}
	repo, _, err := hub.Parse(from)
	if err != nil {
		return "", err
	}
	folder, err := repo.Folder()
	if err != nil {
		return "", fmt.Errorf("%s is not in the cache (%w), and models are not downloaded: run \"hf download %s\", or give a folder", from, err, repo.Name)
	}
	return folder, nil
}

// importModel reads config.json of a Hugging Face folder and checks that every tensor is there, before anything of the
// size that config.json claims is made.
func (p *planner) importModel(m *Model, given llama.Config, d *dsl.Decoded) hcl.Diagnostics {
	path := filepath.Join(m.Folder, fileConfig)
	b, err := foreign.ReadFile(path, llama.MaxConfigBytes)
	if err != nil {
		return problem(d, "from", "Unreadable model", err)
	}
	if m.Config, err = llama.ParseConfig(b); err != nil {
		return problem(d, "from", "Unreadable model", fmt.Errorf("reading %s: %w", path, err))
	}
	var diags hcl.Diagnostics
	c := m.Config
	for _, f := range llama.Fields {
		if d.Has(f.Name) && !f.Same(given, c) {
			diags = append(diags, d.Error(f.Name, "Another architecture", fmt.Sprintf("%s is %s here and %s in %s. Leave it out, or start from another folder.", f.Name, f.Show(given), f.Show(c), path)))
		}
	}
	if diags.HasErrors() {
		return diags
	}
	f, err := checkpoint.OpenFolder(m.Folder)
	if err != nil {
		return problem(d, "from", "Unreadable model", err)
	}
	defer f.Close()
	for x := range llama.Wants(c) {
		shape, ok := f.Shape(x.Name)
		has := "have none"
		if ok {
			has = fmt.Sprintf("have %v", shape)
		}
		if !shape.Equal(x.Shape) || !ok {
			return hcl.Diagnostics{d.Error("from", "Another architecture", fmt.Sprintf("%s wants a tensor %s of %v; the safetensors %s.", path, x.Name, x.Shape, has))}
		}
	}
	if m.hash, err = fineweb.Identity(p.ctx, append(f.Files(), path), p.hashing); err != nil {
		return problem(d, "from", "Unreadable model", err)
	}
	return nil
}

func ropeScaling(v cty.Value) (*llama.RopeScaling, error) {
	if v.IsNull() || !v.Type().IsObjectType() {
		return nil, fmt.Errorf("rope_scaling takes an object, such as { rope_type = \"llama3\", factor = 8 }")
	}
	s := &llama.RopeScaling{}
	for n, x := range v.AsValueMap() {
		f := 0.0
		if x.Type() == cty.Number && !x.IsNull() {
			f, _ = x.AsBigFloat().Float64()
		} else if n != "rope_type" && n != "type" {
			return nil, fmt.Errorf("%s of rope_scaling takes a number", n)
		}
		switch n {
		case "rope_type", "type":
			if x.Type() != cty.String || x.IsNull() {
				return nil, fmt.Errorf("rope_type takes a string")
			}
			s.RopeType = x.AsString()
		case "factor":
			s.Factor = f
		case "low_freq_factor":
			s.LowFreqFactor = f
		case "high_freq_factor":
			s.HighFreqFactor = f
		case "original_max_position_embeddings":
			if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
				return nil, fmt.Errorf("%s of rope_scaling takes a whole number", n)
			}
			s.OriginalMaxPositionEmbeddings = int(f)
		default:
			return nil, fmt.Errorf("rope_scaling has no %q", n)
		}
	}
	return s, nil
}

type peftNode struct{ spec peft.Spec }

func (p *planner) peft(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	s, diags := peftSpec(a.Addr, d)
	if diags.HasErrors() {
		return nil, diags
	}
	a.peft = &peftNode{s}
	return map[string]cty.Value{"r": number(float64(s.R))}, nil
}

type optimNode struct{ adamw optim.AdamW }

func (p *planner) optimizer(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	b := d.Floats("betas")
	a.optim = &optimNode{optim.AdamW{LearningRate: d.Float("learning_rate"), Beta1: b[0], Beta2: b[1], Eps: d.Float("eps"),
		WeightDecay: d.Float("weight_decay"), MaxGradNorm: d.Float("max_grad_norm"), BF16StochasticRound: d.Bool("bf16_stochastic_round"), NoDecay: d.Strs("no_decay")}}
	return map[string]cty.Value{}, nil
}
