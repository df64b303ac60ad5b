package optimizer

import (
	"stepflow/dsl"
	"stepflow/ops/optim"
)

// Usual is the optimizer whose bytes are counted where no block is named.
var Usual optim.Optimizer = optim.AdamW{}

// types makes the optimizer of each type from the attributes of its block.
var types = map[string]func(d *dsl.Decoded) optim.Optimizer{
	"adamw": func(d *dsl.Decoded) optim.Optimizer {
		betas := d.Floats("betas")
		return optim.AdamW{LearningRate: d.Float("learning_rate"), Beta1: betas[0], Beta2: betas[1], Eps: d.Float("eps"),
			WeightDecay: d.Float("weight_decay"), MaxGradNorm: d.Float("max_grad_norm"),
			BF16StochasticRound: d.Bool("bf16_stochastic_round"), NoDecay: d.Strs("no_decay")}
	},
}
