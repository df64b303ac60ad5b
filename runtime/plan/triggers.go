package plan

import (
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/state"
)

// triggers returns what the triggers of a block are now, by name: ids of blocks, or values.
func (f *Fold) triggers(a *Action) map[string]string {
	if len(a.block.Lifecycle.Triggers) == 0 {
		return nil
	}
	now := map[string]string{}
	for _, x := range a.block.Lifecycle.Triggers {
		if x.Block != (addr.Addr{}) {
			now[x.Name] = f.ids(x.Block)
			continue
		}
		v, diags := f.Scope.Trigger(x)
		if diags.HasErrors() {
			v = cty.DynamicVal
		}
		if bare, marks := v.UnmarkDeep(); len(marks) > 0 {
			now[x.Name] = f.world.State.SealAmong(dsl.Show(bare))
		} else {
			now[x.Name] = dsl.Show(v)
		}
	}
	return now
}

// ids returns the ids of a block's instances, or of one.
func (f *Fold) ids(a addr.Addr) string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var list []string
	for at, x := range f.done {
		if at == a || a.Key == "" && at.Block() == a {
			list = append(list, at.Key+x.id)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// triggered returns the first trigger of a block that differs from the one in the state's entry of the block; "" if
// none does. One that is not recorded yet triggers nothing.
func (a *Action) triggered(old *state.Block) string {
	if old == nil || old.Recipe != a.Recipe {
		return "" // it runs for other reasons
	}
	for _, x := range a.block.Lifecycle.Triggers {
		if was, ok := old.Triggers[x.Name]; ok && was != a.Triggers[x.Name] {
			return x.Name
		}
	}
	return ""
}
