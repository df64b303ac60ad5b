package blocks

import (
	"path/filepath"

	"stepflow/dsl/addr"
	"stepflow/runtime/program"
	"stepflow/runtime/results"
)

// Room is what a block writes to a folder when it runs.
type Room struct {
	Folder string `json:"folder"` // it need not be there yet
	Most   int64  `json:"most_bytes"`
	Stays  int64  `json:"stays_bytes"`           // of that, once the block has ended
	Frees  int64  `json:"frees_bytes,omitempty"` // of what lies there now, then
	Unsure int64  `json:"-"`                     // of Most and of Stays, what may not be needed: files whose size is only bounded
	Once   int64  `json:"-"`                     // the largest part: it is written before anything is removed for it
	All    int64  `json:"-"`                     // that is written, whatever is removed meanwhile; 0 for Most
	// Estimate says that it may be less or more: it depends on what the run reads.
	Estimate bool `json:"estimate,omitempty"`
}

// Phase is a part of what a block does, with the memory of the host that it takes.
type Phase = program.Phase

// Folder returns the folder of a block's files.
func (w *World) Folder(a addr.Addr) string { return filepath.Join(w.StateDir, results.Folder(a)) }

// Optional interfaces of a block that takes room of the machine.
type (
	// Storing is a block that knows how much it writes if it runs from a step on, 0 for its start. Most and Stays are as if
	// nothing of it were there yet.
	Storing interface {
		Rooms(from int) []Room
	}
	// Hosted is a block that knows how much memory of the host it takes if it runs from a step on, 0 for its start, beside what
	// the process takes anyway.
	Hosted interface {
		Phases(from int) []Phase
	}
)
