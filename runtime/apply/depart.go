package apply

import (
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
)

// depart forgets or destroys the blocks that the configuration no longer has, as its removed blocks say. It comes after
// everything else, so that a run which fails removes nothing, and a block that was deferred can still take over what
// such a block made.
func (r *runner) depart() error {
	for _, x := range []struct {
		fate  plan.Fate
		leave func(names []string) error
	}{
		{plan.Forget, func(names []string) error { return results.Forget(r.dir, names) }},
		{plan.Destroy, func(names []string) error { return results.Destroy(r.dir, names) }},
	} {
		var names []string
		for _, o := range r.plan.Orphans {
			if o.Fate == x.fate && r.dir.State.Blocks[o.Addr] != nil {
				names = append(names, o.Addr)
			}
		}
		if len(names) == 0 {
			continue
		}
		if err := x.leave(names); err != nil {
			return err
		}
	}
	return nil
}
