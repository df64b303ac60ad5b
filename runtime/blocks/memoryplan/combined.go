package memoryplan

import (
	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/compatibility"
)

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
