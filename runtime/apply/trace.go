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
	if !r.obs.Trace.On() {
		return ""
	}
	r.obs.Start(ctx, r.plan.Config.Dir, r.before(), r.plan.Took)
	r.noteTrace()
	return r.obs.Run().TraceID()
}

// noteTrace keeps in the state what names the run's trace of now.
func (r *runner) noteTrace() {
	if ref := r.obs.Reference(); ref != "" {
		r.dir.State.Trace, r.dir.State.Traced = string(ref), r.obs.Began().UTC()
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

// before is the run before, as its trace is known. The blocks that it did not end are marked as ended.
func (r *runner) before() observe.RunBefore {
	st := r.dir.State
	b := observe.RunBefore{Trace: tracing.Reference(st.Trace), Began: st.Traced}
	if st.Traced.IsZero() {
		return b
	}
	b.Last = st.Traced.Add(time.Millisecond)
	for _, name := range st.Names() {
		x := st.Blocks[name]
		at, err := addr.Parse(name)
		if err != nil || x.Trace == "" || x.TraceEnded || x.Status != state.Running {
			continue
		}
		k := observe.Killed{Addr: name, Kind: at.Kind, Trace: tracing.Reference(x.Trace), Began: x.Started,
			Last: lastSign(r.dir, at, x), Saved: x.Step, Steps: x.Steps}
		if k.Last.After(b.Last) {
			b.Last = k.Last
		}
		b.Killed = append(b.Killed, k)
		x.TraceEnded = true
	}
	return b
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
