package apply

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// startTrace starts the trace of the run and returns its id. For blocks of an earlier run whose process was killed, it
// sends the root spans that the process could not send.
func (r *runner) startTrace(ctx context.Context) string {
	st := r.dir.State
	var killed []observe.Killed
	if r.obs.Trace.On() {
		for _, name := range st.Names() {
			b := st.Blocks[name]
			if b.Trace == "" || b.TraceEnded || b.Status != state.Running {
				continue
			}
			kind, _, _ := strings.Cut(name, ".")
			killed = append(killed, observe.Killed{Addr: name, Kind: kind, Trace: tracing.Reference(b.Trace), Began: b.Started,
				Last: lastSign(r.dir, name, b), Saved: b.Step, Steps: b.Steps})
			b.TraceEnded = true
		}
	}
	run := r.obs.Start(ctx, r.plan.Config.Dir, tracing.Reference(st.Trace), killed)
	if run != "" {
		st.Trace = string(run)
	}
	return run.TraceID()
}

// lastSign returns when a killed block last wrote something.
func lastSign(dir *state.Dir, name string, b *state.Block) time.Time {
	at := b.Started.Add(time.Millisecond)
	if b.Updated.After(at) {
		at = b.Updated
	}
	if x, err := addr.Parse(name); err == nil {
		if st, err := os.Stat(filepath.Join(dir.Path, results.Folder(x),
			metrics.FileName)); err == nil && st.ModTime().After(at) {
			at = st.ModTime()
		}
	}
	return at
}
