// Package optimizer is the optimizer block: an update rule and its settings. What each type is made of is in types.go.
package optimizer

import (
	"context"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
)

// Kind is the optimizer block.
var Kind = blocks.Kind{Sound: sound, Plan: plan}

// Optimizer is a planned optimizer block.
type Optimizer struct{ Rule optim.Optimizer }

// Identity writes nothing: its attributes and the blocks it names say all.
func (*Optimizer) Identity(io.Writer) {}

// Summary is empty.
func (*Optimizer) Summary() string { return "" }

func sound(_ addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
	if d.Known("betas") && len(d.Floats("betas")) != 2 {
		return hcl.Diagnostics{d.Error("betas", "Invalid value",
			"betas takes two numbers from 0 up to, not including, 1, such as [0.9, 0.95].")}
	}
	return nil
}

func plan(_ context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	rule := types[p.Addr.Type](d)
	p.Block = &Optimizer{rule}
	return map[string]cty.Value{}, nil
}
