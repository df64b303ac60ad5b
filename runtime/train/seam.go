package train

import (
	"context"
	"fmt"
	"strings"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/trainstate"
	"stepflow/tracing"
)

// Before returns the loss of the model that a job starts from, on the batch that the stage will measure its first weights on. The
// stage before has measured it, or a streamed pass does now, whose program is p. It returns nil if there is nothing to compare, or
// if the loss was not measured and p is nil.
func Before(ctx context.Context, d gpu.Device, j Job, p *gpu.Program) (*trainstate.Seam, error) {
	s := j.Stage
	if j.FromStep > 0 || !s.ChangesAtStart() {
		return nil, nil
	}
	folder, at := s.Init, fineweb.Position{}
	var known *trainstate.Seam
	if s.From != nil {
		old, err := trainstate.Read(j.From)
		if err != nil {
			return nil, err
		}
		if folder, known = j.From, old.Seam; old.Data == j.Data {
			at = old.Position
		}
	}
	seam := &trainstate.Seam{Probe: probeKey(j.Data, s.Micro, at)}
	if known != nil && known.Probe == seam.Probe {
		return known, nil
	}
	if p == nil {
		return nil, nil
	}
	b, err := j.probeBatch(at)
	if err != nil {
		return nil, err
	}
	weights, err := checkpoint.OpenFolder(folder)
	if err != nil {
		return nil, err
	}
	defer weights.Close()
	nll, err := forward.StreamedNLL(ctx, d, p, s.StartPass(), weights, b)
	switch {
	case ctx.Err() != nil:
		return nil, observe.ErrInterrupted
	case err != nil:
		return nil, err
	}
	if seam.Loss = mean(nll); !metrics.Finite(seam.Loss) { // nor are the weights, and that is told of them
		return nil, nil
	}
	return seam, nil
}

// probeKey identifies the batch whose loss is compared across a seam.
func probeKey(data string, micro int, at fineweb.Position) string {
	return fmt.Sprintf("%s %d %+v", data, micro, at)
}

// probeBatch is the next micro-batch at a position.
func (j *Job) probeBatch(at fineweb.Position) (*fineweb.Batch, error) {
	stream, err := j.Corpus.Stream(fineweb.Train, j.Tokenizer, j.Stage.Seq, at)
	if err != nil {
		return nil, dataError{err}
	}
	stream.Endless() // the last step may have used the data up
	b, err := stream.Next(j.Stage.Micro)
	if err != nil {
		return nil, dataError{err}
	}
	return b, nil
}

// probeKey identifies the next micro-batch.
func (l *Loop) probeKey() string { return probeKey(l.state.Data, l.stage.Micro, l.state.Position) }

// feedProbe puts the next micro-batch into the input buffers without moving on.
func (l *Loop) feedProbe() error {
	b, err := l.probeBatch(l.state.Position)
	if err != nil {
		return err
	}
	return forward.Feed(l.loaded, l.stage.Program, b, 0, l.stage.Micro, l.stage.Seq)
}

// compareSeam compares the loss of the model that the stage starts from with the loss of its first weights, on one batch.
func (l *Loop) compareSeam(ctx context.Context) error {
	if err := l.feedProbe(); err != nil {
		return err
	}
	nll, err := l.probe()
	if err != nil {
		return err
	}
	change := observe.Seam{Before: l.Before.Loss, After: mean(nll)}
	var what []string
	add := func(name, text string) {
		if what = append(what, text); len(what) == 1 {
			change.Change = name
		}
	}
	if l.stage.Grows() {
		from, to := len(l.stage.From.Layers), len(l.stage.Layers)
		l.block.Mark(ctx, tracing.EventGrowth, tracing.KV{Key: tracing.LayersBefore, Value: from},
			tracing.KV{Key: tracing.LayersAfter, Value: to}, tracing.KV{Key: tracing.LossBefore, Value: change.Before},
			tracing.KV{Key: tracing.LossAfter, Value: change.After})
		add("growth", fmt.Sprintf("grown from %d to %d layers", from, to))
	}
	if l.taken.matrices > 0 {
		add("singular", "singular vectors moved to adapters")
	}
	if l.decomposed.matrices > 0 {
		add("decomposition", "weights made low-rank and sparse")
	}
	if l.narrow.matrices > 0 {
		add("quantization", fmt.Sprintf("frozen weights stored in %v", l.stage.FrozenDType))
	}
	l.block.Seam(ctx, change, "%s: loss on the next micro-batch %.4f before, %.4f after", strings.Join(what, ", "), change.Before,
		change.After)
	return nil
}
