package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
)

// OfNothing adds to each error which blocks gave null to the expression that failed, and reports whether every error
// has such a cause. The expressions are those of block b, or if b is nil of the named value.
func (f *Fold) OfNothing(b *dsl.Block, name addr.Addr, diags hcl.Diagnostics) bool {
	all := false
	real := false
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		gave := f.gaveNull(f.Scope.NullReads(d, b, name))
		if len(gave) == 0 {
			real = true
			continue
		}
		all = true
		if told := " " + strings.Join(gave, " "); !strings.HasSuffix(d.Detail, told) { // a local keeps its errors
			d.Detail += told
		}
	}
	return all && !real
}

// gaveNull returns a sentence for each block that gave null where it is read, with the reason.
func (f *Fold) gaveNull(reads []dsl.NullRead) (gave []string) {
	for _, a := range f.done {
		if a.Found != nil && slices.ContainsFunc(reads, func(r dsl.NullRead) bool { return a.givesNull(r) }) {
			gave = append(gave, fmt.Sprintf("%s gave null instead of a number: %s.", a.Addr, blocks.WhyNull(a.Found.Values)))
		}
	}
	slices.Sort(gave)
	return gave
}

// givesNull reports whether r reads a null in the result of this instance of a block.
func (a *Action) givesNull(r dsl.NullRead) bool {
	if r.Block != a.Addr.Block() {
		return false
	}
	path := r.Path
	if a.Addr.Key != "" && len(path) > 0 { // the key of an instance comes first
		if i, ok := path[0].(hcl.TraverseIndex); ok && a.Addr.Key != keyOf(i.Key) {
			return false
		}
		path = path[1:]
	}
	name := ""
	if len(path) > 0 {
		switch x := path[0].(type) {
		case hcl.TraverseAttr:
			name = x.Name
		case hcl.TraverseIndex:
			if x.Key.Type() == cty.String {
				name = x.Key.AsString()
			}
		}
	}
	for n, v := range a.Found.Values {
		if v == nil && (name == "" || name == n) {
			return true
		}
	}
	return false
}

// keyOf returns the key of an instance as in an address, from the index in an expression.
func keyOf(v cty.Value) string {
	if v, _ = v.Unmark(); v.Type() == cty.String {
		return addr.StringKey(v.AsString())
	}
	return dsl.Show(v)
}
