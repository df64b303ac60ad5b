package mlflow

import (
	"context"
	"path/filepath"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/metrics"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// mostSteps is how many steps of a stage a server gets, about; of longer ones every second, every third and so on. Its
// page draws fewer.
const mostSteps = 10_000

// wanted reports whether a step goes to the server.
func wanted(s *metrics.Step, steps int) bool {
	apart := (steps + mostSteps - 1) / mostSteps
	return apart <= 1 || s.Step%apart == 0 || s.Step == 1 || s.Step == steps || s.Skipped
}

// stepsAtOnce are those of one request.
var stepsAtOnce = mostMetrics / len((&metrics.Step{}).Scalars())

// steps sends the steps that the server does not have, in their order, and the evaluations between them: the last that it
// has says where to go on.
func (t *Tracker) steps(ctx context.Context, r *run, name string, b *state.Block) error {
	if r.whole {
		return nil
	}
	if err := t.gather(r, name, b); err != nil {
		return err
	}
	for len(r.pending) > 0 {
		some := r.pending[:min(len(r.pending), stepsAtOnce)]
		var list []metric
		for i := range some {
			s := &some[i]
			for _, x := range s.Scalars() {
				list = append(list, metric{x.Tag, number(x.Value), integer(s.Time), integer(s.Step)})
			}
		}
		if err := t.server.log(ctx, r.id, list, nil, nil); err != nil {
			return err
		}
		t.took()
		r.cursor = some[len(some)-1].Step
		r.sent += len(some)
		r.pending = r.pending[len(some):]
	}
	r.pending = nil
	if len(r.evaluations) > 0 {
		if err := t.server.log(ctx, r.id, r.evaluations, nil, nil); err != nil {
			return err
		}
		t.took()
	}
	r.evaluations = nil
	r.whole = b.Status == state.Done
	return nil
}

// gather reads the steps that are new and that the server does not have. They are no more than mostSteps or so.
func (t *Tracker) gather(r *run, name string, b *state.Block) error {
	path, err := stepsFile(t.pipeline.Dir, name)
	if err != nil {
		return err
	}
	last := r.cursor
	if n := len(r.pending); n > 0 {
		last = r.pending[n-1].Step
	}
	at := b.Started
	return r.tail.ReadAll(path, func() {}, func(s *metrics.Step) {
		if s.Time == 0 { // of an older version
			at = at.Add(time.Duration(s.Seconds * float64(time.Second)))
			s.Time = at.UnixMilli()
		}
		if s.Step > last && wanted(s, b.Steps) {
			r.pending, last = append(r.pending, *s), s.Step
		}
	}, r.evaluation)
}

// evaluation notes an evaluation, if the server does not have it.
func (r *run) evaluation(e *metrics.Evaluation) {
	for _, x := range e.Scalars() {
		k := key(x.Tag)
		last, ok := r.evaluated[k]
		if was, has := r.last[k]; !ok && has {
			last, ok = was.Step, true
		}
		if ok && integer(e.Step) <= last {
			continue
		}
		r.evaluated[k] = integer(e.Step)
		r.evaluations = append(r.evaluations, metric{k, number(x.Value), integer(e.Time), integer(e.Step)})
	}
}

func stepsFile(dir, name string) (string, error) {
	a, err := addr.Parse(name)
	return filepath.Join(dir, results.Folder(a), metrics.FileName), err
}

// left counts the steps that the server does not have.
func (t *Tracker) left() (n int) {
	for _, name := range t.stages() {
		b := t.state.Blocks[name]
		r := t.runs[runKey(name, b.Recipe)]
		switch {
		case r == nil:
			r = &run{}
		case r.deleted:
			continue
		}
		path, err := stepsFile(t.pipeline.Dir, name)
		if err != nil {
			continue
		}
		_ = metrics.Each(path, func(s *metrics.Step) { // a file that cannot be read has none to count
			if s.Step > r.cursor && wanted(s, b.Steps) {
				n++
			}
		})
	}
	return n
}
