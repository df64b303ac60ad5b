package results

import (
	"fmt"

	"stepflow/dsl/addr"
	"stepflow/runtime/state"
)

// CheckProtected returns an error if deleting folders would delete what a block made that had prevent_destroy when it was
// last applied.
func CheckProtected(s *state.State, folders []string) error {
	doomed := map[string]bool{}
	for _, f := range folders {
		doomed[f] = true
	}
	for _, n := range s.Names() {
		a, err := addr.Parse(n)
		if err == nil && s.Blocks[n].Protected && doomed[Folder(a)] {
			return fmt.Errorf("%s had prevent_destroy = true when it was last applied, so %s is not deleted. Set "+
				"prevent_destroy = false in its lifecycle block and apply that first. Nothing was deleted", n, Folder(a))
		}
	}
	return nil
}
