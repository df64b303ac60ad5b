package optimizer

import (
	"stepflow/dsl"
	"stepflow/ops/optim"
)

// The types that keep less than AdamW does of each parameter; see types.
func init() {
	types["scale"] = func(d *dsl.Decoded, other named) optim.Optimizer {
		o := optim.Scale{LearningRate: d.Float("learning_rate"), Momentum: d.Float("momentum"), Eps: d.Float("eps"),
			WeightDecay: d.Float("weight_decay"), MaxGradNorm: d.Float("max_grad_norm"),
			BF16StochasticRound: d.Bool("bf16_stochastic_round"), StateDType: d.Str("state_dtype"), NoDecay: d.Strs("no_decay")}
		return o.With(adamwOr(d, other))
	}
	types["apollo"], types["apollo_mini"] = apollo(false), apollo(true)
	types["galore"] = func(d *dsl.Decoded, other named) optim.Optimizer {
		betas := d.Floats("betas")
		o := optim.GaLore{LearningRate: d.Float("learning_rate"), Rank: d.Int("rank"), UpdateProjGap: d.Int("update_proj_gap"),
			Factor: d.Float("scale"), Fira: d.Bool("fira"), Beta1: betas[0], Beta2: betas[1], Eps: d.Float("eps"),
			WeightDecay: d.Float("weight_decay"), MaxGradNorm: d.Float("max_grad_norm"),
			BF16StochasticRound: d.Bool("bf16_stochastic_round"), StateDType: d.Str("state_dtype"), NoDecay: d.Strs("no_decay")}
		return o.With(adamwOr(d, other))
	}
	types["adafactor"] = func(d *dsl.Decoded, _ named) optim.Optimizer {
		return optim.Adafactor{LearningRate: d.Float("learning_rate"), DecayRate: d.Float("decay_rate"),
			ClipThreshold: d.Float("clip_threshold"), Eps: d.Float("eps"), Beta1: d.Float("beta1"),
			ScaleParameter: d.Bool("scale_parameter"), RelativeStep: d.Bool("relative_step"),
			WeightDecay: d.Float("weight_decay"), MaxGradNorm: d.Float("max_grad_norm"),
			BF16StochasticRound: d.Bool("bf16_stochastic_round"), StateDType: d.Str("state_dtype"), NoDecay: d.Strs("no_decay")}
	}
}

func apollo(mini bool) func(*dsl.Decoded, named) optim.Optimizer {
	return func(d *dsl.Decoded, other named) optim.Optimizer {
		betas := d.Floats("betas")
		o := optim.Apollo{LearningRate: d.Float("learning_rate"), Rank: d.Int("rank"), Mini: mini,
			UpdateProjGap: d.Int("update_proj_gap"), Factor: d.Float("scale"), Beta1: betas[0], Beta2: betas[1],
			Eps: d.Float("eps"), WeightDecay: d.Float("weight_decay"), MaxGradNorm: d.Float("max_grad_norm"),
			BF16StochasticRound: d.Bool("bf16_stochastic_round"), StateDType: d.Str("state_dtype"), NoDecay: d.Strs("no_decay")}
		return o.With(adamwOr(d, other))
	}
}

// adamwOr is the optimizer of what the type of a block is not for: the one that it names, or AdamW with its settings, which
// its authors train with.
func adamwOr(d *dsl.Decoded, other named) optim.Optimizer {
	if o := other("others"); o != nil {
		return o
	}
	betas := d.Floats("betas")
	return optim.AdamW{LearningRate: d.Float("learning_rate"), Beta1: betas[0], Beta2: betas[1], Eps: d.Float("eps"),
		WeightDecay: d.Float("weight_decay"), BF16StochasticRound: d.Bool("bf16_stochastic_round"), StateDType: d.Str("state_dtype"),
		NoDecay: d.Strs("no_decay")}
}
