package forward

import (
	"context"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/runtime/program"
)

// SetConstants writes the tables of a model, for sequences of seq tokens.
func SetConstants(l gpu.Loaded, p *gpu.Program, m arch.Model, seq int) error {
	return setConstants(l, p, m, seq, program.BufConst)
}

func setConstants(l gpu.Loaded, p *gpu.Program, m arch.Model, seq int, name func(string) string) error {
	for _, c := range m.Constants(seq) {
		b, _ := p.Buffer(name(c.Name))
		if err := l.CopyIn(b.Operand, gpu.Float32Bytes(c.Values(), gpu.F32)); err != nil {
			return err
		}
	}
	return nil
}

// Feed writes sequences [from, from+micro) of a batch into the input buffers.
func Feed(l gpu.Loaded, p *gpu.Program, b *fineweb.Batch, from, n, seq int) error {
	lo, hi := from*seq, (from+n)*seq
	for _, x := range []struct {
		name string
		v    []int32
	}{{program.BufIDs, b.IDs}, {program.BufTargets, b.Targets}, {program.BufSegments, b.Segments}} {
		buf, ok := p.Buffer(x.name)
		if !ok {
			continue // without a mask there are no segments
		}
		if err := l.CopyIn(buf.Operand, gpu.Int32Bytes(x.v[lo:hi])); err != nil {
			return err
		}
	}
	return nil
}

// loadFolder reads the weights of a model from folder into a program, and returns what is not finite in them.
func loadFolder(ctx context.Context, l gpu.Loaded, p *gpu.Program, params []ops.Param, as gpu.DType, folder string) (Flaw,
	error) {
	from, err := OpenFolder(folder)
	if err != nil {
		return Flaw{}, err
	}
	defer from.Close()
	return load(ctx, l, p, params, as, from)
}

// load reads the weights of a model into a program, and returns what is not finite in them.
func load(ctx context.Context, l gpu.Loaded, p *gpu.Program, params []ops.Param, as gpu.DType, from Weights) (Flaw, error) {
	w := Watch(from, params, as)
	err := Fill(ctx, params, "", w, func(x ops.Param, v []float32) error {
		b, _ := p.Buffer(x.ID)
		return b.CopyIn(l, gpu.Float32Bytes(v, b.Operand.Type.DType))
	})
	return w.Flaw, err
}

// Fill reads the tensor of each parameter, one at a time, and gives it to set. It ends with ctx.
func Fill(ctx context.Context, params []ops.Param, prefix string, from Weights, set func(p ops.Param, v []float32) error) error {
	for _, p := range params {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v, err := from.Float32(prefix + p.Name)
		if err == nil {
			err = set(p, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
