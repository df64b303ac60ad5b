package forward

import (
	"context"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// Forward is the program of a pass, loaded with the weights of a model.
type Forward struct {
	Flaw Flaw // of the weights

	pass    program.Pass
	program *gpu.Program
	loaded  gpu.Loaded
	out     gpu.Operand
	raw     []byte
}

// Load loads the program of a pass with the weights in folder. It ends with ctx, and so does all that it runs, in the
// middle of a launch.
func Load(ctx context.Context, d gpu.Device, p *gpu.Program, x program.Pass, folder string) (*Forward, error) {
	loaded, err := LoadStoppable(ctx, d, p)
	if err != nil {
		return nil, err
	}
	f := &Forward{pass: x, program: p, loaded: loaded}
	if err := f.fill(ctx, folder); err != nil {
		loaded.Close()
		return nil, err
	}
	name := program.BufNLL
	if x.Logits {
		name = program.BufLogits
	}
	out, _ := p.Buffer(name)
	f.out = out.Operand
	return f, nil
}

func (f *Forward) fill(ctx context.Context, folder string) (err error) {
	if f.Flaw, err = loadFolder(ctx, f.loaded, f.program, f.pass.Params, f.pass.DType, folder); err != nil {
		return err
	}
	return SetConstants(f.loaded, f.program, f.pass.Model, f.pass.Seq)
}

// Close frees the device's memory.
func (f *Forward) Close() error { return f.loaded.Close() }

// NLL returns the loss of each position of a batch, [batch, seq], 0 where there is no target.
func (f *Forward) NLL(b *fineweb.Batch) ([]float32, error) {
	if err := Feed(f.loaded, f.program, b, 0, f.pass.Batch, f.pass.Seq); err != nil {
		return nil, err
	}
	if err := Run(f.loaded, f.program, program.SegProbe); err != nil {
		return nil, err
	}
	return f.read(f.out)
}

// Logits returns the logits of the token after ids, [vocab], of which there are one at least and no more than the pass
// takes.
func (f *Forward) Logits(ids []int32) ([]float32, error) {
	padded := make([]int32, f.pass.Seq)
	copy(padded, ids)
	in, _ := f.program.Buffer(program.BufIDs)
	if err := f.loaded.CopyIn(in.Operand, gpu.Int32Bytes(padded)); err != nil {
		return nil, err
	}
	if err := Run(f.loaded, f.program, program.SegProbe); err != nil {
		return nil, err
	}
	row := f.out
	row.Offset += int64(len(ids)-1) * int64(f.out.RowStride()) * row.Type.DType.Size()
	row.Type.Shape = gpu.Shape{f.pass.Model.VocabSize}
	return f.read(row)
}

func (f *Forward) read(o gpu.Operand) ([]float32, error) {
	if f.raw == nil {
		f.raw = make([]byte, o.Type.Bytes())
	}
	if err := f.loaded.CopyOut(f.raw, o); err != nil {
		return nil, err
	}
	return gpu.BytesFloat32(f.raw, o.Type.DType), nil
}

// Diagnose adds to what is wrong the first tensor that is not finite: a weight, else what the program computes from
// what lies in its inputs.
func (f *Forward) Diagnose(what string) (string, error) {
	if f.Flaw.Found() {
		return what + "; " + f.Flaw.String(), nil
	}
	where, err := FirstNonFinite(f.loaded, f.program, program.SegProbe)
	return found(what, where), err
}

// found says what is wrong, and where the first tensor is that is not finite; "" for nowhere.
func found(what, where string) string {
	if where == "" {
		where = "none was found when the batch was repeated"
	}
	return what + "; all weights are finite, and of what is computed from them the first that is not: " + where
}

// Run runs a segment.
func Run(l gpu.Loaded, p *gpu.Program, segment string) error {
	seg, _ := p.Segment(segment)
	return l.Run(seg.Lo, seg.Hi, false)
}

// stoppable is a loaded program that is stopped when a context ends.
type stoppable struct {
	gpu.Loaded
	release func() bool
}

func (s stoppable) Close() error {
	s.release()
	return s.Loaded.Close()
}

// LoadStoppable loads a program of which nothing is kept where ctx ends: it may stop in the middle of a launch.
func LoadStoppable(ctx context.Context, d gpu.Device, p *gpu.Program) (gpu.Loaded, error) {
	l, err := d.Load(p)
	if err != nil {
		return nil, err
	}
	return stoppable{l, context.AfterFunc(ctx, l.Stop)}, nil
}

// CheckTensors returns why the tensors of the parameters cannot be read as float32 from a model's folder; nil if they
// can. It ends with ctx.
func CheckTensors(ctx context.Context, from *checkpoint.Folder, params []ops.Param) error {
	return Fill(ctx, params, "", from, func(ops.Param, []float32) error { return nil })
}
