package optimizer

import (
	"stepflow/dsl"
	"stepflow/ops/optim"
)

// Usual is the optimizer whose bytes are counted where no block is named.
var Usual optim.Optimizer = optim.AdamW{}

// types makes the optimizer of each type from the attributes of its block; named returns the one that an attribute names,
// nil for none.
var types = map[string]func(d *dsl.Decoded, named func(attr string) optim.Optimizer) optim.Optimizer{
	"adamw": func(d *dsl.Decoded, _ func(string) optim.Optimizer) optim.Optimizer {
		betas := d.Floats("betas")
		return optim.AdamW{LearningRate: d.Float("learning_rate"), Beta1: betas[0], Beta2: betas[1], Eps: d.Float("eps"),
			WeightDecay: d.Float("weight_decay"), MaxGradNorm: d.Float("max_grad_norm"),
			BF16StochasticRound: d.Bool("bf16_stochastic_round"), NoDecay: d.Strs("no_decay")}
	},
	"muon": func(d *dsl.Decoded, named func(string) optim.Optimizer) optim.Optimizer {
		o := optim.Muon{LearningRate: d.Float("learning_rate"), Momentum: d.Float("momentum"), Nesterov: d.Bool("nesterov"),
			NSCoefficients: optim.NSCoefficients, NSSteps: d.Int("ns_steps"), Eps: d.Float("eps"),
			WeightDecay: d.Float("weight_decay"), AdjustLR: d.Str("adjust_lr_fn"), MaxGradNorm: d.Float("max_grad_norm"),
			BF16StochasticRound: d.Bool("bf16_stochastic_round"), NoDecay: d.Strs("no_decay")}
		return o.With(named("others"))
	},
}
