package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/state"
)

// Ignored is a change of an attribute that does not make its block run again.
type Ignored struct {
	Attr       string `json:"attribute"`
	Kept       string `json:"kept"`       // as the language writes it; "" for not set
	Configured string `json:"configured"` // the same
}

// asRecorded plans a block as it was recorded, where changes of d are ignored. The action is nil if there are no such
// changes, or nothing that was made before them and could be kept: the block then runs with what is configured.
func (f *Fold) asRecorded(ctx context.Context, b *dsl.Block, each dsl.Each, d *dsl.Decoded) (*Action, cty.Value,
	hcl.Diagnostics) {
	at := b.Instance(each)
	old := f.world.State.Blocks[at.String()]
	if len(b.Lifecycle.Ignore) == 0 || old == nil || matches(f.choice.replace, at) {
		return nil, cty.NilVal, nil
	}
	k := f.kept(b.Lifecycle.Ignore, old, d.Flat())
	if len(k.values)+len(k.ids) == 0 {
		return nil, cty.NilVal, nil
	}
	recorded, diags := f.Scope.DecodeKept(b, &each, k.values)
	if diags.HasErrors() {
		return nil, cty.NilVal, nil
	}
	a, exports, diags := f.planDecoded(ctx, b, each, recorded, k.ids, diags)
	keeps := []Verb{UpToDate, Resume, Extend, Same}
	if len(k.ids) > 0 {
		keeps = []Verb{UpToDate} // what the other blocks were is not recorded, so no step can be taken with them
	}
	if a == nil || !slices.Contains(keeps, a.Verb) {
		return nil, cty.NilVal, nil
	}
	a.Ignored = k.list
	return a, exports, diags
}

// kept is what the state holds in place of what a block is configured to.
type kept struct {
	values map[string]cty.Value // see dsl.Scope.DecodeKept
	ids    map[addr.Addr]string // of blocks that it names now → ids of those that it was made from
	list   []Ignored
}

// kept compares what a block ignores with the state's entry of it. now holds its attributes as configured.
func (f *Fold) kept(ignore []dsl.Ignorable, old *state.Block, now map[string]string) *kept {
	k := &kept{values: map[string]cty.Value{}, ids: map[addr.Addr]string{}}
	for _, x := range ignore {
		n := x.Name
		before, was := old.Attrs[n]
		after, is := now[n]
		if x.Ref {
			k.ref(f, n, old, before, after)
			continue
		}
		if x.Block {
			was, is = hasBlock(old.Attrs, n), hasBlock(now, n)
		}
		if was == is && before == after || before == dsl.Hidden { // what was sensitive is not recorded
			continue
		}
		switch {
		case !was:
			k.values[n] = cty.NilVal
		case x.Block:
			k.values[n] = cty.StringVal(before) // its label
		default:
			k.values[n] = dsl.Read(before)
		}
		if before != after {
			k.list = append(k.list, Ignored{n, before, after})
		}
	}
	return k
}

// ref notes the id of the block that an attribute named, if it names another now, or one that has changed.
func (k *kept) ref(f *Fold, attr string, old *state.Block, before, after string) {
	was, part, ok := namedIn(before)
	is, now, named := namedIn(after)
	id := old.Inputs[was.String()]
	if !ok || !named || part != now || id == "" || id == f.ID(is) {
		return
	}
	k.ids[is] = id
	x := Ignored{attr, was.String(), is.String()}
	if was == is {
		x.Kept += " as it was"
	}
	k.list = append(k.list, x)
}

// hasBlock reports whether attributes by dotted name are those of a block with a block of this name inside.
func hasBlock(attrs map[string]string, name string) bool {
	for n := range attrs {
		if n == name || strings.HasPrefix(n, name+".") {
			return true
		}
	}
	return false
}

// String says what is kept in place of what is configured.
func (i Ignored) String() string {
	configured, kept := i.Configured, "with "+i.Kept
	if configured == "" {
		configured = "not set"
	}
	if i.Kept == "" {
		kept = "without it"
	}
	return fmt.Sprintf("%s is %s; what was made %s is kept", i.Attr, configured, kept)
}
