package train

import (
	"context"
	"fmt"
	"math"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
)

// coarsest is how much storing a weight in fewer bits may change it, relative to its norm. NF4 changes normally
// distributed weights by 0.09, int8 by 0.01.
const coarsest = 0.2

// rounding is how much storing weights in fewer bits changed them.
type rounding struct {
	matrices  int
	all, lost float64 // squares of Frobenius norms: of the weights, and of the changes
	most      float64 // the largest change of a weight, relative to its norm
	of        string  // which one that is
}

// changed is the change of all of them.
func (r *rounding) changed() float64 {
	return math.Sqrt(r.lost / math.Max(r.all, math.SmallestNonzeroFloat64))
}

// setNarrow stores a weight in fewer bits than the stage computes in, and counts what that changes.
func (t *trainer) setNarrow(p ops.Param, v []float32) error {
	b := t.named(p.ID)
	tensor := b.Tensor()
	if err := tensor.Finite(v); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	raw := tensor.Encode(v)
	var all, lost float64
	for i, x := range t.multiplied(tensor.Decode(raw)) {
		all += float64(v[i]) * float64(v[i])
		lost += (float64(v[i]) - float64(x)) * (float64(v[i]) - float64(x))
	}
	r := &t.narrow
	r.matrices, r.all, r.lost = r.matrices+1, r.all+all, r.lost+lost
	if all > 0 {
		share := math.Sqrt(lost / all)
		if share > r.most || r.of == "" {
			r.most, r.of = share, p.Name
		}
		if share > coarsest {
			return fmt.Errorf("%s: storing it in %v changes it by %.2g of its norm, and more than %g is refused: its values are "+
				"too unequal. Set another frozen_dtype, or none", p.Name, tensor.DType, share, coarsest)
		}
	}
	return b.CopyIn(t.loaded, raw)
}

// multiplied rounds stored values as products do.
func (t *trainer) multiplied(v []float32) []float32 {
	if t.stage.DType == gpu.BF16 {
		for i, x := range v {
			v[i] = gpu.FromBF16(gpu.ToBF16(x))
		}
	}
	return v
}

// tellStored tells how much storing frozen weights in fewer bits changed them.
func (l *Loop) tellStored(ctx context.Context) {
	r := &l.narrow
	if r.matrices == 0 {
		return
	}
	l.block.Notice(ctx, "frozen weights stored in %v (%d matrices): changed by %.2g of their norm, %s most, by %.2g",
		l.stage.FrozenDType, r.matrices, r.changed(), r.of, r.most)
}

// plain is a parameter in the stage's type, as products multiply by it. What is merged has its adapter added: the sum is
// made in fp32, and rounded into bf16 as a merge on the device rounds. product and lost are then the squares of the
// Frobenius norms of what was added and of what rounding kept out.
func (t *trainer) plain(p ops.Param, merged *peft.Adapter) (v []float32, product, lost float64, err error) {
	if v, err = t.get(p.ID); err != nil {
		return nil, 0, 0, err
	}
	v = t.multiplied(v)
	if merged == nil {
		return v, 0, 0, nil
	}
	down, err := t.get(t.master(merged.A))
	if err != nil {
		return nil, 0, 0, err
	}
	up, err := t.get(t.master(merged.B))
	if err != nil {
		return nil, 0, 0, err
	}
	delta := make([]float32, len(v))
	peft.AddProduct(delta, up, down, t.stage.Peft.Scale(), merged.A.Shape[0], p.Shape[1])
	seed := uint32(peft.MergeSeed(*merged, t.stage.PeftSeed, t.state.Restarts))
	for i, d := range delta {
		product += float64(d) * float64(d)
		sum := v[i] + d
		if v[i] = sum; t.stage.DType == gpu.BF16 {
			v[i] = gpu.FromBF16(gpu.ToBF16Stochastic(sum, seed, int64(i)))
			lost += (float64(sum) - float64(v[i])) * (float64(sum) - float64(v[i]))
		}
	}
	return v, product, lost, nil
}

// master is the buffer of a parameter in fp32, where the optimizer keeps it so, or as it is.
func (t *trainer) master(p ops.Param) string {
	for _, s := range t.stage.States(p) {
		if s.Copy {
			return s.Buffer(p.ID)
		}
	}
	return p.ID
}

// adapterOf returns the adapter of a parameter; nil if it has none.
func (t *trainer) adapterOf(p ops.Param) *peft.Adapter {
	for i := range t.stage.Adapters {
		if a := &t.stage.Adapters[i]; a.Target.ID == p.ID {
			return a
		}
	}
	return nil
}

// mergeNarrow counts what merging adds to weights that are stored in fewer bits, and what rounding keeps out. The sums
// themselves are made again when the result is written: the device has no room for them.
func (t *trainer) mergeNarrow(ctx context.Context) error {
	var product, lost float64
	for _, a := range t.stage.MergedApart() {
		if ctx.Err() != nil {
			return observe.ErrInterrupted
		}
		_, p, r, err := t.plain(a.Target, &a)
		if err != nil {
			return err
		}
		product, lost = product+p, lost+r
	}
	t.countMerge(math.Sqrt(product), math.Sqrt(lost))
	return nil
}

// plainTensor is a parameter that is stored in fewer bits, as a checkpoint has it: in the stage's type. That of a result has
// its adapter merged.
func (t *trainer) plainTensor(p ops.Param, final bool) checkpoint.Tensor {
	return checkpoint.Tensor{Name: p.Name, Shape: p.Shape, DType: t.stage.DType, Data: func() ([]byte, error) {
		var merged *peft.Adapter
		if final {
			merged = t.adapterOf(p)
		}
		v, _, _, err := t.plain(p, merged)
		if err != nil {
			return nil, err
		}
		return gpu.Float32Bytes(v, t.stage.DType), nil
	}}
}

// storedTensors lists how quantised weights are stored, which a run goes on from to the same bits. A result whose adapters
// are merged has none: nothing goes on from it.
func (t *trainer) storedTensors(final bool) (list []checkpoint.Tensor) {
	s := t.stage
	if final && len(s.Adapters) > 0 {
		return nil
	}
	for _, p := range s.AllNarrow() {
		if s.Stored(p).Quantized() {
			list = append(list, t.tensor(program.BufStored(p.ID), p.ID))
		}
	}
	return list
}

// restoreStored reads how a quantised weight is stored.
func (t *trainer) restoreStored(opt *checkpoint.File, p ops.Param) error {
	b := t.named(p.ID)
	name := program.BufStored(p.ID)
	raw, _, err := opt.Raw(name)
	if err == nil && int64(len(raw)) != b.Tensor().Bytes() {
		err = fmt.Errorf("%s has %d bytes, and %v takes %d", name, len(raw), b.Tensor(), b.Tensor().Bytes())
	}
	if err != nil {
		return err
	}
	return b.CopyIn(t.loaded, raw)
}
