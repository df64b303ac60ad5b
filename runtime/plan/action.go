package plan

import (
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/all"
	"stepflow/runtime/blocks/executor"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// Verb is what apply will do with a block.
type Verb string

const (
	Run      Verb = "run"
	Resume   Verb = "resume"
	Extend   Verb = "extend" // it goes on from where a run of another length was
	Import   Verb = "import" // its result is taken from elsewhere
	Same     Verb = "same"   // another block of the same recipe makes it in this run
	UpToDate Verb = "up to date"
	Ready    Verb = "ready"    // configuration only: nothing to run
	Deferred Verb = "deferred" // planned when the values it needs are known
)

// Works reports whether apply makes the block's result.
func (v Verb) Works() bool { return v == Run || v == Resume || v == Extend || v == Import }

// Action is what apply will do with a block, or with one instance of a repeated block.
type Action struct {
	blocks.Planned
	Verb     Verb
	Why      string
	FromStep int // the step of the checkpoint to go on from; 0 for the start
	// block of the same run that makes its result, or at whose end it goes on; zero for none
	After    addr.Addr
	Replaces string // what another state's block wrote and this one would replace; "" for nothing
	// address where its result or checkpoint was found, to be moved here or shared; "" if it is in its place
	Moved    string
	Losses   []Loss            // trained work that running it throws away
	Removes  []int             // steps of the checkpoints beyond keep, latest first, which apply removes
	Ignored  []Ignored         // changes that do not make it run again
	Triggers map[string]string // what replace_triggered_by names is now, by name
	Recipe   string            // hash of its configuration and its inputs
	Attrs    map[string]string
	Values   map[string]cty.Value // attributes that are given or have a default; sensitive ones marked
	Hidden   map[string]bool      // exports that reveal a sensitive attribute
	Found    *results.Found       // the result or the checkpoint of its recipe on disk
	Base     *results.Found       // what it goes on from where it is extended; else nil
	Course   *state.Course        // nil of a block that cannot be extended
	Late     bool                 // it was deferred, and planned during the run
	On       *executor.Executor   // where it runs; nil for this process
	Skip     bool                 // nothing is run, though the verb says so

	id      string // what the recipes of other blocks hash: its content id, or its recipe if it has not run
	pending bool   // it will run
	again   bool   // it runs from its start whatever is on disk
	ownStep int    // the step it would go on from without the other stages of the run
	reason  string // Why, without where it goes on from
	decoded *dsl.Decoded
	block   *dsl.Block
	each    dsl.Each
}

// Replaced reports whether the block runs from its start, whatever is on disk.
func (a *Action) Replaced() bool { return a.again }

// Kind returns the block's kind in the language.
func (a *Action) Kind() *dsl.Kind { return a.block.Kind }

// Refs returns the blocks that the block refers to.
func (a *Action) Refs() []addr.Addr { return a.block.Refs }

// Alone returns what the block has for itself while it is planned and while it runs; "" for nothing.
func (a *Action) Alone() blocks.Resource { return all.Kinds[a.block.Kind.Name].Alone }

// Type returns the block's type; "" for a kind without types.
func (a *Action) Type() string { return a.block.Addr.Type }

// Instance returns which instance of a repeated block it is.
func (a *Action) Instance() *dsl.Each { return &a.each }

// task returns the block as a task; nil if it has nothing to run.
func (a *Action) task() blocks.Task {
	if t, ok := a.Block.(blocks.Task); ok && t.Runs() {
		return t
	}
	return nil
}

// imported returns where the block's result comes from; nil if it is made by a run.
func (a *Action) imported() *state.Import {
	if x, ok := a.Block.(blocks.Importable); ok {
		return x.Import()
	}
	return nil
}

// stepped returns the block as a task that runs in steps; nil if it is none.
func (a *Action) stepped() blocks.Stepped {
	s, _ := a.Block.(blocks.Stepped)
	return s
}

// writer returns the block as one that writes into a folder of the user's; nil if it is none.
func (a *Action) writer() blocks.Writer {
	w, _ := a.Block.(blocks.Writer)
	return w
}

// Shareable reports whether other blocks of the same recipe may take over its result: it writes nothing outside the
// state, and all its values are kept.
func (a *Action) Shareable() bool {
	for _, hidden := range a.Hidden {
		if hidden {
			return false
		}
	}
	return a.writer() == nil
}

// Away reports whether the block is up to date, and its result elsewhere than on this disk.
func (a *Action) Away() bool { return a.Verb == UpToDate && a.Found.Away != nil }

// Stale reports whether the state's entry b differs from the block and from the result or checkpoint that was found for
// it.
func (a *Action) Stale(b *state.Block) bool {
	return b == nil || b.Recipe != a.Recipe || b.Status != state.Done && a.Found.Done ||
		a.Found.Done && b.Dir != filepath.Join(results.Folder(a.Addr), a.Found.Leaf) || !maps.Equal(b.Attrs,
		a.Attrs) || !maps.Equal(b.Inputs, a.Inputs)
}

// Made records what the block made in this run.
func (a *Action) Made(f *results.Found) { a.Found, a.id, a.pending = f, f.ID, false }

// StepList writes a list of steps, such as "steps 2, 4 and 6".
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
