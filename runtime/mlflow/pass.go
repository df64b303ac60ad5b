package mlflow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
)

// run is a run of MLflow: a stage, or the parent of those of a pipeline.
type run struct {
	id, address, recipe string
	status              string
	ended               int64           // in milliseconds
	params              map[string]bool // keys that the server has
	tags                map[string]string
	last                map[string]metric
	ours                bool // its status is ours to set
	deleted             bool // by the user; it stays so
	refused             error

	tail    metrics.Tail
	cursor  int            // the last step that the server has
	pending []metrics.Step // that were read, and not sent
	sent    int            // steps
	whole   bool           // all steps of a stage that has ended, and the evaluations between them, were read

	evaluations []metric           // that were read, and not sent
	evaluated   map[string]integer // the last step of each value of an evaluation that was read, or that the server has
}

func runOf(r *remote) *run {
	x := &run{id: r.Info.ID, address: r.tag(tagAddress), recipe: r.tag(tagRecipe), status: r.Info.Status,
		ended: int64(r.Info.Ended), params: map[string]bool{}, tags: map[string]string{}, last: map[string]metric{},
		evaluated: map[string]integer{},
		deleted:   r.deleted(), ours: true}
	for _, p := range r.Data.Params {
		x.params[p.Key] = true
	}
	for _, p := range r.Data.Tags {
		x.tags[p.Key] = p.Value
	}
	loss := (&metrics.Step{}).Scalars()[0].Tag
	for _, m := range r.Data.Metrics {
		x.last[m.Key] = m
		if m.Key == loss {
			x.cursor = int(m.Step)
		}
	}
	return x
}

// pass sends all that the server does not have yet; of a run that is over, how it ended too.
func (t *Tracker) pass(ctx context.Context, over bool) error {
	if err := t.read(); err != nil {
		return err
	}
	t.mu.Lock()
	t.blocks = t.pipeline.Blocks
	t.mu.Unlock()
	if t.state == nil || t.state.Lineage == "" {
		return nil
	}
	if !t.met {
		if err := t.meet(ctx); err != nil {
			return err
		}
		t.met = true
	}
	for _, name := range t.stages() {
		if err := t.stage(ctx, name, over); err != nil {
			return err
		}
	}
	if err := t.evaluations(ctx); err != nil || !over {
		return err
	}
	return t.finish(ctx)
}

// stages are the addresses of those in the state, in the order in which they ran.
func (t *Tracker) stages() []string {
	list := slices.Collect(maps.Keys(t.state.Blocks))
	list = slices.DeleteFunc(list, func(name string) bool {
		a, err := addr.Parse(name)
		return err != nil || a.Kind != "stage"
	})
	slices.SortFunc(list, func(a, b string) int {
		if c := t.state.Blocks[a].Started.Compare(t.state.Blocks[b].Started); c != 0 {
			return c
		}
		return slices.Compare([]byte(a), []byte(b))
	})
	return list
}

// meet asks the server what it has of the pipeline, and finds or makes the parent. A run of the pipeline that did not end
// well goes on in its parent, and so does one that had nothing to do; any other has a new one.
func (t *Tracker) meet(ctx context.Context) error {
	s := t.server
	var given *remote
	var err error
	if s.run != "" {
		if given, err = s.get(ctx, s.run); err != nil {
			return err
		}
		t.experiment = given.Info.Experiment
	} else if t.experiment == "" {
		if t.experiment, err = s.experimentOf(ctx, t.pipeline.Name); err != nil {
			return err
		}
	}
	list, err := s.search(ctx, t.experiment, t.state.Lineage)
	if err != nil {
		return err
	}
	var before *run // the latest parent
	t.others = nil
	for _, r := range list {
		x := runOf(r)
		switch {
		case x.address != "":
			if k := runKey(x.address, x.recipe); t.runs[k] == nil { // the latest
				t.runs[k] = x
			}
		case t.parent != nil && x.id == t.parent.id:
		case before == nil && !x.deleted && given == nil && t.same(r):
			before = x
		default:
			t.others = append(t.others, x)
		}
	}
	switch {
	case t.parent != nil: // and a child may have been made without our knowing
	case given != nil:
		if t.parent = runOf(given); t.parent.deleted {
			t.parent = nil
			return &refusal{text: fmt.Sprintf("its run %s is deleted: restore it, or set %s to another", s.run, runVariable)}
		}
		t.parent.ours = false
	case before != nil && (before.status != string(Finished) || before.ended >= t.changed()):
		t.parent = before
	default:
		if t.parent, err = t.create(ctx, t.pipeline.Name, t.start(), t.parentTags()); err != nil {
			return err
		}
	}
	return t.refusable(ctx, t.parent, t.params(ctx, t.parent, t.parentParams()))
}

// changed is when something of the pipeline was last recorded, in milliseconds.
func (t *Tracker) changed() int64 {
	var last time.Time
	for _, b := range t.state.Blocks {
		if b.Updated.After(last) {
			last = b.Updated
		}
	}
	return last.UnixMilli()
}

// start is when the run began that the parent stands for: now, or earlier if that was not sent.
func (t *Tracker) start() time.Time {
	first := t.began
	for _, name := range t.stages() {
		b := t.state.Blocks[name]
		if t.runs[runKey(name, b.Recipe)] == nil && !b.Started.IsZero() && b.Started.Before(first) {
			first = b.Started
		}
	}
	return first
}

// create makes a run on the server.
func (t *Tracker) create(ctx context.Context, name string, at time.Time, tags []pair) (*run, error) {
	for i := range tags {
		tags[i].Value = value(t.pipeline.Redact(tags[i].Value))
	}
	r, err := t.server.create(ctx, t.experiment, name, at.UnixMilli(), tags)
	if err != nil {
		t.met = false // the answer may have got lost: the server is asked again what it has
		return nil, err
	}
	t.took()
	x := runOf(r)
	x.status = running
	return x, nil
}

// stage brings a stage's run to what the state and the file of its steps say.
func (t *Tracker) stage(ctx context.Context, name string, over bool) error {
	b := t.state.Blocks[name]
	r, err := t.child(ctx, name, b)
	if err != nil {
		return err
	}
	if r.deleted || r.refused != nil {
		return nil
	}
	err = t.params(ctx, r, t.stageParams(name, b))
	if err == nil {
		err = t.steps(ctx, r, name, b)
	}
	if err == nil {
		err = t.send(ctx, r, t.stageEnd(name, b), stageTags(b))
	}
	if err == nil {
		err = t.status(ctx, r, statusOf(b, over), b.Updated)
	}
	return t.refusable(ctx, r, err)
}

// refusable notes that the server refuses something of a run, so that the others go on; other errors end the pass. What
// it refuses of a run that its user deleted meanwhile is no error.
func (t *Tracker) refusable(ctx context.Context, r *run, err error) error {
	var no *refusal
	if !errors.As(err, &no) || no.code == "" {
		return err
	}
	if now, err := t.server.get(ctx, r.id); err == nil && now.deleted() {
		r.deleted = true
		return nil
	}
	r.refused = err
	return nil
}

func runKey(address, recipe string) string { return address + " " + recipe }

// child returns the run of a stage. One whose stage has another address now gets its name.
func (t *Tracker) child(ctx context.Context, name string, b *state.Block) (*run, error) {
	k := runKey(name, b.Recipe)
	if r := t.runs[k]; r != nil {
		return r, nil
	}
	for old, r := range t.runs {
		if r.recipe != b.Recipe || r.deleted || t.state.Blocks[r.address] != nil {
			continue
		}
		if err := t.server.update(ctx, r.id, map[string]any{"run_name": name}); err != nil {
			return nil, err
		}
		if err := t.server.log(ctx, r.id, nil, nil, []pair{{tagAddress, name}}); err != nil {
			return nil, err
		}
		delete(t.runs, old)
		r.address, t.runs[k] = name, r
		return r, nil
	}
	started := b.Started
	if started.IsZero() {
		started = b.Updated
	}
	r, err := t.create(ctx, name, started, t.childTags(name, b))
	if err == nil {
		r.address, r.recipe, t.runs[k] = name, b.Recipe, r
	}
	return r, err
}

// unknown stands for a value that a plan does not know.
const unknown = "(known after apply)"

// params sends parameters that the server does not have. What it has cannot be changed there.
func (t *Tracker) params(ctx context.Context, r *run, all []pair) error {
	var list []pair
	for _, p := range all {
		if p.Key = key(p.Key); !r.params[p.Key] && p.Value != "" && !strings.Contains(p.Value, unknown) {
			p.Value = value(t.pipeline.Redact(p.Value))
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return nil
	}
	if err := t.server.log(ctx, r.id, nil, list, nil); err != nil {
		return err
	}
	t.took()
	for _, p := range list {
		r.params[p.Key] = true
	}
	return nil
}

// send sends values, where the server has none of their step and time, and tags that are not what it has.
func (t *Tracker) send(ctx context.Context, r *run, values []metric, tags []pair) error {
	var list []metric
	for _, m := range values {
		m.Key = key(m.Key)
		if was, ok := r.last[m.Key]; !ok || was.Step != m.Step || was.At != m.At {
			list = append(list, m)
		}
	}
	var changed []pair
	for _, p := range tags {
		if p.Value = value(t.pipeline.Redact(p.Value)); p.Value != r.tags[p.Key] {
			changed = append(changed, p)
		}
	}
	if len(list)+len(changed) == 0 {
		return nil
	}
	if err := t.server.log(ctx, r.id, list, nil, changed); err != nil {
		return err
	}
	t.took()
	for _, m := range list {
		r.last[m.Key] = m
	}
	for _, p := range changed {
		r.tags[p.Key] = p.Value
	}
	return nil
}

// status sets how a run stands. Finished ones are as they are.
func (t *Tracker) status(ctx context.Context, r *run, status string, at time.Time) error {
	if !r.ours || r.status == status && (status == running || r.ended >= at.UnixMilli()) {
		return nil
	}
	change := map[string]any{"status": status}
	if status != running {
		change["end_time"] = at.UnixMilli()
	}
	if err := t.server.update(ctx, r.id, change); err != nil {
		return err
	}
	t.took()
	if r.status = status; status != running {
		r.ended = at.UnixMilli()
	}
	return nil
}
