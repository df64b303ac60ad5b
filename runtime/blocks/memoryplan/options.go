package memoryplan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/compatibility"
	"stepflow/runtime/program"
)

// option is how a stage may be made.
type option struct {
	freeze []string // words of freeze; nil for a first stage
	frozen string   // a word of frozen_dtype; "" for precision's
	fused  bool
}

// alike reports whether options differ at most by how frozen weights are stored.
func (o option) alike(x option) bool { return o.fused == x.fused && slices.Equal(o.freeze, x.freeze) }

// Words of a stage's update and frozen_dtype. Weights that are stored as they are computed with are "none".
var (
	updates      = []string{"separate", "fused"}
	frozenDTypes = []string{"none", "bf16", "int8", "nf4"}
)

// freezesOf are the values of freeze that a plan may choose from.
func freezesOf(d *dsl.Decoded) (lists [][]string) {
	if !d.Known("freezes") {
		return [][]string{{"inherited"}}
	}
	for it := d.Value("freezes").ElementIterator(); it.Next(); {
		_, v := it.Element()
		list := []string{}
		for words := v.ElementIterator(); !v.IsNull() && words.Next(); {
			if _, w := words.Element(); !w.IsNull() {
				list = append(list, w.AsString())
			}
		}
		lists = append(lists, list)
	}
	return lists
}

// storedOf are the types in which stages may store frozen projections.
func storedOf(d *dsl.Decoded) []string {
	if list := d.Strs("frozen_dtypes"); len(list) > 0 {
		return list
	}
	return []string{cmp.Or(d.Str("frozen_dtype"), "none")}
}

// optionsOf lists the ways in which a stage may freeze, store and update weights, the preferred one first, without the impossible
// ones.
func optionsOf(q *search, d *dsl.Decoded) (list []option, diags hcl.Diagnostics) {
	stored := storedOf(d)
	ways := d.Strs("updates")
	if len(ways) == 0 {
		ways = updates[:1]
	}
	for _, freeze := range freezesOf(d) {
		for _, word := range stored {
			for _, way := range ways {
				o := option{freeze: freeze, frozen: word, fused: way == "fused"}
				if word == "none" {
					o.frozen = ""
				}
				if err := q.impossible(o); err == nil {
					list = append(list, o)
				} else if !slices.Contains(q.dropped, err.Error()) {
					q.dropped = append(q.dropped, err.Error())
				}
			}
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	return nil, blocks.Problem(d, attrOf(d), "Impossible stages", q.impossible(option{freezesOf(d)[0], stored[0], ways[0] == "fused"}))
}

// attrOf names the attribute to blame if no stage is possible.
func attrOf(d *dsl.Decoded) string {
	for _, name := range []string{"freezes", "frozen_dtypes", "frozen_dtype", "updates"} {
		if d.Given(name) {
			return name
		}
	}
	return "device_memory"
}

// refused returns why the adapters do not go with frozen weights in a type; "" if they do.
func (q *search) refused(frozen string) string {
	if q.spec == nil {
		return ""
	}
	for _, x := range (compatibility.Setup{"adapter": {q.spec.Method}, "frozen_dtype": {frozen}}).Refused() {
		return x.Text
	}
	return ""
}

// impossible returns why no stage can be made with an option; nil if some can.
func (q *search) impossible(o option) error {
	t := program.FrozenDTypes[o.frozen]
	narrow := t != gpu.InvalidDType && t != q.dtype
	if text := q.refused(o.frozen); narrow && text != "" {
		return errors.New(text)
	}
	first, err := q.stage(nil, 2, o)
	if err != nil || q.model.NumHiddenLayers < 3 {
		return err
	}
	s, err := q.stage(first, 1, o)
	if err != nil {
		return err
	}
	for _, word := range o.freeze {
		if !s.Freeze(word) {
			return fmt.Errorf("a stage with freeze = [%q] would freeze nothing of this model: its head is its embedding table, or it has none", word)
		}
	}
	switch {
	case narrow && !slices.ContainsFunc(s.Params, s.FrozenProjection):
		return fmt.Errorf("no projection would be frozen that %s could store", o.frozen)
	case q.spec != nil && len(s.Adapters) == 0:
		return fmt.Errorf("no projection would be frozen that an adapter could sit on")
	}
	return nil
}
