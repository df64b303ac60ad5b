package dsl

import "github.com/zclconf/go-cty/cty"

// ofDevice lists the attributes that a plan for a device reveals.
var ofDevice = []string{"device_memory", "stages", "tokens", "updates", "freezes", "frozen_dtypes", "state_dtypes"}

// memoryPlanKind is the row of Kinds for plans that split a model into stages.
var memoryPlanKind = Kind{Name: "memory_plan", Repeat: true, Lazy: true,
	Doc: "Splits the model's layers into stages so that the largest stage's model states are as small as possible: " +
		"the integer program of STEP (arXiv 2504.04151), solved exactly when the plan is made. It counts a trainable " +
		"parameter with what its optimizer keeps beside weight and gradient, 16 bytes in all with `adamw`, and a " +
		"frozen one with 2 (4 in fp32), without the 2 more that a gradient takes if `accumulate_dtype` adds it up in " +
		"fp32. Embeddings, head and norms count as trained.",
	Attrs: []Attr{
		{Name: "model", Ref: []string{"model"}, Required: true, Doc: "The full model."},
		{Name: "peft", Ref: []string{"peft"},
			Doc: "The adapters of frozen layers, with the remainders of their merges, if they keep any. Default: " +
				"no adapters."},
		{Name: "optimizer", Ref: []string{"optimizer"},
			Doc: "The optimizer of the stages; default: an `adamw`, 16 bytes a trainable parameter. In bf16 with " +
				"`bf16_stochastic_round` it takes 12, and with `state_dtype = \"int8\"` too about 6; a parameter that " +
				"`muon` trains takes 12, or with both about 5."},
		{Name: "stages", Type: cty.Number, Whole: true, Min: at(1), Max: at(1000), Group: "split",
			Doc: "Number of stages; exactly one of `stages` and `budget`. With `device_memory` it is optional."},
		{Name: "budget", Type: cty.String, Bytes: true, Group: "split",
			Doc: "Bytes of model states, such as `16 GiB`, for the largest stage; the plan has the fewest stages " +
				"that fit. Exactly one of `stages`, `budget` and `device_memory`."},
		{Name: "device_memory", Type: cty.String, Bytes: true,
			Doc: "Bytes of a device, such as `24 GiB`, for [everything that a stage takes](memory.md#a-plan-for-a-device): states, " +
				"activations, logits and workspace, exactly as the stages are compiled. The plan has the fewest stages that " +
				"fit, or `stages`, and for each stage the settings that cost the least time. It is for the kind of device that `plan` is for."},
		{Name: "sequence_length", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Unit: "tokens",
			Doc: "With `device_memory`: the `sequence_length` of the stages."},
		{Name: "batch_size", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Unit: "sequences",
			Doc: "With `device_memory`: the `batch_size` of the stages."},
		{Name: "objective", Type: cty.String, OneOf: []string{"loss", "memory", "time"},
			Doc: "With `device_memory`, which of the plans with equally many stages is best. `loss`, the default: the lowest loss by the " +
				"scaling law, which large early stages have. `memory`: the smallest peak. `time`: the fewest operations."},
		{Name: "updates", Type: strings_, Filled: true,
			Doc: "With `device_memory`: the values of a stage's `update` that the plan may choose from, the preferred one first; " +
				"default: `[\"separate\"]`."},
		{Name: "freezes", Type: cty.List(strings_), Filled: true,
			Doc: "With `device_memory`: the values of `freeze` that the plan may choose from for stages that continue another, the preferred " +
				"one first; lists of `inherited`, `embeddings`, `lm_head` and `norm`. Default: `[[\"inherited\"]]`."},
		{Name: "frozen_dtypes", Type: strings_, Filled: true,
			Doc: "With `device_memory`: the values of [`frozen_dtype`](#stage) that the plan may choose from, the preferred one first; " +
				"`none` stands for weights that are stored as `precision` says. Default: `frozen_dtype` alone."},
		{Name: "state_dtypes", Type: strings_, Filled: true,
			Doc: "With `device_memory`: the values of the optimizer's [`state_dtype`](#optimizer) that the plan may choose from, the " +
				"preferred one first; default: its own. An optimizer that gives `state_dtype` itself keeps it."},
		{Name: "tokens", Type: cty.Number, Above: at(0), Max: at(1e18), Unit: "tokens",
			Doc: "With `device_memory`: the tokens of the whole run, shared equally among the stages, for the forecasts of " +
				"loss and time; default: 20 a parameter."},
		{Name: "position", Type: cty.String, OneOf: []string{"upper", "intermediate", "lower", "even"},
			Doc: "With `device_memory`: the `position` of the stages' `grow`; default: `upper`."},
		{Name: "precision", Type: cty.String, Default: str("bf16"), OneOf: []string{"bf16", "fp32"},
			Doc: "Precision of the stages: a frozen parameter takes 2 bytes in bf16 and 4 in fp32."},
		{Name: "frozen_dtype", Type: cty.String, OneOf: []string{"nf4", "int8", "bf16"},
			Doc: "The [`frozen_dtype`](#stage) of the stages; default: frozen weights are stored as `precision` says."},
		{Name: "growth", Type: cty.String, Default: str("interpolation"), OneOf: []string{"interpolation", "any"},
			Doc: "`interpolation`: a stage adds at most as many layers as there are gaps. `any`: no bound, as in " +
				"the paper's program."},
		{Name: "layers_only", Type: cty.Bool, Default: cty.False,
			Doc: "Leaves embeddings, head and final norm out of the objective, as the paper's formula does."},
	},
	Blocks: []Nested{{Name: "alternative", Repeat: true,
		Doc: "With `device_memory`: another optimizer that the plan may choose, such as one with smaller states. Among equal " +
			"plans, the one with the first optimizer is taken.",
		Attrs: []Attr{{Name: "optimizer", Ref: []string{"optimizer"}, Required: true, Doc: "The optimizer."}}},
		{Name: "evaluate", Named: true, Repeat: true,
			Doc: "With `device_memory`: tasks that the stages measure between steps, as in an [`evaluate` block of their `train`](#stage). " +
				"The plan leaves room for the keys and values of their texts. These are counted as long as they may be, whatever the tokenizer, " +
				"so that the plan is the same before and after it is trained.",
			Attrs: ofTasks(true)}},
	Exports: []Export{
		{Name: "layers", Type: cty.List(cty.Number), From: []string{"stages", "budget", "device_memory"},
			Doc: "Layers to add in each stage."},
		{Name: "micro_batch_size", Type: cty.List(cty.Number), From: ofDevice,
			Doc: "With `device_memory`: the setting of each stage; null otherwise."},
		{Name: "activation_checkpointing", Type: cty.List(cty.String), From: ofDevice,
			Doc: "With `device_memory`: the setting of each stage; null otherwise."},
		{Name: "update", Type: cty.List(cty.String), From: ofDevice,
			Doc: "With `device_memory`: the setting of each stage; null otherwise."},
		{Name: "freeze", Type: cty.List(strings_), From: ofDevice,
			Doc: "With `device_memory`: the setting of each stage, empty for the first; null otherwise."},
		{Name: "frozen_dtype", Type: strings_, From: ofDevice,
			Doc: "With `device_memory`: the setting of each stage, null for `none` and for the first; null otherwise."},
		{Name: "state_dtype", Type: cty.String, From: ofDevice,
			Doc: "With `device_memory` and `state_dtypes`: the setting of the chosen optimizer; null otherwise, and if that gives it itself or " +
				"has no moments."},
		{Name: "device_bytes", Type: cty.List(cty.Number), From: ofDevice,
			Doc: "With `device_memory`: what each stage takes on the device; null otherwise."},
		{Name: "optimizer", Type: cty.DynamicPseudoType, From: ofDevice,
			Doc: "The optimizer that the plan is for: `optimizer`, or with `device_memory` the `alternative` that it chose. Null if it " +
				"names none."},
		{Name: "precision", Type: cty.String, From: []string{"precision"}, Doc: "The `precision` that the plan is for."},
		{Name: "sequence_length", Type: cty.Number, From: []string{"sequence_length"},
			Doc: "With `device_memory`: the setting of all stages; null otherwise."},
		{Name: "batch_size", Type: cty.Number, From: []string{"batch_size"},
			Doc: "With `device_memory`: the setting of all stages; null otherwise."},
		{Name: "tokens", Type: cty.Number, From: []string{"tokens"},
			Doc: "With `device_memory`: the tokens of all stages together; null otherwise."},
		{Name: "position", Type: cty.String, From: []string{"position"},
			Doc: "With `device_memory`: the `position` of the stages' `grow`; null otherwise."},
		{Name: "forecast_loss", Type: cty.Number, From: ofDevice,
			Doc: "With `device_memory`: the loss by the scaling law, nats a token; null otherwise."},
		{Name: "stages", Type: cty.Number, From: []string{"stages", "budget", "device_memory"}, Doc: "Number of stages."},
		{Name: "peak_bytes", Type: cty.Number, From: []string{"stages", "budget", "device_memory"},
			Doc: "Model states of the largest stage."},
		{Name: "vanilla_bytes", Type: cty.Number, From: []string{"stages", "budget", "device_memory"},
			Doc: "Model states of training the full model at once."},
		{Name: "saving", Type: cty.Number, From: []string{"stages", "budget", "device_memory"},
			Doc: "1 - peak_bytes / vanilla_bytes."},
		{Name: "layers_peak_bytes", Type: cty.Number, From: []string{"stages", "budget", "device_memory"},
			Doc: "Model states of the largest stage, for layers and adapters alone (the paper's figure)."},
		{Name: "layers_vanilla_bytes", Type: cty.Number, From: []string{"stages", "budget", "device_memory"},
			Doc: "Model states of training all layers at once, for layers alone."},
		{Name: "layers_saving", Type: cty.Number, From: []string{"stages", "budget", "device_memory"},
			Doc: "The same saving for layers alone."},
	}}

// asDeclared says why a stage must be made from what it names.
const asDeclared = "later stages, evaluations and exports take the model as it is declared"

// stageKind is the row of Kinds for stages.
var stageKind = Kind{Name: "stage", Repeat: true, Runs: true,
	Doc: "A stage of training. The first names a `model` and a number of `layers`; a later one continues `from` " +
		"another stage, may grow it, freeze what it inherited and put adapters on the frozen projections.",
	Attrs: []Attr{
		{Name: "model", Ref: []string{"model"}, Fixed: asDeclared, Group: "start",
			Doc: "Architecture to start; exactly one of `model` and `from`."},
		{Name: "from", Ref: []string{"stage"}, Fixed: asDeclared, Group: "start",
			Doc: "Stage to continue."},
		runsOn,
		{Name: "layers", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxLayers),
			Doc: "Layers of the first stage; default: the model's num_hidden_layers. With 0, embeddings, final norm and head are " +
				"trained alone, and `grow \"random\"` adds the layers later."},
		{Name: "freeze", Type: strings_,
			Doc: "What not to train: `inherited` (the layers of the stage that `from` names), `embeddings`, " +
				"`lm_head`, `norm` (the final norm), `layers:A-B`, or a pattern of parameter names."},
		{Name: "frozen_dtype", Type: cty.String, OneOf: []string{"nf4", "int8", "bf16"},
			Doc: "How the device stores the projections of frozen layers; by default as `precision` says. `nf4`: 4.13 bits " +
				"a parameter, QLoRA's NormalFloat with double quantisation. `int8`: 8 bits and a scale for each row, as in " +
				"LLM.int8(). `bf16`: 16 bits, beside `precision = \"fp32\"`. Products multiply by the stored values, and the stage " +
				"[ends with them](methods.md#frozen-weights-in-fewer-bits)."},
		{Name: "adapter", Ref: []string{"peft"},
			Doc: "Adapters on the frozen projections; merged when the stage ends."},
		{Name: "merge", Type: cty.Bool, Default: cty.True,
			Doc: "Whether the adapters are merged when the stage ends. With false, the stage's result is the weights that they were " +
				"trained on and the adapters beside them: evaluations and exports add them up, and no stage can go on from it."},
		{Name: "precision", Type: cty.String, Default: str("fp32"), OneOf: []string{"fp32", "bf16"},
			Doc: "`bf16`: 2-byte weights and gradients, fp32 master weights and optimizer states. `fp32`: everything " +
				"in fp32."},
		{Name: "seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(0),
			Doc: "Seed of adapters, of growth at random positions, and of the noise of `neftune_noise_alpha`."},
	},
	Blocks: []Nested{
		{Name: "grow", Label: []string{"interpolation", "stack", "copy", "midas", "random", "opt_deus"},
			Doc: "Adds layers to the model of `from`. `interpolation` puts each new layer between two " +
				"neighbours; `opt_deus` does so too, and first brings neurons and heads of the lower one into the order of " +
				"those of the upper one that they are closest to; `copy` doubles a layer in place; `stack` repeats the layers " +
				"on top; `midas` doubles the block of layers in the middle; `random` puts layers with fresh random weights on top.",
			Attrs: []Attr{
				{Name: "layers", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxLayers), Required: true,
					Doc: "How many to add."},
				{Name: "position", Type: cty.String, Default: str("upper"),
					OneOf: []string{"upper", "intermediate", "lower", "even", "random"},
					Doc:   "Which gaps to fill, or for `copy` which layers to double; the others ignore it."},
				{Name: "mix", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0.5),
					Doc: "`interpolation` and `opt_deus`: new = (1-mix) below + mix above."},
				{Name: "function_preserving", Type: cty.Bool, Default: cty.True,
					Doc: "New layers start as the identity: what each adds to the residual stream is zero."},
				{Name: "moments", Type: cty.String, Default: str("kept"), OneOf: []string{"kept", "zeroed", "mapped"},
					Doc: "What becomes of the optimizer's moments. `kept`: old weights that go on training keep theirs, and " +
						"new ones begin with zeros. `zeroed`: all begin with zeros. `mapped`: as `kept`, and the moments of a new " +
						"layer are made from those of the same layers as its weights."},
			}},
		{Name: "train", Required: true, Doc: "What to train on, and how long.",
			Attrs: []Attr{
				{Name: "data", Ref: []string{"data"}, Required: true, Doc: "Documents."},
				{Name: "tokenizer", Ref: []string{"tokenizer"}, Required: true, Doc: "Tokenizer of the documents.",
					Fixed: "evaluations and exports read the weights with the tokenizer that the stage names"},
				{Name: "optimizer", Ref: []string{"optimizer"}, Required: true, Doc: "Update rule."},
				{Name: "sequence_length", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24),
					Required: true, Unit: "tokens",
					Doc: "Length of a packed sequence."},
				{Name: "batch_size", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Required: true,
					Unit: "sequences",
					Doc:  "Sequences in an optimizer step."},
				{Name: "micro_batch_size", Type: cty.String, Unit: "sequences",
					Doc: "Sequences on the device at a time: a divisor of batch_size, or `\"auto\"` for the " +
						"largest that fits the device's memory; default: batch_size."},
				{Name: "accumulate_dtype", Type: cty.String, Default: str("auto"),
					OneOf: []string{"auto", "fp32", "bf16"},
					Doc: "With `precision = \"bf16\"`, the type in which a step's gradients are added up. " +
						"`auto`: fp32 if a gradient has more than 64 parts (micro-batches; for the head, also " +
						"chunks of the logits), because a sum of many parts in bf16 comes out too small; " +
						"`plan` shows the bytes. In fp32 a gradient takes 4 bytes instead of 2."},
				{Name: "objective", Type: cty.String, OneOf: []string{"pretrain", "sft"},
					Doc: "`pretrain`: every token of the documents is predicted, the default. `sft`: supervised fine-tuning " +
						"on [conversations](tuning.md)."},
				{Name: "loss_on", Type: cty.String, OneOf: []string{"assistant", "completion", "all"},
					Doc: "With `sft`, the tokens that count in the loss. `assistant`, the default: what the assistant said, as " +
						"the template's `{% generation %}` blocks mark it, or as each of his messages lengthens the text. " +
						"`completion`: what follows the prompt, of `messages` the last one. `all`: everything."},
				{Name: "packing", Type: cty.String, OneOf: []string{"bfd", "wrapped", "none"},
					Doc: "With `sft`, how conversations share sequences. `bfd`, the default: best fit decreasing, whole and " +
						"masked from each other. `wrapped`: one after the other without a mask, cut where a sequence is full. " +
						"`none`: each has a sequence of its own."},
				{Name: "truncation_mode", Type: cty.String, OneOf: []string{"keep_start", "keep_end", "drop"},
					Doc: "With `sft`, what becomes of a conversation that is longer than a sequence: its start is kept, the " +
						"default, or its end, or it is left out. All are counted, and so are those of which nothing that counts in the loss " +
						"is left."},
				{Name: "neftune_noise_alpha", Type: cty.Number, Above: at(0), Max: at(1e6),
					Doc: "With `sft`, adds noise to the embeddings in training, uniform within alpha / sqrt(`sequence_length` hidden_size) " +
						"(NEFTune, arXiv 2310.05914; its authors try 5, 10 and 15). Default: none."},
				{Name: "tokens", Type: cty.Number, Above: at(0), Max: at(1e18), Unit: "tokens", Group: "horizon",
					Doc: "Horizon of the schedule; exactly one of `tokens`, `steps`, `flops` and `epochs`. If it is raised, the " +
						"stage [goes on from its end](refactoring.md#training-a-finished-stage-longer) where its " +
						"schedule allows that."},
				{Name: "steps", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps),
					Unit: "optimizer steps", Group: "horizon",
					Doc: "Horizon as a number of steps."},
				{Name: "flops", Type: cty.Number, Above: at(0), Max: at(1e30), Unit: "FLOPs", Group: "horizon",
					Doc: "Horizon as floating-point operations of the compiled step."},
				{Name: "epochs", Type: cty.Number, Above: at(0), Max: at(1e6), Unit: "passes over the data", Group: "horizon",
					Doc: "Horizon as passes over the conversations of `sft`, which must be local: the plan counts them, or " +
						"the run does once the tokenizer is trained."},
				{Name: "stop_at", Type: cty.Number, Above: at(0), Max: at(1), Default: num(1),
					Doc: "Share of the horizon after which the stage ends (and the next may grow). If it alone is " +
						"raised, the stage goes on from its end."},
				{Name: "activation_checkpointing", Type: cty.String, Default: str("none"),
					Doc: "`none`, `block`, `auto`, or a number of layers. `block` keeps only the input of each layer and computes the " +
						"rest again in the backward pass: less memory, about a third more FLOPs, the same bits. `auto` does this " +
						"for as few layers as make the stage fit the device, and a number does it for that many layers, from the " +
						"bottom. `plan` says what it costs."},
				{Name: "update", Type: cty.String, Default: str("separate"), OneOf: []string{"separate", "fused"},
					Doc: "When weights are updated. `separate`: after the backward pass, when the gradients of all " +
						"parameters are complete. `fused`: each parameter within the backward pass, as soon as its " +
						"gradient is complete, so that [gradients take next to no memory](memory.md#fused-updates). " +
						"A step is then one micro-batch, and `max_grad_norm` bounds the gradient of each parameter by " +
						"itself; without it the bits are the same."},
				{Name: "on_nonfinite", Type: cty.String, Default: str("stop"), OneOf: []string{"stop", "skip"},
					Doc: "What to do if the loss or a gradient is NaN or infinite: stop the stage, or skip and " +
						"count the step."},
				keepBest,
			},
			Blocks: []Nested{
				{Name: "schedule", Label: []string{"constant", "linear", "cosine", "wsd"},
					Doc: "Learning rate as a function of the tokens seen; default: `constant` without warm-up.",
					Attrs: []Attr{
						{Name: "warmup_ratio", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0),
							Doc: "Share of the horizon over which the rate rises linearly."},
						{Name: "min_lr_ratio", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0),
							Doc: "Rate at the horizon relative to the peak."},
						{Name: "decay_ratio", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0.2),
							Doc: "`wsd`: share of the horizon over which the rate falls."},
						{Name: "decay_type", Type: cty.String, Default: str("linear"),
							OneOf: []string{"linear", "cosine", "1-sqrt"},
							Doc:   "`wsd`: how it falls."},
					}},
				{Name: "checkpoint", Doc: "When to save during the stage; its end is always saved.",
					Attrs: []Attr{
						{Name: "every_steps", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps),
							Unit: "optimizer steps",
							Doc:  "Steps between checkpoints."},
						{Name: "keep", Type: cty.Number, Whole: true, Min: at(1), Max: at(1e6),
							Doc: "How many of the latest to keep, while the stage runs and after it; the result " +
								"counts as one. Default: 2 while it runs, and after it the result alone. A stage with " +
								"adapters needs 2 to be trained longer later."},
					}},
				parallel,
				evaluateWhileTraining,
				stopWhen,
			}},
	},
	Exports: []Export{
		{Name: "num_hidden_layers", Type: cty.Number, From: []string{"layers", "grow.layers"},
			Doc: "Layers the stage ends with."},
		{Name: "num_parameters", Type: cty.Number, From: []string{"layers", "grow.layers"},
			Doc: "Parameters it ends with."},
		{Name: "peak_bytes", Type: cty.Number, From: length, Doc: "Device memory of the stage."},
		{Name: "flops", Type: cty.Number, From: length, Doc: "Floating-point operations of the stage."},
		{Name: "tokens", Type: cty.Number, From: length, Doc: "Tokens it trains on."},
		{Name: "steps", Type: cty.Number, From: length, Doc: "Optimizer steps, without `stop_when`."},
		{Name: "result_step", Type: cty.Number, Late: true,
			Doc: "The step whose model is the result: the last, unless `stop_when` ended the stage earlier, or " +
				"`keep_best` chose an earlier one."},
		{Name: "loss", Type: cty.Number, Late: true,
			Doc: "Training loss in nats a token, the mean of the last steps."},
		{Name: "held_out_documents", Type: cty.Number, Late: true,
			Doc: "How many times the stage trained on a document that an `evaluate` block measures with this " +
				"model or one made from it; documents are compared by their text. Null if there was no such " +
				"block when the stage ran, or its documents could not be read."},
	}}
