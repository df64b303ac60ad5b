package gpu_test

import (
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/ref"
)

func TestWiden(t *testing.T) {
	card, none := gpu.Caps{Width: 64}, gpu.Caps{}
	for n, want := range map[int]int{1: 8, 4: 8, 8: 8, 30: 32, 60: 64, 64: 64, 85: 88, 100: 104, 150: 152, 449: 456,
		576: 576, 588: 640, 2736: 2752, 5003: 5056, 5461: 5504, 50257: 50304} {
		if got := card.Widen(n); got != want {
			t.Errorf("%d are %d on a card, want %d", n, got, want)
		}
		if got := none.Widen(n); got != n {
			t.Errorf("%d are %d on a device that asks for no width", n, got)
		}
	}
}

// TestTensorsInWiderBuffers: a tensor is read as it was written, and there are zeros beside it whatever lay there.
func TestTensorsInWiderBuffers(t *testing.T) {
	for _, c := range []struct{ tensor, buffer gpu.Shape }{
		{gpu.Shape{2, 3}, gpu.Shape{4, 5}}, {gpu.Shape{3}, gpu.Shape{8}}, {gpu.Shape{2, 2, 3}, gpu.Shape{2, 2, 4}},
		{gpu.Shape{2, 3}, gpu.Shape{2, 3}},
	} {
		for _, d := range []gpu.DType{gpu.F32, gpu.BF16} {
			b := gpu.Buffer{Name: "w", Operand: gpu.Operand{Type: gpu.Type{Shape: c.buffer, DType: d}}}
			if !c.tensor.Equal(c.buffer) {
				b.Shape = c.tensor
			}
			l, err := ref.Open(&gpu.Program{ArenaBytes: b.Operand.Type.Bytes(), Buffers: []gpu.Buffer{b}})
			check(t, err)
			before := make([]float32, c.buffer.Elems())
			tensor := make([]float32, c.tensor.Elems())
			for i := range before {
				before[i] = -1
			}
			for i := range tensor {
				tensor[i] = float32(i + 1)
			}
			check(t, l.CopyIn(b.Operand, gpu.Float32Bytes(before, d)))
			check(t, b.CopyIn(l, gpu.Float32Bytes(tensor, d)))
			read, zeros := 0, 0
			for i, x := range l.Get(b.Operand) {
				if row, col := i/c.buffer.Cols(), i%c.buffer.Cols(); row >= c.tensor.Rows() || col >= c.tensor.Cols() {
					zeros++
					if x != 0 {
						t.Errorf("%v in %v: element %d of the padding is %v", c.tensor, c.buffer, i, x)
					}
				} else if x != float64(read+1) {
					t.Errorf("%v in %v: element %d is %v, want %d", c.tensor, c.buffer, i, x, read+1)
				} else {
					read++
				}
			}
			if n := int64(zeros) * d.Size(); b.Padding() != n {
				t.Errorf("%v in %v: %d bytes of padding, want %d", c.tensor, c.buffer, b.Padding(), n)
			}
			got := make([]byte, b.Tensor().Bytes())
			check(t, b.CopyOut(l, got))
			if v := gpu.BytesFloat32(got, d); !slices.Equal(v, tensor) {
				t.Errorf("%v in %v is read as %v", c.tensor, c.buffer, v)
			}
			if err := b.CopyIn(l, got[1:]); err == nil {
				t.Errorf("%v in %v: a byte too few is written", c.tensor, c.buffer)
			}
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
