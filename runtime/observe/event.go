package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/runtime/metrics"
	"stepflow/tracing"
)

// ErrInterrupted says that a run stopped at a checkpoint because it was asked to.
var ErrInterrupted = errors.New("interrupted")

// EventKind says what happened.
type EventKind string

const (
	BlockStart  EventKind = "apply_start"
	BlockDone   EventKind = "apply_complete"
	BlockFailed EventKind = "apply_errored"
	StepDone    EventKind = "step_metrics"
	Evaluated   EventKind = "evaluation"
	Saved       EventKind = "checkpoint"
	Notice      EventKind = "log"
	Warned      EventKind = "warning"
)

// levels are the levels at which events are logged; steps are not.
var levels = map[EventKind]slog.Level{BlockStart: slog.LevelInfo, BlockDone: slog.LevelInfo,
	BlockFailed: slog.LevelError,
	Saved:       slog.LevelInfo, Notice: slog.LevelInfo, Warned: slog.LevelWarn}

// Event is one thing that happened to a block during apply, as a view shows it.
type Event struct {
	Kind     EventKind
	Addr     addr.Addr // of the block
	FromStep int       // BlockStart: the step that the block goes on from; 0 where it starts
	Saves    bool      // BlockStart: an interrupt leaves a checkpoint to go on from
	Job      bool      // BlockStart: the block runs in a job, which an interrupt leaves
	Message  string
	Step     *metrics.Step
	Steps    int

	Evaluation *metrics.Evaluation // Evaluated
	Memory     int64               // of the device, in bytes
	Peak       float64             // measured peak of the device in FLOP/s
	Values     map[string]any
	Seconds    float64
	Seam       *Seam // Notice: what growth or a merge did to the loss
}

// Seam is the loss on one micro-batch before and after a model changed its shape, in nats a token.
type Seam struct {
	Change string  `json:"change"` // growth, singular, quantization or merge
	Before float64 `json:"before"`
	After  float64 `json:"after"`
}

// Event tells the view and the log of something that happened to the block.
func (b *Block) Event(ctx context.Context, e Event) {
	o := b.observer
	e.Addr, e.Message = b.Addr, o.Secrets.Redact(e.Message)
	if o.Emit != nil {
		o.Emit(e)
	}
	if e.Kind == Warned {
		b.warned(e.Message)
		b.Mark(ctx, tracing.EventWarning, tracing.KV{Key: tracing.Message, Value: e.Message})
	}
	level, logged := levels[e.Kind]
	if o.Log == nil || !logged {
		return
	}
	message := e.Message
	if message == "" {
		message = strings.ReplaceAll(string(e.Kind), "_", " ")
	}
	o.Log.LogAttrs(ctx, level, message, slog.String(tracing.Address, b.Addr.String()),
		slog.String("event", string(e.Kind)))
}

// mostWarnings is how many warnings of a block are kept.
const mostWarnings = 100

// warned keeps a warning.
func (b *Block) warned(text string) {
	b.observer.mu.Lock()
	defer b.observer.mu.Unlock()
	if len(b.warnings) < mostWarnings {
		b.warnings = append(b.warnings, text)
	}
}

// Warnings returns the first warnings of the block.
func (b *Block) Warnings() []string {
	b.observer.mu.Lock()
	defer b.observer.mu.Unlock()
	return slices.Clone(b.warnings)
}

// Evaluated tells of an evaluation between steps, of which the stage has so many; ctx is that of its span.
func (b *Block) Evaluated(ctx context.Context, x *metrics.Evaluation, steps int) {
	trace := b.observer.Trace
	name := tracing.KV{Key: tracing.Evaluation, Value: x.Name}
	b.Tell(ctx, name, tracing.KV{Key: tracing.EvaluationTokens, Value: x.Measured}, tracing.KV{Key: tracing.Tokens, Value: x.Tokens})
	loss, has := x.Values["loss"]
	if has {
		b.Tell(ctx, tracing.KV{Key: tracing.EvaluationLoss, Value: loss})
	} else {
		b.Tell(ctx, tracing.KV{Key: tracing.EvaluationValues, Value: x.Text()})
	}
	switch {
	case !trace.Measures():
	case has:
		trace.Record(ctx, tracing.EvaluationLoss, loss, b.stage(), name)
	default:
		for value, v := range x.Values {
			trace.Record(ctx, tracing.EvaluationValue, v, b.stage(), name, tracing.KV{Key: tracing.EvaluationMetric, Value: value})
		}
	}
	b.Event(ctx, Event{Kind: Evaluated, Evaluation: x, Steps: steps})
}

// Notice tells of something that is worth knowing.
func (b *Block) Notice(ctx context.Context, format string, args ...any) {
	b.Event(ctx, Event{Kind: Notice, Message: fmt.Sprintf(format, args...)})
}

// Seam tells what growth or a merge did to the loss.
func (b *Block) Seam(ctx context.Context, s Seam, format string, args ...any) {
	b.Event(ctx, Event{Kind: Notice, Seam: &s, Message: fmt.Sprintf(format, args...)})
}

// Warn tells of something that may be wrong.
func (b *Block) Warn(ctx context.Context, format string, args ...any) {
	b.Event(ctx, Event{Kind: Warned, Message: fmt.Sprintf(format, args...)})
}
