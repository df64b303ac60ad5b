package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/ops"
	"stepflow/ops/llama"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
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
	if !slices.ContainsFunc(t.TrainOn.sources(), func(n *Data) bool { return n.Source.ValidationFraction < 1 }) {
		return nil, hcl.Diagnostics{d.Error("train_on", "Nothing to train on", fmt.Sprintf("%s holds all its documents out: its validation_fraction is 1.", ref))}
	}
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
		if diags = append(diags, p.importModel(a, m, given, d)...); diags.HasErrors() {
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
