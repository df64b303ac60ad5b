package dsl

import "github.com/zclconf/go-cty/cty"

// taskKind is the row of Kinds for downstream tasks. Its attributes are the keys of the tasks of lm-evaluation-harness.
var taskKind = Kind{Name: "task", Repeat: true, Lazy: true,
	Doc: "A task to measure models on with `evaluate \"tasks\"`, described with the keys of lm-evaluation-harness, " +
		"here or in a YAML file of it. A template is Jinja's, and sees the columns of a document: see " +
		"[evaluation.md](evaluation.md#tasks).",
	Attrs: []Attr{
		{Name: "file", Type: cty.String,
			Doc: "A YAML file that describes the task, or a group of tasks, instead of the attributes below; relative to " +
				"the pipeline's folder."},
		{Name: "dataset_path", Type: cty.String, Doc: "The data, `ORG/NAME` on the Hugging Face hub."},
		{Name: "dataset_name", Type: cty.String, Doc: "A part of that, such as `main`."},
		{Name: "data_files", Type: cty.DynamicPseudoType, Filled: true,
			Doc: "Files instead, parquet or JSON: a glob, a list of them, or an object of those by split, such as " +
				"`{ train = \"a/*.jsonl\", test = \"b/*.jsonl\" }`. They start at the pipeline's folder. Without splits they " +
				"are the documents that are measured."},
		{Name: "training_split", Type: cty.String, Doc: "Split that examples come from, where fewshot_split is left out."},
		{Name: "validation_split", Type: cty.String, Doc: "Split that is measured, if there is no test_split."},
		{Name: "test_split", Type: cty.String, Doc: "Split that is measured."},
		{Name: "fewshot_split", Type: cty.String, Doc: "Split that examples come from."},
		{Name: "output_type", Type: cty.String,
			OneOf: []string{"multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until"},
			Doc: "What is asked: which of several texts is likeliest, how likely one is, how likely a whole document is, " +
				"or to write. Default: generate_until."},
		{Name: "doc_to_text", Type: cty.DynamicPseudoType,
			Doc: "What the model is given: a template, or the name of a column. A number is that of the right choice, " +
				"where the choices are contexts."},
		{Name: "doc_to_choice", Type: cty.DynamicPseudoType, Filled: true,
			Doc: "The choices: a list, a template that makes one, or the name of a column."},
		{Name: "doc_to_target", Type: cty.DynamicPseudoType,
			Doc: "The right answer: the number of a choice from 0, or a text, or a list of them; as a value, a template " +
				"or the name of a column."},
		{Name: "gen_prefix", Type: cty.String, Doc: "How the answer begins, after the question."},
		{Name: "description", Type: cty.String, Doc: "A template of the text before all."},
		{Name: "doc_to_decontamination_query", Type: cty.String,
			Doc: "A template, or the name of a column, of the text that is looked for in training data. Default: the question " +
				"and the right answer; see [evaluation.md](evaluation.md#contamination)."},
		{Name: "target_delimiter", Type: cty.String, Doc: "Between question and answer. Default: a space."},
		{Name: "fewshot_delimiter", Type: cty.String, Doc: "After an example. Default: two newlines."},
		{Name: "fewshot_config", Type: cty.DynamicPseudoType,
			Doc: "How examples are chosen and written: an object with sampler (`default`, random ones, or `first_n`), " +
				"split, samples, and doc_to_text and the like for them."},
		{Name: "num_fewshot", Type: cty.Number, Whole: true, Min: at(0), Max: at(1000), Doc: "Examples in a prompt."},
		{Name: "metric_list", Type: cty.DynamicPseudoType, Filled: true,
			Doc: "What is measured: a list of names such as `acc`, or of objects such as " +
				"`{ metric = \"exact_match\", ignore_case = true }`. Default: what is usual for output_type."},
		{Name: "generation_kwargs", Type: cty.DynamicPseudoType,
			Doc: "How the model writes: an object with until, max_gen_toks, do_sample, temperature, top_p and top_k."},
		{Name: "filter_list", Type: cty.DynamicPseudoType, Filled: true,
			Doc: "What is taken of a text that the model wrote: a list of objects with name and filter, a list of functions."},
		{Name: "repeats", Type: cty.Number, Whole: true, Min: at(1), Max: at(1000), Doc: "How often the model writes."},
	}}
