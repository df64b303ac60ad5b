package dsl

import (
	"slices"

	"github.com/zclconf/go-cty/cty"
)

func str(s string) cty.Value  { return cty.StringVal(s) }
func num(f float64) cty.Value { return cty.NumberFloatVal(f) }
func at(f float64) *float64   { return &f }

// Bounds of numbers. Every number has some, so that what is absurd is refused before anything is computed from it: far beyond what was
// ever trained, and such that products of a few stay within 64 bits.
const (
	maxWhole = 1<<53 - 1 // beyond it a float64 skips whole numbers
	maxSteps = 1<<31 - 1
)

// maxLayers bounds the layers of a model and of a stage: the deepest networks have some thousands.
const maxLayers = 10000

var strings_ = cty.List(cty.String)

// length are the attributes of a stage that its steps reveal.
var length = []string{"layers", "train.tokens", "train.steps", "train.flops", "train.stop_at", "train.batch_size", "train.sequence_length",
	"train.micro_batch_size"}

// rows are the types of data whose documents have columns or fields beside the text.
var rows = []string{"fineweb_edu", "parquet", "jsonl"}

// documents are the types of data that hold text. It has no room behind it: appending makes a new list.
var documents = slices.Clip([]string{"fineweb_edu", "parquet", "jsonl", "text"})

// Kinds is the language: every block, attribute, default and export.
var Kinds = []Kind{
	{Name: "data", Types: append(documents, "bin", "mixture"), Repeat: true, Lazy: true,
		Doc: "Documents to train or evaluate on. `fineweb_edu` expects the columns of the dataset of that name; `parquet`, `jsonl` (one JSON object a line) and `text` differ only in the reader. `bin` reads tokens as nanoGPT and llm.c keep them, whose documents end with the tokenizer's end-of-text token and nowhere else; a `mixture` draws from other data. `data.TYPE.NAME` is the training split; `data.TYPE.NAME.validation` the documents held out, `data.TYPE.NAME.all` both together.",
		Attrs: []Attr{
			{Name: "source", Type: cty.DynamicPseudoType, Filled: true, Required: true, Only: append(documents, "bin"), Doc: "A glob, or a list of globs, relative to the pipeline's folder. `https://` addresses of files, `hf://datasets/ORG/NAME[@REVISION]/GLOB` and `s3://BUCKET/GLOB` are read by ranges."},
			{Name: "text_column", Type: cty.String, Default: str("text"), Only: []string{"parquet", "jsonl"}, Doc: "Column or field that holds the document; of one inside another, the names with a dot between them."},
			{Name: "id_column", Type: cty.String, Default: str("id"), Only: []string{"parquet", "jsonl"}, Doc: "Column or field with a stable id, which is text or a number; where there is none, or it is null or empty, a hash of the text serves."},
			{Name: "separator", Type: cty.String, Default: str(""), Only: []string{"text"}, Doc: "What stands between documents; empty makes each file one document."},
			{Name: "dtype", Type: cty.String, Default: str("auto"), OneOf: []string{"auto", "uint16", "uint32"}, Only: []string{"bin"}, Doc: "What a token is in the file. `auto`: as llm.c's header says; without a header uint16, or uint32 where the tokenizer has more than 65,536 ids."},
			{Name: "min_int_score", Type: cty.Number, Whole: true, Min: at(-maxWhole), Max: at(maxWhole), Only: rows, Doc: "Keeps rows whose `int_score` is at least this."},
			{Name: "min_score", Type: cty.Number, Min: at(-1e12), Max: at(1e12), Only: rows, Doc: "Keeps rows whose `score` is at least this."},
			{Name: "min_language_score", Type: cty.Number, Min: at(0), Max: at(1), Only: rows, Doc: "Keeps rows whose `language_score` is at least this."},
			{Name: "min_token_count", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Only: rows, Doc: "Keeps rows whose `token_count` (GPT-2 tokens) is at least this."},
			{Name: "max_token_count", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Only: rows, Doc: "Keeps rows whose `token_count` is at most this."},
			{Name: "languages", Type: strings_, Filled: true, Only: rows, Doc: "Keeps rows whose `language` is one of these."},
			{Name: "dump", Type: cty.DynamicPseudoType, Filled: true, Only: rows, Doc: "Keeps rows whose `dump` is this, or one of these: crawls such as `CC-MAIN-2024-10`."},
			{Name: "filter", Type: cty.String, Only: rows, Doc: "Keeps rows for which a condition on their columns is true, such as `\"int_score >= 3 && url != null\"`; see [data.md](data.md#filters)."},
			{Name: "deduplicate", Type: cty.Bool, Default: cty.False, Only: documents, Doc: "Of documents with exactly the same text only the first, in the order of files and rows, is used; copies are counted."},
			{Name: "validation_fraction", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0), Only: append(documents, "bin"), Doc: "Share of documents held out, by a hash of the id: stable under reordering and adding files. 1 holds all out: nothing can be trained on them."},
			{Name: "seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(0), Only: append(documents, "bin"), Doc: "Seed of the order of documents."},
			{Name: "shuffle", Type: cty.Bool, Default: cty.True, Only: append(documents, "bin"), Doc: "Puts documents in another order every epoch: pieces of up to 512 rows and 4 MiB from all files and row groups are permuted, and the documents of 16 at a time are mixed. The order is a pure function of seed, epoch and position. `false` reads files in the order of their names, and each from its start."},
			{Name: "document_mask", Type: cty.Bool, Default: cty.True, Only: append(documents, "bin"), Doc: "Attention does not cross documents."},
			{Name: "predict_first_token", Type: cty.Bool, Default: cty.True, Only: append(documents, "bin"), Doc: "The end-of-text token before a document belongs to it and predicts its first token, as in nanoGPT, llm.c and torchtitan, so that text can be generated from that token alone. `false` leaves first tokens out of the loss, as Megatron's `--eod-mask-loss` does. Where a document begins with the token that the tokenizer's template puts before a text, that one predicts the first, whatever this says."},
			{Name: "on_error", Type: cty.String, Default: str("fail"), OneOf: []string{"fail", "skip"}, Only: documents, Doc: "What to do with a line or a page that cannot be read, an empty document or one that is not UTF-8: stop, or count it and go on."},
			{Name: "special_tokens", Type: cty.String, Default: str("text"), OneOf: []string{"text", "ids"}, Only: documents, Doc: "What special tokens of the tokenizer, such as `<|endoftext|>`, are where a document holds them. `text`: ordinary text, as web pages about language models quote them. `ids`: those tokens, as in documents that were written for it. They are counted either way. Prompts of `evaluate.generation` get ids."},
			{Name: "epochs", Type: cty.Number, Whole: true, Min: at(1), Max: at(1e9), Doc: "Passes over the data after which they are used up: the run stops at a checkpoint, a mixture goes on without them. Default: any number. Of a mixture, the limit of each of its data that has none."},
			{Name: "cache", Type: cty.String, Default: str("none"), OneOf: []string{"none", "tokens"}, Only: documents, Doc: "`tokens` keeps what the tokenizer made of each row group in `STEPFLOW_CACHE_DIR` and reads it from there in every later epoch and run; the batches are the same."},
		},
		Blocks: []Nested{{Name: "part", Required: true, Repeat: true, Only: []string{"mixture"}, Doc: "Data to draw from.", Attrs: []Attr{
			{Name: "data", Ref: []string{"data"}, Required: true, Doc: "Data in files."},
			{Name: "weight", Type: cty.Number, Min: at(1e-6), Max: at(1e9), Required: true, Doc: "Share of the sequences, relative to the other weights."},
		}}},
		Exports: []Export{
			{Name: "validation", Type: cty.Object(map[string]cty.Type{"address": cty.String}), Doc: "The documents held out."},
			{Name: "all", Type: cty.Object(map[string]cty.Type{"address": cty.String}), Doc: "All documents, to evaluate a model that was trained on none of them."},
			{Name: "rows", Type: cty.Number, Doc: "Rows in all files, before filters; unknown for remote sources, and for `bin`, whose documents are not counted."},
			{Name: "files", Type: cty.Number, Doc: "Number of files."},
		}},
	{Name: "tokenizer", Types: []string{"huggingface", "bpe"}, Repeat: true, Lazy: true,
		Doc: "Text to ids. `huggingface` reads a `tokenizer.json`; `bpe` trains a byte-level BPE on the data and writes one.",
		Attrs: []Attr{
			{Name: "file", Type: cty.String, Required: true, Only: []string{"huggingface"}, Doc: "Path of a `tokenizer.json`, relative to the pipeline's folder."},
			{Name: "eos_token", Type: cty.String, Only: []string{"huggingface"}, Doc: "Token that ends a document; default: the first known of `<|endoftext|>`, `<|end_of_text|>`, `</s>`."},
			{Name: "train_on", Ref: []string{"data"}, Required: true, Only: []string{"bpe"}, Doc: "Documents to count words in."},
			{Name: "vocab_size", Type: cty.Number, Whole: true, Min: at(257), Max: at(1 << 24), Required: true, Only: []string{"bpe"}, Doc: "Tokens, the 256 bytes and `<|endoftext|>` included."},
			{Name: "max_bytes", Type: cty.String, Bytes: true, Default: str("256 MiB"), Only: []string{"bpe"}, Doc: "How much text to count at most."},
		},
		Exports: []Export{
			{Name: "vocab_size", Type: cty.Number, Doc: "One more than the largest id."},
			{Name: "eos_token_id", Type: cty.Number, From: []string{"eos_token"}, Doc: "Id of the token that ends documents."},
		}},
	{Name: "model", Repeat: true, Lazy: true, // its types, and what is theirs, come by Extend
		Doc: "An architecture, with the names of Hugging Face's `config.json`. With `from` it is read from such a folder, weights included, and attributes may not contradict it; `auto` takes the folder's architecture. What the folder says and this model does not compute is an error that names it: see [import.md](import.md).",
		Attrs: []Attr{
			{Name: "from", Type: cty.String, Doc: "Folder with `config.json` and safetensors to start from, relative to the pipeline's; or `hf://ORG/NAME[@REVISION]` of a model in the cache of Hugging Face's tools."},
			{Name: "seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(0), Doc: "Seed of the first weights."},
		}},
	{Name: "peft", Types: []string{"lora", "relora"}, Repeat: true, Lazy: true,
		Doc: "An adapter, with the names of Hugging Face's PEFT. It sits on frozen projections and is merged when the stage ends; `relora` also merges and restarts on the way.",
		Attrs: []Attr{
			{Name: "r", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 16), Required: true, Doc: "Rank."},
			{Name: "lora_alpha", Type: cty.Number, Above: at(0), Max: at(1e6), Required: true, Doc: "The adapter's product is scaled by lora_alpha / r."},
			{Name: "use_rslora", Type: cty.Bool, Default: cty.False, Doc: "Scale by lora_alpha / sqrt(r) instead."},
			{Name: "target_modules", Type: strings_, Filled: true, Required: true, Doc: "Names such as `q_proj`, patterns such as `model.layers.*.mlp.*`, or `all-linear`. One that matches nothing is an error."},
			{Name: "reset_every", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Required: true, Only: []string{"relora"}, Unit: "optimizer steps", Doc: "Steps between merge and restart."},
			{Name: "restart_warmup_steps", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxSteps), Default: num(0), Only: []string{"relora"}, Unit: "optimizer steps", Doc: "Steps over which the learning rate rises again after a restart."},
			{Name: "merge_rounding", Type: cty.String, Default: str("stochastic"), OneOf: []string{"stochastic", "remainder"}, Only: []string{"relora"}, Doc: "How a merge rounds to bf16 weights, which are too coarse for what a short cycle learns. `stochastic`: up or down at random, right in the mean. `remainder`: to nearest, and what is left over waits in 2 more bytes a weight for the next merge: exact, for more memory. Merges into fp32 weights need neither."},
		},
		Exports: []Export{{Name: "r", Type: cty.Number, Doc: "As configured."}}},
	{Name: "optimizer", Types: []string{"adamw", "muon"}, Repeat: true, Lazy: true,
		Doc: "How weights are updated, with decoupled weight decay and clipping by global norm. `adamw` keeps " +
			"two moments of each parameter. `muon` makes the update of a projection nearly orthogonal, keeps " +
			"one moment of it, and leaves all other parameters to `others`; its attributes mean what those of " +
			"`torch.optim.Muon` do. Where an optimizer names others, each has its own `learning_rate`, and the " +
			"stage's schedule scales all.",
		Attrs: []Attr{
			{Name: "learning_rate", Type: cty.Number, Min: at(0), Max: at(1e38), Required: true,
				Doc: "Peak of the schedule."},
			{Name: "betas", Type: cty.List(cty.Number), Min: at(0), Below: at(1),
				Default: cty.ListVal([]cty.Value{num(0.9), num(0.95)}), Only: []string{"adamw"},
				Doc: "Decay of the first and second moment."},
			{Name: "momentum", Type: cty.Number, Min: at(0), Below: at(1), Default: num(0.95), Only: []string{"muon"},
				Doc: "Decay of the moment."},
			{Name: "nesterov", Type: cty.Bool, Default: cty.True, Only: []string{"muon"},
				Doc: "Nesterov momentum: the update looks one decay ahead."},
			{Name: "ns_steps", Type: cty.Number, Whole: true, Min: at(1), Max: at(99), Default: num(5), Only: []string{"muon"},
				Doc: "Newton-Schulz iterations, in the precision of the weights."},
			{Name: "adjust_lr_fn", Type: cty.String, Default: str("original"), Only: []string{"muon"},
				OneOf: []string{"original", "match_rms_adamw", "spectral_unclamped"},
				Doc: "What the learning rate of a matrix of A rows and B columns is multiplied by. `original`: " +
					"sqrt(max(1, A/B)). `match_rms_adamw`: 0.2 sqrt(max(A, B)), so that AdamW's learning rate " +
					"and weight decay serve. `spectral_unclamped`: sqrt(A/B)."},
			{Name: "eps", Type: cty.Number, Above: at(0), Max: at(1), Default: num(1e-8),
				Defaults: map[string]cty.Value{"muon": num(1e-7)},
				Doc: "`adamw`: added to the root of the second moment. `muon`: the least norm that a matrix is " +
					"divided by."},
			{Name: "weight_decay", Type: cty.Number, Min: at(0), Max: at(1000), Default: num(0.1),
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
			{Name: "others", Ref: []string{"optimizer"}, Required: true, Only: []string{"muon"},
				Doc: "The optimizer of all parameters but projections: embeddings, head, norms, biases and " +
					"adapters. Usually `adamw`."},
			{Name: "embeddings", Ref: []string{"optimizer"},
				Doc: "Another optimizer for the token embeddings, and the head tied to them."},
			{Name: "lm_head", Ref: []string{"optimizer"},
				Doc: "Another optimizer for the head, where it is not tied to the embeddings."},
			{Name: "norms", Ref: []string{"optimizer"}, Doc: "Another optimizer for norms and biases."},
		}},
	{Name: "memory_plan", Repeat: true, Lazy: true,
		Doc: "Splits the model's layers into stages so that the largest stage's model states are as small as possible: " +
			"the integer program of STEP (arXiv 2504.04151), solved exactly when the plan is made. A trainable " +
			"parameter takes what its optimizer keeps beside weight and gradient, with `adamw` 16 bytes in all, a " +
			"frozen one 2 (4 in fp32); 2 more where `accumulate_dtype` adds a gradient up in fp32 are not counted. " +
			"Embeddings, head and norms are included as trained.",
		Attrs: []Attr{
			{Name: "model", Ref: []string{"model"}, Required: true, Doc: "The full model."},
			{Name: "peft", Ref: []string{"peft"}, Doc: "The adapters that frozen layers get, and the remainders of their merges, if they keep any; without it they get none."},
			{Name: "optimizer", Ref: []string{"optimizer"},
				Doc: "The optimizer of the stages; default: an `adamw`, 16 bytes a trainable parameter. In bf16 with " +
					"`bf16_stochastic_round` it takes 12, and a parameter that `muon` trains takes 12."},
			{Name: "stages", Type: cty.Number, Whole: true, Min: at(1), Max: at(1000), Doc: "Number of stages; exactly one of `stages` and `budget`."},
			{Name: "budget", Type: cty.String, Bytes: true, Doc: "Bytes of model states, such as `16 GiB`: the fewest stages whose largest fits."},
			{Name: "precision", Type: cty.String, Default: str("bf16"), OneOf: []string{"bf16", "fp32"}, Doc: "What a frozen parameter takes: 2 or 4 bytes."},
			{Name: "growth", Type: cty.String, Default: str("interpolation"), OneOf: []string{"interpolation", "any"}, Doc: "`interpolation`: a stage adds at most as many layers as there are gaps. `any`: no bound, as in the paper's program."},
			{Name: "layers_only", Type: cty.Bool, Default: cty.False, Doc: "Leaves embeddings, head and final norm out of the objective, as the paper's formula does."},
		},
		Exports: []Export{
			{Name: "layers", Type: cty.List(cty.Number), From: []string{"stages", "budget"}, Doc: "Layers to add in each stage."},
			{Name: "stages", Type: cty.Number, From: []string{"stages", "budget"}, Doc: "Number of stages."},
			{Name: "peak_bytes", Type: cty.Number, From: []string{"stages", "budget"}, Doc: "Model states of the largest stage."},
			{Name: "vanilla_bytes", Type: cty.Number, From: []string{"stages", "budget"}, Doc: "Model states of training the full model at once."},
			{Name: "saving", Type: cty.Number, From: []string{"stages", "budget"}, Doc: "1 - peak_bytes / vanilla_bytes."},
			{Name: "layers_peak_bytes", Type: cty.Number, From: []string{"stages", "budget"}, Doc: "The largest stage, layers and adapters alone (the paper's figure)."},
			{Name: "layers_vanilla_bytes", Type: cty.Number, From: []string{"stages", "budget"}, Doc: "All layers trained at once, nothing else counted."},
			{Name: "layers_saving", Type: cty.Number, From: []string{"stages", "budget"}, Doc: "Saving, layers alone."},
		}},
	{Name: "stage", Repeat: true,
		Doc: "A stage of training. The first names a `model` and a number of `layers`; a later one continues `from` another stage, may grow it, freeze what it inherited and put adapters on the frozen projections.",
		Attrs: []Attr{
			{Name: "model", Ref: []string{"model"}, Doc: "Architecture to start; exactly one of `model` and `from`."},
			{Name: "from", Ref: []string{"stage"}, Doc: "Stage to continue."},
			{Name: "layers", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxLayers), Doc: "Layers of the first stage; default: the model's num_hidden_layers."},
			{Name: "freeze", Type: strings_, Doc: "What not to train: `inherited` (the layers that came with `from`), `embeddings`, `lm_head`, `norm` (the final norm), `layers:A-B`, or a pattern of parameter names."},
			{Name: "adapter", Ref: []string{"peft"}, Doc: "Adapters on the frozen projections; merged when the stage ends."},
			{Name: "precision", Type: cty.String, Default: str("fp32"), OneOf: []string{"fp32", "bf16"}, Doc: "`bf16`: 2-byte weights and gradients, fp32 master weights and optimizer states. `fp32`: everything in fp32."},
			{Name: "seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(0), Doc: "Seed of adapters and of growth at random positions."},
		},
		Blocks: []Nested{
			{Name: "grow", Label: []string{"interpolation", "stack", "copy"},
				Doc: "Adds layers to what came with `from`. `interpolation` puts each new layer between two neighbours; `copy` doubles a layer in place; `stack` repeats the layers on top.",
				Attrs: []Attr{
					{Name: "layers", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxLayers), Required: true, Doc: "How many to add."},
					{Name: "position", Type: cty.String, Default: str("upper"), OneOf: []string{"upper", "intermediate", "lower", "even", "random"}, Doc: "Which gaps, or for `copy` which layers; `stack` has no use for it."},
					{Name: "mix", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0.5), Doc: "Interpolation: new = (1-mix) below + mix above."},
					{Name: "function_preserving", Type: cty.Bool, Default: cty.True, Doc: "New layers start as the identity: what each adds to the residual stream is zero."},
				}},
			{Name: "train", Required: true, Doc: "What to train on, and how long.",
				Attrs: []Attr{
					{Name: "data", Ref: []string{"data"}, Required: true, Doc: "Documents."},
					{Name: "tokenizer", Ref: []string{"tokenizer"}, Required: true, Doc: "Text to ids."},
					{Name: "optimizer", Ref: []string{"optimizer"}, Required: true, Doc: "Update rule."},
					{Name: "sequence_length", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Required: true, Unit: "tokens", Doc: "Length of a packed sequence."},
					{Name: "batch_size", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Required: true, Unit: "sequences", Doc: "Sequences of an optimizer step."},
					{Name: "micro_batch_size", Type: cty.String, Unit: "sequences", Doc: "Sequences on the device at a time: a divisor of batch_size, which is the default, or `\"auto\"` for the largest that fits the device's memory."},
					{Name: "accumulate_dtype", Type: cty.String, Default: str("auto"), OneOf: []string{"auto", "fp32", "bf16"}, Doc: "With `precision = \"bf16\"`, the type in which a step's gradients are added up. `auto`: fp32 where a gradient has more than 64 parts (micro-batches; for the head, also pieces of the logits), which bf16 would add up to less than they are; `plan` shows the bytes. In fp32 a gradient takes 4 bytes instead of 2."},
					{Name: "tokens", Type: cty.Number, Above: at(0), Max: at(1e18), Unit: "tokens", Doc: "Horizon of the schedule; exactly one of `tokens`, `steps` and `flops`."},
					{Name: "steps", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Unit: "optimizer steps", Doc: "Horizon as a number of steps."},
					{Name: "flops", Type: cty.Number, Above: at(0), Max: at(1e30), Unit: "FLOPs", Doc: "Horizon as floating-point operations of the compiled step."},
					{Name: "stop_at", Type: cty.Number, Above: at(0), Max: at(1), Default: num(1), Doc: "Share of the horizon after which the stage ends (and the next may grow)."},
					{Name: "activation_checkpointing", Type: cty.String, Default: str("none"), OneOf: []string{"none", "block", "auto"}, Doc: "`block` keeps only the input of each layer and computes the rest again in the backward pass: less memory, about a third more FLOPs, the same bits. `auto` does so for the fewest layers that make the stage fit the device. `plan` says what it costs."},
					{Name: "on_nonfinite", Type: cty.String, Default: str("stop"), OneOf: []string{"stop", "skip"}, Doc: "A loss or gradient that is NaN or infinite stops the stage, or the step is skipped and counted."},
				},
				Blocks: []Nested{
					{Name: "schedule", Label: []string{"constant", "linear", "cosine", "wsd"}, Doc: "Learning rate as a function of the tokens seen; default: `constant` without warm-up.",
						Attrs: []Attr{
							{Name: "warmup_ratio", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0), Doc: "Share of the horizon over which the rate rises linearly."},
							{Name: "min_lr_ratio", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0), Doc: "Rate at the horizon relative to the peak."},
							{Name: "decay_ratio", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0.2), Doc: "`wsd`: share of the horizon over which the rate falls."},
							{Name: "decay_type", Type: cty.String, Default: str("linear"), OneOf: []string{"linear", "cosine", "1-sqrt"}, Doc: "`wsd`: how it falls."},
						}},
					{Name: "checkpoint", Doc: "When to save on the way; the end of a stage is always saved.",
						Attrs: []Attr{
							{Name: "every_steps", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Unit: "optimizer steps", Doc: "Steps between checkpoints."},
							{Name: "keep", Type: cty.Number, Whole: true, Min: at(1), Max: at(1e6), Doc: "How many to keep, the latest ones: while the stage runs, and after it with its result among them. Default: 2 while it runs, then the result alone."},
						}},
				}},
		},
		Exports: []Export{
			{Name: "num_hidden_layers", Type: cty.Number, From: []string{"layers", "grow.layers"}, Doc: "Layers the stage ends with."},
			{Name: "num_parameters", Type: cty.Number, From: []string{"layers", "grow.layers"}, Doc: "Parameters it ends with."},
			{Name: "peak_bytes", Type: cty.Number, From: length, Doc: "Device memory of the stage."},
			{Name: "flops", Type: cty.Number, From: length, Doc: "Floating-point operations of the stage."},
			{Name: "tokens", Type: cty.Number, From: length, Doc: "Tokens it trains on."},
			{Name: "steps", Type: cty.Number, From: length, Doc: "Optimizer steps."},
			{Name: "loss", Type: cty.Number, Late: true, Doc: "Training loss, mean of the last steps, nats a token."},
			{Name: "held_out_documents", Type: cty.Number, Late: true, Doc: "How many times a document was trained on that an `evaluate` block of the pipeline measures with this model or one made from it, known by its text. Null where there was no such block when the stage ran, or what it measures could not be read."},
		}},
	{Name: "evaluate", Types: []string{"perplexity", "generation"}, Repeat: true,
		Doc: "Measures a trained stage. `perplexity`: on held-out documents, a token and a byte. `generation`: samples from prompts.",
		Attrs: []Attr{
			{Name: "model", Ref: []string{"stage", "model"}, Required: true, Doc: "Stage to evaluate, or a model read by `from`."},
			{Name: "tokenizer", Ref: []string{"tokenizer"}, Doc: "Default: the stage's."},
			{Name: "data", Ref: []string{"data"}, Required: true, Only: []string{"perplexity"}, Doc: "Documents to measure: those held out, `data.TYPE.NAME.validation`, or a whole set, `data.TYPE.NAME.all`, on which the model was not trained."},
			{Name: "sequence_length", Type: cty.Number, Whole: true, Min: at(2), Max: at(1 << 24), Only: []string{"perplexity"}, Doc: "Tokens that the model sees at once. Default: the stage's; of a model read by `from` its `max_position_embeddings`, but not more than 2048, the window of most published perplexities."},
			{Name: "stride", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Unit: "tokens", Only: []string{"perplexity"}, Doc: "Windows slide by so many tokens, and each predicts those that none before it held, as in Hugging Face's guide to the perplexity of fixed-length models: each document by itself, or with `document_mask = false` all of them as one text. At most sequence_length, at which a window's first token is not predicted. Default: windows end to end, the last token of one predicting the first of the next."},
			{Name: "join", Type: cty.String, Only: []string{"perplexity"}, Doc: "Makes the documents of each source one text with this between them, as the usual recipe for WikiText does with `\"\\n\\n\"`. Every row counts, empty and blank ones included, those of text files too. At most 256 MiB."},
			{Name: "end_of_text", Type: cty.Bool, Only: []string{"perplexity"}, Doc: "Whether the end-of-text token behind each document is among the tokens predicted. Default: true, with `join` false."},
			{Name: "batch_size", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Default: num(8), Only: []string{"perplexity"}, Doc: "Sequences at a time, or fewer where the device's memory holds fewer; the result does not depend on it."},
			{Name: "max_tokens", Type: cty.Number, Whole: true, Min: at(2), Max: at(maxWhole), Only: []string{"perplexity"}, Doc: "Predicts the first tokens only, so many in all; of a mixture each source gives its share. The document in which they are reached is cut there, and so is joined text."},
			{Name: "prompts", Type: strings_, Filled: true, Required: true, Only: []string{"generation"}, Doc: "Texts to continue."},
			{Name: "max_new_tokens", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Default: num(64), Only: []string{"generation"}, Doc: "Tokens to add at most; the end-of-text token ends a sample."},
			{Name: "temperature", Type: cty.Number, Min: at(0), Max: at(1000), Default: num(0), Only: []string{"generation"}, Doc: "0 takes the likeliest token (greedy)."},
			{Name: "top_k", Type: cty.Number, Whole: true, Min: at(0), Max: at(1 << 24), Default: num(0), Only: []string{"generation"}, Doc: "Sample among the k likeliest; 0 for all."},
			{Name: "top_p", Type: cty.Number, Above: at(0), Max: at(1), Default: num(1), Only: []string{"generation"}, Doc: "Sample among the likeliest that hold this probability (nucleus)."},
			{Name: "seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(0), Only: []string{"generation"}, Doc: "Seed of the samples."},
		},
		Exports: []Export{
			{Name: "loss", Type: cty.Number, Late: true, Only: []string{"perplexity"}, Doc: "Mean negative log-likelihood, nats a token. Null where it is not finite; the run then names the first tensor that is not, runs the other blocks, and exits with 1."},
			{Name: "perplexity", Type: cty.Number, Late: true, Only: []string{"perplexity"}, Doc: "exp(loss); null where that is not a finite number."},
			{Name: "word_perplexity", Type: cty.Number, Late: true, Only: []string{"perplexity"}, Doc: "exp of the negative log-likelihood a word, nats of all tokens by `words`: comparable between tokenizers."},
			{Name: "bits_per_byte", Type: cty.Number, Late: true, Only: []string{"perplexity"}, Doc: "Negative log-likelihood a byte of text, base 2, by `bytes`: comparable between tokenizers."},
			{Name: "stderr", Type: cty.Number, Late: true, Only: []string{"perplexity"}, Doc: "Standard error of the loss, over tokens."},
			{Name: "tokens", Type: cty.Number, Late: true, Only: []string{"perplexity"}, Doc: "Tokens predicted: what loss, perplexity and stderr are means of."},
			{Name: "bytes", Type: cty.Number, Late: true, Only: []string{"perplexity"}, Doc: "Bytes of UTF-8 that those tokens spell."},
			{Name: "words", Type: cty.Number, Late: true, Only: []string{"perplexity"}, Doc: "Words of the documents, between white space."},
			{Name: "documents", Type: cty.Number, Late: true, Only: []string{"perplexity"}, Doc: "Documents measured; with `join` one a source."},
			{Name: "unigram_entropy", Type: cty.Number, Late: true, Only: []string{"perplexity"}, Doc: "Entropy of the same tokens' frequencies, nats: what a model that sees no context can reach at best."},
			{Name: "texts", Type: strings_, Late: true, From: []string{"prompts"}, Only: []string{"generation"}, Doc: "The samples, prompts included."},
		}},
	{Name: "export", Types: []string{"huggingface"}, Repeat: true,
		Doc: "Writes a trained stage as a Hugging Face folder: `config.json`, safetensors, tokenizer files, `generation_config.json`.",
		Attrs: []Attr{
			{Name: "model", Ref: []string{"stage"}, Required: true, Doc: "Stage to export."},
			{Name: "path", Type: cty.String, Required: true, Doc: "Folder, relative to the pipeline's. Its `stepflow_export.json` lists what an export wrote, with hashes: the next one replaces those files and no others. A file of your own, such as `README.md` or `.git`, stays; one that you changed, or that is in the way, is named and refused by `plan`, as is a folder with files and without that list, one that two exports write to, and one that holds the pipeline, its state or what it reads. What another state exported is replaced only after a yes. A symbolic link is followed."},
			{Name: "max_shard_size", Type: cty.String, Bytes: true, Default: str("5 GB"), Doc: "Larger models are written in several files with an index."},
		},
		Exports: []Export{{Name: "path", Type: cty.String, Doc: "The folder, as configured: relative to the pipeline's, or absolute, such as `\"${path.module}/out\"`."}}},
	{Name: "output", Doc: "A value to print after `apply` and to read with `stepflow output`.",
		Attrs: []Attr{
			{Name: "value", Type: cty.DynamicPseudoType, Required: true, Doc: "Any expression."},
			{Name: "description", Type: cty.String, Doc: "What it is."},
			{Name: "sensitive", Type: cty.Bool, Default: cty.False, Doc: "Do not print it."},
		}},
	{Name: "telemetry", NoLabel: true, Doc: "What is traced, once the standard `OTEL_*` variables say where to.",
		Attrs: []Attr{
			{Name: "step_every", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Default: num(50), Unit: "optimizer steps", Doc: "One step in this many gets spans, one for each device operation; besides the first and last of a stage, and those slower than three times the median."},
			{Name: "max_spans", Type: cty.Number, Whole: true, Min: at(1), Max: at(1e9), Default: num(100000), Unit: "spans", Doc: "What a run may send at most. Where it would be more, steps are sampled less often; `plan` says how often."},
		}},
}

// Meta lists the blocks that are not computed by a run.
var Meta = []Kind{
	{Name: "variable", Doc: "An input: `-var`, `-var-file`, `STEPFLOW_VAR_name`, `*.auto.vars.hcl`, or its default.",
		Attrs: []Attr{
			{Name: "type", Type: cty.DynamicPseudoType, Doc: "A type such as `number`, `string`, `bool`, `list(string)` or `object({ a = string, b = optional(number, 1) })`; a value that cannot be converted is an error. Text from `-var` and the environment is taken as it is where the type is a string, a number, a bool or not said; for other types it is an expression."},
			{Name: "default", Type: cty.DynamicPseudoType, Doc: "Value when none is given; without it the variable must be set."},
			{Name: "description", Type: cty.String, Doc: "What it is."},
			{Name: "sensitive", Type: cty.Bool, Default: cty.False, Doc: "Its value is not shown in plans, reports and traces."},
			{Name: "nullable", Type: cty.Bool, Default: cty.True, Doc: "Whether the value may be null; where it may not, null stands for the default."},
		},
		Blocks: []Nested{{Name: "validation", Doc: "A condition every value must meet.", Attrs: []Attr{
			{Name: "condition", Type: cty.Bool, Required: true, Doc: "An expression over `var`."},
			{Name: "error_message", Type: cty.String, Required: true, Doc: "What to say when it is false."},
		}}}},
	{Name: "locals", NoLabel: true, Doc: "Names for expressions: `local.name`."},
}
