package optimizer

import (
	"stepflow/dsl"
	"stepflow/ops/optim"
)

// Usual is the optimizer whose bytes are counted where no block is named.
var Usual optim.Optimizer = optim.AdamW{}

// Types lists the types of the optimizer that an attribute of a block names, and of those that it names itself for parameters
// in layers. They are not known in full before the pipeline is.
func Types(d *dsl.Decoded, attr string) []string {
	ref, _, ok := d.Ref(attr)
	if !ok {
		return nil
	}
	list := []string{ref.Type}
	if o := d.Referred(attr); o != nil {
		for _, x := range []string{"others", "norms"} {
			list = append(list, Types(o, x)...)
		}
	}
	return list
}

// named returns the optimizer that an attribute of a block names; nil for none.
type named func(attr string) optim.Optimizer

// types makes the optimizer of each type from the attributes of its block, and from those that it names.
var types = map[string]func(d *dsl.Decoded, other named) optim.Optimizer{
	"adamw": func(d *dsl.Decoded, _ named) optim.Optimizer {
		betas := d.Floats("betas")
		return optim.AdamW{LearningRate: d.Float("learning_rate"), Beta1: betas[0], Beta2: betas[1], Eps: d.Float("eps"),
			WeightDecay: d.Float("weight_decay"), MaxGradNorm: d.Float("max_grad_norm"),
			BF16StochasticRound: d.Bool("bf16_stochastic_round"), StateDType: d.Str("state_dtype"), NoDecay: d.Strs("no_decay")}
	},
	"muon": func(d *dsl.Decoded, other named) optim.Optimizer {
		o := optim.Muon{LearningRate: d.Float("learning_rate"), Momentum: d.Float("momentum"), Nesterov: d.Bool("nesterov"),
			NSCoefficients: optim.NSCoefficients, NSSteps: d.Int("ns_steps"), Eps: d.Float("eps"),
			WeightDecay: d.Float("weight_decay"), AdjustLR: d.Str("adjust_lr_fn"), MaxGradNorm: d.Float("max_grad_norm"),
			BF16StochasticRound: d.Bool("bf16_stochastic_round"), StateDType: d.Str("state_dtype"), NoDecay: d.Strs("no_decay")}
		return o.With(other("others"))
	},
}
