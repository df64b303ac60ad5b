package plan

import (
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// Verb is what apply will do with a block.
type Verb string

const (
	Run      Verb = "run"
	Resume   Verb = "resume"
	Same     Verb = "same" // another block makes it in this run, and both have it then
	UpToDate Verb = "up to date"
	Ready    Verb = "ready"    // configuration only: nothing to run
	Deferred Verb = "deferred" // planned when the values it needs are known
)

// Action is one block, or one instance of a repeated one, with what will be done to it.
type Action struct {
	blocks.Planned
	Verb     Verb
	Why      string
	FromStep int    // resume: the step it goes on from
	Replaces string // what a block of another state wrote and this one would replace; empty for none
	Moved    string // address at which what it made was found, to be moved here or shared; "" where it is in its place
	Losses   []Loss // trained work that running it throws away
	Removes  []int  // steps of the checkpoints on disk that are more than keep, latest first: apply removes them
	Recipe   string // of its configuration and its inputs
	Attrs    map[string]string
	Values   map[string]cty.Value // of the attributes that are given or have a default; sensitive ones marked
	Hidden   map[string]bool      // exports that tell a sensitive attribute
	Found    *results.Found       // what is on disk of its recipe: a result to use, a checkpoint to go on from
	Late     bool                 // it was deferred, and planned when the run came to it
	Skip     bool                 // nothing is run, though the verb says so

	id      string // that other blocks see: of what it made, or its recipe
	pending bool   // it will run
	block   *dsl.Block
	each    dsl.Each
}

// Kind is the block's kind in the language.
func (a *Action) Kind() *dsl.Kind { return a.block.Kind }

// Type is the block's type, "" for a kind without types.
func (a *Action) Type() string { return a.block.Addr.Type }

// Instance is which instance of a repeated block it is.
func (a *Action) Instance() *dsl.Each { return &a.each }

// task is the block's task; nil for a block that has nothing to run.
func (a *Action) task() blocks.Task {
	if t, ok := a.Block.(blocks.Task); ok && t.Runs() {
		return t
	}
	return nil
}

// stepped is the block as a task that runs in steps; nil for another.
func (a *Action) stepped() blocks.Stepped {
	s, _ := a.Block.(blocks.Stepped)
	return s
}

// writer is the block as one that writes into a folder of the user's; nil for another.
func (a *Action) writer() blocks.Writer {
	w, _ := a.Block.(blocks.Writer)
	return w
}

// Shareable reports whether a block of the same recipe takes over what this one makes: not one that writes elsewhere, nor one
// whose values are not kept.
func (a *Action) Shareable() bool {
	for _, hidden := range a.Hidden {
		if hidden {
			return false
		}
	}
	return a.writer() == nil
}

// Stale reports whether the state's entry of a block whose result or checkpoint was found says something else than the block
// does now.
func (a *Action) Stale(b *state.Block) bool {
	return b == nil || b.Recipe != a.Recipe || b.Status != state.Done && a.Found.Done ||
		a.Found.Done && b.Dir != filepath.Join(results.Folder(a.Addr), a.Found.Leaf) || !maps.Equal(b.Attrs, a.Attrs) || !maps.Equal(b.Inputs, a.Inputs)
}

// Made notes what the block made in this run.
func (a *Action) Made(f *results.Found) { a.Found, a.id, a.pending = f, f.ID, false }

// StepList says the numbers of steps.
func StepList(steps []int) string {
	if len(steps) == 1 {
		return fmt.Sprintf("step %d", steps[0])
	}
	words := make([]string, len(steps))
	for i, s := range steps {
		words[i] = strconv.Itoa(s)
	}
	last := len(words) - 1
	return "steps " + strings.Join(words[:last], ", ") + " and " + words[last]
}
