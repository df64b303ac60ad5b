package forward

import (
	"context"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/runtime/program"
)

// StreamedNLL runs the program of a streamed pass on a batch, with weights that are read one layer at a time, and returns the loss
// of each position, [batch, seq]. It ends with ctx.
func StreamedNLL(ctx context.Context, d gpu.Device, p *gpu.Program, x program.Pass, from Weights, b *fineweb.Batch) ([]float32,
	error) {
	l, err := LoadStoppable(ctx, d, p)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if err := SetConstants(l, p, x.Model, x.Seq); err != nil {
		return nil, err
	}
	if err := Feed(l, p, b, 0, x.Batch, x.Seq); err != nil {
		return nil, err
	}
	run := func(segment string, layer int) error {
		var list []ops.Param
		for _, q := range x.Params {
			if q.Layer == layer {
				list = append(list, q)
			}
		}
		err := Fill(ctx, list, "", from, func(q ops.Param, v []float32) error {
			to, _ := p.Buffer(program.BufStreamed(q))
			return to.CopyIn(l, gpu.Float32Bytes(v, x.DType))
		})
		if err != nil {
			return err
		}
		return Run(l, p, segment)
	}
	if err := run(program.SegEmbed, -1); err != nil {
		return nil, err
	}
	for i := range x.Model.NumHiddenLayers {
		if err := run(program.SegLayer(i), i); err != nil {
			return nil, err
		}
	}
	if err := Run(l, p, program.SegProbe); err != nil {
		return nil, err
	}
	out, _ := p.Buffer(program.BufNLL)
	raw := make([]byte, out.Tensor().Bytes())
	if err := out.CopyOut(l, raw); err != nil {
		return nil, err
	}
	return gpu.BytesFloat32(raw, gpu.F32), nil
}
