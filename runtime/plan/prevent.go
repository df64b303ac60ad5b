package plan

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// Protected reports whether nothing may throw away what the block made.
func (a *Action) Protected() bool { return a.block.Lifecycle.PreventDestroy }

// prevented refuses to throw away what protected blocks made.
func (p *Plan) prevented() (diags hcl.Diagnostics) {
	taken := p.takenOver()
	for _, a := range p.Actions {
		if !taken[results.Folder(p.fold.lies(a.Addr))] {
			diags = append(diags, p.fold.Prevented(a)...)
		}
	}
	return diags
}

// Prevented refuses to run a block if that throws away what it made, which its lifecycle block forbids.
func (f *Fold) Prevented(a *Action) hcl.Diagnostics {
	if !f.lifecycle || !a.Protected() || a.Verb != Run && a.Verb != Import {
		return nil
	}
	what := ""
	for _, l := range a.Losses {
		what = fmt.Sprintf("%d trained steps (%s) in %s", l.Steps, l.Takes(), filepath.Join(f.Disk.Path, l.Folder))
	}
	if old := f.world.State.Blocks[a.Addr.String()]; what == "" && old != nil && old.Status == state.Done {
		dir := filepath.Join(f.Disk.Path, results.Folder(f.lies(a.Addr)), filepath.Base(old.Dir))
		if _, err := os.Lstat(dir); err == nil {
			what = "its result in " + dir
		}
	}
	if what == "" {
		return nil
	}
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Result cannot be destroyed", Subject: a.Range.Ptr(),
		Detail: fmt.Sprintf("%s has prevent_destroy = true, and would run again and throw away %s, because %s. To keep "+
			"that, undo the change, leave the block out with -exclude %s, or give what is new a block of its own. To throw "+
			"it away, set prevent_destroy = false.", a.Addr, what, a.Why, a.Addr.Word())}}
}

// protectedOrphans refuses to destroy blocks that the configuration removes, and that were protected when it still had
// them.
func (p *Plan) protectedOrphans() (diags hcl.Diagnostics) {
	for _, o := range p.Orphans {
		if b := p.State.Blocks[o.Addr]; o.Fate == Destroy && b != nil && b.Protected && p.fold.lifecycle {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Result cannot be destroyed",
				Detail: fmt.Sprintf("%s is %s, with destroy = true, but had prevent_destroy = true when it was last applied. "+
					"Write destroy = false to keep its files; or put the block back without prevent_destroy, apply, and "+
					"remove it then.", o.Addr, o.Why)})
		}
	}
	return diags
}
