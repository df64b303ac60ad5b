package train

import (
	"context"
	"maps"
	"slices"
	"time"

	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/runtime/forward"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
	"stepflow/tracing"
)

// Evaluation measures the model between steps.
type Evaluation struct {
	Name string
	Due  func(step int) bool // whether it follows a step; 0 is what comes before the first
	Measure

	told bool // that a value is not finite
}

// Measure is a way to measure a model.
type Measure interface {
	// Prepare reads what is measured, so that what is wrong with it shows before anything is trained.
	Prepare(ctx context.Context) error
	// Measure gives values by name. nll gives the loss of each position of as many sequences as a micro-batch of the stage
	// has, [micro, seq]. A value that is not finite comes from what was given to nll last.
	Measure(ctx context.Context, nll func(*fineweb.Batch) ([]float32, error)) (values map[string]float64, tokens int64, err error)
	Close() error
}

// mostKept is how many positions of documents stay in memory, at 12 bytes each. Of more, the files are read each time.
const mostKept = 16 << 20

// Documents measures the loss on documents.
type Documents struct {
	Tokenizer *tokenizer.Tokenizer
	Windows   fineweb.Windows // Batch is the stage's micro-batch
	Open      func(ctx context.Context) (*fineweb.Set, error)

	held *fineweb.Held
	kept []*fineweb.Batch
	set  *fineweb.Set // where they are not kept
}

// Prepare reads the documents, and keeps them if they are not too many.
func (d *Documents) Prepare(ctx context.Context) (err error) {
	if d.set, err = d.Open(ctx); err != nil {
		return err
	}
	positions := 0
	d.held, err = d.set.Held(d.Tokenizer, d.Windows, func(b *fineweb.Batch) error {
		if positions += len(b.IDs); positions <= mostKept {
			d.kept = append(d.kept, b)
		} else {
			d.kept = nil
		}
		return ctx.Err()
	})
	if err != nil || d.kept == nil {
		return err
	}
	return d.Close()
}

// Close closes the files.
func (d *Documents) Close() error {
	if d.set == nil {
		return nil
	}
	set := d.set
	d.set = nil
	return set.Close()
}

// Measure gives the loss, and what follows from it.
func (d *Documents) Measure(ctx context.Context, nll func(*fineweb.Batch) ([]float32, error)) (map[string]float64, int64, error) {
	var sum forward.Loss
	var failed error // of nll
	add := func(b *fineweb.Batch) error {
		if ctx.Err() != nil {
			failed = observe.ErrInterrupted
		}
		if failed != nil || !sum.Finite() {
			return failed
		}
		var x []float32
		if x, failed = nll(b); failed == nil {
			sum.Add(b, x)
		}
		return failed
	}
	var err error
	if d.set != nil {
		d.held, err = d.set.Held(d.Tokenizer, d.Windows, add)
	}
	for _, b := range d.kept {
		if add(b) != nil {
			break
		}
	}
	switch {
	case failed != nil:
		return nil, 0, failed
	case err != nil:
		return nil, 0, dataError{err}
	}
	values := sum.Values(d.held)
	for name := range values {
		if !slices.Contains(shown, name) {
			delete(values, name)
		}
	}
	return values, d.held.Tokens, nil
}

// shown are the values that a curve has.
var shown = []string{"loss", "perplexity", "bits_per_byte", "stderr"}

// evaluates reports whether an evaluation follows a step.
func (l *Loop) evaluates(step int) bool {
	return slices.ContainsFunc(l.Evaluations, func(e *Evaluation) bool { return e.Due(step) })
}

// prepare reads what evaluations measure.
func (l *Loop) prepare(ctx context.Context) error {
	for _, e := range l.Evaluations {
		if err := e.Prepare(ctx); ctx.Err() != nil {
			return observe.ErrInterrupted
		} else if err != nil {
			return err
		}
	}
	return nil
}

// evaluate makes the evaluations that are due after the step of now, without those of the names in made.
func (l *Loop) evaluate(ctx context.Context, made map[string]bool) error {
	for _, e := range l.Evaluations {
		if !e.Due(l.state.Step) || made[e.Name] {
			continue
		}
		err := l.block.Inside(ctx, tracing.SpanEvaluate+" "+e.Name, func(ctx context.Context) error {
			return l.measure(ctx, e)
		}, tracing.KV{Key: tracing.StepNumber, Value: l.state.Step})
		if err != nil {
			return err
		}
	}
	return nil
}

// measure makes an evaluation, records it, and takes it into the state as far as it decides something.
func (l *Loop) measure(ctx context.Context, e *Evaluation) error {
	start := time.Now()
	values, tokens, err := e.Measure.Measure(ctx, l.nll)
	if err != nil {
		return err
	}
	x := metrics.Evaluation{Name: e.Name, Step: l.state.Step, Tokens: l.state.Tokens,
		FLOPs: int64(l.state.Step) * l.StepFLOPs, Seconds: time.Since(start).Seconds(), Measured: tokens, Values: values}
	if err := l.flawed(ctx, e, &x); err != nil {
		return err
	}
	if err := l.metrics.WriteEvaluation(x); err != nil {
		return err
	}
	if l.state.Step > 0 {
		l.Ending.take(&l.state, &x)
		l.Best.take(&l.state, &x)
	}
	l.block.Evaluated(ctx, &x, l.stage.Steps)
	return nil
}

// nll gives the loss of each position of as many sequences as a micro-batch has.
func (l *Loop) nll(b *fineweb.Batch) ([]float32, error) {
	if err := forward.Feed(l.loaded, l.stage.Program, b, 0, l.stage.Micro, l.stage.Seq); err != nil {
		return nil, err
	}
	return l.probe()
}

// flawed warns of the first values of an evaluation that are not finite, and says where they come from.
func (l *Loop) flawed(ctx context.Context, e *Evaluation, x *metrics.Evaluation) error {
	bad := slices.DeleteFunc(slices.Sorted(maps.Keys(x.Values)), func(name string) bool { return metrics.Finite(x.Values[name]) })
	if len(bad) == 0 || e.told {
		return nil
	}
	e.told = true
	var where string
	err := l.cut(ctx, func() error {
		f, err := l.weightFlaw()
		if where = f.String(); err == nil && where == "" {
			where, err = forward.FirstNonFinite(l.loaded, l.stage.Program, program.SegProbe)
		}
		return err
	})
	if err != nil {
		return err
	}
	if where == "" {
		where = "none was found when the batch was repeated"
	}
	l.block.Warn(ctx, "evaluate %q after step %d: %s is %s; the first tensor that is not finite: %s. Training goes on, and "+
		"later ones are in the curve alone", e.Name, x.Step, bad[0], metrics.Text(x.Values[bad[0]]), where)
	return nil
}
