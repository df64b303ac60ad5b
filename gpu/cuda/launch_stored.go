package cuda

import "stepflow/gpu"

// extent and nf4Tables mirror Extent and Tables of kernels/stored.cu.
type extent struct{ Rows, Cols int32 }
type nf4Tables struct {
	Level [16]float32
	Scale [256]float32
}

const widenThreads = 256

// widen makes of a stored operand what a library multiplies.
func (b *binder) widen(to, from gpu.Operand) *Call {
	stored, y := from.Type.Shape, to.Type
	rows, cols := y.Shape.Rows(), y.Shape.Cols()
	threads := min(widenThreads, (blocks(int64(cols)*y.DType.Size(), 16)+31)/32*32)
	args := []any{rows, cols, b.at(to), extent{int32(stored.Rows()), int32(stored.Cols())}, b.at(from)}
	switch from.Type.DType {
	case gpu.NF4:
		t := nf4Tables{}
		t.Level, t.Scale = gpu.NF4Tables()
		args = append(args, t)
	case gpu.BF16:
		args = append(args, int64(from.RowStride()))
	}
	return newCall("widen_"+from.Type.DType.String()+suffix(y.DType), [3]int{min(rows, maxBlocks), 1, 1}, threads, 0, args...)
}
