package runtime

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/runtime/exportdir"
	"stepflow/runtime/state"
	"stepflow/runtime/train"
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

// Options say what to plan.
type Options struct {
	Path     string
	Inputs   dsl.Inputs
	StateDir string // default: .stepflow in the pipeline's folder
	Caps     gpu.Caps
	Context  context.Context                // ends planning, which is then of no use; nil for never
	Patient  bool                           // wait for servers of remote data as a run does; else they are planned without where they do not answer at once
	Peak     func(gpu.DType) float64        // rate of the device in FLOP/s, by which times are told until a run has shown its own; nil for none
	Hashing  func(file string, bytes int64) // is called before a large file is hashed, from several goroutines; may be nil
}

// Action is one block, or one instance of a repeated one, with what will be done to it.
type Action struct {
	Addr     addr.Addr
	Range    hcl.Range
	Verb     Verb
	Why      string
	FromStep int    // resume: the step it goes on from
	Replaces string // export: the model that another state exported and this one would replace; empty for none
	Moved    string // address at which what it made was found, to be moved here or shared; "" where it is in its place
	Losses   []Loss // trained work that running it throws away
	Removes  []int  // steps of the checkpoints on disk that are more than keep, latest first: apply removes them
	Recipe   string // of its configuration and its inputs
	Attrs    map[string]string
	Values   map[string]cty.Value // of the attributes that are given or have a default; sensitive ones marked
	Inputs   map[string]string    // address → id
	Warnings []string
	TooLarge string // why the device cannot run it; apply refuses before anything runs

	Stage    *Stage
	Memory   *MemoryPlan
	Data     *Data
	Token    *Tokenizer
	Evaluate *Evaluation
	Export   *Export
	model    *Model
	peft     *peftNode
	optim    *optimNode

	block  *dsl.Block
	each   dsl.Each
	hashed map[string]string
	secret map[string]string    // sensitive attributes, as they are
	hidden map[string]bool      // exports that tell one of them
	sealed map[string]cty.Value // of these, what a run has made: it is not written
	found  *onDisk              // what is on disk of its recipe: a result to use, a checkpoint to go on from
	skip   bool                 // Verify runs no exports
	late   bool                 // it was deferred, and planned when the run came to it
}

// Dir is the folder of the block's files, relative to the state's.
func (a *Action) Dir() string { return BlockDir(a.Addr) }

// BlockDir is the folder of a block's files, relative to the state's.
func BlockDir(a addr.Addr) string { return filepath.Join(state.BlocksName, a.Dir()) }

// Plan is what apply runs.
type Plan struct {
	Config    *dsl.Config
	StateDir  string
	Actions   []*Action
	Outputs   map[string]cty.Value // unknown where a run must come first
	OutputDoc map[string]OutputDoc
	StepEvery int   // trace: one step in so many
	MaxSpans  int64 // trace: of a run
	Caps      gpu.Caps
	State     *state.State

	TraceID       string // of the run, once apply has begun one
	StepsUntraced int    // steps that got no spans because MaxSpans were spent

	planner *planner
}

// warn adds a warning, if there is one.
func (a *Action) warn(text string) {
	if text != "" {
		a.Warnings = append(a.Warnings, text)
	}
}

// Action finds an action by address.
func (p *Plan) Action(a addr.Addr) *Action { return p.planner.done[a] }

// Changes reports whether apply has anything to run, to move or to remove, or outputs to change.
func (p *Plan) Changes() bool {
	return p.runs() || slices.ContainsFunc(p.OutputChanges(), func(c OutputChange) bool { return c.Change != NoOp })
}

func (p *Plan) runs() bool {
	return slices.ContainsFunc(p.Actions, func(a *Action) bool {
		return a.Verb == Run || a.Verb == Resume || a.Verb == Deferred || a.Moved != "" || len(a.Removes) > 0
	})
}

// planner is the fold's accumulator.
type planner struct {
	ctx      context.Context // never nil
	cfg      *dsl.Config
	scope    *dsl.Scope
	state    *state.State
	stateDir string
	caps     gpu.Caps
	patient  bool
	hashing  func(file string, bytes int64)
	peak     func(gpu.DType) float64
	done     map[addr.Addr]*Action
	ids      map[addr.Addr]string             // content id of what is made, recipe of what is not
	pending  map[addr.Addr]bool               // will run
	making   map[string]addr.Addr             // by recipe, blocks that will run; nil while a plan is applied
	deferred map[addr.Addr]map[addr.Addr]bool // block → instances that are planned later
	programs *train.Programs
	hashes   exportdir.Hashes     // of exported files
	checked  map[string]check     // by folder, relative to the state's
	made     map[string][]*onDisk // by recipe; nil until something is looked for, and when the disk changed
}

// resolvers plan one block of each kind: they fill the action and give the exports that are known.
var resolvers = map[string]func(*planner, *Action, *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics){
	"data":        (*planner).data,
	"tokenizer":   (*planner).tokenizer,
	"model":       (*planner).model,
	"peft":        (*planner).peft,
	"optimizer":   (*planner).optimizer,
	"memory_plan": (*planner).memoryPlan,
	"stage":       (*planner).stage,
	"evaluate":    (*planner).evaluate,
	"export":      (*planner).export,
}

// NewPlan loads the pipeline and plans every block. Problems of all blocks are reported at once.
func NewPlan(o Options) (*Plan, hcl.Diagnostics) {
	cfg, diags := dsl.Load(o.Path, o.Inputs)
	p := &Plan{Config: cfg, Caps: o.Caps, Outputs: map[string]cty.Value{}, OutputDoc: map[string]OutputDoc{}, StepEvery: 50, MaxSpans: 100_000}
	if diags.HasErrors() {
		return p, append(diags, cfg.Validate(diags, Sound)...)
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
		return p, append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unusable state", Detail: upper(err.Error()) + "."})
	}
	p.State = st.State
	pl := newPlanner(cfg, o, st)
	p.planner = pl
	failed := map[addr.Addr]bool{}
	for _, b := range cfg.Blocks {
		if pl.ctx.Err() != nil {
			return p, append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Interrupted", Detail: "Planning was interrupted."})
		}
		for _, r := range b.Refs {
			if failed[r] {
				failed[b.Addr] = true
			}
		}
		if failed[b.Addr] {
			diags = append(diags, pl.scope.Check(b, Sound)...) // not planned: what is wrong there would only follow
			continue
		}
		if b.Kind.Name == "output" {
			d, dd := pl.scope.Decode(b, nil)
			if !dd.HasErrors() {
				dd = append(dd, p.setOutput(b, d)...)
			} else if pl.ofNothing(b, "", dd) {
				warnings(dd)
			}
			diags = append(diags, dd...)
			continue
		}
		actions, dd := pl.block(b)
		diags = append(diags, dd...)
		if dd.HasErrors() {
			failed[b.Addr] = true
		}
		p.Actions = append(p.Actions, actions...)
	}
	diags = append(diags, pl.exportConflicts(p.Actions)...)
	pl.sharing(p.Actions)
	if cfg.Telemetry != nil {
		d, dd := pl.scope.Decode(cfg.Telemetry, nil)
		diags = append(diags, dd...)
		if n := d.Int("step_every"); n > 0 {
			p.StepEvery = n
		}
		if n := d.Int("max_spans"); n > 0 {
			p.MaxSpans = int64(n)
		}
	}
	pl.settle(p.Actions)
	for _, l := range pl.scope.LocalProblems() {
		if pl.ofNothing(nil, l.Name, l.Diags) {
			warnings(l.Diags)
			p.dropOutputs(l.Refs)
		}
		diags = append(diags, l.Diags...)
	}
	return p, diags
}

// warnings makes errors of outputs warnings: apply does all else before it ends with them.
func warnings(diags hcl.Diagnostics) {
	for _, d := range diags {
		d.Severity = hcl.DiagWarning
	}
}

// dropOutputs removes outputs that have no value and will have none: they are made from blocks of which a local could not be made.
func (p *Plan) dropOutputs(refs []addr.Addr) {
	if p.runs() {
		return
	}
	for _, b := range p.Config.Blocks {
		v, ok := p.Outputs[b.Addr.Name]
		if b.Kind.Name == "output" && ok && !v.IsWhollyKnown() && slices.ContainsFunc(b.Refs, func(r addr.Addr) bool { return slices.Contains(refs, r) }) {
			delete(p.Outputs, b.Addr.Name)
		}
	}
}

func newPlanner(cfg *dsl.Config, o Options, st *state.Dir) *planner {
	p := &planner{
		ctx: o.Context, cfg: cfg, scope: cfg.NewScope(), state: st.State, stateDir: st.Path,
		caps: o.Caps, patient: o.Patient, hashing: o.Hashing, peak: o.Peak,
		done: map[addr.Addr]*Action{}, ids: map[addr.Addr]string{},
		pending: map[addr.Addr]bool{}, making: map[string]addr.Addr{}, deferred: map[addr.Addr]map[addr.Addr]bool{},
		programs: train.NewPrograms(o.Caps),
		hashes:   exportdir.Hashes{}, checked: map[string]check{},
	}
	if p.ctx == nil {
		p.ctx = context.Background()
	}
	return p
}

// block plans all instances of a block and puts their exports into scope.
func (p *planner) block(b *dsl.Block) (actions []*Action, diags hcl.Diagnostics) {
	instances, diags := p.scope.Instances(b)
	if diags.HasErrors() {
		p.scope.Set(b.Addr, cty.DynamicVal)
		return nil, diags
	}
	exports := make([]cty.Value, len(instances))
	problems := make([]hcl.Diagnostics, len(instances))
	for i, each := range instances {
		a := &Action{Addr: b.Addr, Range: b.DeclRange, block: b, each: each}
		a.Addr.Key = each.Key
		v, d := p.instance(a)
		exports[i], problems[i] = v, d
		if !d.HasErrors() {
			actions = append(actions, a)
		}
	}
	p.scope.SetInstances(b, instances, exports)
	return actions, append(diags, dsl.Merge(b, instances, problems)...)
}

// instance decodes and plans one instance, and gives its exports.
func (p *planner) instance(a *Action) (cty.Value, hcl.Diagnostics) {
	b := a.block
	d, diags := p.scope.Decode(b, &a.each)
	unknown := b.Kind.Export(a.Addr.String(), b.Addr.Type, nil, d)
	if !diags.HasErrors() {
		diags = append(diags, Sound(a.Addr, d)...)
	}
	if diags.HasErrors() {
		p.ofNothing(b, "", diags)
		return unknown, diags
	}
	a.Values = d.Values()
	a.Attrs, a.hashed, a.secret, a.hidden = d.Flat(), d.Fingerprint(), d.Secret(), map[string]bool{}
	for _, e := range b.Kind.Exports {
		a.hidden[e.Name] = d.Hides(&e)
	}
	defer p.redact(a)
	p.done[a.Addr] = a
	delete(p.deferred[b.Addr], a.Addr)
	if len(d.Unknown) > 0 {
		diags = append(diags, p.later(a, "%s is known only after other blocks have run", strings.Join(d.Unknown, ", "))...)
		return unknown, append(diags, p.laterExport(a, d)...)
	}
	a.Inputs = map[string]string{}
	for _, r := range b.Refs {
		if len(p.deferred[r]) > 0 {
			diags = append(diags, p.later(a, "%s is planned only after other blocks have run", r)...)
			return unknown, append(diags, p.laterExport(a, d)...)
		}
	}
	known, dd := resolvers[b.Kind.Name](p, a, d)
	diags = append(diags, p.cfg.Secrets.Diagnostics(dd)...)
	if dd.HasErrors() {
		return unknown, diags
	}
	err := p.decide(a)
	if err == nil {
		err = p.unkept(a)
	}
	if err != nil {
		return unknown, append(diags, p.unreadable(a, err)...)
	}
	if a.Export != nil && a.Verb == Run {
		a.writable()
	}
	if a.Verb == Run || a.Verb == Resume {
		if diags := p.cfg.Secrets.Diagnostics(p.forecast(a, d)); diags.HasErrors() {
			return unknown, diags
		}
	}
	for k, v := range p.late(a) {
		known[k] = v
	}
	return b.Kind.Export(a.Addr.String(), b.Addr.Type, known, d), diags
}

// later puts off planning an instance until others have run, and notes what may be lost then.
func (p *planner) later(a *Action, why string, args ...any) hcl.Diagnostics {
	a.Verb, a.Why = Deferred, fmt.Sprintf(why, args...)
	p.pending[a.Addr], p.ids[a.Addr] = true, "deferred"
	if p.deferred[a.block.Addr] == nil {
		p.deferred[a.block.Addr] = map[addr.Addr]bool{}
	}
	p.deferred[a.block.Addr][a.Addr] = true
	var err error
	if a.Losses, err = p.losses(a); err != nil {
		return p.unreadable(a, err)
	}
	return nil
}

// unkept runs a block again whose results are not in the state because they told a sensitive value, where another block, or an output
// that may be shown, needs them; and one whose results an earlier run kept before they were sensitive.
func (p *planner) unkept(a *Action) (err error) {
	if a.Verb != UpToDate {
		return nil
	}
	for _, e := range a.block.Kind.Exports {
		_, kept := a.found.Values[e.Name]
		hidden, why := a.hidden[e.Name], ""
		switch {
		case kept && hidden:
			why = fmt.Sprintf("what it made (%s) is sensitive now, and the state holds it", e.Name)
		case kept || !e.Late || len(e.Only) > 0 && !slices.Contains(e.Only, a.Addr.Type) || !hidden && len(e.From) == 0:
		default:
			for _, b := range p.cfg.Blocks {
				if !slices.Contains(b.Refs, a.block.Addr) {
					continue
				}
				if b.Kind.Name != "output" {
					why = fmt.Sprintf("what it made (%s) was sensitive, so it was not kept, and %s needs it", e.Name, b.Addr)
				} else if !hidden {
					why = fmt.Sprintf("what it made (%s) was sensitive, so it was not kept, and is not now", e.Name)
				}
			}
		}
		if why != "" {
			a.Verb, a.Why, a.found, a.Moved = Run, why, nil, ""
			p.pending[a.Addr], p.ids[a.Addr] = true, a.Recipe
			a.Losses, err = p.losses(a)
			return err
		}
	}
	return nil
}

// redact keeps secrets out of what the action says: reasons and warnings hold messages of others.
func (p *planner) redact(a *Action) {
	a.Why, a.TooLarge = p.cfg.Secrets.Redact(a.Why), p.cfg.Secrets.Redact(a.TooLarge)
	a.Replaces = p.cfg.Secrets.Redact(a.Replaces)
	for i := range a.Losses {
		a.Losses[i].Why = a.Why
	}
	for i, w := range a.Warnings {
		a.Warnings[i] = p.cfg.Secrets.Redact(w)
	}
	if a.Data != nil {
		a.Data.Unseen = p.cfg.Secrets.Redact(a.Data.Unseen)
	}
}

// unreadable says that what lies on disk, of this block or another, could not be read.
func (p *planner) unreadable(a *Action, err error) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unreadable result", Subject: a.Range.Ptr(),
		Detail: fmt.Sprintf("Whether %s has run is not known, because what is on disk could not be read: %v. Nothing was removed; make the file readable and try again.", a.Addr, err)}}
}

// use notes that a is made from another block, and gives that block's action.
func (p *planner) use(a *Action, other addr.Addr) *Action {
	a.Inputs[other.String()] = p.ids[other]
	return p.done[other]
}

// late gives the exports of a finished block, as they stand in its result under the hash of its manifest.
func (p *planner) late(a *Action) map[string]cty.Value {
	if a.Verb != UpToDate {
		return nil
	}
	return fromState(a.block.Kind, a.block.Addr.Type, a.found.Values)
}

// relative resolves a path of the configuration against the pipeline's folder.
func (p *planner) relative(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.cfg.Dir, path)
}

func number(n float64) cty.Value { return cty.NumberFloatVal(n) }
