package dsl

import (
	"slices"

	"github.com/zclconf/go-cty/cty"
)

func str(s string) cty.Value  { return cty.StringVal(s) }
func num(f float64) cty.Value { return cty.NumberFloatVal(f) }
func at(f float64) *float64   { return &f }

// Bounds of numbers. Every number has some, so that absurd values are refused before anything is computed from them.
// They are far beyond what was ever trained, and products of a few stay within 64 bits.
const (
	maxWhole = 1<<53 - 1 // the largest up to which a float64 holds every whole number
	maxSteps = 1<<31 - 1
)

// maxLayers bounds the layers of a model and of a stage: the deepest networks have a few thousand.
const maxLayers = 10000

var strings_ = cty.List(cty.String)

// length lists the attributes that a stage's number of steps reveals.
var length = []string{"layers", "train.tokens", "train.steps", "train.flops", "train.stop_at", "train.batch_size",
	"train.sequence_length", "train.micro_batch_size"}

// Kinds is the language: every block, attribute, default and export.
var Kinds = []Kind{
	executorKind,
	dataKind,
	tokenizerKind,
	{Name: "model", Repeat: true, Lazy: true, // Extend adds its types, with their attributes and exports
		Doc: "An architecture, with the names of Hugging Face's `config.json`. With `from` it is read from a Hugging " +
			"Face folder, weights included, and attributes may not contradict the folder; `auto` takes the " +
			"folder's architecture. A setting of the folder that stepflow does not compute is an error: see " +
			"[import.md](import.md).",
		Attrs: []Attr{
			{Name: "from", Type: cty.String,
				Doc: "Folder with `config.json` and safetensors to start from, relative to the pipeline's folder; or " +
					"`hf://ORG/NAME[@REVISION]` for a model in the cache of Hugging Face's tools."},
			{Name: "seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(0),
				Doc: "Seed of the first weights."},
		}},
	{Name: "peft", Types: []string{"lora", "relora", "sltrain"}, Repeat: true, Lazy: true,
		Doc: "An adapter, with the names of Hugging Face's PEFT. It sits on frozen projections and is merged when " +
			"the stage ends; `relora` also merges and restarts on the way. `sltrain` takes the place of projections that train: each " +
			"is then the product of two matrices of rank r, plus a value at some of its elements. The result has them whole.",
		Attrs: []Attr{
			{Name: "r", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 16), Required: true, Doc: "Rank."},
			{Name: "lora_alpha", Type: cty.Number, Above: at(0), Max: at(1e6), Required: true,
				Doc: "The adapter's product is scaled by lora_alpha / r."},
			{Name: "use_rslora", Type: cty.Bool, Default: cty.False, Doc: "Scale by lora_alpha / sqrt(r) instead."},
			{Name: "init_lora_weights", Type: cty.String, Default: str("true"), Only: []string{"lora", "sltrain"},
				Doc: "First values: `true` for a random A and a B of zeros; `pissa` for the principal singular vectors of the " +
					"weight, which keeps the rest; `pissa_niter_4` for the same by a randomised search of 4 iterations, much faster. " +
					"With `sltrain`, a weight that has values already begins with its singular vectors: by that search, unless " +
					"another is named."},
			{Name: "lora_dropout", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0),
				Doc: "0, since adapters train without dropout; any other value is an error."},
			{Name: "loraplus_lr_ratio", Type: cty.Number, Above: at(0), Max: at(1e6), Default: num(1), Only: []string{"lora", "relora"},
				Doc: "Multiplies the learning rate of the matrices B; A has the optimizer's (LoRA+)."},
			{Name: "sparsity", Type: cty.Number, Above: at(0), Below: at(1), Required: true, Only: []string{"sltrain"},
				Doc: "Share of the elements of each projection that have a value beside the product, such as 0.03. They are drawn at " +
					"random, by the stage's seed, and never change."},
			{Name: "target_modules", Type: strings_, Filled: true, Required: true,
				Doc: "Names such as `q_proj`, patterns such as `model.layers.*.mlp.*`, or `all-linear`. A name or " +
					"pattern that matches nothing is an error."},
			{Name: "reset_every", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Required: true,
				Only: []string{"relora"}, Unit: "optimizer steps",
				Doc: "Steps between merge and restart."},
			{Name: "restart_warmup_steps", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxSteps),
				Default: num(0), Only: []string{"relora"}, Unit: "optimizer steps",
				Doc: "Steps over which the learning rate rises again after a restart."},
			{Name: "optimizer_magnitude_pruning", Type: cty.Number, Above: at(0), Below: at(1), Group: "pruning", Only: []string{"relora"},
				Doc: "Share of each moment of the adapters that a restart makes zero, the smallest magnitudes; the rest, and the " +
					"bias correction, go on. By default all moments begin again."},
			{Name: "optimizer_random_pruning", Type: cty.Number, Above: at(0), Below: at(1), Group: "pruning", Only: []string{"relora"},
				Doc: "The same, of elements that are drawn at random."},
			{Name: "merge_rounding", Type: cty.String, Default: str("stochastic"),
				OneOf: []string{"stochastic", "remainder"}, Only: []string{"relora"},
				Doc: "How a merge rounds to bf16 weights, which are too coarse for the small updates of a short " +
					"cycle. `stochastic`: up or down at random, right on average. `remainder`: to nearest, " +
					"keeping the remainder for the next merge: exact, for 2 more bytes a weight. Merges into fp32 " +
					"weights need neither."},
		},
		Exports: []Export{{Name: "r", Type: cty.Number, Doc: "As configured."}}},
	{Name: "optimizer", Types: append([]string{"adamw", "muon"}, lowMemory...), Repeat: true, Lazy: true,
		Doc: "How weights are updated, with decoupled weight decay and clipping by global norm. `adamw` keeps " +
			"two moments of each parameter. `muon` makes the update of a projection nearly orthogonal, keeps " +
			"one moment of it, and leaves all other parameters to `others`; its attributes mean what those of " +
			"`torch.optim.Muon` do. `scale` divides the gradient of each output of a matrix by its root mean square, and keeps " +
			"one moment, for the head alone. `apollo` and `apollo_mini` scale the gradient of a projection by what AdamW does to " +
			"a random projection of it to `rank` rows or columns. `galore` runs AdamW in the subspace of the `rank` largest " +
			"singular values of the gradient, and with `fira` adds the rest of it. `adafactor` keeps the mean squares of rows " +
			"and columns. If an optimizer names others, each has its own `learning_rate`, and the stage's schedule scales all.",
		Attrs: []Attr{
			{Name: "learning_rate", Type: cty.Number, Min: at(0), Max: at(1e38), Required: true,
				Doc: "Peak of the schedule."},
			{Name: "betas", Type: cty.List(cty.Number), Min: at(0), Below: at(1),
				Default: cty.ListVal([]cty.Value{num(0.9), num(0.95)}),
				Only:    append([]string{"adamw"}, leaveRest...),
				Doc:     "Decay of the first and second moment. In `scale` it is for the `adamw` that trains the rest if `others` is not given."},
			{Name: "momentum", Type: cty.Number, Min: at(0), Below: at(1), Default: num(0.95), Only: []string{"muon", "scale"},
				Defaults: map[string]cty.Value{"scale": num(0.9)}, Doc: "Decay of the moment."},
			{Name: "nesterov", Type: cty.Bool, Default: cty.True, Only: []string{"muon"},
				Doc: "Nesterov momentum: the update looks one decay ahead."},
			{Name: "ns_steps", Type: cty.Number, Whole: true, Min: at(1), Max: at(99), Default: num(5), Only: []string{"muon"},
				Doc: "Newton-Schulz iterations, in the precision of the weights."},
			{Name: "adjust_lr_fn", Type: cty.String, Default: str("original"), Only: []string{"muon"},
				OneOf: []string{"original", "match_rms_adamw", "spectral_unclamped"},
				Doc: "What the learning rate of a matrix of A rows and B columns is multiplied by. `original`: " +
					"sqrt(max(1, A/B)). `match_rms_adamw`: 0.2 sqrt(max(A, B)), so that AdamW's learning rate " +
					"and weight decay serve. `spectral_unclamped`: sqrt(A/B)."},
			{Name: "rank", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 20), Default: num(128), Only: lowRank,
				Defaults: map[string]cty.Value{"apollo": num(256), "apollo_mini": num(1)},
				Doc: "Rows or columns of the projected gradient, for which AdamW keeps moments: at most the smaller side of " +
					"every projection that trains. A quarter of `hidden_size` is usual."},
			{Name: "update_proj_gap", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Default: num(200),
				Only: lowRank, Unit: "optimizer steps", Doc: "Steps from one projection to the next."},
			{Name: "scale", Type: cty.Number, Above: at(0), Max: at(1e9), Default: num(0.25), Only: lowRank,
				Defaults: map[string]cty.Value{"apollo": num(1), "apollo_mini": num(128)},
				Doc: "`galore`: what the update in the subspace is multiplied by. `apollo`, `apollo_mini`: the update is " +
					"multiplied by the square root of this; a lower rank needs a larger value."},
			{Name: "fira", Type: cty.Bool, Default: cty.False, Only: []string{"galore"},
				Doc: "Adds the part of the gradient that the projection leaves out, each channel scaled as AdamW scales its " +
					"projection. The norm of this part grows by at most 1 % a step."},
			{Name: "decay_rate", Type: cty.Number, Min: at(-10), Below: at(0), Default: num(-0.8), Only: []string{"adafactor"},
				Doc: "The means of squares decay by 1 - t^decay_rate in step t."},
			{Name: "beta1", Type: cty.Number, Min: at(0), Below: at(1), Default: num(0), Only: []string{"adafactor"},
				Doc: "Decay of a first moment of updates times their learning rates, 4 bytes a parameter; 0: none."},
			{Name: "clip_threshold", Type: cty.Number, Above: at(0), Max: at(1e9), Default: num(1), Only: []string{"adafactor"},
				Doc: "Bound on the root mean square of the update of a parameter, before the learning rate."},
			{Name: "scale_parameter", Type: cty.Bool, Default: cty.False, Only: []string{"adafactor"},
				Doc: "Multiplies the learning rate of a parameter by its root mean square, or by 0.001 if that is larger."},
			{Name: "relative_step", Type: cty.Bool, Default: cty.False, Only: []string{"adafactor"},
				Doc: "Bounds the learning rate by 1/sqrt(t) in step t."},
			{Name: "eps", Type: cty.Number, Above: at(0), Max: at(1), Default: num(1e-8),
				Defaults: map[string]cty.Value{"muon": num(1e-7), "adafactor": num(1e-30)},
				Doc: "`adamw`, `apollo`, `apollo_mini`, `galore`: added to the root of the second moment. `muon`: the least norm " +
					"that a matrix is divided by. `scale`: the least root mean square. `adafactor`: added to squares."},
			{Name: "weight_decay", Type: cty.Number, Min: at(0), Max: at(1000), Default: num(0.1),
				Defaults: map[string]cty.Value{"scale": num(0), "apollo": num(0), "apollo_mini": num(0), "galore": num(0),
					"adafactor": num(0)},
				Doc: "Decoupled decay, times the learning rate each step."},
			{Name: "no_decay", Type: strings_,
				Doc: "Patterns of parameter names without decay; default: norms, biases and embeddings."},
			{Name: "max_grad_norm", Type: cty.Number, Min: at(0), Max: at(1e9), Default: num(1),
				Doc: "Bound on the norm of all gradients together, those of the optimizers named here included; " +
					"0 for none. Of an optimizer that another one names, it is not used."},
			{Name: "bf16_stochastic_round", Type: cty.Bool, Default: cty.False,
				Doc: "With `precision = \"bf16\"`, keep no fp32 master weights and round updated weights at " +
					"random instead, right in the mean: 4 bytes a trainable parameter less (with `adamw` 12 " +
					"instead of 16), at some cost in quality."},
			{Name: "state_dtype", Type: cty.String, Default: str("fp32"), OneOf: []string{"fp32", "bf16", "int8"},
				Doc: "How the moments are stored. `bf16`: 2 bytes each, rounded at random, right in the mean. `int8`: a " +
					"byte each, and a scale of 4 bytes for every 256 elements, in the dynamic map of 8-bit " +
					"Adam, or for `muon` in equal steps. With `int8`, moments of embeddings and those of fewer than 4,096 elements " +
					"stay in fp32. Together with `bf16_stochastic_round`, a trainable parameter takes 8 bytes in " +
					"`bf16` and about 6 in `int8` (`muon`: 6 and about 5). `apollo`, `apollo_mini`, `galore`: the moments of " +
					"the projected gradient, and those of the default of `others`. `scale`: the momentum of the head. `adafactor`: the " +
					"first moment, with `beta1`."},
			{Name: "others", Ref: []string{"optimizer"}, Required: true, Only: append([]string{"muon"}, leaveRest...),
				Optional: leaveRest,
				Doc: "The optimizer of all parameters but projections: embeddings, head, norms, biases and " +
					"adapters. Usually `adamw`. `scale` trains embeddings and head itself. Only `muon` requires it; the other types " +
					"default to an `adamw` with the attributes of the block."},
			{Name: "embeddings", Ref: []string{"optimizer"},
				Doc: "Another optimizer for the token embeddings, and the head tied to them."},
			{Name: "lm_head", Ref: []string{"optimizer"},
				Doc: "Another optimizer for the head, where it is not tied to the embeddings."},
			{Name: "norms", Ref: []string{"optimizer"}, Doc: "Another optimizer for norms and biases."},
		}},
	memoryPlanKind,
	stageKind,
	taskKind,
	evaluateKind,
	exportKind,
	{Name: "output", Doc: "A value to print after `apply` and to read with `stepflow output`.",
		Attrs: []Attr{
			{Name: "value", Type: cty.DynamicPseudoType, Required: true, Doc: "Any expression."},
			{Name: "description", Type: cty.String, Doc: "What it is."},
			{Name: "sensitive", Type: cty.Bool, Default: cty.False,
				Doc: "Hides the value: it is neither printed nor kept in the state."},
			dependsOn,
		},
		Blocks: []Nested{{Name: "precondition", Repeat: true,
			Doc: "Must be true for the output to have a value. It is tested in the plan as soon as its values are known, " +
				"else when everything has run; `apply` then exits with 1, and the results are kept.",
			Attrs: conditionAttrs("An expression of variables, locals and blocks.")}}},
	{Name: "telemetry", NoLabel: true,
		Doc: "What is traced, if the standard `OTEL_*` variables name a place to send traces to.",
		Attrs: []Attr{
			{Name: "step_every", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Default: num(50),
				Unit: "optimizer steps",
				Doc: "One step in this many has a span for each device operation, and so have the first and last " +
					"step of a stage and steps slower than three times the median."},
			{Name: "max_spans", Type: cty.Number, Whole: true, Min: at(1), Max: at(1e9), Default: num(100000),
				Unit: "spans",
				Doc: "The most spans that a run sends. If there would be more, steps are sampled less often; `plan` " +
					"says how often."},
		}},
}

// Types of optimizers that keep less of each parameter than AdamW does.
var (
	lowMemory = append(slices.Clone(leaveRest), "adafactor")
	leaveRest = append([]string{"scale"}, lowRank...)       // to others, which has a default
	lowRank   = []string{"apollo", "apollo_mini", "galore"} // AdamW on a projection of the gradient
)

// Meta lists the blocks that are not computed by a run.
var Meta = []Kind{
	{Name: "variable", Doc: "An input: `-var`, `-var-file`, `STEPFLOW_VAR_name`, `stepflow.vars.hcl`, " +
		"`*.auto.vars.hcl`, or its default. A file of values may also hold one JSON object, and its name then ends with " +
		"`.json`. Of several values the command line's wins, then that of the last `*.auto.vars` file, of " +
		"`stepflow.vars`, and of the environment.",
		Attrs: []Attr{
			{Name: "type", Type: cty.DynamicPseudoType,
				Doc: "A type such as `number`, `string`, `bool`, `list(string)` or `object({ a = string, b = " +
					"optional(number, 1) })`; a value that cannot be converted is an error. Text from `-var` and " +
					"the environment is taken as it is if the type is string, number, bool or not given; for " +
					"other types it is an expression."},
			{Name: "default", Type: cty.DynamicPseudoType,
				Doc: "Value if none is given; without it, the variable must be set."},
			{Name: "description", Type: cty.String, Doc: "What it is."},
			{Name: "sensitive", Type: cty.Bool, Default: cty.False,
				Doc: "Its value is not shown in plans, reports and traces."},
			{Name: "nullable", Type: cty.Bool, Default: cty.True,
				Doc: "Whether the value may be null; if not, null stands for the default."},
		},
		Blocks: []Nested{{Name: "validation", Repeat: true, Doc: "A condition that every value must meet.", Attrs: []Attr{
			{Name: "condition", Type: cty.Bool, Required: true,
				Doc: "An expression of `var.NAME`, and of other variables."},
			{Name: "error_message", Type: cty.String, Required: true, Doc: "The error message if it is false."},
		}}}},
	moduleKind,
	{Name: "locals", NoLabel: true, Doc: "Names for expressions, which others use as `local.NAME`."},
	defaultsKind,
	importKind,
	movedKind,
	removedKind,
	checkKind,
}
