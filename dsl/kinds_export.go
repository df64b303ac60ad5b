package dsl

import "github.com/zclconf/go-cty/cty"

// exportKind is the row of Kinds for exports.
var exportKind = Kind{Name: "export", Types: []string{"huggingface", "gguf", "peft"}, Repeat: true, Runs: true,
	Doc: "Writes a trained stage for other programs. `huggingface`: a folder that transformers reads, with `config.json`, " +
		"safetensors, tokenizer files and `generation_config.json`. `gguf`: a file that llama.cpp and what is built " +
		"on it read, with the tokenizer. `peft`: the LoRA adapters of a stage, apart from the model, as PEFT reads them. " +
		"See [export.md](export.md).",
	Attrs: []Attr{
		{Name: "model", Ref: []string{"stage"}, Required: true, Doc: "Stage to export.",
			Fixed: "the folder would hold another model than the one that is named here"},
		{Name: "path", Type: cty.String, Required: true,
			Doc: "Folder, relative to the pipeline's. Its `stepflow_export.json` lists the files that an export " +
				"wrote, with hashes, and the next export replaces those files and no others. Your own files, " +
				"such as `.git` or a `README.md`, stay. `plan` refuses a folder if you changed a file of the " +
				"list or one of yours is in the way, if it has files but no list, if two exports write to it, " +
				"or if it holds the pipeline, its state or files that the pipeline reads. A model that " +
				"another state exported is replaced only after a yes. A symbolic link is followed."},
		{Name: "max_shard_size", Type: cty.String, Bytes: true, Default: str("5 GB"), Only: []string{"huggingface"},
			Doc: "Larger models are written in several files with an index."},
		{Name: "merge", Type: cty.Bool, Default: cty.True, Only: []string{"huggingface"},
			Doc: "Whether adapters that the stage keeps apart (`merge = false`) are merged. With false, the folder is the model that " +
				"`export \"peft\"` names as their base."},
		{Name: "quantization", Type: cty.String, OneOf: []string{"f32", "f16", "bf16", "q8_0"}, Only: []string{"gguf"},
			Doc: "Type of the matrices, by the names of llama.cpp's `--outtype`; vectors are F32. Default: that of the " +
				"stage's weights, so that nothing is rounded. The file is `model-TYPE.gguf`."},
		{Name: "base_model_name_or_path", Type: cty.String, Only: []string{"peft"},
			Doc: "Where PEFT finds the model that the adapters are added to, the one that the stage starts from: a name on the hub, " +
				"or a folder such as `export.huggingface.base.path`. Default: the `from` of the model block, or the imported model, " +
				"if the stage starts from it."},
		runsOn,
	},
	Blocks: []Nested{{Name: "generation_config", Only: []string{"huggingface"},
		Doc: "How text is generated unless a caller says otherwise, by the names of transformers' `generation_config.json`. Without " +
			"it, the file has the ids of the tokens that begin and end a text alone.",
		Attrs: []Attr{
			{Name: "do_sample", Type: cty.Bool, Default: cty.False, Doc: "Whether tokens are drawn; else the likeliest is taken."},
			{Name: "temperature", Type: cty.Number, Above: at(0), Max: at(1000), Doc: "Divides the logits; takes `do_sample`."},
			{Name: "top_k", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24),
				Doc: "Draws among the k likeliest tokens; takes `do_sample`."},
			{Name: "top_p", Type: cty.Number, Above: at(0), Max: at(1),
				Doc: "Draws among the likeliest tokens that together have this probability; takes `do_sample`."},
			{Name: "repetition_penalty", Type: cty.Number, Above: at(0), Max: at(1000),
				Doc: "Divides the positive logits of tokens that are there already, and multiplies the negative ones."},
			{Name: "max_new_tokens", Type: cty.Number, Whole: true, Min: at(1), Max: at(1 << 24), Doc: "The most tokens to add."},
			{Name: "stop_tokens", Type: strings_, Filled: true,
				Doc: "Tokens that end a text beside the tokenizer's, such as `<|im_end|>`: `eos_token_id` is the list of all. " +
					"By default the token with which the tokenizer's chat template ends an answer."},
		}}, {Name: "model_card", Doc: "What `README.md`, the model card, says besides what the run knows: the data, " +
		"the stages, what they took, and how to load the model. A card of yours in the folder stays, and so does ours once " +
		"you changed it.",
		Attrs: []Attr{
			{Name: "write", Type: cty.Bool, Default: cty.True, Doc: "Whether a card is written."},
			{Name: "title", Type: cty.String, Doc: "Name of the model. Default: the stage's."},
			{Name: "description", Type: cty.String, Doc: "What the model is for; a paragraph of plain text."},
			{Name: "license", Type: cty.String, Doc: "License of the model, by the hub's name, such as `apache-2.0`."},
			{Name: "language", Type: strings_, Filled: true, Doc: "Codes of languages, such as `en`."},
			{Name: "tags", Type: strings_, Filled: true, Doc: "Tags of the hub."},
			{Name: "base_model", Type: cty.String,
				Doc: "Model of the hub that this one was made of, `ORG/NAME`. Default: that of an `hf://` folder that the model or " +
					"the stage is from."},
		},
		Blocks: []Nested{{Name: "result", Repeat: true,
			Doc: "An evaluation that the card shows. The export waits for it, and is made again when it changes.",
			Attrs: []Attr{
				{Name: "evaluation", Ref: []string{"evaluate"}, Required: true,
					Doc:   "An evaluation of the stage, or of one that it continues.",
					Fixed: "the card would show another evaluation than the one that is named here"},
				{Name: "dataset", Type: cty.String, Doc: "What it was measured on, in words. Default: its data block."},
			}}}}},
	Exports: []Export{{Name: "path", Type: cty.String,
		Doc: "The folder as configured: relative to the pipeline's, or absolute, such as " +
			"`\"${path.module}/out\"`."}}}
