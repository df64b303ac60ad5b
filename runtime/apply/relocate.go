package apply

import (
	"path/filepath"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/runtime/results"
)

// relocate moves the entries and the files of blocks that have another address now, with what the plan found of them
// and what the user agreed to lose.
func (r *runner) relocate() error {
	if err := r.fold.Disk.Relocate(r.dir, r.plan.Moves); err != nil {
		return err
	}
	for _, m := range r.plan.Moves {
		for i := range r.losses {
			r.losses[i].Folder = moved(r.losses[i].Folder, m.From, m.To)
		}
		for _, a := range r.plan.Actions {
			if a.Found != nil {
				found := *a.Found
				found.Block = moved(found.Block, m.From, m.To)
				a.Found = &found
			}
		}
	}
	return nil
}

// moved returns the path of a folder after the files of a block have moved.
func moved(folder string, from, to addr.Addr) string {
	if folder == results.Folder(from) {
		return results.Folder(to)
	}
	before := filepath.Join(results.Replaced, from.Dir()) + string(filepath.Separator)
	if leaf, ok := strings.CutPrefix(folder, before); ok {
		return filepath.Join(results.Replaced, to.Dir(), leaf)
	}
	return folder
}
