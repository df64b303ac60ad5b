// Package compatibility is the table of methods that a stage cannot combine. Checks of blocks read it, and so does the page
// docs/methods.md.
package compatibility

// Rules lists what cannot be combined. What no rule refuses can be: TestEveryCombination compiles it.
var Rules = []Rule{
	{
		A: Any("update", "fused"), B: Any("optimizer", "galore"), At: "update",
		Title:   "A fused update without gradients",
		Why:     "{optimizer} finds its projections from the gradients of a whole step, which a fused update does not keep.",
		Instead: "Use separate updates, or another optimizer, such as apollo, whose projections are random.",
	},
	{
		A: Any("update", "fused"), B: Any("micro_batch_size", PartOfBatch), At: "micro_batch_size",
		Title:   "Several micro-batches with fused updates",
		Why:     "A fused update needs the gradient of the whole batch at once, and micro_batch_size is less than batch_size.",
		Instead: "Leave micro_batch_size out, or use separate updates.",
	},
	{
		A: Any("update", "fused"), B: Any("shard", "optimizer", "gradients"), At: "update",
		Title:   "Fused updates on several ranks",
		Why:     "A fused update keeps no gradient that could lie with one rank, and shard = \"{shard}\" has one rank update each parameter.",
		Instead: `Use separate updates, or shard = "none".`,
	},
	{
		A: Any("moments", "mapped"), B: Any("optimizer", "apollo", "apollo_mini", "galore", "adafactor"), At: "moments",
		Title: "Moments that cannot be mapped",
		Why: "{optimizer} keeps moments of other shapes than the weights, and only moments of the same shape as the weights can be " +
			"added up.",
		Instead: "Leave moments out, or use an optimizer that keeps such moments, such as adamw.",
	},
	{
		A: Any("frozen_dtype", "nf4", "int8", "bf16"), B: Any("adapter", "relora"), At: "frozen_dtype",
		Title: "Merges into weights of few bits",
		Why: "A {adapter} adapter is merged into the frozen weights again and again, and what it learns from one merge to the next " +
			"is smaller than {frozen_dtype} can hold.",
		Instead: "Use a lora adapter, which is merged once, or store frozen weights as precision says.",
	},
	{
		A: Any("optimizer_*_pruning", Given), B: Any("optimizer", "adafactor"), At: "adapter",
		Title: "Moments that cannot be pruned",
		Why: "A restart of the adapter prunes moments element by element, and {optimizer} keeps means of whole rows and columns, which " +
			"have no such elements.",
		Instead: "Leave the pruning out, which then begins moments anew, or use an optimizer such as adamw.",
	},
	{
		A: Any("accumulate_dtype", "bf16"), B: Any("precision", "fp32"), At: "accumulate_dtype",
		Title:   "Gradients coarser than weights",
		Why:     "The stage trains in {precision}, and so are its gradients.",
		Instead: `Leave accumulate_dtype out, or set precision = "bf16".`,
	},
	{
		A: Any("frozen_dtype", "nf4", "int8", "bf16"), B: Any("freeze", Nothing), At: "frozen_dtype",
		Title:   "Nothing to store",
		Why:     "frozen_dtype is about projections of frozen layers, and nothing is frozen.",
		Instead: "Give freeze, or leave frozen_dtype out.",
	},
	{
		A: Any("adapter", "lora", "relora"), B: Any("freeze", Nothing), At: "adapter",
		Title:   "Adapter without a place",
		Why:     "Adapters sit on frozen projections, and nothing is frozen.",
		Instead: `Set freeze, such as freeze = ["inherited"].`,
	},
	{
		A: Any("merge", "false"), B: Any("adapter", Nothing), At: "merge",
		Title:   "Nothing to merge",
		Why:     "merge = false keeps adapters apart from the weights, and the stage has no adapter.",
		Instead: "Give adapter, or leave merge out.",
	},
	{
		A: Any("merge", "false"), B: Any("adapter", "relora"), At: "merge",
		Title: "Merged on the way",
		Why: "A {adapter} adapter is merged again and again while the stage trains, so those that it ends with hold a part of what it " +
			"learnt.",
		Instead: "Leave merge out, or use a lora adapter.",
	},
	{
		A: Any("merge", "false"), B: Any("adapter", "sltrain"), At: "merge",
		Title: "Nothing to add to",
		Why: "A {adapter} adapter takes the place of the weights, so there are none that it could be kept apart from, and no program but " +
			"this reads it.",
		Instead: "Leave merge out, or use a lora adapter.",
	},
	{
		A: Every("grow"), B: Any("from", Nothing), At: "grow",
		Title:   "Nothing to grow",
		Why:     "Growth starts from a trained stage, and this one starts a new model.",
		Instead: "Give from, or set layers.",
	},
	{
		A: Any("freeze", "inherited"), B: Any("from", Nothing), At: "freeze",
		Title:   "Nothing inherited",
		Why:     `"inherited" means the layers of the stage that from names, and this stage starts a new model.`,
		Instead: "Give from, or freeze something else.",
	},
	{
		A: Any("state_dtype", "bf16", "int8"), B: Any("beta1", Nothing), At: "state_dtype",
		Title: "Nothing to store",
		Why: "Without beta1, adafactor keeps no first moment that state_dtype could apply to. Its means of squares are one number " +
			"a row and a column, always in fp32.",
		Instead: "Set beta1, such as 0.9, or leave state_dtype out.",
	},
	{
		A: Any("device", "cuda"), B: Any("head_dim", "more than 128"), At: "head_dim",
		Title:   "Heads too wide for the device",
		Why:     "Attention on {device} takes heads of up to 128 channels, and head_dim is {head_dim}.",
		Instead: "Lower head_dim, or train on another device.",
	},
}
