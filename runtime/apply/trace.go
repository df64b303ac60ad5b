package apply

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// startTrace starts the trace of the run and returns its id. If the run before was killed, its trace gets the spans that
// the process could not end.
func (r *runner) startTrace(ctx context.Context) string {
	r.keepUnsent()
	if !r.obs.Trace.On() {
		return ""
	}
	r.obs.Start(ctx, r.plan.Config.Dir, r.before(), r.plan.Took)
	r.dir.State.Unsent = nil
	r.noteTrace()
	return r.obs.Run().TraceID()
}

// noteTrace keeps in the state what names the run's trace of now.
func (r *runner) noteTrace() {
	if ref := r.obs.Reference(); ref != "" {
		r.dir.State.Trace, r.dir.State.Traced = string(ref), r.obs.Began().UTC()
	}
}

// noteBlock keeps in a block's entry what names its span of now.
func noteBlock(entry *state.Block, b *observe.Block) {
	if ref := b.Reference(); ref != "" {
		entry.Trace, entry.TraceEnded = string(ref), false
	}
}

// endTrace ends the trace of the run. Where the state cannot be written, the next run takes this one for killed and sends
// its root once more, which is no reason to fail.
func (r *runner) endTrace(err error) {
	if r.obs.Reference() == "" {
		return
	}
	r.obs.Finish(err)
	r.dir.State.Traced = time.Time{}
	_ = r.dir.Save()
}

// before is the last run that was traced, as its trace is known.
func (r *runner) before() observe.RunBefore {
	st := r.dir.State
	b := observe.RunBefore{Trace: tracing.Reference(st.Trace), Began: st.Traced}
	if st.Traced.IsZero() {
		return b
	}
	b.Last = st.Traced.Add(time.Millisecond)
	for _, u := range st.Unsent {
		at, err := addr.Parse(u.Address)
		if err != nil {
			continue
		}
		if u.Last.After(b.Last) {
			b.Last = u.Last
		}
		b.Killed = append(b.Killed, observe.Killed{Addr: u.Address, Kind: at.Kind, Trace: tracing.Reference(u.Trace),
			Began: u.Began, Last: u.Last, Saved: u.Step, Steps: u.Steps})
	}
	return b
}

// keepUnsent notes in the state which blocks of the last traced run were under way when it was killed. The run that
// begins now may write over what the state says of them.
func (r *runner) keepUnsent() {
	st := r.dir.State
	if st.Traced.IsZero() {
		return
	}
	for _, name := range st.Names() {
		x := st.Blocks[name]
		at, err := addr.Parse(name)
		if err != nil || x.Trace == "" || x.TraceEnded || x.Status != state.Running {
			continue
		}
		st.Unsent = append(st.Unsent, state.Unsent{Address: name, Trace: x.Trace, Began: x.Started,
			Last: lastSign(r.dir, at, x), Step: x.Step, Steps: x.Steps})
		x.TraceEnded = true
	}
}

// tick is how far the time of a file may lie behind: systems note it by the tick of their clock.
const tick = 10 * time.Millisecond

// lastSign returns when a killed block last wrote something.
func lastSign(dir *state.Dir, a addr.Addr, b *state.Block) time.Time {
	at := b.Started.Add(time.Millisecond)
	if updated := b.Updated.Add(time.Second); updated.After(at) { // it is noted to the second
		at = updated
	}
	st, err := os.Stat(filepath.Join(dir.Path, results.Folder(a), metrics.FileName))
	if err != nil {
		return at
	}
	if written := st.ModTime().Add(tick); written.After(at) {
		at = written
	}
	return at
}
