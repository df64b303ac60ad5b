package blocks

import "stepflow/runtime/program"

// Training is what a report shows of a block that trains a model.
type Training struct {
	From       string           `json:"from,omitempty"`
	Grow       string           `json:"grow,omitempty"` // how it grew, in words
	Added      int              `json:"added,omitempty"`
	Layers     []Layer          `json:"layers"`
	Adapter    string           `json:"adapter,omitempty"` // in words
	Rank       int              `json:"rank,omitempty"`
	Precision  string           `json:"precision"`
	Seq        int              `json:"sequence_length"`
	Batch      int              `json:"batch_size"`
	Micro      int              `json:"micro_batch_size"`
	Steps      int              `json:"steps"`
	StepTokens int64            `json:"tokens_per_step"`
	Figures    program.Figures  `json:"planned"`
	Vanilla    *program.Figures `json:"vanilla"`
}

// Layer is a layer of a stage's model.
type Layer struct {
	ID     string        `json:"id"`
	Old    int           `json:"old"` // its index in the stage before; -1 if it is new
	From   []LayerParent `json:"from,omitempty"`
	Frozen bool          `json:"frozen"`
	Rank   int           `json:"rank,omitempty"` // of its adapters
}

// LayerParent is a layer of the stage before that a new layer was made from.
type LayerParent struct {
	Layer  int     `json:"layer"`
	Weight float64 `json:"weight"`
}
