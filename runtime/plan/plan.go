// Package plan decides what a run will do. New folds over the blocks of a configuration in dependency order: it
// decodes a block with what is known so far, lets its kind plan it, looks for its result on disk, and adds its
// exports.
package plan

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/all"
	"stepflow/runtime/observe"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// Options say what to plan.
type Options struct {
	Path     string
	Inputs   dsl.Inputs
	StateDir string // default: .stepflow in the pipeline's folder
	Exports  string // folder under which exports go; "" for where the pipeline says
	Caps     gpu.Caps
	Ranks    int // processes that train together; 0 and 1 for one alone
	Rank     int // of this one, from 0
	Select   Selection
	// hold to what lifecycle blocks say, in the plan and when it is applied; without it, a plan is only looked at
	Lifecycle bool
	Elsewhere results.Elsewhere // where results and checkpoints may be besides the state's folder; nil for nowhere
	// wait for servers of remote data as a run does, or plan without those that do not answer
	Patient bool
	// the device's rate in FLOP/s, to predict times before a run has measured; nil for none
	Peak    func(gpu.DType) float64
	Hashing func(file string, bytes int64) // called before a large file is hashed, from several goroutines; may be nil
	Cache   *fineweb.Cache                 // keeps ranges of remote files; nil for the usual one
	Machine *Machine                       // that the run is to be on; nil where it is not this one
}

// Plan is what apply runs.
type Plan struct {
	Config    *dsl.Config
	StateDir  string
	Select    Selection
	Actions   []*Action
	Drift     []Drift              // of a plan that runs nothing; see Selection
	Orphans   []*Orphan            // blocks in the state that the configuration no longer has
	Moves     []state.Move         // entries of the state that have another address now
	Outputs   map[string]cty.Value // unknown if only the run gives them
	OutputDoc map[string]OutputDoc
	StepEvery int   // one step in this many is traced
	MaxSpans  int64 // the most spans of a run
	Ranks     int   // that run it together; 1 for one alone
	Caps      gpu.Caps
	State     *state.State // with every entry at its address of now
	Took      observe.Past // making the plan, for the trace of a run

	fold    *Fold
	machine *Machine
	index   map[addr.Addr]int  // of actions
	leftOut map[addr.Addr]bool // blocks, outputs and instances that a selection leaves out
	stay    []string           // blocks that the configuration removes, and that a selection leaves out
	waits   []string           // those of stay that would be destroyed, if a block that is left out did not need them
}

// Action finds an action by address; nil if there is none.
func (p *Plan) Action(a addr.Addr) *Action {
	if i, ok := p.index[a]; ok {
		return p.Actions[i]
	}
	return nil
}

// Changes reports whether apply has anything to run, to move, to remove or to record, or outputs to change.
func (p *Plan) Changes() bool {
	if p.Select.RefreshOnly {
		return len(p.Drift)+len(p.Moves) > 0
	}
	return p.runs() || slices.ContainsFunc(p.OutputChanges(), func(c OutputChange) bool { return c.Change != NoOp })
}

func (p *Plan) runs() bool {
	return len(p.Moves) > 0 ||
		slices.ContainsFunc(p.Orphans, func(o *Orphan) bool { return o.Fate != Keep }) ||
		slices.ContainsFunc(p.Actions, func(a *Action) bool {
			return a.Verb.Works() || a.Verb == Deferred || a.Moved != "" || len(a.Removes) > 0
		})
}

// All lists the blocks of the actions, in their order.
func (p *Plan) All() []*blocks.Planned {
	list := make([]*blocks.Planned, len(p.Actions))
	for i, a := range p.Actions {
		list[i] = &a.Planned
	}
	return list
}

// Copy returns a plan whose actions and outputs can be replaced without changing p.
func (p *Plan) Copy() *Plan {
	q := *p
	q.Actions, q.Outputs = slices.Clone(p.Actions), maps.Clone(p.Outputs)
	return &q
}

// New loads the pipeline and plans every block. It reports the problems of all blocks at once. Cancelling ctx ends it,
// and the plan is then of no use.
func New(ctx context.Context, o Options) (*Plan, hcl.Diagnostics) {
	p, diags := newPlan(ctx, o)
	return p, dsl.Join(diags)
}

func newPlan(ctx context.Context, o Options) (*Plan, hcl.Diagnostics) {
	start := time.Now()
	cfg, diags := dsl.Load(o.Path, o.Inputs)
	loaded := time.Now()
	p := &Plan{Config: cfg, Caps: o.Caps, machine: o.Machine, Select: o.Select, Outputs: map[string]cty.Value{},
		OutputDoc: map[string]OutputDoc{}, StepEvery: 50, MaxSpans: 100_000, Ranks: max(o.Ranks, 1),
		index: map[addr.Addr]int{}, leftOut: map[addr.Addr]bool{}}
	if diags.HasErrors() {
		return p, append(diags, cfg.Validate(diags, all.Sound)...)
	}
	p.StateDir = o.StateDir
	var err error
	if p.StateDir == "" {
		p.StateDir, err = state.Default(cfg.Dir)
	}
	var st *state.Dir
	if err == nil {
		st, err = state.Read(p.StateDir)
	}
	if err != nil {
		return p, append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unusable state",
			Detail: blocks.Sentence(err.Error()) + "."})
	}
	st.State = st.State.Copy()
	p.State = st.State
	p.fold = newFold(cfg, o, st)
	diags = append(diags, p.fold.follow(cfg.Moved)...)
	p.fold.rekeyModules()
	diags = append(diags, p.fold.readImports()...)
	diags = append(diags, p.selected(ctx)...)
	diags = append(diags, p.telemetry()...)
	p.settle()
	diags = append(diags, p.prevented()...)
	if !diags.HasErrors() && ctx.Err() == nil {
		diags = append(diags, p.compare(ctx)...)
	}
	if ctx.Err() != nil {
		return p, append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Interrupted",
			Detail: "Planning was interrupted."})
	}
	for _, l := range p.fold.Scope.LocalProblems() {
		if p.fold.OfNothing(nil, l.Addr, l.Diags) {
			warnings(l.Diags)
			p.dropOutputs(l.Refs)
		}
		diags = append(diags, l.Diags...)
	}
	p.took(start, loaded)
	return p, append(diags, p.fold.Checks()...)
}

// compare compares the planned blocks with the state, which may have others, and the same at other addresses.
func (p *Plan) compare(ctx context.Context) hcl.Diagnostics {
	p.Moves = p.fold.moves()
	diags := slices.Concat(p.stillThere(), p.strayImports(), p.movesLeftOut())
	if diags.HasErrors() {
		return diags
	}
	look := p.orphans
	if p.Select.RefreshOnly {
		look = p.drift
	}
	if err := look(ctx); err != nil {
		return append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unreadable result",
			Detail: blocks.Sentence(err.Error()) + ". Nothing was changed."})
	}
	diags = append(diags, p.protectedOrphans()...)
	return append(diags, p.partial()...)
}

// blocks plans all blocks, one after the other.
func (p *Plan) blocks(ctx context.Context) (diags hcl.Diagnostics) {
	failed := map[addr.Addr]bool{}
	for _, b := range p.Config.Blocks {
		if ctx.Err() != nil {
			return diags
		}
		for _, r := range b.Refs {
			if failed[r] {
				failed[b.Addr] = true
			}
		}
		if failed[b.Addr] {
			// not planned: its errors would only follow from those before
			diags = append(diags, p.fold.Scope.Check(b, all.Sound)...)
			continue
		}
		if !p.fold.choice.hasBlock(b.Addr) || p.partly(b) {
			diags = append(diags, p.leaveOut(b)...)
			continue
		}
		if b.Kind.Name == "output" {
			diags = append(diags, p.output(b)...)
			continue
		}
		actions, left, dd := p.fold.block(ctx, b)
		for _, a := range left {
			p.leftOut[a] = true
		}
		diags = append(diags, dd...)
		if dd.HasErrors() {
			failed[b.Addr] = true
		}
		for _, a := range actions {
			p.index[a.Addr] = len(p.Actions)
			p.Actions = append(p.Actions, a)
		}
	}
	if !diags.HasErrors() {
		diags = append(diags, p.lengthen(ctx)...)
	}
	return append(dsl.Once(diags), p.together()...)
}

// together lets each block look at the others: it adds their warnings, and returns their errors.
func (p *Plan) together() (diags hcl.Diagnostics) {
	everyone := p.All()
	for _, a := range p.Actions {
		if n, ok := a.Block.(blocks.Neighbour); ok {
			warn, dd := n.Beside(&a.Planned, everyone)
			a.Warnings, diags = append(a.Warnings, warn...), append(diags, dd...)
		}
	}
	return diags
}

// Conflicts returns the errors of blocks that write where others write or read.
func (p *Plan) Conflicts() (diags hcl.Diagnostics) {
	everyone := p.All()
	for _, a := range p.Actions {
		n, ok := a.Block.(blocks.Neighbour)
		if ok && a.writer() != nil {
			_, dd := n.Beside(&a.Planned, everyone)
			diags = append(diags, dd...)
		}
	}
	return diags
}

// telemetry reads the telemetry block.
func (p *Plan) telemetry() hcl.Diagnostics {
	if p.Config.Telemetry == nil {
		return nil
	}
	d, diags := p.fold.Scope.Decode(p.Config.Telemetry, nil)
	if n := d.Int("step_every"); n > 0 {
		p.StepEvery = n
	}
	if n := d.Int("max_spans"); n > 0 {
		p.MaxSpans = int64(n)
	}
	return diags
}

// TraceBudget returns what apply will trace of the planned blocks. If the spans would be more than max_spans, steps are
// sampled less often than step_every asks.
func (p *Plan) TraceBudget() observe.Budget {
	var list []observe.Planned
	for _, a := range p.Actions {
		if !a.Verb.Works() {
			continue
		}
		var x observe.Planned
		if t, ok := a.Block.(blocks.Traced); ok {
			x = t.Traced(a.FromStep)
		}
		list = append(list, x)
	}
	return observe.NewBudget(p.Ranks, p.StepEvery, p.MaxSpans, p.Took.Spans(), list)
}

// takenOver returns the folders whose contents other blocks take over.
func (p *Plan) takenOver() map[string]bool {
	taken := map[string]bool{}
	for _, a := range p.Actions {
		if a.Moved != "" {
			taken[a.Found.Block] = true
		}
	}
	return taken
}

// settle looks at all actions together: a folder that another block takes over is not lost, and a result of a block
// that stays is shared, not moved.
func (p *Plan) settle() {
	for _, a := range p.Actions {
		if a.Moved == "" {
			continue
		}
		if from, err := addr.Parse(a.Moved); err == nil {
			other := p.Action(from)
			if p.LeavesOut(from) || other != nil && other != a && other.Recipe == a.Recipe {
				a.Why, a.Removes = "the same as "+a.Moved, nil // the other keeps its own
			}
		}
	}
	taken := p.takenOver()
	for _, a := range p.Actions {
		a.Losses = slices.DeleteFunc(a.Losses, func(l Loss) bool { return taken[l.Folder] })
	}
}
