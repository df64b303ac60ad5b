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

// decomposed counts the weights that had values before adapters took their place.
type decomposed struct {
	matrices  int
	all, lost float64 // squares of Frobenius norms: of the weights, and of what is lost of them
}

// begins draws the places of an adapter that takes the place of a weight v, and gives it its first values.
func (t *trainer) begins(ctx context.Context, a peft.Adapter, v []float32) error {
	places := peft.Draw(a, t.stage.PeftSeed)
	f, err := t.firstParts(ctx, a, v, places)
	if err != nil {
		return err
	}
	return t.setParts(a, places, f)
}

// setParts gives an adapter that takes the place of a weight its places and values.
func (t *trainer) setParts(a peft.Adapter, places []int32, f peft.First) error {
	if err := t.setPlaces(a, places); err != nil {
		return err
	}
	for _, x := range []struct {
		p ops.Param
		v []float32
	}{{a.A, f.Down}, {a.B, f.Up}, {a.Values, f.Values}} {
		if err := t.setWeight(x.p, x.v); err != nil {
			return err
		}
	}
	return nil
}

// firstParts returns the first values of an adapter: as close to the weight v as they come, or for a weight that begins at random,
// those that the method begins with.
func (t *trainer) firstParts(ctx context.Context, a peft.Adapter, v []float32, places []int32) (peft.First, error) {
	s := t.stage
	if t.fresh(a.Target) {
		return peft.Begin(a, s.PeftSeed), nil
	}
	if err := (gpu.Type{Shape: a.Target.Shape, DType: s.DType}).Finite(v); err != nil {
		return peft.First{}, fmt.Errorf("%s cannot be taken apart for its adapter to begin with: %w", a.Target.Name, err)
	}
	t.progress.Now("the best rank and values for %s %v", a.Target.Name, a.Target.Shape)
	f, err := s.Peft.Decompose(ctx, a, v, places, s.PeftSeed, t.multiplied)
	if err != nil {
		return f, err
	}
	d := &t.decomposed
	d.matrices, d.all, d.lost = d.matrices+1, d.all+f.All, d.lost+f.Lost
	return f, nil
}

// fresh reports whether a parameter begins at random.
func (t *trainer) fresh(p ops.Param) bool {
	s := t.stage
	return s.From == nil && s.Init == "" || s.From != nil && s.Growth.Rules[p.ID].Fresh
}

// tellDecomposed tells how much was lost of weights that adapters took the place of.
func (l *Loop) tellDecomposed(ctx context.Context) {
	if d := &l.decomposed; d.matrices > 0 {
		l.block.Notice(ctx, "weights become products of rank %d and values at %g of their elements (%d matrices): %.2g of their norm is "+
			"lost", l.stage.Peft.R, l.stage.Peft.Sparsity, d.matrices, math.Sqrt(d.lost/math.Max(d.all, math.SmallestNonzeroFloat64)))
	}
}

func (t *trainer) setPlaces(a peft.Adapter, places []int32) error {
	return t.named(program.BufPlaces(a.Target.ID)).CopyIn(t.loaded, gpu.Int32Bytes(places))
}

func (t *trainer) places(a peft.Adapter) ([]int32, error) {
	b := make([]byte, a.PlacesType().Bytes())
	if err := t.named(program.BufPlaces(a.Target.ID)).CopyOut(t.loaded, b); err != nil {
		return nil, err
	}
	return gpu.BytesInt32(b), nil
}

// restorePlaces reads the places of adapters from the file of adapters.
func (t *trainer) restorePlaces(ad *checkpoint.File) error {
	for _, a := range t.stage.Composing() {
		places, err := ad.Int32(checkpoint.AdapterPrefix + a.Places())
		if err == nil {
			err = peft.CheckPlaces(a, places)
		}
		if err == nil {
			err = t.setPlaces(a, places)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// placesTensors lists the places of adapters as a checkpoint holds them. They could be drawn again, but whoever reads the
// checkpoint need not know how they were drawn.
func (t *trainer) placesTensors() (list []checkpoint.Tensor) {
	for _, a := range t.stage.Composing() {
		list = append(list, t.tensor(checkpoint.AdapterPrefix+a.Places(), program.BufPlaces(a.Target.ID)))
	}
	return list
}

// compose makes the weight that an adapter takes the place of, in fp32, of masters where there are any.
func (t *trainer) compose(a peft.Adapter) ([]float32, error) {
	var parts [3][]float32
	for i, p := range []ops.Param{a.A, a.B, a.Values} {
		v, err := t.get(t.master(p))
		if err != nil {
			return nil, err
		}
		parts[i] = v
	}
	places, err := t.places(a)
	if err != nil {
		return nil, err
	}
	return t.stage.Peft.Compose(a, parts[0], parts[1], parts[2], places), nil
}

// composedTensor is a weight that an adapter takes the place of, as a result has it: rounded to nearest in the stage's type.
func (t *trainer) composedTensor(p ops.Param) checkpoint.Tensor {
	return checkpoint.Tensor{Name: p.Name, Shape: p.Shape, DType: t.stage.DType, Data: func() ([]byte, error) {
		v, err := t.compose(*t.adapterOf(p))
		if err != nil {
			return nil, err
		}
		return gpu.Float32Bytes(v, t.stage.DType), nil
	}}
}
