// Package apply runs a plan under the lock of the state, block by block, and records each block before and after it
// runs.
package apply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/artifacts"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/slurm"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// ErrInterrupted says that a run stopped because it was asked to. Training stops at a checkpoint.
var ErrInterrupted = observe.ErrInterrupted

// Options say how to run a plan.
type Options struct {
	Device gpu.Device
	Comm   gpu.Communicator // of the ranks that run it together, which the device has joined; nil for one alone
	Trace  *tracing.Tracing
	Log    *slog.Logger        // gets all events but steps; nil for none
	Emit   func(observe.Event) // called for every event; nil for none
	// is told what is to be done with each block, once the run has come to it; nil for none
	Planned func(*plan.Action)

	Artifacts *artifacts.Place  // where results are besides the state's folder; nil for nowhere
	Waiting   func(left string) // is told, now and then, what is still to be sent there after the run; nil tells nobody
	Access    *state.Access     // where the state lies besides its folder; nil for nowhere

	Parallelism int          // blocks that run at once; 0 for one. The device runs one at a time
	AutoApprove bool         // throw away work that the plan did not show; otherwise that ends the run
	Jobs        *Jobs        // how jobs are begun; nil to run all blocks in this process
	Scratch     bool         // results are not kept, so an interrupt ends training in the middle of a step
	Begin       func() error // called with the state locked, before anything runs; nil for nothing
	// called with the state locked, after the run, with the plan as it was run; nil for nothing
	End func(*plan.Plan) error
}

// Applied is the outcome of a run.
type Applied struct {
	Plan          *plan.Plan // as it was run: blocks that were deferred are planned, and outputs have values
	TraceID       string
	Checks        hcl.Diagnostics // warnings of check blocks, with what was known at the end
	Sent          artifacts.Sent  // to Options.Artifacts
	StepsUntraced int             // steps without spans because the plan's MaxSpans were used up
}

// runner walks a plan.
type runner struct {
	plan    *plan.Plan // a copy; each block is planned again when the run comes to it
	fold    *plan.Fold
	dir     *state.Dir
	device  gpu.Device
	comm    gpu.Communicator                   // see Options
	parted  bool                               // the ranks no longer work together
	sealed  map[addr.Addr]map[string]cty.Value // what blocks made in this run that nothing keeps, for the other ranks
	obs     *observe.Observer
	planned func(*plan.Action) // see Options; never nil
	losses  []plan.Loss        // those that the user agreed to
	ask     bool               // other losses end the run
	begun   map[addr.Addr]bool // instances of blocks that were begun
	shared  *blocks.Shared
	uploads *artifacts.Uploads // nil for none

	jobs *Jobs // see Options
	asks *slurm.Asks
	skip map[addr.Addr]bool // see besides

	scratch bool       // see Options
	most    int        // blocks that run at once
	mu      sync.Mutex // held but while a block runs; a block takes it to record something
}

// Apply runs a plan. Cancelling ctx ends it with ErrInterrupted: training after the current step, with a checkpoint,
// even while it waits for data; everything else at once. The state records the start and the end of every block.
func Apply(ctx context.Context, p *plan.Plan, o Options) (done *Applied, err error) {
	done = &Applied{Plan: p}
	defer func() { err = p.Config.Secrets.Error(err) }()
	var r *runner
	defer func() { err = dismiss(o.Comm, r != nil && r.parted, err) }()
	if err := refuse(p, o.Device.Caps()); err != nil {
		return done, err
	}
	if err := readable(ctx, p); err != nil {
		return done, err
	}
	if err := p.Room(); err != nil {
		return done, err
	}
	dir, err := open(ctx, p, o.Access)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if o.Begin != nil {
		if err := o.Begin(); err != nil {
			return done, err
		}
	}
	r = newRunner(p, dir, o)
	done.Plan = r.plan
	r.upload(o)
	defer func() {
		sent, e := r.uploads.Wait(o.Waiting)
		done.Sent, err = sent, errors.Join(err, e)
	}()
	defer func() {
		if o.End != nil {
			if e := o.End(r.plan); err == nil {
				err = e
			}
		}
	}()
	done.TraceID = r.startTrace(ctx)
	defer func() {
		r.endTrace(err)
		done.StepsUntraced = r.obs.PassedOver()
	}()
	err = r.run(ctx)
	done.Checks = r.fold.Checks()
	return done, err
}

// open locks the state of a plan, which must be the one that the plan was made with.
func open(ctx context.Context, p *plan.Plan, access *state.Access) (*state.Dir, error) {
	dir, err := access.Open(ctx, p.StateDir)
	if err == nil && dir.State.Serial != p.State.Serial {
		err = errors.Join(errors.New("the state changed since the plan was made (another apply ran): plan again"),
			dir.Close())
	}
	return dir, err
}

// saw notes in the state what the plan saw of remote data.
func saw(p *plan.Plan, st *state.State) {
	for _, a := range p.Actions {
		if n, ok := a.Block.(blocks.Source); ok {
			_, secret := a.Secret["source"]
			st.Saw(a.Addr.String(), n.Seen(secret))
		}
	}
}

func newRunner(p *plan.Plan, dir *state.Dir, o Options) *runner {
	q := p.Copy()
	q.State = dir.State
	r := &runner{plan: q, fold: p.Again(dir.State), dir: dir, device: o.Device, comm: o.Comm, losses: p.Losses(), ask: !o.AutoApprove,
		sealed: map[addr.Addr]map[string]cty.Value{}, scratch: o.Scratch, most: max(o.Parallelism, 1), jobs: o.Jobs, asks: &slurm.Asks{Every: slurm.Interval()},
		begun: map[addr.Addr]bool{}, shared: &blocks.Shared{Watched: map[string]*fineweb.Watched{},
			Counted: map[addr.Addr]bool{}},
		obs: &observe.Observer{Secrets: p.Config.Secrets, Trace: ranked(o.Trace, o.Comm), Emit: oneByOne(o.Emit), Log: o.Log,
			Device: o.Device.Caps().Name, Budget: p.TraceBudget()}}
	if r.planned = o.Planned; o.Planned == nil {
		r.planned = func(*plan.Action) {}
	}
	saw(q, dir.State)
	for _, a := range q.Actions {
		if n, ok := a.Block.(blocks.Source); ok {
			r.shared.Counted[a.Addr] = n.Counted()
		}
	}
	return r
}

// oneByOne makes events of blocks that run at once come one after the other.
func oneByOne(emit func(observe.Event)) func(observe.Event) {
	if emit == nil {
		return nil
	}
	var mu sync.Mutex
	return func(e observe.Event) {
		mu.Lock()
		defer mu.Unlock()
		emit(e)
	}
}

// run runs all blocks, then the outputs.
func (r *runner) run(ctx context.Context) error {
	if err := r.relocate(); err != nil {
		return err
	}
	if err := r.recall(ctx); err != nil {
		return err
	}
	if err := errors.Join(r.moves(ctx), r.sweep()); err != nil {
		return err
	}
	r.recoverWritten()
	r.sendKept()
	if err := r.walk(ctx); err != nil {
		return r.leftOut(err)
	}
	if err := r.depart(); err != nil {
		return err
	}
	diags, err := r.outputs()
	if err != nil {
		return err
	}
	return r.flawed(diags)
}

// refuse returns an error, before anything runs, for blocks that cannot run on this device or may not write.
func refuse(p *plan.Plan, caps gpu.Caps) error {
	var errs []error
	for _, a := range p.Actions {
		if w, ok := a.Block.(blocks.Writer); ok && !a.Skip && (a.Verb == plan.Run || a.Verb == plan.Deferred) {
			if err := w.Writable(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", a.Addr, err))
			}
		}
		if !a.Verb.Works() {
			continue
		}
		if a.TooLarge != "" {
			errs = append(errs, fmt.Errorf("%s: %s", a.Addr, a.TooLarge))
		}
		if x, ok := a.Block.(blocks.Picky); ok {
			if err := x.Refuse(caps); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", a.Addr, err))
			}
		}
		for _, d := range p.Actions {
			x, ok := d.Block.(blocks.Source)
			if _, needed := a.Inputs[d.Addr.String()]; needed && ok && x.Missing() != "" {
				errs = append(errs, fmt.Errorf("%s: %s: %s", a.Addr, d.Addr, x.Missing()))
			}
		}
	}
	return errors.Join(errs...)
}

// readable reads the weights of the imported models that a run starts from, before anything runs.
func readable(ctx context.Context, p *plan.Plan) error {
	read := map[string]bool{}
	for _, a := range p.Actions {
		x, ok := a.Block.(blocks.Weighty)
		if !ok || a.Verb != plan.Run && a.Verb != plan.Import || a.Skip {
			continue
		}
		err := x.Readable(ctx, read)
		if ctx.Err() != nil {
			return ErrInterrupted
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a.Addr, err)
		}
	}
	return nil
}

// prepare plans a block again, because the blocks before it have content ids now. It returns the block's exports, and
// the action that is to run; nil if nothing is.
func (r *runner) prepare(ctx context.Context, b *dsl.Block, at int) (run *plan.Action, exports cty.Value, err error) {
	was := r.plan.Actions[at]
	a, exports, diags := r.fold.Plan(ctx, b, *was.Instance())
	if ctx.Err() != nil {
		return nil, exports, ErrInterrupted
	}
	if diags.HasErrors() {
		return nil, exports, diags
	}
	a.Skip, a.Late = was.Skip, was.Late || was.Verb == plan.Deferred
	if err := r.unexpected(was, a); err != nil {
		return nil, exports, err
	}
	r.plan.Actions[at] = a
	r.fold.Put(a)
	r.planned(a)
	if _, ok := a.Block.(blocks.Writer); ok { // its path may have been unknown in the plan
		if diags := r.plan.Conflicts(); diags.HasErrors() {
			return nil, exports, diags
		}
	}
	old := r.dir.State.Blocks[a.Addr.String()]
	if a.Found != nil && (a.Moved != "" || a.Stale(old)) {
		if err := r.adopt(ctx, a); err != nil {
			return nil, exports, fmt.Errorf("%s: %w", a.Addr, err)
		}
	}
	if was.Verb == plan.Same && a.Verb == plan.UpToDate && r.obs.Emit != nil {
		r.obs.Emit(observe.Event{Kind: observe.Notice, Addr: a.Addr, Message: was.Why})
	}
	if !a.Verb.Works() || a.Skip {
		old = r.dir.State.Blocks[a.Addr.String()]
		if err := r.accepted(old, a); err != nil {
			return nil, exports, err
		}
		if old != nil && a.Verb == plan.UpToDate && len(old.Secrets) < len(a.Secret) {
			old.Attrs, old.Secrets = a.Attrs, r.dir.State.Seals(a.Secret) // sensitive now, kept as it was before
		}
		return nil, exports, nil
	}
	if diags := r.fold.Prevented(a); diags.HasErrors() {
		return nil, exports, diags
	}
	if l := plan.Uncovered(a.Losses, r.losses); l != nil && r.ask {
		return nil, exports, fmt.Errorf("%s would throw away %d trained steps in %s (%s), because %s. The plan did not "+
			"show that: plan again",
			a.Addr, l.Steps, filepath.Join(r.dir.Path, l.Folder), l.Takes(), l.Why)
	}
	return a, exports, nil
}

// unexpected returns an error if a block is no longer what the plan said.
func (r *runner) unexpected(was, is *plan.Action) error {
	if x, ok := was.Block.(blocks.Programmed); ok {
		y, ok := is.Block.(blocks.Programmed)
		if a := x.DeviceProgram(); !ok || a != y.DeviceProgram() && a.Hash() != y.DeviceProgram().Hash() {
			return fmt.Errorf("%s: the program differs from the one that was planned: plan again", is.Addr)
		}
	}
	if was.Base != nil && is.Verb == plan.Run {
		return fmt.Errorf("%s was to go on from step %d of %s, which is no longer there: plan again", is.Addr, was.FromStep,
			was.Base.Address)
	}
	if is.Replaces != "" && was.Replaces == "" && !is.Skip && r.ask {
		return fmt.Errorf("%s would replace %s. The plan did not show that: apply again to be asked", is.Addr, is.Replaces)
	}
	return nil
}

// withMade adds what a block made to its exports.
func withMade(exports cty.Value, made map[string]cty.Value) cty.Value {
	known := exports.AsValueMap()
	maps.Copy(known, made)
	return cty.ObjectVal(known)
}

// LeftOutError is an error that ended a run, with the blocks that were not run because of it.
type LeftOutError struct {
	Err    error
	Blocks []string
}

func (e *LeftOutError) Error() string { return e.Err.Error() + "\n" + e.NotRun() }

func (e *LeftOutError) Unwrap() error { return e.Err }

// NotRun names the blocks that were not run.
func (e *LeftOutError) NotRun() string { return "Not run: " + strings.Join(e.Blocks, ", ") }

// leftOut adds to an error that ends a run the blocks that were not run because of it.
func (r *runner) leftOut(err error) error {
	if errors.Is(err, ErrInterrupted) {
		return err
	}
	var list []string
	for _, a := range r.plan.Actions {
		waits := a.Verb.Works() || a.Verb == plan.Same || a.Verb == plan.Deferred
		if waits && !a.Skip && !r.begun[a.Addr] {
			list = append(list, a.Addr.String())
		}
	}
	if len(list) == 0 {
		return err
	}
	return &LeftOutError{err, list}
}

// result returns the folder of a finished block's result, after checking its bytes.
func (r *runner) result(ctx context.Context, a addr.Addr) (string, error) {
	b := r.dir.State.Blocks[a.String()]
	if b == nil || b.Status != state.Done {
		return "", fmt.Errorf("%s has not run", a)
	}
	if err := r.fold.Fetch(ctx, a); err != nil {
		return "", err
	}
	c := r.fold.Disk.Check(ctx, b.Dir)
	if c.Err == nil && c.ID != b.Content {
		c.Err = fmt.Errorf("%w: %s is not what the state recorded", checkpoint.ErrDamaged, b.Dir)
	}
	return filepath.Join(r.dir.Path, b.Dir), c.Err
}
