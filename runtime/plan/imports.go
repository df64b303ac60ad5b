package plan

import (
	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
)

// readImports evaluates the import blocks, for the blocks to find theirs.
func (f *Fold) readImports() hcl.Diagnostics {
	list, diags := f.Scope.Imports()
	f.imports = list
	f.world.Import = func(a addr.Addr) *dsl.Import {
		for i := range list {
			if list[i].To == a {
				return &list[i]
			}
		}
		return nil
	}
	return diags
}

// strayImports returns the errors of imports to instances that are not there. Blocks that are left out were not looked
// at.
func (p *Plan) strayImports() (diags hcl.Diagnostics) {
	for i := range p.fold.imports {
		if x := &p.fold.imports[i]; p.Action(x.To) == nil && !p.LeavesOut(x.To) {
			diags = append(diags, x.NoInstance())
		}
	}
	return diags
}
