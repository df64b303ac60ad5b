package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/state"
	"stepflow/runtime/train"
	"stepflow/tracing"
)

// ApplyOptions say how to run a plan.
type ApplyOptions struct {
	Device gpu.Device
	Trace  *tracing.Tracing
	Log    *slog.Logger        // takes what happens, steps left out; nil for none
	Emit   func(observe.Event) // called for everything that happens; nil for silence

	AutoApprove bool         // throw away also what the plan did not show; else that ends the run
	Scratch     bool         // nothing that is made is kept: training ends in the middle of a step where the run is asked to end
	Begin, End  func() error // called while the state is locked: before anything runs, and when all is over; nil for nothing
}

// runner walks a plan.
type runner struct {
	ctx     context.Context
	plan    *Plan
	pl      *planner
	dir     *state.Dir
	device  gpu.Device
	obs     *observe.Observer
	peak    float64
	losses  []Loss // that were agreed to
	ask     bool   // whether others end the run
	tokens  map[addr.Addr]*tokenizer.Tokenizer
	ended   map[addr.Addr]bool // were begun, whatever became of them
	running *observe.Block     // the block that runs

	scratch bool // see ApplyOptions

	counted map[addr.Addr]bool // data of which was said how many documents are copies

	watching map[string]*fineweb.Watched // documents that evaluations measure, by which
}

// Apply runs a plan. Cancelling ctx ends it with ErrInterrupted: training behind the step under way, with a checkpoint,
// also while data do not come; all else at once.
// Every block's start and end is recorded in the state before and after it runs.
func Apply(ctx context.Context, p *Plan, o ApplyOptions) (err error) {
	defer func() { err = p.Config.Secrets.Error(err) }()
	if err := p.refuse(o.Device.Caps()); err != nil {
		return err
	}
	if err := p.readable(ctx); err != nil {
		return err
	}
	dir, err := state.Open(p.StateDir)
	if err != nil {
		return err
	}
	defer func() {
		if e := dir.Close(); err == nil {
			err = e
		}
	}()
	if dir.State.Serial != p.State.Serial {
		return fmt.Errorf("the state changed since the plan was made (another apply ran): plan again")
	}
	if o.Begin != nil {
		if err := o.Begin(); err != nil {
			return err
		}
	}
	defer func() {
		if o.End != nil {
			if e := o.End(); err == nil {
				err = e
			}
		}
	}()
	caps := o.Device.Caps()
	r := &runner{ctx: ctx, plan: p, pl: p.planner, dir: dir, device: o.Device, losses: p.Losses(), ask: !o.AutoApprove, scratch: o.Scratch, tokens: map[addr.Addr]*tokenizer.Tokenizer{}, ended: map[addr.Addr]bool{},
		obs: &observe.Observer{Secrets: p.Config.Secrets, Trace: o.Trace, Emit: o.Emit, Log: o.Log, Device: caps.Name, Every: p.TraceBudget().Every, Spans: p.MaxSpans}}
	r.pl.state, r.pl.ctx, r.pl.making = dir.State, ctx, nil
	r.startTrace(ctx)
	defer func() { p.StepsUntraced = r.obs.PassedOver() }()
	byBlock := map[addr.Addr][]*Action{}
	for _, a := range p.Actions {
		if a.Data != nil {
			dir.State.Saw(a.Addr.String(), a.seen())
		}
		byBlock[a.Addr.Block()] = append(byBlock[a.Addr.Block()], a)
	}
	r.counted = map[addr.Addr]bool{}
	for _, a := range p.Actions {
		if a.Data != nil && !slices.ContainsFunc(a.Data.sources(), func(n *Data) bool { return n.Copies < 0 || n.Unseen != "" }) {
			r.counted[a.Addr] = true // by the plan
		}
	}
	if err := errors.Join(r.moves(), r.sweep()); err != nil {
		return err
	}
	r.recoverExports()
	r.pl.scope = p.Config.NewScope()
	for _, b := range p.Config.Blocks {
		if b.Kind.Name == "output" {
			continue
		}
		if err := r.block(ctx, b, byBlock[b.Addr]); err != nil {
			return r.leftOut(err)
		}
	}
	diags, err := r.outputs()
	if err != nil {
		return err
	}
	return r.flawed(diags)
}

// LeftOutError is an error that ended a run, and the blocks that were not run because of it.
type LeftOutError struct {
	Err    error
	Blocks []string
}

func (e *LeftOutError) Error() string { return e.Err.Error() + "\n" + e.NotRun() }

func (e *LeftOutError) Unwrap() error { return e.Err }

// NotRun names the blocks.
func (e *LeftOutError) NotRun() string { return "Not run: " + strings.Join(e.Blocks, ", ") }

// leftOut adds to an error that ends a run which blocks were not run because of it.
func (r *runner) leftOut(err error) error {
	if errors.Is(err, observe.ErrInterrupted) {
		return err
	}
	var list []string
	for _, a := range r.plan.Actions {
		waits := a.Verb == Run || a.Verb == Resume || a.Verb == Same || a.Verb == Deferred
		if waits && !a.skip && !r.ended[a.Addr] {
			list = append(list, a.Addr.String())
		}
	}
	if len(list) == 0 {
		return err
	}
	return &LeftOutError{err, list}
}

// refuse finds what can't run on this device, before anything does.
func (p *Plan) refuse(caps gpu.Caps) error {
	var errs []error
	for _, a := range p.Actions {
		if a.Export != nil && !a.skip && (a.Verb == Run || a.Verb == Deferred) {
			if err := a.Export.folder.Writable(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", a.Addr, err))
			}
		}
		if a.Verb != Run && a.Verb != Resume {
			continue
		}
		if a.TooLarge != "" {
			errs = append(errs, fmt.Errorf("%s: %s", a.Addr, a.TooLarge))
		}
		if a.Stage != nil {
			if err := train.Computes(caps, a.Stage.DType); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", a.Addr, err))
			}
		}
		for _, d := range p.Actions {
			if _, needed := a.Inputs[d.Addr.String()]; needed && d.Data != nil && d.Data.Unseen != "" {
				errs = append(errs, fmt.Errorf("%s: %s: %s", a.Addr, d.Addr, d.Data.Unseen))
			}
		}
	}
	return errors.Join(errs...)
}

// block runs the instances of a block and puts what they made into scope. Deferred ones are planned
// now: what they waited for is known.
func (r *runner) block(ctx context.Context, b *dsl.Block, actions []*Action) error {
	instances, diags := r.pl.scope.Instances(b)
	if diags.HasErrors() {
		return diags
	}
	exports := make([]cty.Value, len(instances))
	for i, a := range actions {
		known, err := r.action(ctx, a)
		if err != nil {
			return err
		}
		exports[i] = known
	}
	r.pl.scope.SetInstances(b, instances, exports)
	return nil
}

func (r *runner) action(ctx context.Context, a *Action) (cty.Value, error) {
	// Decide again: the ids of what came before are now those of what it made. This also plans
	// deferred blocks, and gives the exports of configuration.
	fresh := &Action{Addr: a.Addr, Range: a.Range, block: a.block, each: a.each, skip: a.skip, late: a.late || a.Verb == Deferred}
	exports, diags := r.pl.instance(fresh)
	if r.ctx.Err() != nil {
		return exports, observe.ErrInterrupted
	}
	if diags.HasErrors() {
		return exports, diags
	}
	if a.Stage != nil && fresh.Stage.Program != a.Stage.Program && fresh.Stage.Program.Hash() != a.Stage.Program.Hash() {
		return exports, fmt.Errorf("%s: the program differs from the one that was planned: plan again", a.Addr)
	}
	if fresh.Replaces != "" && a.Replaces == "" && !a.skip && r.ask {
		return exports, fmt.Errorf("%s would replace %s, which was not known when the run was allowed: apply again to be asked", a.Addr, fresh.Replaces)
	}
	*a = *fresh
	if a.Export != nil { // its path may have been unknown until now
		if diags := r.pl.exportConflicts(r.plan.Actions); diags.HasErrors() {
			return exports, diags
		}
	}
	r.pl.done[a.Addr] = a
	if a.found != nil && (a.Moved != "" || stale(a, r.dir.State.Blocks[a.Addr.String()])) {
		if err := r.adopt(a); err != nil {
			return exports, fmt.Errorf("%s: %w", a.Addr, err)
		}
	}
	if a.Verb != Run && a.Verb != Resume || a.skip {
		if old := r.dir.State.Blocks[a.Addr.String()]; old != nil && a.Verb == UpToDate && len(old.Secrets) < len(a.secret) {
			old.Attrs, old.Secrets = a.Attrs, r.dir.State.Seals(a.secret) // sensitive now, kept as it was before
		}
		return exports, nil
	}
	if l := uncovered(a.Losses, r.losses); l != nil && r.ask {
		return exports, fmt.Errorf("%s would throw away %d trained steps in %s (%s), because %s. The plan did not show that: plan again", a.Addr, l.Steps, filepath.Join(r.dir.Path, l.Folder), l.Takes(), l.Why)
	}
	r.ended[a.Addr] = true
	if err := r.run(ctx, a); err != nil {
		return exports, fmt.Errorf("%s: %w", a.Addr, err)
	}
	entry := r.dir.State.Blocks[a.Addr.String()]
	r.pl.ids[a.Addr] = entry.Content
	r.pl.pending[a.Addr] = false
	a.found = &onDisk{note: note{Address: a.Addr.String(), Recipe: a.Recipe, Done: true, Values: entry.Values}, block: a.Dir(), leaf: filepath.Base(entry.Dir), id: entry.Content}
	known := exports.AsValueMap()
	for k, v := range fromState(a.block.Kind, a.block.Addr.Type, entry.Values) {
		known[k] = v
	}
	for k, v := range a.sealed {
		known[k] = v.Mark(dsl.Sensitive)
	}
	return cty.ObjectVal(known), nil
}

// run executes one block with its journal: running, then done or failed.
func (r *runner) run(ctx context.Context, a *Action) (err error) {
	start := time.Now()
	entry := &state.Block{Status: state.Running, Recipe: a.Recipe, Attrs: a.Attrs, Inputs: a.Inputs, Secrets: r.dir.State.Seals(a.secret), Earlier: r.pl.madeBefore(a)}
	if entry.Earlier != "" {
		entry.Device = r.plan.Caps.Name
	}
	if a.Stage != nil {
		entry.Step, entry.Steps = a.FromStep, a.Stage.Steps
		if err := train.Computes(r.device.Caps(), a.Stage.DType); err != nil { // a deferred one was not known before
			return err
		}
		r.peak = r.device.PeakFLOPs(a.Stage.DType)
	}
	if err := r.makeRoom(a); err != nil {
		return err
	}
	defer r.pl.changed(a.Dir())
	if a.Export != nil {
		if m := a.Export.holds.Manifest; m != nil { // what is there may be replaced: the plan said so
			r.dir.State.Exported(a.Export.folder.Real, m.Recipe)
		}
	}
	if a.Export != nil && !a.hidden["path"] {
		entry.Values = map[string]any{exportBegun: a.Export.folder.Real}
	}
	ctx = r.observe(ctx, a, entry)
	r.running.Event(ctx, observe.Event{Kind: observe.BlockStart, FromStep: a.FromStep, Saves: a.Stage != nil, Peak: r.peak})
	if err := r.record(a, entry); err != nil {
		return err
	}
	switch {
	case a.Stage != nil:
		err = r.train(ctx, a, entry)
	case a.Token != nil:
		err = r.trainTokenizer(ctx, a, entry)
	case a.Evaluate != nil:
		if err = r.evaluate(ctx, a, entry); err == nil {
			a.seal(entry)
			err = r.keepValues(a, entry)
		}
	case a.Export != nil:
		err = r.export(ctx, a, entry)
	}
	if r.ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, gpu.ErrStopped)) {
		err = observe.ErrInterrupted
	}
	a.seal(entry)
	err = r.plan.Config.Secrets.Error(err)
	r.running.End(err)
	entry.TraceEnded = entry.Trace != ""
	if err != nil {
		if !errors.Is(err, observe.ErrInterrupted) {
			entry.Status, entry.Error = state.Failed, err.Error()
			r.running.Event(ctx, observe.Event{Kind: observe.BlockFailed, Message: err.Error()})
		}
		return errors.Join(err, r.record(a, entry))
	}
	entry.Status, entry.Earlier, entry.Device = state.Done, "", r.plan.Caps.Name
	if err := r.record(a, entry); err != nil {
		return err
	}
	if err := r.settled(a.Addr, entry); err != nil { // its result is recorded: what led there and what it replaced can go
		return err
	}
	r.running.Event(ctx, observe.Event{Kind: observe.BlockDone, Values: entry.Values, Seconds: time.Since(start).Seconds()})
	return nil
}

func (r *runner) record(a *Action, entry *state.Block) error {
	entry.Updated = time.Now().UTC().Truncate(time.Second)
	if entry.Status == state.Done && entry.Content == "" {
		return fmt.Errorf("%s ended without a content id", a.Addr)
	}
	r.dir.State.Blocks[a.Addr.String()] = entry
	return r.dir.Save()
}

// seal takes the values that tell a sensitive attribute out of the entry. They are in scope for the rest of the run, and
// nowhere else.
func (a *Action) seal(entry *state.Block) {
	for _, e := range a.block.Kind.Exports {
		v, ok := entry.Values[e.Name]
		if !ok || !a.hidden[e.Name] {
			continue
		}
		if c, ok := toCty(v, e.Type); ok {
			if a.sealed == nil {
				a.sealed = map[string]cty.Value{}
			}
			a.sealed[e.Name] = c
		}
		delete(entry.Values, e.Name)
		if words, ok := entry.Values[valueNotFinite].(map[string]any); ok {
			delete(words, e.Name)
		}
	}
}

// keepValues stores an evaluation's result as content, so that it too hashes to an id. Of sealed values it keeps a hash.
func (r *runner) keepValues(a *Action, entry *state.Block) error {
	content := maps.Clone(entry.Values)
	for name, v := range a.sealed {
		content[name] = map[string]any{"sensitive": true, "sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(a.Recipe+"\n"+dsl.Show(v))))}
	}
	b, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	entry.Dir = filepath.Join(a.Dir(), "result")
	return r.writeContent(a, entry, checkpoint.Bytes("result.json", append(b, '\n')))
}

// writeContent stores what a block made, with the note that finds it by its recipe.
func (r *runner) writeContent(a *Action, entry *state.Block, parts ...checkpoint.Part) error {
	a.seal(entry)
	origin, err := noteOf(a, entry, true)
	if err != nil {
		return err
	}
	entry.Content, err = checkpoint.Write(filepath.Join(r.dir.Path, entry.Dir), append(parts, origin))
	return err
}

// contentDir is the folder of what a finished block made, its bytes checked.
func (r *runner) contentDir(a addr.Addr) (string, error) {
	b := r.dir.State.Blocks[a.String()]
	if b == nil || b.Status != state.Done {
		return "", fmt.Errorf("%s has not run", a)
	}
	c := r.pl.check(b.Dir)
	if c.err == nil && c.id != b.Content {
		c.err = fmt.Errorf("%w: %s is not what the state recorded", checkpoint.ErrDamaged, b.Dir)
	}
	return filepath.Join(r.dir.Path, b.Dir), c.err
}
