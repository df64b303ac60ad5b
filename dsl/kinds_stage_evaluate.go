package dsl

import "github.com/zclconf/go-cty/cty"

// evaluateWhileTraining is the block of a stage's train block that measures the model between steps.
var evaluateWhileTraining = Nested{Name: "evaluate", Named: true, Repeat: true,
	Doc: "Measures the model between steps, on the weights as they lie on the device, adapters included: with `data` its " +
		"loss on documents that are held out, with `tasks` the metrics of an `evaluate \"tasks\"` block. It changes no bit of " +
		"the result. The last step is always followed by one. See [While training](evaluation.md#while-training).",
	Attrs: append([]Attr{
		{Name: "every_steps", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Unit: "optimizer steps",
			Group: "interval",
			Doc:   "Steps between evaluations; exactly one of `every_steps` and `every_tokens`."},
		{Name: "every_tokens", Type: cty.Number, Above: at(0), Max: at(1e18), Unit: "tokens", Group: "interval",
			Doc: "Tokens of training between evaluations: one follows each step that completes so many more."},
		{Name: "on_start", Type: cty.Bool, Default: cty.False,
			Doc: "Whether there is one before the first step too. It is for the curve alone: `stop_when` and " +
				"`keep_best` do not count it."},
		{Name: "data", Ref: []string{"data"},
			Doc: "Documents to measure, instead of `tasks`: the held-out ones, `data.TYPE.NAME.validation`, or a whole set on which " +
				"the model is not trained, `data.TYPE.NAME.all`. Windows are as long as the stage's sequences, end " +
				"to end."},
		{Name: "max_tokens", Type: cty.Number, Whole: true, Min: at(2), Max: at(maxWhole),
			Doc: "Predicts only this many tokens, the first ones; each source of a mixture gives its share."},
	}, ofTasks(false)...)}

// stopWhen is the block of a stage's train block that ends the stage early.
var stopWhen = Nested{Name: "stop_when",
	Doc: "Ends the stage before its last step, as done, by a value that evaluations between steps give: " +
		"`NAME.loss`, `NAME.perplexity` or `NAME.bits_per_byte`, which are better when lower, or a metric of a task such as " +
		"`NAME.hellaswag.acc_norm`; metrics know whether higher or lower is better. It takes `patience`, `threshold`, or both.",
	Attrs: []Attr{
		{Name: "value", Type: cty.String, Required: true,
			Doc: "Such as `validation.loss`, of the block `evaluate \"validation\"`, or `zero_shot.hellaswag.acc`, of `evaluate " +
				"\"zero_shot\"`; if that has a single task, also `zero_shot.acc`."},
		{Name: "patience", Type: cty.Number, Whole: true, Min: at(1), Max: at(maxSteps), Unit: "evaluations",
			Doc: "The stage ends after this many in a row in which the value did not improve. One that is not finite " +
				"is no improvement."},
		{Name: "min_delta", Type: cty.Number, Min: at(0), Max: at(1e9), Default: num(0),
			Doc: "The value has to improve by more than this to count, measured from the last one that counted."},
		{Name: "threshold", Type: cty.Number, Min: at(0), Max: at(1e300),
			Doc: "The stage ends as soon as the value is this low, or this high where higher is better."},
	}}

// keepBest is the attribute of a stage's train block that makes its best model the result.
var keepBest = Attr{Name: "keep_best", Type: cty.String,
	Doc: "Makes the stage's result the model with the best value of its evaluations, instead of the last one, such as " +
		"`validation.loss` or `zero_shot.hellaswag.acc`: the first of those that are equal. It is saved when it is found, and " +
		"each later checkpoint holds it too."}
