package runtime

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/ops"
	"stepflow/ops/llama"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
)

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
