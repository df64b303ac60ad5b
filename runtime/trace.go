package runtime

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// TraceBudget says what apply will trace of the planned blocks. Steps are sampled less often than asked for where the spans
// would be more than max_spans.
func (p *Plan) TraceBudget() observe.Budget {
	var blocks []observe.Planned
	for _, a := range p.Actions {
		if a.Verb != Run && a.Verb != Resume {
			continue
		}
		b := observe.Planned{FromStep: a.FromStep}
		if s := a.Stage; s != nil {
			w := s.Work()
			b.Work = &w
			if s.Every > 0 {
				b.Checkpoints = (s.Steps-1)/s.Every - a.FromStep/s.Every
			}
		}
		blocks = append(blocks, b)
	}
	return observe.NewBudget(p.StepEvery, p.MaxSpans, blocks)
}

// startTrace begins the trace of the run, and ends those of blocks that were killed.
func (r *runner) startTrace(ctx context.Context) {
	if !r.obs.Trace.On() {
		return
	}
	st := r.dir.State
	var killed []observe.Killed
	for _, name := range st.Names() {
		b := st.Blocks[name]
		if b.Trace == "" || b.TraceEnded || b.Status != state.Running {
			continue
		}
		kind, _, _ := strings.Cut(name, ".")
		killed = append(killed, observe.Killed{Addr: name, Kind: kind, Trace: tracing.Reference(b.Trace),
			Began: b.Started, Last: lastSign(r.dir, name, b), Saved: b.Step, Steps: b.Steps})
		b.TraceEnded = true
	}
	run := r.obs.Start(ctx, r.plan.Config.Dir, tracing.Reference(st.Trace), killed)
	st.Trace, r.plan.TraceID = string(run), run.TraceID()
}

// lastSign is when a block that was killed last wrote something.
func lastSign(dir *state.Dir, name string, b *state.Block) time.Time {
	at := b.Started.Add(time.Millisecond)
	if b.Updated.After(at) {
		at = b.Updated
	}
	if x, err := addr.Parse(name); err == nil {
		if st, err := os.Stat(filepath.Join(dir.Path, BlockDir(x), metrics.FileName)); err == nil && st.ModTime().After(at) {
			at = st.ModTime()
		}
	}
	return at
}

// observe starts the trace of a block that runs, and notes it in the block's entry.
func (r *runner) observe(ctx context.Context, a *Action, entry *state.Block) context.Context {
	entry.Started = time.Now().UTC()
	attempt := tracing.Reference("")
	if before := r.dir.State.Blocks[a.Addr.String()]; a.Verb == Resume && before != nil {
		attempt = tracing.Reference(before.Trace)
	}
	place := observe.Place{Addr: a.Addr, File: a.Range.Filename, Line: a.Range.Start.Line}
	ctx, r.running = r.obs.Block(ctx, place, attempt)
	entry.Trace = string(r.running.Reference())
	return ctx
}
