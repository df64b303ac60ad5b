package dsl

import "github.com/zclconf/go-cty/cty"

// notMeasured says why an evaluation must be of what it names.
const notMeasured = "the results would be told of what they were not measured with"

// builtinTasks are those of package tasks, for the page of the language.
const builtinTasks = "arc_challenge, arc_easy, boolq, gsm8k, hellaswag, lambada_openai, mmlu, openbookqa, piqa, sciq, " +
	"wikitext, winogrande"

// ofTasks are the attributes that say which tasks are measured, for the types of only; tasks itself may be required.
func ofTasks(required bool, only ...string) []Attr {
	list := []Attr{
		{Name: "tasks", Type: cty.DynamicPseudoType, Filled: true,
			Doc: "Tasks to measure: names of built-in ones (" + builtinTasks + "), YAML files of lm-evaluation-harness, " +
				"relative to the pipeline's folder, or `task` blocks, as in `[\"hellaswag\", \"eval/mine.yaml\", task.mine]`."},
		{Name: "data_files", Type: cty.DynamicPseudoType, Filled: true,
			Doc: "Files instead of those on the hub, by the name of a task or a group: an object of globs, relative to the " +
				"pipeline's folder, such as `{ hellaswag = \"eval/hellaswag/{split}-*.parquet\" }`, or of objects of globs by " +
				"split. `{split}`, `{dataset_name}` and `{task}` stand for what the task has there; without `{split}` a glob " +
				"names the documents that are measured."},
		{Name: "num_fewshot", Type: cty.Number, Whole: true, Min: at(0), Max: at(1000),
			Doc: "Examples in a prompt. A task that says 0 itself has none. Default: what each task says, or 0."},
		{Name: "limit", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxWhole),
			Doc: "Measures only so many documents of each task, the first ones."},
		{Name: "fewshot_seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(1234),
			Doc: "Seed of the choice of examples, and of texts that are sampled."},
	}
	list[0].Required = required
	for i := range list {
		list[i].Only = only
	}
	return list
}

// evaluateKind is the row of Kinds for evaluations.
var evaluateKind = Kind{Name: "evaluate", Types: []string{"perplexity", "generation", "tasks"}, Repeat: true, Runs: true,
	Doc: "Measures a trained stage or an imported model. `perplexity`: its loss on held-out documents. " +
		"`generation`: texts that it continues from prompts. `tasks`: downstream tasks such as HellaSwag, with the " +
		"numbers that lm-evaluation-harness gives.",
	Attrs: append([]Attr{
		{Name: "model", Ref: []string{"stage", "model"}, Required: true, Fixed: notMeasured,
			Doc: "Stage to evaluate, or a model read by `from`."},
		{Name: "tokenizer", Ref: []string{"tokenizer"}, Fixed: notMeasured, Doc: "Default: the stage's."},
		runsOn,
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
		{Name: "contamination", Type: cty.Bool, Only: []string{"perplexity", "tasks"},
			Doc: "Whether to look for n-grams of the documents in what the stages trained on, which is read once " +
				"more; see [evaluation.md](evaluation.md#contamination). Default: true, or false where that would " +
				"be fetched from a server again."},
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
	}, ofTasks(true, "tasks")...),
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
		{Name: "documents", Type: cty.Number, Late: true, Only: []string{"perplexity", "tasks"},
			Doc: "Measured documents; with `join`, one for each source."},
		{Name: "contamination", Type: cty.Number, Late: true, Only: []string{"perplexity"},
			Doc: "Share of the documents that have 13 words in a row in common with a document that the stages " +
				"trained on. Null where that was not looked for or is not known."},
		{Name: "token_contamination", Type: cty.Number, Late: true, Only: []string{"perplexity"},
			Doc: "The same of 13 tokens in a row, which differ in case and punctuation too."},
		{Name: "contaminated_ngrams", Type: cty.Number, Late: true, Only: []string{"perplexity"},
			Doc: "Share of the documents' 13-grams of words that were found: near 0 where documents share a " +
				"phrase, near 1 where they were trained on."},
		{Name: "unchecked_documents", Type: cty.Number, Late: true, Only: []string{"perplexity"},
			Doc: "Documents of fewer than 8 words, which are not looked for."},
		{Name: "results", Type: cty.DynamicPseudoType, Late: true, Only: []string{"tasks"},
			Doc: "By the name of a task or a group, an object of its metrics: `results[\"hellaswag\"].acc_norm`, and " +
				"`acc_norm_stderr`, its standard error; `documents`; and of multiple choices `chance`, the accuracy of guessing. " +
				"Beside them are `contamination`, `contaminated_ngrams`, `token_contamination` and `unchecked_documents` as in " +
				"`perplexity`, and `clean`, an object of the metrics on the documents of which no n-gram of words was found: " +
				"`results[\"hellaswag\"].clean.acc_norm`. They are null where they are not known. " +
				"A metric of a filter has both names, `results[\"gsm8k\"][\"exact_match,strict-match\"]`."},
		{Name: "unigram_entropy", Type: cty.Number, Late: true, Only: []string{"perplexity"},
			Doc: "Entropy in nats of the frequencies of the predicted tokens: the least loss of a model that " +
				"sees no context."},
		{Name: "texts", Type: strings_, Late: true, From: []string{"prompts"}, Only: []string{"generation"},
			Doc: "The samples, prompts included."},
	}}
