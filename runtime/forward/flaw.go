package forward

import (
	"context"
	"fmt"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/program"
)

// Flaw is what is not finite in tensors.
type Flaw struct {
	name   string
	shape  gpu.Shape
	count  int
	first  int // its place
	word   string
	others int    // further tensors with such values
	last   string // the last tensor with such values
}

// Found reports whether anything was not finite.
func (f *Flaw) Found() bool { return f.count > 0 }

// String says it in a sentence's words; "" where all is finite.
func (f *Flaw) String() string {
	if f == nil || f.count == 0 {
		return ""
	}
	all, at := f.shape.Elems(), f.shape.Place(f.first)
	s := fmt.Sprintf("%s holds %d non-finite values of %d, the first of them %s at %s", f.name, f.count, all, f.word, at)
	if f.count == 1 {
		s = fmt.Sprintf("%s holds 1 non-finite value of %d, %s at %s", f.name, all, f.word, at)
	}
	switch {
	case f.others == 1:
		s += "; so does 1 other tensor"
	case f.others > 1:
		s += fmt.Sprintf("; so do %d other tensors", f.others)
	}
	return s
}

// Look notes what is not finite in a tensor: of the first such tensor in full, of others their number.
func (f *Flaw) Look(name string, shape gpu.Shape, v []float32) { f.LookAt(name, shape, 0, v) }

// LookAt notes what is not finite in the elements of a tensor from an element on. Those of one tensor come one after the
// other, in any order.
func (f *Flaw) LookAt(name string, shape gpu.Shape, from int, v []float32) {
	found := Flaw{name: name, shape: shape}
	for i, x := range v {
		if x-x != 0 { // NaN of NaN and of infinity
			if found.count++; found.count == 1 {
				found.first, found.word = from+i, metrics.Word(float64(x))
			}
		}
	}
	switch {
	case found.count == 0:
		return
	case f.count == 0:
		*f = found
	case f.name == name:
		if f.count += found.count; found.first < f.first {
			f.first, f.word = found.first, found.word
		}
	case f.last != name:
		f.others++
	}
	f.last = name
}

// LookInto notes what is not finite in the bytes of elements of a tensor from an element on, as LookAt does. It decodes some
// at a time.
func (f *Flaw) LookInto(name string, shape gpu.Shape, from int, b []byte, as gpu.DType) {
	size := int(as.Size())
	for n := len(b) / size; n > 0; n = len(b) / size {
		n = min(n, piece)
		f.LookAt(name, shape, from, gpu.BytesFloat32(b[:n*size], as))
		b, from = b[n*size:], from+n
	}
}

// FirstBad is the first number of a list that is not finite, 0 if all are.
func FirstBad(v []float32) float64 {
	for _, x := range v {
		if x-x != 0 {
			return float64(x)
		}
	}
	return 0
}

// Weights is where weights are read from.
type Weights interface {
	Float32(name string) ([]float32, error)
}

// Watched looks for values that are not finite in the tensors that are read.
type Watched struct {
	Weights
	shapes map[string]gpu.Shape
	as     gpu.DType // in which they are looked at
	Flaw   Flaw
}

// Watch looks at the tensors of parameters as they are read, once each, in the type that a model has them in.
func Watch(from Weights, params []ops.Param, as gpu.DType) *Watched {
	w := &Watched{Weights: from, shapes: map[string]gpu.Shape{}, as: as}
	for _, p := range params {
		w.shapes[p.Name] = p.Shape
	}
	return w
}

// Float32 reads a tensor and looks at it.
func (w *Watched) Float32(name string) ([]float32, error) {
	v, err := w.Weights.Float32(name)
	if shape, ok := w.shapes[name]; ok && err == nil {
		w.look(name, shape, v)
		delete(w.shapes, name) // once
	}
	return v, err
}

// look looks at a tensor in the type that a model has it in: the largest of float32 become infinite in bf16.
func (w *Watched) look(name string, shape gpu.Shape, v []float32) {
	if w.as != gpu.BF16 {
		w.Flaw.Look(name, shape, v)
		return
	}
	rounded := make([]float32, min(len(v), piece))
	for at := 0; at < len(v); at += piece {
		part := rounded[:min(piece, len(v)-at)]
		for i := range part {
			part[i] = gpu.FromBF16(gpu.ToBF16(v[at+i]))
		}
		w.Flaw.LookAt(name, shape, at, part)
	}
}

// piece is how many elements are converted at a time.
const piece = 1 << 14

// Unfit is the error of imported weights that are not finite in the type in which a stage computes; nil if all are.
func (w *Watched) Unfit(s *program.Stage) error {
	if w.Flaw.count == 0 {
		return nil
	}
	as := ""
	if s.DType == gpu.BF16 {
		as = ", read as bf16"
	}
	return fmt.Errorf("the weights in %s are bad%s, and no training mends them: %s. Take another copy of the model, or a "+
		"checkpoint from before it diverged", s.Init, as, w.Flaw.String())
}

// CheckInit returns why a stage cannot start from the weights in its folder Init; nil if it can. It ends with ctx.
func CheckInit(ctx context.Context, s *program.Stage) error {
	f, err := checkpoint.OpenFolder(s.Init)
	if err != nil {
		return err
	}
	defer f.Close()
	w := Watch(f, s.Params, s.DType)
	if err := Fill(ctx, s.Params, "", w, func(ops.Param, []float32) error { return nil }); err != nil {
		return err
	}
	return w.Unfit(s)
}

// FirstNonFinite runs the launches of a segment one by one and names the first output that is not finite; "" if all
// are.
func FirstNonFinite(l gpu.Loaded, p *gpu.Program, segment string) (string, error) {
	seg, _ := p.Segment(segment)
	for n := seg.Lo; n < seg.Hi; n++ {
		if err := l.Run(n, n+1, false); err != nil {
			return "", err
		}
		x := &p.Launches[n]
		for o, out := range x.Out {
			if out.Type.DType != gpu.F32 && out.Type.DType != gpu.BF16 {
				continue
			}
			raw := make([]byte, out.Type.Bytes())
			if err := l.CopyOut(raw, out); err != nil {
				return "", err
			}
			var f Flaw
			name := fmt.Sprintf("output %d of %s at %s (%s)", o, x.Kernel, x.Name, x.Phase)
			f.Look(name, out.Type.Shape, gpu.BytesFloat32(raw, out.Type.DType))
			if f.count > 0 {
				return f.String(), nil
			}
		}
	}
	return "", nil
}
