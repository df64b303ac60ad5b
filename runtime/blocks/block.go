// Package blocks is what the plan and a run know of a block of the language: how its kind plans it, what tells what it makes
// apart, how it runs, and what there is to show of it. The packages below it are the kinds; blocks/all lists them.
package blocks

import (
	"context"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/runtime/observe"
	"stepflow/runtime/state"
)

// Kind is what planning knows of a kind of block.
type Kind struct {
	// Sound checks the attributes of a block against each other, as far as that needs neither data nor state nor other
	// blocks; what is not known yet passes. nil checks nothing.
	Sound func(a addr.Addr, d *dsl.Decoded) hcl.Diagnostics
	// Plan plans a block whose attributes are sound: it sets p.Block, and returns the exports that are known before it runs.
	Plan func(ctx context.Context, p *Planned, d *dsl.Decoded) (known map[string]cty.Value, diags hcl.Diagnostics)
	// Early looks at a block that can be planned only when others have run, for what is wrong with it already; nil for nothing.
	Early func(ctx context.Context, p *Planned, d *dsl.Decoded) hcl.Diagnostics
	// Idle are the attributes that change no bit of what a block makes, with why. Where files have an identity it stands for
	// the text that names them, so that a pipeline can be moved.
	Idle map[string]string
	// Resolved are the attributes of which only counts what comes of them, because one thing can be said in several ways:
	// Identity writes that.
	Resolved []string
}

// Block is a planned block.
type Block interface {
	// Identity writes what decides the bits that the block makes, besides its attributes and the blocks it is made from.
	Identity(w io.Writer)
	// Summary says in a few words what a block is that is configuration alone; "" for nothing.
	Summary() string
}

// Task is a block that may have something to run. Other blocks are configuration alone.
type Task interface {
	Block
	// Runs reports whether it has.
	Runs() bool
	// Files lists the files without which its result is not whole, or a checkpoint that leads there.
	Files(result bool) []string
	// Run makes what the block makes, and keeps it with Run's methods.
	Run(ctx context.Context, r *Run) error
}

// What a block may be besides. Each is asked for where it matters, and a block that has no such side leaves it out.
type (
	// Stepped is a task that runs in steps, with checkpoints to go on from.
	Stepped interface {
		Task
		NumSteps() int
		Keeps() (running, ended int)     // checkpoints that stay
		Traced(from int) observe.Planned // what of the steps behind from is traced
	}
	// Forecaster tells what a task takes that is to run from a step on, 0 for its start.
	Forecaster interface {
		Forecast(ctx context.Context, p *Planned, from int, d *dsl.Decoded) hcl.Diagnostics
		Takes() *Forecast
	}
	// Detailed has more to show in a plan than a line, by whether the block is to run and whether it is done.
	Detailed interface {
		Details(run, done bool) []Line
	}
	// Counted has numbers for programs, by name.
	Counted interface {
		Numbers() map[string]any
	}
	// Trains is a block that trains a model, which a report draws.
	Trains interface {
		Training() *Training
	}
	// Programmed is a block that runs a program, which a saved plan must come to again.
	Programmed interface {
		DeviceProgram() *gpu.Program
	}
	// Picky is a block that not every device can run.
	Picky interface {
		Refuse(caps gpu.Caps) error
	}
	// Weighty is a block that reads weights which others trained. Readable reads them before anything runs.
	Weighty interface {
		Readable(ctx context.Context, read map[string]bool) error
	}
	// Source is a block of documents.
	Source interface {
		Missing() string                // why its files, which lie elsewhere, were not looked at; "" if they were
		Seen(secret bool) *state.Source // what the state keeps of files that lie elsewhere; nil for those that lie here
		Counted() bool                  // the plan counted its copies
	}
	// Reader is a block that reads files of the user's.
	Reader interface {
		Reads(folder, pipeline string) string // one that lies in a folder, or would once an export is written there; "" for none
	}
	// Writer is a block that writes into a folder of the user's.
	Writer interface {
		Task
		Begin(r *Run)                                   // notes in the state, before anything is written, what is about to be
		Target() string                                 // the folder, without links
		Writable() error                                // why this process may not write there; nil if it may
		Holds(recipe string) error                      // why it does not hold what the recipe writes; nil if it does
		Empty() bool                                    // no block wrote there
		HeldRecipe() string                             // of what is there; "" for nothing
		Replaces(st *state.State, recipe string) string // what would be lost that this state did not write; "" for nothing
	}
	// Neighbour is a block that looks at the others of its plan, once all are planned: for warnings, and errors.
	Neighbour interface {
		Beside(mine *Planned, all []*Planned) (warnings []string, diags hcl.Diagnostics)
	}
)

// Line is a line of what a plan shows of a block: what it is about, in a word or two, and the text.
type Line struct{ About, Text string }
