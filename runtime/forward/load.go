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
	for _, c := range m.Constants(seq) {
		b, _ := p.Buffer(program.BufConst(c.Name))
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

// Fill reads the tensor of each parameter, one at a time, and gives it to set. It ends with ctx.
func Fill(ctx context.Context, params []ops.Param, prefix string, from interface {
	Float32(name string) ([]float32, error)
}, set func(p ops.Param, v []float32) error) error {
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
