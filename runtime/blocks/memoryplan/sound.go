package memoryplan

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/ops/growth"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/compatibility"
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
	return slices.Concat(soundDevice(d), soundAdapters(d), soundUpdates(d), soundFrozen(d), soundStages(d))
}

// soundAdapters refuses adapters that do not sit on frozen layers.
func soundAdapters(d *dsl.Decoded) hcl.Diagnostics {
	if ref, _, ok := d.Ref("peft"); !ok || ref.Type != "sltrain" {
		return nil
	}
	return hcl.Diagnostics{d.Error("peft", "Adapters that train whole weights", "memory_plan plans adapters on frozen layers, and one "+
		"of sltrain takes the place of weights that train. Leave peft out or name a lora or relora adapter; plan shows what a "+
		"stage with sltrain takes, to the byte.")}
}

// soundUpdates refuses updates that do not suit each optimizer.
func soundUpdates(d *dsl.Decoded) (diags hcl.Diagnostics) {
	s := compatibility.Setup{"update": d.Strs("updates"), "optimizer": optimizer.Types(d, "optimizer")}
	for _, x := range d.List("alternative") {
		s["optimizer"] = append(s["optimizer"], optimizer.Types(x, "optimizer")...)
	}
	for _, x := range s.Refused() {
		diags = append(diags, d.Error("updates", x.Title, x.Text))
	}
	return diags
}

// soundFrozen refuses what stages may freeze and the types that they may store it in, if no two of these go together.
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
	return checkStages(d, m.Int("num_hidden_layers"), d.Int("stages"))
}

// checkStages refuses more stages than a model of so many layers can be grown in, 0 for any number, and a model without layers.
func checkStages(d *dsl.Decoded, layers, stages int) hcl.Diagnostics {
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
