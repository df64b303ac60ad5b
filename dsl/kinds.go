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

// notMeasured says why an evaluation must be of what it names.
const notMeasured = "the results would be told of what they were not measured with"

// rows lists the types of data whose documents have columns or fields beside the text.
var rows = []string{"fineweb_edu", "parquet", "jsonl"}

// documents lists the types of data that hold text. It is clipped, so that append copies it.
var documents = slices.Clip([]string{"fineweb_edu", "parquet", "jsonl", "text"})

// Kinds is the language: every block, attribute, default and export.
var Kinds = []Kind{
	{Name: "data", Types: append(documents, "bin", "mixture"), Repeat: true, Lazy: true,
		Doc: "Documents to train or evaluate on. `fineweb_edu` expects the columns of the dataset of that name; " +
			"`parquet`, `jsonl` (one JSON object a line) and `text` differ only in the format. `bin` reads the " +
			"token files of nanoGPT and llm.c, in which the tokenizer's end-of-text token alone ends a document; a " +
			"`mixture` draws from other data. `data.TYPE.NAME` is the training split, `data.TYPE.NAME.validation` " +
			"the held-out documents, and `data.TYPE.NAME.all` both.",
		Attrs: []Attr{
			{Name: "source", Type: cty.DynamicPseudoType, Filled: true, Required: true, Only: append(documents, "bin"),
				Doc: "A glob, or a list of globs, relative to the pipeline's folder. `https://` addresses of files, " +
					"`hf://datasets/ORG/NAME[@REVISION]/GLOB` and `s3://BUCKET/GLOB` are read by ranges."},
			{Name: "text_column", Type: cty.String, Default: str("text"), Only: []string{"parquet", "jsonl"},
				Doc: "Column or field that holds the document. A nested one is named with dots, `outer.inner`."},
			{Name: "id_column", Type: cty.String, Default: str("id"), Only: []string{"parquet", "jsonl"},
				Doc: "Column or field with a stable id, which is text or a number. If it is missing, null or empty, " +
					"a hash of the text is the id."},
			{Name: "separator", Type: cty.String, Default: str(""), Only: []string{"text"},
				Doc: "Text between documents; if empty, each file is one document."},
			{Name: "dtype", Type: cty.String, Default: str("auto"), OneOf: []string{"auto", "uint16", "uint32"},
				Only: []string{"bin"},
				Doc: "Type of a token in the file. `auto`: as llm.c's header says; without a header, uint16, or " +
					"uint32 if the tokenizer has more than 65,536 ids."},
			{Name: "min_int_score", Type: cty.Number, Whole: true, Min: at(-maxWhole), Max: at(maxWhole), Only: rows,
				Doc: "Keeps rows whose `int_score` is at least this."},
			{Name: "min_score", Type: cty.Number, Min: at(-1e12), Max: at(1e12), Only: rows,
				Doc: "Keeps rows whose `score` is at least this."},
			{Name: "min_language_score", Type: cty.Number, Min: at(0), Max: at(1), Only: rows,
				Doc: "Keeps rows whose `language_score` is at least this."},
			{Name: "min_token_count", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Only: rows,
				Doc: "Keeps rows whose `token_count` (GPT-2 tokens) is at least this."},
			{Name: "max_token_count", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Only: rows,
				Doc: "Keeps rows whose `token_count` is at most this."},
			{Name: "languages", Type: strings_, Filled: true, Only: rows,
				Doc: "Keeps rows whose `language` is one of these."},
			{Name: "dump", Type: cty.DynamicPseudoType, Filled: true, Only: rows,
				Doc: "Keeps rows whose `dump` is this, or one of these: crawls such as `CC-MAIN-2024-10`."},
			{Name: "filter", Type: cty.String, Only: rows,
				Doc: "Keeps rows for which a condition on their columns is true, such as `\"int_score >= 3 && url != " +
					"null\"`; see [data.md](data.md#filters)."},
			{Name: "deduplicate", Type: cty.Bool, Default: cty.False, Only: documents,
				Doc: "Uses only the first document, in the order of files and rows, of those with exactly the same " +
					"text. Copies are counted."},
			{Name: "validation_fraction", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0),
				Only: append(documents, "bin"),
				Doc: "Share of documents held out, by a hash of the id, so that reordering and adding files do not " +
					"change the split. With 1, all documents are held out and none can be trained on."},
			{Name: "seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(0),
				Only: append(documents, "bin"),
				Doc:  "Seed of the order of documents."},
			{Name: "shuffle", Type: cty.Bool, Default: cty.True, Only: append(documents, "bin"),
				Doc: "Puts documents in another order every epoch: pieces of up to 512 rows and 4 MiB from all files " +
					"and row groups are permuted, and the documents of 16 pieces at a time are mixed. The order " +
					"depends on seed, epoch and position alone. `false` reads files in the order of their names, " +
					"and each from its start."},
			{Name: "document_mask", Type: cty.Bool, Default: cty.True, Only: append(documents, "bin"),
				Doc: "Attention does not cross documents."},
			{Name: "predict_first_token", Type: cty.Bool, Default: cty.True, Only: append(documents, "bin"),
				Doc: "The end-of-text token before a document belongs to it and predicts its first token, as in " +
					"nanoGPT, llm.c and torchtitan, so that text can be generated from that token alone. `false` " +
					"leaves first tokens out of the loss, as Megatron's `--eod-mask-loss` does. If the " +
					"tokenizer's template puts a token before each text, that token always predicts the first."},
			{Name: "on_error", Type: cty.String, Default: str("fail"), OneOf: []string{"fail", "skip"}, Only: documents,
				Doc: "What to do with a line or a page that cannot be read, an empty document, or one that is not " +
					"UTF-8: stop, or count and skip it."},
			{Name: "special_tokens", Type: cty.String, Default: str("text"), OneOf: []string{"text", "ids"},
				Only: documents,
				Doc: "How to read special tokens of the tokenizer, such as `<|endoftext|>`, in a document. `text`: " +
					"as ordinary text, for web pages that quote them. `ids`: as those tokens, for documents that " +
					"were written with them. They are counted either way. Prompts of `evaluate.generation` are " +
					"read as `ids`."},
			{Name: "epochs", Type: cty.Number, Whole: true, Min: at(1), Max: at(1e9),
				Doc: "Passes over the data after which they are used up: a run stops at a checkpoint, and a mixture " +
					"goes on without them. Default: any number. In a mixture, the limit of each part that has " +
					"none of its own."},
			{Name: "cache", Type: cty.String, Default: str("none"), OneOf: []string{"none", "tokens"}, Only: documents,
				Doc: "`tokens` keeps the tokens of each row group in `STEPFLOW_CACHE_DIR` and reads them from there " +
					"in every later epoch and run. The batches are the same."},
		},
		Blocks: []Nested{{Name: "part", Required: true, Repeat: true, Only: []string{"mixture"},
			Doc: "Data to draw from.", Attrs: []Attr{
				{Name: "data", Ref: []string{"data"}, Required: true, Doc: "Data in files."},
				{Name: "weight", Type: cty.Number, Min: at(1e-6), Max: at(1e9), Required: true,
					Doc: "Share of the sequences, relative to the other weights."},
			}}},
		Exports: []Export{
			{Name: "validation", Type: cty.Object(map[string]cty.Type{"address": cty.String}),
				Doc: "The documents held out."},
			{Name: "all", Type: cty.Object(map[string]cty.Type{"address": cty.String}),
				Doc: "All documents, to evaluate a model that was not trained on any of them."},
			{Name: "rows", Type: cty.Number,
				Doc: "Rows in all files, before filters. Unknown for remote sources and for `bin`."},
			{Name: "files", Type: cty.Number, Doc: "Number of files."},
		}},
	{Name: "tokenizer", Types: []string{"huggingface", "bpe"}, Repeat: true, Lazy: true, Runs: true,
		Doc: "Turns text into ids. `huggingface` reads a `tokenizer.json`; `bpe` trains a byte-level BPE on the data " +
			"and writes one.",
		Attrs: []Attr{
			{Name: "file", Type: cty.String, Required: true, Only: []string{"huggingface"},
				Doc: "Path of a `tokenizer.json`, relative to the pipeline's folder."},
			{Name: "eos_token", Type: cty.String, Only: []string{"huggingface"},
				Doc: "Token that ends a document; default: the first of `<|endoftext|>`, `<|end_of_text|>` and " +
					"`</s>` that the file has."},
			{Name: "train_on", Ref: []string{"data"}, Required: true, Only: []string{"bpe"},
				Doc: "Documents to train on."},
			{Name: "vocab_size", Type: cty.Number, Whole: true, Min: at(257), Max: at(1 << 24), Required: true,
				Only: []string{"bpe"},
				Doc:  "Number of tokens, including the 256 bytes and `<|endoftext|>`."},
			{Name: "max_bytes", Type: cty.String, Bytes: true, Default: str("256 MiB"), Only: []string{"bpe"},
				Doc: "The most text to train on."},
		},
		Exports: []Export{
			{Name: "vocab_size", Type: cty.Number, Doc: "The largest id plus one."},
			{Name: "eos_token_id", Type: cty.Number, From: []string{"eos_token"},
				Doc: "Id of the token that ends documents."},
		}},
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
	{Name: "peft", Types: []string{"lora", "relora"}, Repeat: true, Lazy: true,
		Doc: "An adapter, with the names of Hugging Face's PEFT. It sits on frozen projections and is merged when " +
			"the stage ends; `relora` also merges and restarts on the way.",
		Attrs: []Attr{
			{Name: "r", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 16), Required: true, Doc: "Rank."},
			{Name: "lora_alpha", Type: cty.Number, Above: at(0), Max: at(1e6), Required: true,
				Doc: "The adapter's product is scaled by lora_alpha / r."},
			{Name: "use_rslora", Type: cty.Bool, Default: cty.False, Doc: "Scale by lora_alpha / sqrt(r) instead."},
			{Name: "target_modules", Type: strings_, Filled: true, Required: true,
				Doc: "Names such as `q_proj`, patterns such as `model.layers.*.mlp.*`, or `all-linear`. A name or " +
					"pattern that matches nothing is an error."},
			{Name: "reset_every", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Required: true,
				Only: []string{"relora"}, Unit: "optimizer steps",
				Doc: "Steps between merge and restart."},
			{Name: "restart_warmup_steps", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxSteps),
				Default: num(0), Only: []string{"relora"}, Unit: "optimizer steps",
				Doc: "Steps over which the learning rate rises again after a restart."},
			{Name: "merge_rounding", Type: cty.String, Default: str("stochastic"),
				OneOf: []string{"stochastic", "remainder"}, Only: []string{"relora"},
				Doc: "How a merge rounds to bf16 weights, which are too coarse for the small updates of a short " +
					"cycle. `stochastic`: up or down at random, right on average. `remainder`: to nearest, " +
					"keeping the remainder for the next merge: exact, for 2 more bytes a weight. Merges into fp32 " +
					"weights need neither."},
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
	memoryPlanKind,
	stageKind,
	{Name: "evaluate", Types: []string{"perplexity", "generation"}, Repeat: true, Runs: true,
		Doc: "Measures a trained stage or an imported model. `perplexity`: its loss on held-out documents. " +
			"`generation`: texts that it continues from prompts.",
		Attrs: []Attr{
			{Name: "model", Ref: []string{"stage", "model"}, Required: true, Fixed: notMeasured,
				Doc: "Stage to evaluate, or a model read by `from`."},
			{Name: "tokenizer", Ref: []string{"tokenizer"}, Fixed: notMeasured, Doc: "Default: the stage's."},
			{Name: "data", Ref: []string{"data"}, Required: true, Fixed: notMeasured, Only: []string{"perplexity"},
				Doc: "Documents to measure: the held-out ones, `data.TYPE.NAME.validation`, or a whole set on which " +
					"the model was not trained, `data.TYPE.NAME.all`."},
			{Name: "sequence_length", Type: cty.Number, Whole: true, Min: at(2), Max: at(1 << 24),
				Only: []string{"perplexity"},
				Doc: "Tokens that the model sees at once. Default: the stage's; for a model read by `from`, its " +
					"`max_position_embeddings`, but at most 2048, the window of most published perplexities."},
			{Name: "stride", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Unit: "tokens",
				Only: []string{"perplexity"},
				Doc: "Windows slide by this many tokens, and each predicts the tokens that no window before it held, " +
					"as in Hugging Face's guide to the perplexity of fixed-length models: in each document by " +
					"itself, or with `document_mask = false` in all of them as one text. It is at most " +
					"sequence_length, at which a window's first token is not predicted. Default: windows end to " +
					"end, in which the last token of one predicts the first of the next."},
			{Name: "join", Type: cty.String, Only: []string{"perplexity"},
				Doc: "Joins the documents of each source to one text, with this between them, as the usual recipe " +
					"for WikiText does with `\"\\n\\n\"`. Every row counts, also empty and blank ones, and in " +
					"text files too. At most 256 MiB."},
			{Name: "end_of_text", Type: cty.Bool, Only: []string{"perplexity"},
				Doc: "Whether the end-of-text token after each document is predicted. Default: true, or false with " +
					"`join`."},
			{Name: "batch_size", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Default: num(8),
				Only: []string{"perplexity"},
				Doc: "Sequences at a time, or fewer if the device's memory holds fewer. The result does not depend " +
					"on it."},
			{Name: "max_tokens", Type: cty.Number, Whole: true, Min: at(2), Max: at(maxWhole),
				Only: []string{"perplexity"},
				Doc: "Predicts only this many tokens, the first ones; each source of a mixture gives its share. The " +
					"document, or the joined text, in which they are reached is cut there."},
			{Name: "prompts", Type: strings_, Filled: true, Required: true, Only: []string{"generation"},
				Doc: "Texts to continue."},
			{Name: "max_new_tokens", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Default: num(64),
				Only: []string{"generation"},
				Doc:  "The most tokens to add; the end-of-text token ends a sample."},
			{Name: "temperature", Type: cty.Number, Min: at(0), Max: at(1000), Default: num(0),
				Only: []string{"generation"},
				Doc:  "Divides the logits before sampling; 0 takes the likeliest token (greedy)."},
			{Name: "top_k", Type: cty.Number, Whole: true, Min: at(0), Max: at(1 << 24), Default: num(0),
				Only: []string{"generation"},
				Doc:  "Samples among the k likeliest tokens; 0 for all."},
			{Name: "top_p", Type: cty.Number, Above: at(0), Max: at(1), Default: num(1), Only: []string{"generation"},
				Doc: "Samples among the likeliest tokens that together have this probability (nucleus)."},
			{Name: "seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(0),
				Only: []string{"generation"},
				Doc:  "Seed of the samples."},
		},
		Exports: []Export{
			{Name: "loss", Type: cty.Number, Late: true, Only: []string{"perplexity"},
				Doc: "Mean negative log-likelihood in nats a token. Null if it is not finite; the run then names the " +
					"first tensor that is not finite, runs the other blocks, and exits with 1."},
			{Name: "perplexity", Type: cty.Number, Late: true, Only: []string{"perplexity"},
				Doc: "exp(loss); null if that is not finite."},
			{Name: "word_perplexity", Type: cty.Number, Late: true, Only: []string{"perplexity"},
				Doc: "exp of the negative log-likelihood a word: the nats of all tokens divided by `words`, " +
					"comparable between tokenizers."},
			{Name: "bits_per_byte", Type: cty.Number, Late: true, Only: []string{"perplexity"},
				Doc: "Negative log-likelihood a byte: the bits of all tokens divided by `bytes`, comparable between " +
					"tokenizers."},
			{Name: "stderr", Type: cty.Number, Late: true, Only: []string{"perplexity"},
				Doc: "Standard error of the loss, over tokens."},
			{Name: "tokens", Type: cty.Number, Late: true, Only: []string{"perplexity"},
				Doc: "Predicted tokens, over which loss, perplexity and stderr are means."},
			{Name: "bytes", Type: cty.Number, Late: true, Only: []string{"perplexity"},
				Doc: "Bytes of UTF-8 that the predicted tokens spell."},
			{Name: "words", Type: cty.Number, Late: true, Only: []string{"perplexity"},
				Doc: "Words of the documents, separated by white space."},
			{Name: "documents", Type: cty.Number, Late: true, Only: []string{"perplexity"},
				Doc: "Measured documents; with `join`, one for each source."},
			{Name: "unigram_entropy", Type: cty.Number, Late: true, Only: []string{"perplexity"},
				Doc: "Entropy in nats of the frequencies of the predicted tokens: the least loss of a model that " +
					"sees no context."},
			{Name: "texts", Type: strings_, Late: true, From: []string{"prompts"}, Only: []string{"generation"},
				Doc: "The samples, prompts included."},
		}},
	{Name: "export", Types: []string{"huggingface"}, Repeat: true, Runs: true,
		Doc: "Writes a trained stage as a Hugging Face folder: `config.json`, safetensors, tokenizer files, " +
			"`generation_config.json`.",
		Attrs: []Attr{
			{Name: "model", Ref: []string{"stage"}, Required: true, Doc: "Stage to export.",
				Fixed: "the folder would hold another model than the one that is named here"},
			{Name: "path", Type: cty.String, Required: true,
				Doc: "Folder, relative to the pipeline's. Its `stepflow_export.json` lists the files that an export " +
					"wrote, with hashes, and the next export replaces those files and no others. Your own files, " +
					"such as `README.md` or `.git`, stay. `plan` refuses a folder if you changed a file of the " +
					"list or one of yours is in the way, if it has files but no list, if two exports write to it, " +
					"or if it holds the pipeline, its state or files that the pipeline reads. A model that " +
					"another state exported is replaced only after a yes. A symbolic link is followed."},
			{Name: "max_shard_size", Type: cty.String, Bytes: true, Default: str("5 GB"),
				Doc: "Larger models are written in several files with an index."},
		},
		Exports: []Export{{Name: "path", Type: cty.String,
			Doc: "The folder as configured: relative to the pipeline's, or absolute, such as " +
				"`\"${path.module}/out\"`."}}},
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
