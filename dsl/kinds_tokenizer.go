package dsl

import "github.com/zclconf/go-cty/cty"

// tokenizerKind is the row of Kinds for tokenizers.
var tokenizerKind = Kind{Name: "tokenizer", Types: []string{"huggingface", "bpe"}, Repeat: true, Lazy: true, Runs: true,
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
		{Name: "special_tokens", Type: strings_, Filled: true, Only: []string{"bpe"},
			Doc: "Special tokens beside `<|endoftext|>`, such as those of a chat template, `<|im_start|>` and " +
				"`<|im_end|>`. They count in `vocab_size`."},
		{Name: "chat_template", Type: cty.String,
			Doc: "Template that conversations are rendered with: the path of a `.jinja` file or of a " +
				"`tokenizer_config.json`, a template as text, or the name of a built-in one, `chatml`. Default: what lies " +
				"beside `file`, as transformers finds it."},
		{Name: "max_bytes", Type: cty.String, Bytes: true, Default: str("256 MiB"), Only: []string{"bpe"},
			Doc: "The most text to train on."},
		runsOn,
	},
	Exports: []Export{
		{Name: "vocab_size", Type: cty.Number, Doc: "The largest id plus one."},
		{Name: "eos_token_id", Type: cty.Number, From: []string{"eos_token"},
			Doc: "Id of the token that ends documents."},
	}}
