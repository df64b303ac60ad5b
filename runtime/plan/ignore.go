package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
)

// Ignored is a change of an attribute that does not make its block run again.
type Ignored struct {
	Attr       string `json:"attribute"`
	Kept       string `json:"kept"`       // as the language writes it; "" for not set
	Configured string `json:"configured"` // the same
}

// asRecorded plans a block with the recorded values of the attributes whose changes it ignores, in place of those in d.
// The action is nil if there are no such changes, or nothing that was made with the recorded values and could be kept:
// the block then runs with what is configured.
func (f *Fold) asRecorded(ctx context.Context, b *dsl.Block, each dsl.Each, d *dsl.Decoded) (*Action, cty.Value,
	hcl.Diagnostics) {
	at := b.Instance(each)
	old := f.world.State.Blocks[at.String()]
	if len(b.Lifecycle.Ignore) == 0 || old == nil || matches(f.choice.replace, at) {
		return nil, cty.NilVal, nil
	}
	var list []Ignored
	kept, now := map[string]cty.Value{}, d.Flat()
	for _, n := range b.Lifecycle.Ignore {
		before, was := old.Attrs[n]
		after, is := now[n]
		if was == is && before == after || before == dsl.Hidden { // what was sensitive is not recorded
			continue
		}
		kept[n] = cty.NilVal
		if was {
			kept[n] = dsl.Read(before)
		}
		list = append(list, Ignored{n, before, after})
	}
	if len(list) == 0 {
		return nil, cty.NilVal, nil
	}
	recorded, diags := f.Scope.DecodeKept(b, &each, kept)
	if diags.HasErrors() {
		return nil, cty.NilVal, nil
	}
	a, exports, diags := f.planDecoded(ctx, b, each, recorded, diags)
	if a == nil || !slices.Contains([]Verb{UpToDate, Resume, Extend, Same}, a.Verb) {
		return nil, cty.NilVal, nil
	}
	a.Ignored = list
	return a, exports, diags
}

// String says what is kept in place of what is configured.
func (i Ignored) String() string {
	word := func(text string) string {
		if text == "" {
			return "not set"
		}
		return text
	}
	return fmt.Sprintf("%s is %s; what was made with %s is kept", i.Attr, word(i.Configured), word(i.Kept))
}
