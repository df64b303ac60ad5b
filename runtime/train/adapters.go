package train

import (
	"context"
	"fmt"
	"math"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// singular is what adapters took out of their weights to begin with.
type singular struct {
	matrices   int
	first      map[string][]float32 // the adapters' first values, by id, until nothing needs them any more
	all, taken float64              // squares of Frobenius norms: of the weights, and of what was taken out of them
}

// firstWeight gives a parameter of the model the value that the stage starts from. A weight whose adapter begins with its
// principal singular vectors keeps the rest: what the device adds up is then the weight.
func (t *trainer) firstWeight(ctx context.Context, p ops.Param, v []float32) error {
	a := t.adapterOf(p)
	if a != nil && t.stage.Peft.Composes() {
		return t.begins(ctx, *a, v)
	}
	if a == nil || !t.stage.Peft.Principal() {
		return t.setWeight(p, v)
	}
	spec := t.stage.Peft
	if err := (gpu.Type{Shape: p.Shape, DType: t.stage.DType}).Finite(v); err != nil {
		return fmt.Errorf("%s has no singular vectors for its adapter to begin with: %w", p.Name, err)
	}
	t.progress.Now("the singular vectors of %s %v", p.Name, p.Shape)
	down, up, err := spec.Singular(ctx, *a, v, t.stage.PeftSeed)
	if err != nil {
		return err
	}
	delta := make([]float32, len(v))
	// The rest is what is left of the weight beside the adapter as the device has it.
	peft.AddProduct(delta, t.multiplied(up), t.multiplied(down), spec.Scale(), spec.R, p.Shape[1])
	rest := make([]float32, len(v))
	for i, d := range delta {
		rest[i] = v[i] - d
		t.taken.all += float64(v[i]) * float64(v[i])
		t.taken.taken += float64(d) * float64(d)
	}
	if err := (gpu.Type{Shape: p.Shape, DType: t.stage.DType}).Finite(rest); err != nil { // products of large singular vectors
		return fmt.Errorf("%s is too large for its adapter to begin with its singular vectors: of what they leave of it, %w", p.Name, err)
	}
	if t.taken.first == nil {
		t.taken.first = map[string][]float32{}
	}
	t.taken.first[a.A.ID], t.taken.first[a.B.ID] = down, up
	return t.setWeight(p, rest)
}

// startAdapters gives the adapters their first values, but for those that have taken them from their weights.
func (t *trainer) startAdapters(ctx context.Context) error {
	if len(t.stage.Composed) > 0 {
		return ctx.Err()
	}
	t.taken.matrices = len(t.taken.first) / 2
	for _, p := range peft.Params(t.stage.Adapters) {
		v, ok := t.taken.first[p.ID]
		if !ok {
			v = peft.Init(p, t.stage.PeftSeed, 0)
		}
		if err := t.setWeight(p, v); err != nil {
			return err
		}
		if !t.stage.KeepsFirst() {
			delete(t.taken.first, p.ID)
		}
	}
	return ctx.Err()
}

// tellTaken tells how much of the weights their adapters begin with.
func (l *Loop) tellTaken(ctx context.Context) {
	if n := l.taken.matrices; n > 0 && l.state.Step == 0 {
		l.block.Notice(ctx, "adapters begin with the principal singular vectors of their weights (%d matrices): %.2g of their norm", n,
			math.Sqrt(l.taken.taken/math.Max(l.taken.all, math.SmallestNonzeroFloat64)))
	}
}

// firstTensors lists the first values of adapters that took them out of their weights, if an export may need them.
func (t *trainer) firstTensors() (list []checkpoint.Tensor) {
	if !t.stage.KeepsFirst() {
		return nil
	}
	for _, p := range peft.Params(t.stage.Adapters) {
		if v, ok := t.taken.first[p.ID]; ok {
			list = append(list, checkpoint.Tensor{Name: program.BufFirst(p.ID), Shape: p.Shape, DType: gpu.F32,
				Data: func() ([]byte, error) { return gpu.Float32Bytes(v, gpu.F32), nil }})
		}
	}
	return list
}

// restoreFirst reads the first values of adapters that took them out of their weights.
func (t *trainer) restoreFirst(opt *checkpoint.File) error {
	if !t.stage.KeepsFirst() {
		return nil
	}
	t.taken.first = map[string][]float32{}
	for _, p := range peft.Params(t.stage.Adapters) {
		v, err := opt.Float32(program.BufFirst(p.ID))
		if err != nil {
			return err
		}
		t.taken.first[p.ID] = v
	}
	return nil
}

// keepAdapters holds the adapters for the result, before a merge makes them zero: their fp32 masters where there are any,
// which is what a merge adds.
func (t *trainer) keepAdapters() error {
	spec, _ := t.stage.Exported()
	list := t.masters()
	for i, a := range t.stage.Adapters {
		down, err := t.get(t.master(a.A))
		if err != nil {
			return err
		}
		up, err := t.get(t.master(a.B))
		if err != nil {
			return err
		}
		if spec.R != a.A.Shape[0] {
			down, up = peft.Beside(down, up, t.taken.first[a.A.ID], t.taken.first[a.B.ID], a.A.Shape[0])
		}
		for k, v := range [][]float32{down, up} {
			x := &list[2*i+k]
			b := gpu.Float32Bytes(v, x.DType)
			x.Data = func() ([]byte, error) { return b, nil }
		}
	}
	t.apart = list
	return nil
}

// masters lists what keepAdapters holds, A and B of each adapter, without its bytes.
func (t *trainer) masters() (list []checkpoint.Tensor) {
	_, adapters := t.stage.Exported()
	for _, p := range peft.Params(adapters) {
		list = append(list, checkpoint.Tensor{Name: checkpoint.AdapterPrefix + p.Name, Shape: p.Shape,
			DType: t.named(t.master(p)).Tensor().DType})
	}
	return list
}
