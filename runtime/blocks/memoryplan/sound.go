package memoryplan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/ops/optim"
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
	return append(soundDevice(d), soundTogether(d)...)
}

// soundTogether refuses what the stages of the plan could not combine: each update that it may choose must suit each optimizer.
func soundTogether(d *dsl.Decoded) (diags hcl.Diagnostics) {
	s := compatibility.Setup{"update": d.Strs("updates"), "optimizer": optimizer.Types(d, "optimizer")}
	for _, x := range d.List("alternative") {
		s["optimizer"] = append(s["optimizer"], optimizer.Types(x, "optimizer")...)
	}
	if x := d.Str("frozen_dtype"); x != d.Str("precision") {
		s["frozen_dtype"] = []string{x}
	}
	if ref, _, ok := d.Ref("peft"); ok {
		s["adapter"] = []string{ref.Type}
	}
	at := map[string]string{"update": "updates"} // attributes of other names than a stage's
	for _, x := range s.Refused() {
		attr, ok := at[x.At]
		if !ok {
			attr = x.At
		}
		diags = append(diags, d.Error(attr, x.Title, x.Text))
	}
	return diags
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
	return append(diags, soundFreezes(d)...)
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
	var text []string
	for _, w := range list {
		text = append(text, fmt.Sprintf("%q", w))
	}
	last := len(text) - 1
	return strings.Join(text[:last], ", ") + " and " + text[last]
}

// onlyDevice are the attributes that only a plan for a device has.
var onlyDevice = []string{"sequence_length", "batch_size", "updates", "freezes", "frozen_dtypes", "state_dtypes", "objective",
	"tokens", "position"}
