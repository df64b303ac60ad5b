package dsl

import "github.com/zclconf/go-cty/cty"

// exportKind is the row of Kinds for exports.
var exportKind = Kind{Name: "export", Types: []string{"huggingface"}, Repeat: true, Runs: true,
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
			"`\"${path.module}/out\"`."}}}
