// Package blocks is what the plan and a run know of a block of the language: how its kind plans it, what identifies its
// result, how it runs, and what a plan shows of it. The packages below it are the kinds; blocks/all lists them.
package blocks

import (
	"context"
	"encoding/json"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/runtime/observe"
	"stepflow/runtime/state"
)

// Version is that of the program, for files that say what made them. The program sets it.
var Version = "(unknown)"

// Kind is what planning knows of a kind of block.
type Kind struct {
	// Sound checks the attributes of a block against each other, without data, state or other blocks. Unknown values pass.
	// nil checks nothing.
	Sound func(a addr.Addr, d *dsl.Decoded) hcl.Diagnostics
	// Plan plans a block whose attributes are sound: it sets p.Block, and returns the exports that are known before it
	// runs.
	Plan func(ctx context.Context, p *Planned, d *dsl.Decoded) (known map[string]cty.Value, diags hcl.Diagnostics)
	// Early finds errors of a block that can be planned only after others have run; nil finds none.
	Early func(ctx context.Context, p *Planned, d *dsl.Decoded) hcl.Diagnostics
	// Idle holds the attributes that change no bit of a block's result, with the reason. Names of files are among them
	// where Identity writes the files' content, so that a pipeline can be moved.
	Idle map[string]string
	// Resolved holds the attributes that say one thing in several ways: Identity writes what they resolve to.
	Resolved []string
	// Alone names what a block of the kind has for itself while it is planned and while it runs; "" for nothing.
	Alone Resource
}

// Resource is something that one block uses at a time.
type Resource string

// The device, with its programs; and the folders of exports, with what is known of their files.
const (
	TheDevice Resource = "device"
	Exports   Resource = "exports"
)

// Block is a planned block.
type Block interface {
	// Identity writes what decides the bits of the block's result, besides its attributes and the blocks it is made from.
	Identity(w io.Writer)
	// Summary describes a block in a few words; "" for nothing.
	Summary() string
}

// Task is a block that may have something to run. Other blocks are configuration alone.
type Task interface {
	Block
	// Runs reports whether it has something to run.
	Runs() bool
	// Files lists the files that its result, or else a checkpoint, must have.
	Files(result bool) []string
	// Run makes the block's result and keeps it with r's methods.
	Run(ctx context.Context, r *Run) error
}

// Optional interfaces of a block.
type (
	// Stepped is a task that runs in steps, with checkpoints to resume from.
	Stepped interface {
		Task
		NumSteps() int
		Keeps() (running, ended int) // how many checkpoints stay
		Traced
	}
	// Traced is a task whose trace shows more than the block.
	Traced interface {
		Traced(from int) observe.Planned // what is traced of the steps after from
	}
	// Extendable is a stepped task that may go on from where a run of another length was: a run of the same course, as far
	// as its steps are the same.
	Extendable interface {
		Stepped
		Course(w io.Writer)                          // writes what Identity writes, without length and schedule
		Pace() json.RawMessage                       // length and schedule, for a note
		Certain() bool                               // whether its result is that of its last step, whatever it measures
		Merges() bool                                // whether its result, unlike a checkpoint, lacks what more steps need
		Shares(steps int, pace json.RawMessage) bool // whether a run at that pace is the same for so many steps
		Anew(pace json.RawMessage) string            // why a shorter finished run is not extended; "" if it can be
	}
	// Forecaster predicts what a task takes that runs from step from, 0 for its start.
	Forecaster interface {
		Forecast(ctx context.Context, p *Planned, from int, d *dsl.Decoded) hcl.Diagnostics
		Takes() *Forecast
	}
	// Detailed has lines to show in a plan. run says that the block will run, done that it has run.
	Detailed interface {
		Details(run, done bool) []Line
	}
	// Counted has figures for a plan in JSON, by name.
	Counted interface {
		Numbers() map[string]any
	}
	// Trains is a block that trains a model, which a report draws.
	Trains interface {
		Training() *Training
	}
	// Programmed is a block that runs a program, whose hash a saved plan holds.
	Programmed interface {
		DeviceProgram() *gpu.Program
	}
	// Picky is a block that not every device can run.
	Picky interface {
		Refuse(caps gpu.Caps) error
	}
	// Collective is a task that all ranks may run together. Any other is run by rank 0 alone.
	Collective interface {
		Task
		Together() bool // whether they do
	}
	// Weighty is a block that reads imported weights. Readable checks them before anything runs; read holds those checked.
	Weighty interface {
		Readable(ctx context.Context, read map[string]bool) error
	}
	// Importable is a task whose result may come from elsewhere instead of a run.
	Importable interface {
		Task
		Import() *state.Import // nil if it is made by a run
	}
	// Source is a block of documents.
	Source interface {
		Missing() string                // why its remote files could not be looked at; "" if they could
		Seen(secret bool) *state.Source // what the state keeps of remote files; nil for local ones
		Counted() bool                  // whether the plan counted what is left out
	}
	// Reader is a block that reads files of the user's.
	Reader interface {
		// a file in folder that it reads, or would read after an export to it; "" for none
		Reads(folder, pipeline string) string
	}
	// Writer is a block that writes into a folder of the user's.
	Writer interface {
		Task
		Begin(r *Run, st *state.State)                  // notes the folder in the state before anything is written
		Target() string                                 // the folder, without links
		Writable() error                                // why this process may not write there; nil if it may
		Holds(recipe string) error                      // why the folder lacks what the recipe writes; nil if it has it
		Empty() bool                                    // whether no block has written there
		HeldRecipe() string                             // recipe of what the folder holds; "" for nothing
		Replaces(st *state.State, recipe string) string // what it would replace of another state; "" for nothing
	}
	// Neighbour is a block that checks the other blocks of its plan, once all are planned.
	Neighbour interface {
		Beside(mine *Planned, all []*Planned) (warnings []string, diags hcl.Diagnostics)
	}
)

// Line is a line that a plan shows of a block: a word or two on what it is about, and the text.
type Line struct{ About, Text string }
