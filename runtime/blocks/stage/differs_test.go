package stage

import (
	"testing"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/memoryplan"
)

// TestTake: a stage is told to refer to its plan, or to write the value if the plan is in a module, whose blocks cannot be named.
func TestTake(t *testing.T) {
	for _, c := range []struct{ module, attr, key, value, want string }{
		{"", "freeze", "[1]", `["inherited"]`, "freeze = memory_plan.fit.freeze[1]"},
		{"module.plan", "freeze", "[1]", dsl.Show(blocks.Strings([]string{"inherited", "norm"})), `freeze = ["inherited", "norm"]`},
		{"module.plan", "frozen_dtype", "[1]", quoted("nf4"), `frozen_dtype = "nf4"`},
		{"module.plan", "frozen_dtype", "[1]", quoted(""), "frozen_dtype = null"},
		{"module.plan", "batch_size", "", "8", "batch_size = 8"},
	} {
		at := addr.Addr{Module: c.module, Kind: "memory_plan", Name: "fit"}
		q := &promise{Split: &memoryplan.Split{Assumed: memoryplan.Assumed{Addr: at}}}
		if got := q.take(c.attr, c.key, c.value); got != c.want {
			t.Errorf("%s in %q: %s, want %s", c.attr, c.module, got, c.want)
		}
	}
}
