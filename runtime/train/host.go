package train

import (
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// What one tensor takes on the host while it passes through, in bytes that are alive at a time. A value is a []float32, 4n
// bytes; copied is the bytes that are copied to the device or from it.

const float = 4

// copied is what a buffer takes on its way: its tensor, and where rows are padded the buffer too.
func (t *trainer) copied(name string) int64 {
	b := t.named(name)
	n := b.Tensor().Bytes()
	if b.Padding() > 0 {
		n += b.Operand.Type.Bytes()
	}
	return n
}

// making is setWeight: a value, and the largest of what is copied for it.
func (t *trainer) making(p ops.Param) int64 {
	value := float * p.Elems()
	most := t.copied(p.ID)
	if t.stage.Narrow(p) { // decoded again, to compare
		most += value
	}
	for _, s := range t.stage.States(p) {
		n := t.copied(s.Buffer(p.ID))
		if s.Type.DType.Quantized() {
			n += float * int64(s.Type.Shape.Elems())
		}
		most = max(most, n)
	}
	if a := t.adapterOf(p); a != nil && t.stage.Peft.Principal() { // its product, and what is left
		most += 2 * value
	}
	return value + most
}

// grown is grow: a value and a part of it that is read, and then making; and takeState of what is not kept as it is.
func (t *trainer) grown(p ops.Param) int64 {
	value, g := float*p.Elems(), &t.stage.Growth
	most := t.making(p)
	if !g.Unchanged(p) {
		most = max(most, 2*value)
	}
	if g.KeepsState(p) {
		return most
	}
	for _, s := range t.stage.States(p) { // as it is stored, decoded, and the sum
		most = max(most, s.Type.Bytes()+2*float*int64(s.Type.Shape.Elems()))
	}
	return most
}

// reading is restore: a value and its copy, or a state as it is stored and as it is copied.
func (t *trainer) reading(p ops.Param) int64 {
	most := float*p.Elems() + t.copied(p.ID)
	for _, s := range t.stage.States(p) {
		most = max(most, s.Type.Bytes()+t.copied(s.Buffer(p.ID)))
	}
	return most
}

// ImportBytes is what importing the result of a stage takes: a value, and the bytes that are written.
func ImportBytes(s *program.Stage) (n int64) {
	for _, p := range s.Params {
		n = max(n, p.Elems()*(float+s.DType.Size()))
	}
	return n
}

// plainBytes is plain and plainTensor: what is stored, two values, and the bytes that are written.
func (t *trainer) plainBytes(p ops.Param) int64 {
	n := t.copied(p.ID) + float*p.Elems() + p.Elems()*t.stage.DType.Size()
	if a := t.adapterOf(p); a != nil {
		n += float * (p.Elems() + 2*a.A.Elems() + 2*a.B.Elems())
	}
	return n
}

// largest is the largest tensor that a checkpoint holds as the device does.
func (t *trainer) largest() (n int64) {
	s := t.stage
	model, adapter, opt := t.tensors(false)
	for _, list := range [][]checkpoint.Tensor{model, adapter, opt} {
		for _, x := range list {
			n = max(n, gpu.Type{Shape: x.Shape, DType: x.DType}.Bytes())
		}
	}
	for _, b := range s.Program.Buffers {
		if b.Padding() > 0 {
			n = max(n, b.Tensor().Bytes()+b.Operand.Type.Bytes())
		}
	}
	return n
}
