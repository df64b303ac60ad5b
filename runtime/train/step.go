package train

import (
	"context"
	"errors"
	"time"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/runtime/forward"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
)

// flight is a step under way: what was put on the device, and how to read what it gives.
type flight struct {
	step       int
	at         time.Time // when it began to wait for its batch
	batch      *fineweb.Batch
	wait       time.Duration
	timed      bool
	runs       []observe.SegmentRun
	loss, norm func() ([]byte, error)
}

// run puts a segment on the device; of a timed step it waits for the times.
func (f *flight) run(t *trainer, segment string) error {
	seg, _ := t.stage.Program.Segment(segment)
	at := time.Now()
	if err := t.loaded.Run(seg.Lo, seg.Hi, f.timed); err != nil || !f.timed {
		return err
	}
	timings, err := t.loaded.Sync()
	f.runs = append(f.runs, observe.SegmentRun{Segment: segment, Start: at, Took: time.Since(at), Timings: timings})
	return err
}

// runIf runs a segment that not every program has.
func (f *flight) runIf(t *trainer, segment string) error {
	if _, ok := t.stage.Program.Segment(segment); !ok {
		return nil
	}
	return f.run(t, segment)
}

// dataError is an error of reading the data: the weights are sound, and the step has not begun.
type dataError struct{ error }

func (e dataError) Unwrap() error { return e.error }

// begin takes the next batch, or gives ErrInterrupted where ctx ends first, and puts its forward and backward passes on
// the device.
func (t *trainer) begin(ctx context.Context, batches <-chan fineweb.Prefetched, step int, timed bool) (*flight, error) {
	start := time.Now()
	next, err := t.next(ctx, batches)
	if err = t.agree(err); err != nil {
		return nil, err
	}
	f := &flight{step: step, at: start, batch: next, wait: time.Since(start), timed: timed}
	return f, t.lost(t.backpropagate(f))
}

// next takes the next batch.
func (t *trainer) next(ctx context.Context, batches <-chan fineweb.Prefetched) (*fineweb.Batch, error) {
	var next fineweb.Prefetched
	var ok bool
	if t.comm != nil && ctx.Err() != nil {
		return nil, observe.ErrInterrupted
	}
	select {
	case next, ok = <-batches:
	case <-ctx.Done():
		return nil, observe.ErrInterrupted
	}
	if next.Err != nil && ctx.Err() != nil {
		return nil, observe.ErrInterrupted
	}
	if !ok {
		return nil, errors.New("the stream of batches ended without an error")
	}
	if next.Err != nil {
		return nil, dataError{next.Err}
	}
	return next.Batch, nil
}

// backpropagate puts a step's forward and backward passes on the device, and with them its updates where these are fused.
func (t *trainer) backpropagate(f *flight) error {
	s := t.stage
	if s.Fused {
		if err := t.hyper(f.step); err != nil {
			return err
		}
	}
	if err := t.set(program.BufScale, []float32{1 / float32(max(f.batch.Valid, 1))}); err != nil {
		return err
	}
	if err := f.run(t, program.SegZero); err != nil {
		return err
	}
	for i := range s.OwnSteps() {
		if err := t.feed(f.step, f.batch, s.FirstMicro()+i); err != nil {
			return err
		}
		segment := program.SegMicro
		if _, ok := s.Program.Segment(program.SegLast); ok && i == s.OwnSteps()-1 {
			segment = program.SegLast
		}
		if err := f.run(t, segment); err != nil {
			return err
		}
	}
	return f.runIf(t, program.SegReduce)
}

// feed puts micro-batch i of a step into the input buffers.
func (t *trainer) feed(step int, b *fineweb.Batch, i int) error {
	s := t.stage
	if s.NEFTuneAlpha > 0 {
		if err := t.set(program.BufNoise, []float32{s.NoiseSeed(step), float32(i)}); err != nil {
			return err
		}
	}
	return forward.Feed(t.loaded, s.Program, b, i*s.Micro, s.Micro, s.Seq)
}

// update puts the optimizer's step on the device, and the reading of the step's loss and gradient norm.
func (t *trainer) update(f *flight) (err error) {
	if !t.stage.Fused {
		if err := t.hyper(f.step); err != nil {
			return err
		}
	}
	for _, every := range t.stage.Refreshes() {
		if !t.due(every) {
			continue
		}
		if err := f.run(t, program.SegRefresh(every)); err != nil {
			return err
		}
	}
	if err := f.run(t, program.SegUpdate); err != nil {
		return err
	}
	if err := f.runIf(t, program.SegSpread); err != nil {
		return err
	}
	if f.loss, err = t.loaded.Fetch(t.named(program.BufLoss).Operand); err != nil {
		return err
	}
	f.norm, err = t.loaded.Fetch(t.named(program.BufNorm).Operand)
	return err
}

// due reports whether states of the optimizer that are made anew every so many updates are due.
func (t *trainer) due(every int) bool {
	return optim.Due(t.stage.Optimizer, t.stage.Trainable(), every, func(p ops.Param) int64 { return t.state.OptimizerSteps[p.ID] })
}

// read waits for the step's loss and gradient norm.
func (f *flight) read() (loss, norm float64, err error) {
	l, err := f.loss()
	if err != nil {
		return 0, 0, err
	}
	n, err := f.norm()
	if err != nil {
		return 0, 0, err
	}
	return float64(gpu.BytesFloat32(l, gpu.F32)[0]), float64(gpu.BytesFloat32(n, gpu.F32)[0]), nil
}
