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

	told, noted bool // that a value is not finite; what is odd
}

// Measure is a way to measure a model.
type Measure interface {
	// Prepare reads what is measured, so that what is wrong with it shows before anything is trained.
	Prepare(ctx context.Context) error
	// Measure measures the model. An error of ctx is observe.ErrInterrupted.
	Measure(ctx context.Context, m *Model) (*Measured, error)
	Close() error
}

// Measured is what came of an evaluation.
type Measured struct {
	Values map[string]float64
	Higher []string // names of values that are better when higher, in order
	Tokens int64    // of which they are
	Notes  []string // what is odd about what was measured, though it was; the first time
	// Flaw says where a value comes from that is not finite, if the weights are.
	Flaw func() (string, error)
}

// Model is the model of a stage between two steps, as it lies on the device.
type Model struct{ loop *Loop }

// NLL gives the loss of each position of as many sequences as a micro-batch has, [micro, seq].
func (m *Model) NLL(b *fineweb.Batch) ([]float32, error) {
	l := m.loop
	if err := forward.Feed(l.loaded, l.stage.Program, b, 0, l.stage.Micro, l.stage.Seq); err != nil {
		return nil, err
	}
	return l.probe()
}

// Flaw names the first tensor that is not finite of what NLL computed last.
func (m *Model) Flaw() (string, error) {
	where, err := forward.FirstNonFinite(m.loop.loaded, m.loop.stage.Program, program.SegProbe)
	if where == "" {
		where = "none was found when the batch was repeated"
	}
	return "the first tensor that is not finite: " + where, err
}

// Scorer scores continuations, of a stage that has Inference.
func (m *Model) Scorer() (*forward.Scorer, error) {
	return forward.NewScorer(m.loop.loaded, m.loop.stage.Program, *m.loop.stage.Inference)
}

// Generator continues texts, of a stage that has Inference.
func (m *Model) Generator() (*forward.Generator, error) {
	return forward.NewGenerator(m.loop.loaded, m.loop.stage.Program, *m.loop.stage.Inference)
}

// mostKept is how many positions of documents stay in memory, at 12 bytes each. Of more, the files are read each time.
const mostKept = 16 << 20

// KeptBytes is what documents of so many positions take in memory between evaluations.
func KeptBytes(positions int64) int64 {
	const position = 12
	return position * min(positions, mostKept) // of more, as many are kept until that shows
}

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
func (d *Documents) Measure(ctx context.Context, m *Model) (*Measured, error) {
	var sum forward.Loss
	var failed error // of the model
	add := func(b *fineweb.Batch) error {
		if ctx.Err() != nil {
			failed = observe.ErrInterrupted
		}
		if failed != nil || !sum.Finite() {
			return failed
		}
		var x []float32
		if x, failed = m.NLL(b); failed == nil {
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
		return nil, failed
	case err != nil:
		return nil, dataError{err}
	}
	values := sum.Values(d.held)
	for name := range values {
		if !slices.Contains(shown, name) {
			delete(values, name)
		}
	}
	return &Measured{Values: values, Tokens: d.held.Tokens, Flaw: m.Flaw}, nil
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
	m, err := e.Measure.Measure(ctx, &Model{l})
	if err != nil {
		return err
	}
	x := metrics.Evaluation{Name: e.Name, Step: l.state.Step, Tokens: l.state.Tokens,
		FLOPs: int64(l.state.Step) * l.StepFLOPs, Seconds: time.Since(start).Seconds(), Measured: m.Tokens, Values: m.Values,
		Higher: m.Higher}
	if err := l.flawed(ctx, e, &x, m.Flaw); err != nil {
		return err
	}
	if !e.noted {
		e.noted = true
		for _, n := range m.Notes {
			l.block.Warn(ctx, "evaluate %q: %s", e.Name, n)
		}
	}
	if l.first() {
		if err := l.metrics.WriteEvaluation(x); err != nil {
			return err
		}
	}
	if l.state.Step > 0 {
		l.Ending.take(&l.state, &x)
		l.Best.take(&l.state, &x)
	}
	l.block.Evaluated(ctx, &x, l.stage.Steps)
	return nil
}

// flawed warns of the first values of an evaluation that are not finite, and says where they come from.
func (l *Loop) flawed(ctx context.Context, e *Evaluation, x *metrics.Evaluation, flaw func() (string, error)) error {
	bad := slices.DeleteFunc(slices.Sorted(maps.Keys(x.Values)), func(name string) bool { return metrics.Finite(x.Values[name]) })
	if len(bad) == 0 || e.told {
		return nil
	}
	e.told = true
	var where string
	err := l.cut(ctx, func() error {
		f, err := l.weightFlaw()
		if err != nil || f.Found() {
			where = "the first tensor that is not finite: " + f.String()
			return err
		}
		where, err = flaw()
		return err
	})
	if err != nil {
		return err
	}
	l.block.Warn(ctx, "evaluate %q after step %d: %s is %s; %s. Training goes on, and later ones are in the curve alone", e.Name,
		x.Step, bad[0], metrics.Text(x.Values[bad[0]]), where)
	return nil
}
