package export

import (
	"context"
	"encoding/json"
	"time"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/exportdir"
	"stepflow/runtime/forward"
	"stepflow/runtime/observe"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// Begin records in the state, before anything is written, the folder that the run writes to, and that the model there
// may be replaced, since the plan said so.
func (e *Export) Begin(r *blocks.Run, st *state.State) {
	if m := e.holds.Manifest; m != nil {
		st.Exported(e.folder.Real, m.Recipe)
	}
	if !r.Hidden["path"] {
		r.Entry.Values = map[string]any{blocks.WritesTo: e.folder.Real}
	}
}

// Run writes a stage's result, and replaces what an export wrote to the folder before.
func (e *Export) Run(ctx context.Context, r *blocks.Run) error {
	dir, err := r.Result(e.Stage.Addr)
	if err != nil {
		return err
	}
	tok, err := e.Stage.Tokenizer.Load(r.Result)
	if err != nil {
		return err
	}
	from, err := openResult(dir, e.Stage)
	if err != nil {
		return err
	}
	defer from.Close()
	if e.Stage.KeepApart && !e.apart() {
		if from.adapter, err = forward.OpenAdapter(dir); err != nil {
			return err
		}
	}
	var flaw forward.Flaw
	parts, err := e.form.parts(ctx, tok, from, &flaw)
	if err != nil {
		return err
	}
	if e.card != nil && !e.holds.Card {
		text, err := e.card.write(r)
		if err != nil {
			return err
		}
		parts = append(parts, checkpoint.Bytes(exportdir.CardName, text))
	}
	if err := durable.MkdirAll(e.folder.Real, 0o777); err != nil {
		return err
	}
	unlock, err := state.LockFolder(e.folder.Real)
	if err != nil {
		return err
	}
	defer unlock()
	m := exportdir.Manifest{Stage: e.Stage.Addr.String(), Recipe: r.Recipe}
	began := time.Now()
	if err := e.folder.Write(m, watched(ctx, r, parts)); err != nil {
		return err
	}
	r.Took(disk, float64(e.takes.Written), time.Since(began))
	r.Note(func(st *state.State) { st.Exported(e.folder.Real, r.Recipe) })
	if flaw.Found() {
		r.Observe.Warn(ctx, "in the exported weights, %s", flaw.String())
	}
	// The state keeps a small folder whose manifest says what was exported.
	where := e.given
	if r.Hidden["path"] {
		where = dsl.Hidden
	}
	record, err := json.Marshal(map[string]string{"path": where, "recipe": r.Recipe})
	if err != nil {
		return err
	}
	r.Entry.Values = nil
	if !r.Hidden["path"] {
		r.Entry.Values = map[string]any{"path": where} // as configured, so that moving the pipeline changes nothing
	}
	return r.Write("export", checkpoint.Bytes("export.json", record))
}

// watched gives the writing of each file a span.
func watched(ctx context.Context, r *blocks.Run, parts []checkpoint.Part) []checkpoint.Part {
	for i, p := range parts {
		parts[i].Around = func(write func() error) error {
			return r.Observe.Inside(ctx, tracing.SpanWrite+" "+p.Name, func(context.Context) error { return write() })
		}
	}
	return parts
}

// Traced returns what is traced: the files.
func (e *Export) Traced(int) observe.Planned {
	if e.form == nil {
		return observe.Planned{}
	}
	return observe.Planned{Inside: len(e.names())}
}
