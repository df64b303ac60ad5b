package stage

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
)

func sound(_ addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
	return append(append(soundStart(d), soundTogether(d)...), soundTrain(d.Block("train"))...)
}

// soundStart checks what a stage starts from.
func soundStart(d *dsl.Decoded) hcl.Diagnostics {
	switch {
	case !d.Has("from") && !d.Has("model"):
		return hcl.Diagnostics{d.Error("model", "No model", "A stage starts a model or continues a stage: give model or "+
			"from.")}
	case d.Has("from") && d.Has("layers"):
		return hcl.Diagnostics{d.Error("layers", "Layers of a continued stage",
			"A stage that continues another has its layers; add some with a grow block.")}
	}
	return nil
}

// checkpointing are the words of activation_checkpointing.
var checkpointing = []string{"none", "block", "auto"}

// soundTrain checks how long and in what portions a stage trains.
func soundTrain(t *dsl.Decoded) (diags hcl.Diagnostics) {
	if t == nil { // reported already
		return nil
	}
	diags = append(diags, soundTune(t)...)
	if batch := t.Int("batch_size"); batch > 0 {
		diags = append(diags, blocks.TooManyTokens(t, batch, t.Int("sequence_length"))...)
		_, _, wrong := microOf(t)
		diags = append(diags, wrong...)
	}
	if word := t.Str("activation_checkpointing"); t.Known("activation_checkpointing") && !slices.Contains(checkpointing, word) {
		if n, err := strconv.Atoi(word); err != nil || n < 1 {
			diags = append(diags, t.Error("activation_checkpointing", "Invalid value", fmt.Sprintf("activation_checkpointing is %q: it "+
				"takes \"none\", \"block\", \"auto\", or a number of layers of at least 1.", word)))
		}
	}
	known, open := 0, 0 // an unknown value may be null
	for _, x := range []string{"tokens", "steps", "flops", "epochs"} {
		switch {
		case t.Known(x):
			known++
		case t.Has(x):
			open++
		}
	}
	if known > 1 || known+open < 1 {
		diags = append(diags, t.Error("tokens", "Horizon", fmt.Sprintf("Give exactly one of tokens, steps, flops and epochs; "+
			"there are %d.", known)))
	}
	if c := t.Block("schedule"); c != nil && c.Label == "wsd" {
		if warmup, decay := c.Float("warmup_ratio"), c.Float("decay_ratio"); warmup+decay > 1 {
			diags = append(diags, c.Error("decay_ratio", "Schedule too long",
				fmt.Sprintf("warmup_ratio %g and decay_ratio %g are more than the whole schedule: lower one of them.", warmup,
					decay)))
		}
	}
	return append(diags, soundEvaluations(t)...)
}

// microOf returns the number of sequences on the device at a time. auto says that the device decides.
func microOf(t *dsl.Decoded) (n int, auto bool, diags hcl.Diagnostics) {
	batch, word := t.Int("batch_size"), t.Str("micro_batch_size")
	if word == "" && (!t.Has("micro_batch_size") || !t.Known("micro_batch_size")) || word == "auto" {
		return batch, word == "auto", nil
	}
	n, err := strconv.Atoi(word)
	switch {
	case err != nil || n < 1:
		return batch, false, hcl.Diagnostics{t.Error("micro_batch_size", "Invalid value",
			fmt.Sprintf("micro_batch_size is %q: it takes a whole number of sequences of at least 1, or \"auto\".", word))}
	case batch%n != 0:
		return n, false, hcl.Diagnostics{t.Error("micro_batch_size", "Batch not divisible",
			fmt.Sprintf("batch_size %d is not a multiple of micro_batch_size %d. Choose a divisor.", batch, n))}
	}
	return n, false, nil
}
