package evaluate

import (
	"context"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/gpu/ranks"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
)

// turns shares the batches of an evaluation out among ranks: batch i is measured by rank i mod W. Every rank gets the losses
// of all tokens and adds them up in the order of batches, so that the sum has the bits that one rank alone gives it.
type turns struct {
	comm gpu.Communicator // nil for one rank alone
	m    *measured
	done func(*fineweb.Batch) // is told of each batch that this rank measured
	wait []*fineweb.Batch     // batches of this turn, one a rank
}

func newTurns(c gpu.Communicator, m *measured, done func(*fineweb.Batch)) *turns {
	return &turns{comm: c, m: m, done: done}
}

// Each rank sends these before its losses.
const (
	goOn byte = iota
	endHere
)

// add takes the next batch, and measures those of a turn once there is one for each rank.
func (t *turns) add(ctx context.Context, b *fineweb.Batch) error {
	size := 1
	if t.comm != nil {
		size = t.comm.Size()
	}
	if t.wait = append(t.wait, b); len(t.wait) < size {
		return nil
	}
	return t.end(ctx)
}

// end measures the batches that are left.
func (t *turns) end(ctx context.Context) error {
	batches := t.wait
	t.wait = nil
	if len(batches) == 0 || t.m.diagnosis != "" {
		return t.interrupted(ctx)
	}
	if t.comm == nil {
		if err := t.interrupted(ctx); err != nil {
			return err
		}
		nll, err := t.measure(batches[0])
		if err != nil {
			return err
		}
		return t.take(0, batches[0], nll)
	}
	mine, rank := []byte{goOn}, t.comm.Rank()
	if ctx.Err() != nil {
		mine[0] = endHere
	} else if rank < len(batches) {
		nll, err := t.measure(batches[rank])
		if err != nil {
			return err
		}
		mine = append(mine, gpu.Float32Bytes(nll, gpu.F32)...)
	}
	all, err := ranks.GatherBytes(t.comm, mine)
	if err != nil {
		return err
	}
	for _, x := range all {
		if x[0] == endHere {
			return ranks.Joint(observe.ErrInterrupted)
		}
	}
	for i, b := range batches {
		if err := t.take(i, b, gpu.BytesFloat32(all[i][1:], gpu.F32)); err != nil {
			return err
		}
	}
	return nil
}

// interrupted is the error of a rank that is alone and was interrupted. Ranks agree on it with their losses.
func (t *turns) interrupted(ctx context.Context) error {
	if t.comm == nil && ctx.Err() != nil {
		return observe.ErrInterrupted
	}
	return nil
}

// measure runs the model on a batch.
func (t *turns) measure(b *fineweb.Batch) ([]float32, error) {
	nll, err := t.m.model.NLL(b)
	if err == nil {
		t.m.batches++
		t.done(b)
	}
	return nll, err
}

// take adds the losses of batch i of a turn. The rank that measured it says where one comes from that is not finite.
func (t *turns) take(i int, b *fineweb.Batch, nll []float32) (err error) {
	m := t.m
	if m.diagnosis != "" {
		return nil
	}
	if m.Add(b, nll); m.Finite() {
		return nil
	}
	text := ""
	if t.comm == nil || t.comm.Rank() == i {
		if text, err = m.model.Diagnose("loss is " + metrics.Text(m.Sum)); err != nil {
			return err
		}
	}
	if m.diagnosis = text; t.comm == nil {
		return nil
	}
	texts, err := ranks.Gather(t.comm, text)
	if err == nil {
		m.diagnosis = texts[i]
	}
	return err
}
