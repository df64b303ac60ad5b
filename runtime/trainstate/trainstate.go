// Package trainstate is what a stage's checkpoint holds besides tensors: the file trainer_state.json.
package trainstate

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"stepflow/fineweb"
	"stepflow/foreign"
	"stepflow/runtime/checkpoint"
)

// State is all that a stage needs besides tensors to go on. It holds no times, so that the same run writes the same
// bytes.
type State struct {
	Recipe         string           `json:"recipe"`
	Step           int              `json:"step"`
	Tokens         int64            `json:"tokens"`
	Data           string           `json:"data"` // identity of data, tokenizer and packing the position belongs to
	Position       fineweb.Position `json:"position"`
	Layers         []string         `json:"layers"`
	OptimizerSteps map[string]int64 `json:"optimizer_steps"` // updates each trainable tensor has had
	Restarts       int              `json:"restarts"`        // ReLoRA
	Merges         Merges           `json:"merges"`
	LastLosses     []float64        `json:"last_losses"`
	Skipped        int              `json:"skipped_steps"` // not finite
	Counted        Counted          `json:"counted,omitzero"`
	Seam           *Seam            `json:"seam,omitempty"`
	Ending         *Ending          `json:"stop_when,omitempty"` // nil where nothing ends the stage early
	Best           *Best            `json:"keep_best,omitempty"` // nil where the last model is the result
}

// Counted is what was found in the data that were read so far.
type Counted struct {
	Specials  int64 `json:"specials,omitempty"`  // special tokens in documents and conversations
	Truncated int64 `json:"truncated,omitempty"` // conversations that are longer than a sequence
	Masked    int64 `json:"masked,omitempty"`    // conversations of which nothing counts
}

// Best is the best value that evaluations gave so far, by which the stage's result is chosen.
type Best struct {
	Seen  int     `json:"seen"` // step of the latest evaluation
	Step  int     `json:"step"` // of the best; 0 while none was finite
	Value float64 `json:"value"`
}

// Ending is how far a stage is from an early end.
type Ending struct {
	Seen    int     `json:"seen"` // step of the latest evaluation
	Step    int     `json:"step"` // of the latest that was an improvement; 0 while none was finite
	Value   float64 `json:"value"`
	Waited  int     `json:"waited"`  // evaluations since
	Reached bool    `json:"reached"` // the latest was as good as it is to be
}

// Seam is what the end of a stage measured.
type Seam struct {
	Probe           string  `json:"probe"`            // identity of the batch the loss is of
	Loss            float64 `json:"loss"`             // of the merged model on it
	MergeDifference float64 `json:"merge_difference"` // largest change of a token's loss by merging the adapters
}

// Merges are the Frobenius norms of what the merges so far were to add to the weights, and of what rounding kept out:
// roots of sums of squares over adapters and merges.
type Merges struct {
	Product float64 `json:"product"`
	Lost    float64 `json:"lost"`
}

// Error is the share that rounding kept out.
func (m Merges) Error() float64 {
	if m.Product == 0 {
		return 0
	}
	return m.Lost / m.Product
}

// maxBytes bounds what is read of the file.
const maxBytes = 1 << 30

// Read reads the state in the folder of a checkpoint.
func Read(dir string) (*State, error) { return ReadFile(filepath.Join(dir, checkpoint.TrainerFile)) }

// ReadFile reads a file that holds a state.
func ReadFile(path string) (*State, error) {
	b, err := foreign.ReadFile(path, maxBytes)
	if err != nil {
		return nil, err
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return &s, nil
}
