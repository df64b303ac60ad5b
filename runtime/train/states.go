package train

import (
	"context"
	"fmt"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/runtime/checkpoint"
)

// stateTensors lists what a checkpoint holds of a state of p: one tensor, or its codes and their scales.
func (t *trainer) stateTensors(s optim.State, p ops.Param) []checkpoint.Tensor {
	whole := checkpoint.Tensor{Name: s.Buffer(p.ID), Shape: s.Type.Shape, DType: s.Type.DType}
	if t.owns(p) {
		whole = t.tensor(s.Buffer(p.ID), s.Buffer(p.ID))
	}
	whole.Rank = t.owners[p.ID]
	if !s.Type.DType.Quantized() {
		return []checkpoint.Tensor{whole}
	}
	n := s.Type.Shape.Elems()
	part := func(name string, x gpu.Type, lo, hi int64) checkpoint.Tensor {
		return checkpoint.Tensor{Name: name, Shape: x.Shape, DType: x.DType, Rank: whole.Rank, Data: func() ([]byte, error) {
			b, err := whole.Data()
			if err != nil {
				return nil, err
			}
			return b[lo:hi], nil
		}}
	}
	codes, scales := inFile(s.Type.Shape)
	at := int64(gpu.ScalesAt(n))
	return []checkpoint.Tensor{part(s.Buffer(p.ID), codes, 0, int64(n)), part(s.Scale(p.ID), scales, at, s.Type.Bytes())}
}

// inFile are the types of the tensors of codes and scales in a file.
func inFile(shape gpu.Shape) (codes, scales gpu.Type) {
	blocks := (shape.Elems() + gpu.CodeBlock - 1) / gpu.CodeBlock
	return gpu.Type{Shape: shape, DType: gpu.U8}, gpu.Type{Shape: gpu.Shape{blocks}, DType: gpu.F32}
}

// restoreState reads what the optimizer keeps of a parameter, in the type that it keeps it in.
func (t *trainer) restoreState(opt *checkpoint.File, p ops.Param) error {
	for _, s := range t.states(p) {
		raw, kept, err := readState(opt, s, p)
		if err != nil {
			return err
		}
		if !kept.Equal(s.Type) {
			return fmt.Errorf("%s holds %s as %v, and the optimizer keeps it as %v: the checkpoint is of another optimizer",
				opt.Path(), s.Buffer(p.ID), kept, s.Type)
		}
		if err := t.named(s.Buffer(p.ID)).CopyIn(t.loaded, raw); err != nil {
			return err
		}
	}
	return nil
}

// takeState takes a state over from the stage before: its bits, where the parameter is what it was and the state is kept
// in the same type, else its numbers.
func (t *trainer) takeState(ctx context.Context, opt *checkpoint.File, s optim.State, p ops.Param) error {
	if t.stage.Growth.KeepsState(p) {
		raw, kept, err := readState(opt, s, p)
		if err != nil {
			return err
		}
		if kept.Equal(s.Type) {
			return t.named(s.Buffer(p.ID)).CopyIn(t.loaded, raw)
		}
	}
	made := t.stage.Growth.State
	if s.Copy { // it goes with the weight, whatever becomes of the moments
		made = func(p ops.Param, read func(ops.Param) ([]float32, error)) ([]float32, error) {
			return t.stage.Growth.Value(ctx, p, read)
		}
	}
	v, err := made(p, func(o ops.Param) ([]float32, error) {
		raw, kept, err := readState(opt, s, o)
		if err != nil {
			return nil, err
		}
		return kept.Decode(raw), nil
	})
	if err != nil {
		return err
	}
	return t.set(s.Buffer(p.ID), v)
}

// readState reads a state of a parameter of the checkpoint, in the type that it is kept in there.
func readState(opt *checkpoint.File, s optim.State, p ops.Param) (raw []byte, kept gpu.Type, err error) {
	name := s.Buffer(p.ID)
	raw, dtype, err := opt.Raw(name)
	if err != nil {
		return nil, kept, err
	}
	fail := func(format string, args ...any) ([]byte, gpu.Type, error) {
		return nil, kept, fmt.Errorf("%s: %s "+format, append([]any{opt.Path(), name}, args...)...)
	}
	kept.Shape, _ = opt.Shape(name)
	switch {
	case dtype == "F32":
		kept.DType = gpu.F32
		return raw, kept, nil
	case dtype == "BF16":
		kept.DType = gpu.BF16
		return raw, kept, nil
	case dtype != "U8" || !s.Codes.Quantized():
		return fail("is of type %s, in which no optimizer of this rule keeps it", dtype)
	}
	kept.DType = s.Codes
	codes, scales := inFile(kept.Shape)
	b, dtype, err := opt.Raw(s.Scale(p.ID))
	if err != nil {
		return nil, kept, err
	}
	if shape, _ := opt.Shape(s.Scale(p.ID)); dtype != "F32" || !shape.Equal(scales.Shape) {
		return fail("has scales %s%v, and its codes %v have %v", dtype, shape, codes, scales)
	}
	all := make([]byte, kept.Bytes())
	copy(all, raw)
	copy(all[gpu.ScalesAt(len(raw)):], b)
	if err := kept.CheckScales(all); err != nil {
		return fail("is damaged: %w", err)
	}
	return all, kept, nil
}
