package blocks

import (
	"errors"
	"fmt"
	"math"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/ops/graph"
	"stepflow/runtime/program"
)

// maxStepTokens bounds the tokens of a training step or of an evaluation's batch, so that tokens times steps fits an
// int64.
const maxStepTokens = math.MaxInt32

// TooManyTokens returns an error for a batch of more than maxStepTokens tokens; nil for others.
func TooManyTokens(d *dsl.Decoded, batch, seq int) hcl.Diagnostics {
	if n := gpu.Product(int64(batch), int64(seq)); n > maxStepTokens {
		return hcl.Diagnostics{d.Error(longer(batch, seq), "Batch too large",
			fmt.Sprintf("batch_size %d times sequence_length %d "+
				"is more than %d tokens, the most at a time. Lower one of them.", batch, seq, maxStepTokens))}
	}
	return nil
}

// Uncompiled returns the error of a program that cannot be compiled, for a stage's train block or an evaluation.
func Uncompiled(d *dsl.Decoded, attr, summary string, batch, seq int, err error) hcl.Diagnostics {
	switch {
	case errors.Is(err, graph.ErrTooLarge):
		err = fmt.Errorf("the memory for %d sequences of %d tokens is %w; lower one of them", batch, seq, graph.ErrTooLarge)
	case errors.Is(err, program.ErrFLOPs):
		err = fmt.Errorf("batch_size %d times sequence_length %d takes %w; lower one of them", batch, seq, program.ErrFLOPs)
	default:
		return Problem(d, attr, summary, err)
	}
	return Problem(d, longer(batch, seq), "Batch too large", err)
}

// longer returns the attribute to blame for a batch that is too large.
func longer(batch, seq int) string {
	if seq > batch {
		return "sequence_length"
	}
	return "batch_size"
}
