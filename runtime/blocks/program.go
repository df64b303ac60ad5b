package blocks

import (
	"errors"
	"fmt"
	"math"

	"stepflow/runtime/program"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/ops/graph"
)

// maxStepTokens bounds the tokens of a step, or of a batch that is evaluated, so that tokens times steps can be counted.
const maxStepTokens = math.MaxInt32

// TooManyTokens is the problem with a batch of more tokens than maxStepTokens; nil if there is none.
func TooManyTokens(d *dsl.Decoded, batch, seq int) hcl.Diagnostics {
	if n := gpu.Product(int64(batch), int64(seq)); n > maxStepTokens {
		return hcl.Diagnostics{d.Error(longer(batch, seq), "Batch too large", fmt.Sprintf("batch_size %d times sequence_length %d is more than %d tokens, the most at a time. Lower one of them.", batch, seq, maxStepTokens))}
	}
	return nil
}

// Uncompiled is the problem with a program that could not be made: of a stage's train block, or of an evaluation.
func Uncompiled(d *dsl.Decoded, attr, summary string, batch, seq int, err error) hcl.Diagnostics {
	switch {
	case errors.Is(err, graph.ErrTooLarge):
		err = fmt.Errorf("what is in memory for %d sequences of %d tokens takes %w; lower one of them", batch, seq, graph.ErrTooLarge)
	case errors.Is(err, program.ErrFLOPs):
		err = fmt.Errorf("batch_size %d times sequence_length %d takes %w; lower one of them", batch, seq, program.ErrFLOPs)
	default:
		return Problem(d, attr, summary, err)
	}
	return Problem(d, longer(batch, seq), "Batch too large", err)
}

// longer is the attribute to blame for a batch that is too large.
func longer(batch, seq int) string {
	if seq > batch {
		return "sequence_length"
	}
	return "batch_size"
}
