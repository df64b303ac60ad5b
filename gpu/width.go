package gpu

import "fmt"

// leastWidth is what extents are a multiple of at least on a device that asks for wide rows: 16 bytes of bf16, the
// least that cuBLAS is efficient with (NVIDIA, Matrix Multiplication Background, table 1).
const leastWidth = 8

// Widen is the number of rows or columns that a matrix of n has on the device, where those that are added hold zeros:
// the next multiple of Width, or, where that adds more than an eighth, of 8.
func (c Caps) Widen(n int) int {
	if c.Width == 0 {
		return n
	}
	if wide := int(Align(int64(n), int64(c.Width))); wide-n <= n/8 {
		return wide
	}
	return int(Align(int64(n), leastWidth))
}

// Counted is how many of a row's columns count in norms and losses: those before the padding.
func (a Attrs) Counted(columns int) int {
	if a.Cols == 0 {
		return columns
	}
	return a.Cols
}

// needCounted checks that a row has the columns that count.
func needCounted(a Attrs, columns int) error {
	if a.Cols < 0 || a.Cols > columns {
		return fmt.Errorf("%d columns count, and a row has %d", a.Cols, columns)
	}
	return nil
}

// Tensor is the type of what the buffer holds, without padding.
func (b Buffer) Tensor() Type {
	if b.Shape == nil {
		return b.Operand.Type
	}
	return Type{b.Shape, b.Operand.Type.DType}
}

// Padding is the bytes of the buffer beside its tensor.
func (b Buffer) Padding() int64 { return b.Operand.Type.Bytes() - b.Tensor().Bytes() }

// CopyIn writes the tensor, and zeros beside it.
func (b Buffer) CopyIn(l Loaded, tensor []byte) error {
	if b.Shape == nil {
		return l.CopyIn(b.Operand, tensor)
	}
	wide := make([]byte, b.Operand.Type.Bytes())
	if err := b.rows(tensor, func(row []byte, at int) { copy(wide[at:], row) }); err != nil {
		return err
	}
	return l.CopyIn(b.Operand, wide)
}

// CopyOut waits for what was put on the stream before, and reads the tensor.
func (b Buffer) CopyOut(l Loaded, tensor []byte) error {
	if b.Shape == nil {
		return l.CopyOut(tensor, b.Operand)
	}
	wide := make([]byte, b.Operand.Type.Bytes())
	if err := l.CopyOut(wide, b.Operand); err != nil {
		return err
	}
	return b.rows(tensor, func(row []byte, at int) { copy(row, wide[at:]) })
}

// rows calls f with every row of the tensor, and with the byte of the buffer at which it begins.
func (b Buffer) rows(tensor []byte, f func(row []byte, at int)) error {
	t := b.Tensor()
	if int64(len(tensor)) != t.Bytes() {
		return fmt.Errorf("gpu: %s holds %v, not %d bytes", b.Name, t, len(tensor))
	}
	size := int(t.DType.Size())
	cols, wide := t.Shape.Cols()*size, b.Operand.Type.Shape.Cols()*size
	for r := range t.Shape.Rows() {
		f(tensor[r*cols:(r+1)*cols], r*wide)
	}
	return nil
}
