package stage

import (
	"slices"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/compatibility"
)

// setup is what a stage combines, of which the table of package compatibility may refuse some. What is not known is left
// out.
func setup(d *dsl.Decoded) compatibility.Setup {
	s := compatibility.Setup{}
	words := func(d *dsl.Decoded, attr string) {
		if d.Known(attr) {
			s[attr] = []string{d.Str(attr)}
		}
	}
	words(d, "precision")
	if d.Str("frozen_dtype") != d.Str("precision") { // which is how frozen weights are stored without it
		words(d, "frozen_dtype")
	}
	if s["freeze"] = d.Strs("freeze"); !d.Has("freeze") || d.Known("freeze") && len(s["freeze"]) == 0 {
		s["freeze"] = []string{compatibility.Nothing}
	}
	if !d.Has("from") {
		s["from"] = []string{compatibility.Nothing}
	}
	if ref, _, ok := d.Ref("adapter"); ok {
		s["adapter"] = []string{ref.Type}
		if x := d.Referred("adapter"); x != nil && (x.Has("optimizer_magnitude_pruning") || x.Has("optimizer_random_pruning")) {
			s["optimizer_*_pruning"] = []string{compatibility.Given}
		}
	} else if !d.Has("adapter") {
		s["adapter"] = []string{compatibility.Nothing}
	}
	if d.Known("merge") && !d.Bool("merge") {
		s["merge"] = []string{"false"}
	}
	if grow := d.Block("grow"); grow != nil {
		s["grow"] = []string{grow.Label}
		words(grow, "moments")
	}
	t := d.Block("train")
	if t == nil { // reported already
		return s
	}
	words(t, "update")
	words(t, "accumulate_dtype")
	if b := t.Block("parallel"); b != nil {
		words(b, "shard")
	}
	s["optimizer"] = optimizer.Types(t, "optimizer")
	if n, _, wrong := microOf(t); !wrong.HasErrors() && n < t.Int("batch_size") {
		s["micro_batch_size"] = []string{compatibility.PartOfBatch}
	}
	return s
}

// soundTogether refuses what the stage cannot combine.
func soundTogether(d *dsl.Decoded) (diags hcl.Diagnostics) {
	for _, x := range setup(d).Refused() {
		diags = append(diags, refused(d, x))
	}
	return diags
}

// refused is the error of what cannot be combined, at what the rule says.
func refused(d *dsl.Decoded, x compatibility.Refusal) *hcl.Diagnostic {
	at, attr := d, x.At
	switch grow := d.Block("grow"); {
	case x.At == "grow":
		at, attr = grow, ""
	case x.At == "moments":
		at = grow
	case x.At == "head_dim":
		attr = "model"
	case slices.Contains([]string{"update", "micro_batch_size", "accumulate_dtype"}, x.At):
		at = d.Block("train")
	}
	return at.Error(attr, x.Title, x.Text)
}

// onDevice refuses what the device cannot run.
func (s *Stage) onDevice(d *dsl.Decoded, caps gpu.Caps) (diags hcl.Diagnostics) {
	is := compatibility.Setup{"device": {caps.Kind}}
	if widest := caps.WidestHead; widest > 0 && s.Model.HeadDim > widest {
		is["head_dim"] = []string{compatibility.MoreThan(widest)}
	}
	for _, x := range is.Refused() {
		diags = append(diags, refused(d, x))
	}
	return diags
}
