package memoryplan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/compatibility"
	"stepflow/runtime/program"
)

func sound(_ addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
	switch {
	case d.Has("device_memory") && d.Has("budget"):
		return hcl.Diagnostics{d.Error("budget", "Two budgets", "budget is for model states alone, and device_memory for all that "+
			"a stage takes. Leave one of them out.")}
	case !d.Has("device_memory") && d.Has("stages") == d.Has("budget"):
		return hcl.Diagnostics{d.Error("stages", "Stages or budget", "Give exactly one of stages and budget; or give "+
			"device_memory, with or without stages.")}
	}
	return slices.Concat(soundDevice(d), soundUpdates(d), soundFrozen(d), soundStages(d))
}

// soundUpdates refuses updates that do not suit each optimizer.
func soundUpdates(d *dsl.Decoded) (diags hcl.Diagnostics) {
	s := compatibility.Setup{"update": d.Strs("updates"), "optimizer": optimizer.Types(d, "optimizer")}
	for _, x := range d.List("alternative") {
		s["optimizer"] = append(s["optimizer"], optimizer.Types(x, "optimizer")...)
	}
	if ref, _, ok := d.Ref("peft"); ok && ref.Type == "sltrain" {
		diags = append(diags, d.Error("peft", "Adapters that train whole weights", "memory_plan plans adapters on frozen layers, and one "+
			"of sltrain takes the place of weights that train. Leave peft out or name a lora or relora adapter; plan shows what a "+
			"stage with sltrain takes, to the byte."))
	}
	for _, x := range s.Refused() {
		diags = append(diags, d.Error("updates", x.Title, x.Text))
	}
	return diags
}

// soundFrozen refuses what stages may freeze, and how they may store that, if none of it goes together.
func soundFrozen(d *dsl.Decoded) hcl.Diagnostics {
	for _, attr := range []string{"freezes", "frozen_dtypes", "frozen_dtype", "precision", "peft"} {
		if d.Has(attr) && !d.Known(attr) {
			return nil
		}
	}
	var first *compatibility.Refusal
	for _, freeze := range freezesOf(d) {
		for _, word := range storedOf(d) {
			x := together(d, freeze, word)
			if x == nil {
				return nil
			}
			if first == nil {
				first = x
			}
		}
	}
	attr := "peft"
	for _, name := range []string{"frozen_dtypes", "frozen_dtype", "freezes"} {
		if d.Given(name) {
			attr = name
			break
		}
	}
	return hcl.Diagnostics{d.Error(attr, first.Title, first.Text)}
}

// together returns why a stage cannot freeze something and store it in a type; nil if it can.
func together(d *dsl.Decoded, freeze []string, stored string) *compatibility.Refusal {
	no := func(title, text string) *compatibility.Refusal {
		return &compatibility.Refusal{Rule: &compatibility.Rule{Title: title}, Text: text}
	}
	s := compatibility.Setup{}
	narrow := stored != "none" && stored != d.Str("precision")
	if narrow {
		s["frozen_dtype"] = []string{stored}
	}
	ref, _, adapts := d.Ref("peft")
	if adapts {
		s["adapter"] = []string{ref.Type}
	}
	if list := s.Refused(); len(list) > 0 {
		return &list[0]
	}
	layers := slices.Contains(freeze, "inherited")
	m := d.Referred("model")
	switch {
	case slices.Contains(freeze, "lm_head") && m != nil && m.Bool("tie_word_embeddings"):
		return no("Tied embeddings", "The head is the embedding table of this model (tie_word_embeddings): freeze \"embeddings\" instead, "+
			"or neither.")
	case narrow && !layers:
		return no("Nothing to store", fmt.Sprintf("%s is for the projections of frozen layers, and freezes has no list with \"inherited\".",
			stored))
	case adapts && !layers && !adaptsHead(d, freeze):
		return no("Adapters without a place", "Adapters sit on frozen projections, and freezes has no list with \"inherited\".")
	}
	return nil
}

// adaptsHead reports whether adapters may sit on a frozen head.
func adaptsHead(d *dsl.Decoded, freeze []string) bool {
	x := d.Referred("peft")
	return slices.Contains(freeze, "lm_head") &&
		(x == nil || slices.ContainsFunc(x.Strs("target_modules"), func(t string) bool { return t != "all-linear" }))
}

// soundStages refuses more stages than a model can be grown in.
func soundStages(d *dsl.Decoded) hcl.Diagnostics {
	m := d.Referred("model")
	if m == nil || !m.Known("num_hidden_layers") || d.Has("stages") && !d.Known("stages") {
		return nil
	}
	return stagesOf(d, m.Int("num_hidden_layers"), d.Int("stages"))
}

// stagesOf refuses more stages than a model of so many layers can be grown in, and a model that has none; 0 for any number.
func stagesOf(d *dsl.Decoded, layers, stages int) hcl.Diagnostics {
	if layers == 0 {
		return hcl.Diagnostics{d.Error("model", "Nothing to split", "The model has no layers (num_hidden_layers), and a plan splits layers "+
			"into stages. Give the model as it is to be in the end, or leave the plan out.")}
	}
	if stages == 0 {
		return nil
	}
	_, _, err := growth.Partition(layers, stages, func(int, int) int64 { return 0 }, roomOf(d))
	if err != nil {
		return blocks.Problem(d, "stages", "Impossible split", err)
	}
	return nil
}

// roomOf is how many layers a stage may add.
func roomOf(d *dsl.Decoded) growth.Room {
	if d.Str("growth") == bounded {
		return growth.Gaps
	}
	return growth.Unbounded
}

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
	for _, c := range []struct {
		attr  string
		words []string
	}{{"updates", updates}, {"frozen_dtypes", frozenDTypes}, {"state_dtypes", optim.StateDTypes}} {
		for i, w := range d.Strs(c.attr) {
			switch {
			case !slices.Contains(c.words, w):
				diags = append(diags, d.Error(c.attr, "Invalid value", fmt.Sprintf("%s takes %s, not %q.", c.attr,
					quoted(c.words), w)))
			case slices.Index(d.Strs(c.attr), w) < i:
				diags = append(diags, d.Error(c.attr, "Invalid value", fmt.Sprintf("%q stands twice in %s.", w, c.attr)))
			}
		}
	}
	if d.Given("frozen_dtype") && d.Given("frozen_dtypes") {
		diags = append(diags, d.Error("frozen_dtypes", "Two types of frozen weights", "frozen_dtype is one type, and frozen_dtypes "+
			"are those that the plan may choose from. Leave one of them out."))
	}
	if d.Given("state_dtypes") {
		diags = append(diags, soundStates(d)...)
	}
	if batch, seq := d.Int("batch_size"), d.Int("sequence_length"); batch > 0 && seq > 0 {
		diags = append(diags, blocks.TooManyTokens(d, batch, seq)...)
	}
	return append(diags, soundFreezes(d)...)
}

// soundStates refuses to choose what moments are kept in if all optimizers say it themselves, or have none.
func soundStates(d *dsl.Decoded) hcl.Diagnostics {
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

// onlyDevice are the attributes that only a plan for a device has.
var onlyDevice = []string{"sequence_length", "batch_size", "updates", "freezes", "frozen_dtypes", "state_dtypes", "objective",
	"tokens", "position"}
