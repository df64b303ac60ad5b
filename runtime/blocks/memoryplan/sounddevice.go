package memoryplan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/program"
)

// onlyDevice are the attributes that only a plan for a device has.
var onlyDevice = []string{"sequence_length", "batch_size", "updates", "freezes", "frozen_dtypes", "state_dtypes", "objective",
	"tokens", "position"}

// soundDevice checks the attributes of a plan for a device.
func soundDevice(d *dsl.Decoded) (diags hcl.Diagnostics) {
	if !d.Has("device_memory") {
		for _, name := range onlyDevice {
			if d.Given(name) {
				diags = append(diags, d.Error(name, "Without device_memory", name+" is for a plan of the whole memory of a "+
					"device: give device_memory too, or leave it out."))
			}
		}
		if list := d.List("alternative"); len(list) > 0 {
			diags = append(diags, list[0].Error("optimizer", "Without device_memory", "An alternative is for a plan of the whole "+
				"memory of a device: give device_memory too, or leave it out."))
		}
		if list := d.List("evaluate"); len(list) > 0 {
			diags = append(diags, list[0].Error("tasks", "Without device_memory", "A plan counts tasks between steps only with "+
				"device_memory: give it too, or leave the block out."))
		}
		return diags
	}
	if !d.Has("sequence_length") || !d.Has("batch_size") {
		diags = append(diags, d.Error("device_memory", "Missing attribute", "device_memory is for activations too, so it needs "+
			"sequence_length and batch_size, as in the train blocks of the stages."))
	}
	if d.Bool("layers_only") {
		diags = append(diags, d.Error("layers_only", "Layers alone", "A device holds more than the layers. Leave layers_only or "+
			"device_memory out."))
	}
	diags = append(diags, soundWords(d, "updates", updates)...)
	diags = append(diags, soundWords(d, "frozen_dtypes", frozenDTypes)...)
	diags = append(diags, soundWords(d, "state_dtypes", optim.StateDTypes)...)
	if d.Given("frozen_dtype") && d.Given("frozen_dtypes") {
		diags = append(diags, d.Error("frozen_dtypes", "Two types of frozen weights", "frozen_dtype is one type, and frozen_dtypes "+
			"are those that the plan may choose from. Leave one of them out."))
	}
	if d.Given("state_dtypes") {
		diags = append(diags, soundStateDTypes(d)...)
	}
	if batch, seq := d.Int("batch_size"), d.Int("sequence_length"); batch > 0 && seq > 0 {
		diags = append(diags, blocks.TooManyTokens(d, batch, seq)...)
	}
	return append(diags, soundFreezes(d)...)
}

// soundWords refuses words that a list cannot have, or has twice.
func soundWords(d *dsl.Decoded, attr string, words []string) (diags hcl.Diagnostics) {
	list := d.Strs(attr)
	for i, w := range list {
		switch {
		case !slices.Contains(words, w):
			diags = append(diags, d.Error(attr, "Invalid value", fmt.Sprintf("%s takes %s, not %q.", attr, quoted(words), w)))
		case slices.Index(list, w) < i:
			diags = append(diags, d.Error(attr, "Invalid value", fmt.Sprintf("%q stands twice in %s.", w, attr)))
		}
	}
	return diags
}

// soundStateDTypes refuses types of moments to choose from if all optimizers say theirs themselves, or have no moments.
func soundStateDTypes(d *dsl.Decoded) hcl.Diagnostics {
	for _, x := range append([]*dsl.Decoded{d}, d.List("alternative")...) {
		if open, known := optimizer.LeavesOpen(x, "optimizer"); open || !known || !x.Has("optimizer") {
			return nil
		}
	}
	return hcl.Diagnostics{d.Error("state_dtypes", "Nothing to choose", "state_dtypes is for optimizers that have moments and leave "+
		"state_dtype out, and none of the plan's is one. Leave state_dtype out of an optimizer that the plan names, or leave "+
		"state_dtypes out.")}
}

// soundFreezes checks what may be frozen.
func soundFreezes(d *dsl.Decoded) (diags hcl.Diagnostics) {
	for _, list := range freezesOf(d) {
		for i, w := range list {
			if program.Parts[w] == nil || slices.Index(list, w) < i {
				diags = append(diags, d.Error("freezes", "Invalid value", fmt.Sprintf("freezes takes lists of %s, each once, not %q.",
					quoted(slices.Sorted(maps.Keys(program.Parts))), w)))
			}
		}
		if len(list) == 0 && d.Has("peft") {
			diags = append(diags, d.Error("freezes", "Adapters without a place", "A stage that freezes nothing has no place for the "+
				"adapters that peft names. Leave the empty list or peft out."))
		}
	}
	return diags
}

// quoted writes words as in "a", "b" and "c".
func quoted(list []string) string {
	var quotes []string
	for _, w := range list {
		quotes = append(quotes, fmt.Sprintf("%q", w))
	}
	last := len(quotes) - 1
	return strings.Join(quotes[:last], ", ") + " and " + quotes[last]
}
