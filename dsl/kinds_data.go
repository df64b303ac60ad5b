package dsl

import (
	"slices"

	"github.com/zclconf/go-cty/cty"
)

// rows lists the types of data whose documents have columns or fields beside the text.
var rows = []string{"fineweb_edu", "parquet", "jsonl", "conversations"}

// documents lists the types of data that hold text. It is clipped, so that append copies it.
var documents = slices.Clip([]string{"fineweb_edu", "parquet", "jsonl", "text"})

// sources lists the types of data that lie in files.
var sources = append(documents, "bin", "conversations")

// dataKind is the row of Kinds for documents.
var dataKind = Kind{Name: "data", Types: append(documents, "bin", "conversations", "mixture"), Repeat: true, Lazy: true,
	Doc: "Documents to train or evaluate on. `fineweb_edu` expects the columns of the dataset of that name; " +
		"`parquet`, `jsonl` (one JSON object a line) and `text` differ only in the format. `bin` reads the " +
		"token files of nanoGPT and llm.c, in which the tokenizer's end-of-text token alone ends a document; " +
		"`conversations` are rows to [tune on](tuning.md), in parquet, JSON lines or a JSON list; a " +
		"`mixture` draws from other data. `data.TYPE.NAME` is the training split, `data.TYPE.NAME.validation` " +
		"the held-out documents, and `data.TYPE.NAME.all` both.",
	Attrs: []Attr{
		{Name: "source", Type: cty.DynamicPseudoType, Filled: true, Required: true, Only: sources,
			Doc: "A glob, or a list of globs, relative to the pipeline's folder. `https://` addresses of files, " +
				"`hf://datasets/ORG/NAME[@REVISION]/GLOB` and `s3://BUCKET/GLOB` are read by ranges."},
		{Name: "text_column", Type: cty.String, Default: str("text"), Only: []string{"parquet", "jsonl"},
			Doc: "Column or field that holds the document. A nested one is named with dots, `outer.inner`."},
		{Name: "form", Type: cty.String, Default: str("auto"),
			OneOf: []string{"auto", "messages", "sharegpt", "prompt_completion", "alpaca"}, Only: []string{"conversations"},
			Doc: "How a row holds its conversation: `messages` with role and content, ShareGPT's `conversations` with " +
				"from and value, `prompt` and `completion`, or Alpaca's `instruction`, `input` and `output`. `auto` goes " +
				"by the columns of each row, in this order."},
		{Name: "id_column", Type: cty.String, Default: str("id"), Only: []string{"parquet", "jsonl", "conversations"},
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
		{Name: "deduplicate", Type: cty.Bool, Default: cty.False, Only: append(documents, "conversations"),
			Doc: "Uses only the first document, in the order of files and rows, of those with exactly the same " +
				"text. Copies are counted."},
		{Name: "validation_fraction", Type: cty.Number, Min: at(0), Max: at(1), Default: num(0),
			Only: sources,
			Doc: "Share of documents held out, by a hash of the id, so that reordering and adding files do not " +
				"change the split. With 1, all documents are held out and none can be trained on."},
		{Name: "seed", Type: cty.Number, Whole: true, Min: at(0), Max: at(maxWhole), Default: num(0),
			Only: sources,
			Doc:  "Seed of the order of documents."},
		{Name: "shuffle", Type: cty.Bool, Default: cty.True, Only: sources,
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
		{Name: "on_error", Type: cty.String, Default: str("fail"), OneOf: []string{"fail", "skip"},
			Only: append(documents, "conversations"),
			Doc: "What to do with a line or a page that cannot be read, an empty document, one that is not " +
				"UTF-8, or a conversation that cannot be trained on: stop, or count and skip it."},
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
		}}, {Name: "decontaminate", Repeat: true, Only: append(documents, "conversations"),
		Doc: "Leaves out documents to train on that share an n-gram of words with documents of other data, or of tasks. " +
			"They are counted; see [data.md](data.md#contamination). Held-out documents stay.",
		Attrs: []Attr{
			{Name: "data", Ref: []string{"data"},
				Doc: "Documents to keep out: `data.TYPE.NAME.validation`, or `data.TYPE.NAME.all`."},
			{Name: "tasks", Type: cty.DynamicPseudoType, Filled: true,
				Doc: "Tasks whose documents to keep out instead, as `evaluate \"tasks\"` names them: `[\"hellaswag\", task.mine]`. " +
					"The question of each document is looked for, with its right answer."},
			{Name: "data_files", Type: cty.DynamicPseudoType, Filled: true,
				Doc: "Files of the tasks instead of those on the hub, as in `evaluate \"tasks\"`."},
			{Name: "ngram", Type: cty.Number, Whole: true, Min: at(5), Max: at(63), Default: num(13), Unit: "words",
				Doc: "Words in a row that two documents must share, whatever their case and punctuation. A shorter " +
					"document of at least 8 words is looked for as a whole."},
			{Name: "max_matches", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 30),
				Doc: "An n-gram that stands in more documents to train on than this does not count: it is a common " +
					"phrase, such as a licence. GPT-3 used 10. Default: all count."},
		}}},
	Exports: []Export{
		{Name: "validation", Type: cty.Object(map[string]cty.Type{"address": cty.String}),
			Doc: "The documents held out."},
		{Name: "all", Type: cty.Object(map[string]cty.Type{"address": cty.String}),
			Doc: "All documents, to evaluate a model that was not trained on any of them."},
		{Name: "rows", Type: cty.Number,
			Doc: "Rows in all files, before filters. Unknown for remote sources and for `bin`."},
		{Name: "files", Type: cty.Number, Doc: "Number of files."},
	}}
