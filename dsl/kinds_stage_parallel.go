package dsl

import "github.com/zclconf/go-cty/cty"

// parallel is the nested block of a stage's train that is about several ranks.
var parallel = Nested{Name: "parallel",
	Doc: "How [several processes](distributed.md) train the stage together, where `apply` runs as several. Each takes its share of the " +
		"micro-batches, and the gradients are added up over them. How many there are is said when `apply` is started, and is no " +
		"part of the recipe. In a stage with this block the gradients of each micro-batch are made from zero and then added up, so " +
		"that ranks with one micro-batch each make the bits of one process with as many micro-batches, where gradients are added up " +
		"in fp32. Without it, several processes train the stage too, as with `shard = \"none\"`.",
	Attrs: []Attr{
		{Name: "shard", Type: cty.String, Default: str("none"), OneOf: []string{"none", "optimizer", "gradients"},
			Doc: "What each process keeps a part of, by whole tensors; the bits are the same. `none`: every one keeps everything. " +
				"`optimizer` (ZeRO-1): of the optimizer's states those of its tensors, which it updates and gives to the others. " +
				"`gradients` (ZeRO-2): of the gradients too; with several micro-batches a process each keeps all gradients until " +
				"they are complete. Adapters are small, and everyone keeps theirs."},
	}}
