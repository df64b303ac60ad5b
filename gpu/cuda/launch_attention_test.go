package cuda

import (
	"testing"

	"stepflow/gpu"
)

// Attention's blocks fit the 99 KiB of shared memory that every supported card has, at each width of heads.
func TestAttentionFitsEveryCard(t *testing.T) {
	const smallest = 99 << 10 // compute capability 8.6 and 8.9: CUDA C++ Programming Guide, technical specifications
	for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
		for d := 2; d <= widestHead; d++ {
			x := gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{1, 300, d}, DType: dtype}}
			l := gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{1, 1, 300}, DType: gpu.F32}}
			for _, launch := range []gpu.Launch{
				{Kernel: "attention", In: []gpu.Operand{x, x, x}, Out: []gpu.Operand{x, l}},
				{Kernel: "attention_grad", In: []gpu.Operand{x, x, x, x, x, l}, Out: []gpu.Operand{x, x, x}},
			} {
				launch.Attrs = gpu.Attrs{Heads: 1, KVHeads: 1}
				w, err := (&binder{}).bind(&launch)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range w {
					if n := c.(*Call).Shared; n > smallest {
						t.Errorf("%s with head_dim %d asks for %d bytes of shared memory, more than %d",
							c.(*Call).Kernel, d, n, smallest)
					}
				}
			}
		}
	}
}
