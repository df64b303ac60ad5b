package plan

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/all"
	"stepflow/runtime/exportdir"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// Fold plans the blocks of a pipeline in dependency order, and holds what is known of those planned so far.
type Fold struct {
	Scope *dsl.Scope
	Disk  *results.Disk

	cfg       *dsl.Config
	choice    *choice // of what to plan
	world     *blocks.World
	lifecycle bool // see Options
	done      map[addr.Addr]*Action
	mu        sync.RWMutex                     // of done, which blocks that run look into
	making    map[string]addr.Addr             // by recipe, blocks that will run; nil while a plan is applied
	deferred  map[addr.Addr]map[addr.Addr]bool // block → deferred instances
	came      map[addr.Addr]addr.Addr          // where the files of a moved block are, by its address of now; see lies
	stateKeys map[addr.Addr][]string           // see keys
	imports   []dsl.Import
	told      map[string]*Told // what rank 0 told of blocks, by address; nil on rank 0
	took      []observe.Past   // planning the blocks
}

func newFold(cfg *dsl.Config, o Options, st *state.Dir) *Fold {
	f := &Fold{cfg: cfg, Disk: results.NewDisk(st.Path), making: map[string]addr.Addr{},
		came: map[addr.Addr]addr.Addr{}, lifecycle: o.Lifecycle && !o.Select.RefreshOnly}
	f.world = &blocks.World{Dir: cfg.Dir, StateDir: st.Path, Exports: o.Exports, State: st.State, Secrets: cfg.Secrets,
		Caps: o.Caps, Ranks: max(o.Ranks, 1), Rank: o.Rank, Patient: o.Patient, Hashing: o.Hashing, Cache: o.Cache, Peak: o.Peak,
		Programs: program.NewPrograms(o.Caps), Files: exportdir.Hashes{},
		Bounds: map[addr.Addr]program.Inference{}}
	f.Disk.Elsewhere = o.Elsewhere
	f.begin()
	return f
}

// begin empties the fold.
func (f *Fold) begin() {
	f.Scope = f.cfg.NewScope()
	f.Scope.Conditions = f.lifecycle
	f.done, f.deferred = map[addr.Addr]*Action{}, map[addr.Addr]map[addr.Addr]bool{}
	f.world.Find, f.world.ID, f.world.Made = f.find, f.ID, f.made
}

// Again returns a new fold over the same pipeline for a run, which plans each block with the results of those before
// it. It keeps the compiled programs and what was read from disk.
func (p *Plan) Again(st *state.State) *Fold {
	f := &Fold{cfg: p.fold.cfg, choice: p.fold.choice, Disk: p.fold.Disk, lifecycle: p.fold.lifecycle}
	world := *p.fold.world
	world.State = st
	f.world = &world
	f.begin()
	return f
}

// find returns a block that is planned; nil if it is not.
func (f *Fold) find(a addr.Addr) *blocks.Planned {
	if x := f.planned(a); x != nil {
		return &x.Planned
	}
	return nil
}

// ID returns the content id of a block's result, or its recipe if it has not run.
func (f *Fold) ID(a addr.Addr) string {
	if x := f.planned(a); x != nil {
		return x.id
	}
	return ""
}

// planned returns the action of a block that is planned; nil if it is not.
func (f *Fold) planned(a addr.Addr) *Action {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.done[a]
}

// made returns the folder of a block's result; ok is false if it has not run, or will run again.
func (f *Fold) made(a addr.Addr) (folder string, ok bool) {
	x := f.planned(a)
	if x == nil || x.pending || x.Found == nil || !x.Found.Done {
		return "", false
	}
	if err := f.Disk.Fetch(context.Background(), a, x.Found); err != nil { // what a plan reads is small
		x.Warn(fmt.Sprintf("%v", err))
		return "", false
	}
	return filepath.Join(f.Disk.Path, x.Found.Dir()), true
}

// Fetch brings the result of a block to this disk, if it is elsewhere.
func (f *Fold) Fetch(ctx context.Context, a addr.Addr) error {
	if x := f.planned(a); x != nil && x.Found != nil && x.Found.Done {
		return f.Disk.Fetch(ctx, a, x.Found)
	}
	return nil
}

// block plans all instances of a block and puts their exports into scope. Instances that are left out have no action,
// and only their exports are used.
func (f *Fold) block(ctx context.Context, b *dsl.Block) (actions []*Action, left []addr.Addr,
	diags hcl.Diagnostics) {
	instances, diags := f.Scope.Instances(b)
	if diags.HasErrors() {
		f.Scope.Set(b.Addr, cty.DynamicVal)
		return nil, nil, diags
	}
	f.rekey(b, instances)
	exports := make([]cty.Value, len(instances))
	problems := make([]hcl.Diagnostics, len(instances))
	failed := false
	for i, each := range instances {
		if b.Chained && failed { // its errors would only follow from those before
			exports[i] = cty.DynamicVal
			continue
		}
		var a *Action
		var d hcl.Diagnostics
		f.Scope.Earlier(b, exports[:i], func() { a, exports[i], d = f.Plan(ctx, b, each) })
		problems[i], failed = d, failed || d.HasErrors()
		if a != nil {
			f.Put(a)
		}
		switch {
		case a != nil && !f.choice.has(a.Addr):
			left = append(left, a.Addr)
		case !d.HasErrors():
			actions = append(actions, a)
		}
	}
	f.Scope.SetInstances(b, instances, exports)
	return actions, left, append(diags, dsl.Merge(b, instances, problems)...)
}

// Put makes a planned block known to those planned after it.
func (f *Fold) Put(a *Action) {
	f.mu.Lock()
	f.done[a.Addr] = a
	f.mu.Unlock()
	block := a.Addr.Block()
	if a.Verb == Deferred {
		if f.deferred[block] == nil {
			f.deferred[block] = map[addr.Addr]bool{}
		}
		f.deferred[block][a.Addr] = true
	} else {
		delete(f.deferred[block], a.Addr)
	}
	if a.Verb.Works() && a.Shareable() && f.making != nil && f.choice.has(a.Addr) {
		f.making[a.Recipe] = a.Addr
	}
}

// Plan decodes and plans one instance of a block with what is known so far, and returns its exports. It does not change
// the fold. The action is nil if the block's attributes are wrong.
func (f *Fold) Plan(ctx context.Context, b *dsl.Block, each dsl.Each) (a *Action, exports cty.Value,
	diags hcl.Diagnostics) {
	d, diags := f.Scope.Decode(b, &each)
	if t := f.told[b.Instance(each).String()]; !diags.HasErrors() && (t == nil || t.Recorded) {
		if a, exports, dd := f.asRecorded(ctx, b, each, d); a != nil {
			return a, exports, append(diags, dd...)
		}
	}
	return f.planDecoded(ctx, b, each, d, nil, diags)
}

// planDecoded plans an instance of a block with these values of its attributes, and with these ids of blocks in place
// of those that they have now. diags are the problems so far.
func (f *Fold) planDecoded(ctx context.Context, b *dsl.Block, each dsl.Each, d *dsl.Decoded, ids map[addr.Addr]string,
	diags hcl.Diagnostics) (a *Action, exports cty.Value, _ hcl.Diagnostics) {
	at := b.Instance(each)
	unknown := b.Kind.Export(at.String(), b.Addr.Type, nil, d)
	if !diags.HasErrors() {
		diags = append(diags, d.HideNumbersIn(all.Sound(at, d))...)
	}
	if !diags.HasErrors() {
		diags = append(diags, f.before(b, each)...)
	}
	if diags.HasErrors() {
		f.OfNothing(b, addr.Addr{}, diags)
		return nil, unknown, diags
	}
	a = &Action{Planned: blocks.Planned{Addr: at, Range: b.DeclRange, Hashed: d.Fingerprint(), Secret: d.Secret(),
		Inputs: map[string]string{}, World: f.worldWith(ids)},
		Values: d.Values(), Attrs: d.Flat(), Hidden: map[string]bool{}, block: b, each: each, decoded: d}
	for _, e := range b.Kind.Exports {
		a.Hidden[e.Name] = d.Hides(&e)
	}
	f.place(a, d)
	known, dd := f.known(ctx, a, d)
	f.redact(a, d)
	diags = append(diags, d.HideNumbersIn(f.cfg.Secrets.Diagnostics(dd))...)
	if known == nil || diags.HasErrors() {
		return a, unknown, diags
	}
	exports = b.Kind.Export(at.String(), b.Addr.Type, known, d)
	return a, exports, append(diags, f.Accept(a, exports)...)
}

// worldWith returns what a block may use of the plan, with these ids of blocks in place of what they are now.
func (f *Fold) worldWith(ids map[addr.Addr]string) *blocks.World {
	if len(ids) == 0 {
		return f.world
	}
	w := *f.world
	w.ID = func(a addr.Addr) string {
		if id, ok := ids[a]; ok {
			return id
		}
		return f.ID(a)
	}
	return &w
}

// known plans a block and returns the exports that are known; nil if the block is deferred.
func (f *Fold) known(ctx context.Context, a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	if len(d.Unknown) > 0 {
		verb := " is"
		if len(d.Unknown) > 1 {
			verb = " are"
		}
		return nil, f.later(ctx, a, d, strings.Join(d.Unknown, ", ")+verb+" known only after other blocks have run")
	}
	for _, r := range a.block.Reads {
		if len(f.deferred[r]) > 0 {
			return nil, f.later(ctx, a, d, r.String()+" is planned only after other blocks have run")
		}
	}
	defer f.noteTime(a.Addr, time.Now(), len(f.world.Programs.Made))
	known, diags := all.Kinds[a.block.Kind.Name].Plan(ctx, &a.Planned, d)
	if diags.HasErrors() {
		return nil, diags
	}
	if a.Later != "" {
		return nil, append(diags, f.later(ctx, a, d, a.Later)...)
	}
	var err error
	if t := f.told[a.Addr.String()]; t != nil {
		values, err := f.take(a, t)
		if err != nil {
			return nil, append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Ranks differ", Subject: a.Range.Ptr(),
				Detail: blocks.Sentence(err.Error()) + "."})
		}
		if known != nil {
			maps.Copy(known, values)
		}
	} else if err = f.decide(ctx, a); err == nil {
		err = f.unkept(a)
	}
	if err != nil {
		return nil, append(diags, unreadable(a, err)...)
	}
	if w := a.writer(); w != nil && a.Verb == Run && f.told == nil {
		a.warnWritable(w)
	}
	if x, ok := a.Block.(blocks.Forecaster); ok && a.Verb.Works() && a.Verb != Import {
		if dd := x.Forecast(ctx, &a.Planned, a.FromStep, d); dd.HasErrors() {
			return nil, append(diags, dd...)
		}
	}
	if a.Verb == UpToDate {
		for k, v := range blocks.FromState(a.block.Kind, a.Found.Values) {
			known[k] = v
		}
	}
	return known, diags
}

// later defers a block until others have run, and notes the trained work that may be lost then.
func (f *Fold) later(ctx context.Context, a *Action, d *dsl.Decoded, why string) (diags hcl.Diagnostics) {
	a.Verb, a.Why, a.pending, a.id = Deferred, why, true, "deferred"
	var err error
	if a.Losses, err = f.losses(a); err != nil {
		diags = unreadable(a, err)
	}
	early := all.Kinds[a.block.Kind.Name].Early
	if early == nil {
		return diags
	}
	if dd := early(ctx, &a.Planned, d); dd.HasErrors() {
		return append(diags, dd...)
	}
	if w := a.writer(); w != nil {
		a.Replaces = w.Replaces(f.world.State, "")
		a.warnWritable(w)
	}
	return diags
}

// warnWritable warns of a folder that this process may not write to. It is not an error: another user may apply the
// plan.
func (a *Action) warnWritable(w blocks.Writer) {
	if err := w.Writable(); err != nil {
		a.Warn(fmt.Sprintf("apply would refuse this: %v", err))
	}
}

// unkept runs an up-to-date block again in two cases: its values were not kept because they revealed a sensitive value,
// and another block or a public output needs them; or the state holds values that are sensitive now.
func (f *Fold) unkept(a *Action) (err error) {
	if a.Verb != UpToDate {
		return nil
	}
	for _, e := range a.block.Kind.Exports {
		_, kept := a.Found.Values[e.Name]
		hidden, why := a.Hidden[e.Name], ""
		switch {
		case kept && hidden:
			why = fmt.Sprintf("its value %s is sensitive now, and the state holds it", e.Name)
		case kept || !e.Late || len(e.Only) > 0 && !slices.Contains(e.Only, a.Addr.Type) || !hidden && len(e.From) == 0:
		default:
			why = f.needed(a, e.Name)
		}
		if why != "" {
			a.Verb, a.Why, a.Found, a.Moved, a.pending, a.id = Run, why, nil, "", true, a.Recipe
			a.Losses, err = f.losses(a)
			return err
		}
	}
	return nil
}

// needed returns why a value that was not kept is needed; "" if it is not.
func (f *Fold) needed(a *Action, name string) (why string) {
	for _, b := range f.cfg.Blocks {
		if !slices.Contains(b.Refs, a.block.Addr) && !slices.Contains(b.Reads, a.block.Addr) {
			continue
		}
		if b.Kind.Name != "output" {
			why = fmt.Sprintf("its value %s was sensitive and not kept, and %s needs it", name, b.Addr)
		} else if !a.Hidden[name] {
			why = fmt.Sprintf("its value %s was sensitive and not kept, and is not sensitive now", name)
		}
	}
	return why
}

// redact hides secrets in the action's texts: reasons and warnings quote errors of the operating system and of servers.
func (f *Fold) redact(a *Action, d *dsl.Decoded) {
	redact := func(text string) string { return d.HideNumbers(f.cfg.Secrets.Redact(text)) }
	a.Why, a.TooLarge, a.Replaces = redact(a.Why), redact(a.TooLarge), redact(a.Replaces)
	for i := range a.Losses {
		a.Losses[i].Why = a.Why
	}
	for i, w := range a.Warnings {
		a.Warnings[i] = redact(w)
	}
}

// unreadable is the error that a result on disk, of this block or another, could not be read.
func unreadable(a *Action, err error) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unreadable result", Subject: a.Range.Ptr(),
		Detail: fmt.Sprintf("Whether %s has run is unknown, because a file could not be read: %v. Nothing was removed; "+
			"make the file readable and try again.", a.Addr, err)}}
}
