//go:build cudaemu

package emu

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
)

// What an asynchronous copy brings is there after a wait and a barrier, and NaN in at least one order of the threads
// where a kernel forgets either.
func TestAsynchronousCopies(t *testing.T) {
	const n = 64
	probe := func(order uint64, wait, barrier byte) (right int) {
		d := New()
		d.Order = order
		x, err := d.Alloc(4 * n)
		must(t, err)
		y, err := d.Alloc(4 * n)
		must(t, err)
		in := make([]float32, n)
		for i := range in {
			in[i] = float32(i + 1)
		}
		must(t, d.CopyIn(x, gpu.Float32Bytes(in, gpu.F32)))
		c := &cuda.Call{Kernel: "probe_copy_f32", Grid: [3]uint32{1, 1, 1}, Threads: n, Shared: 4 * n,
			Sizes: []int{8, 8, 4, 4}, Spans: []cuda.Span{{At: x, Bytes: 4 * n}, {At: y, Bytes: 4 * n}}}
		for _, v := range []uint64{uint64(y), uint64(x), uint64(wait), uint64(barrier)} {
			c.Args = binary.LittleEndian.AppendUint64(c.Args, v)
		}
		must(t, d.PrepareLaunch(c))
		must(t, d.Launch(c))
		b := make([]byte, 4*n)
		must(t, d.CopyOut(b, y))
		for i, v := range gpu.BytesFloat32(b, gpu.F32) {
			if v == in[n-1-i] {
				right++
			} else if !math.IsNaN(float64(v)) {
				t.Errorf("element %d is %g, which is neither right nor NaN", i, v)
			}
		}
		must(t, d.Free(x))
		must(t, d.Free(y))
		return right
	}
	for _, order := range []uint64{Ascending, Descending, 12345} {
		t.Run(fmt.Sprint("order", order), func(t *testing.T) {
			if right := probe(order, 1, 1); right != n {
				t.Errorf("with a wait and a barrier %d of %d elements are right", right, n)
			}
			if right := probe(order, 0, 1); right != 0 {
				t.Errorf("without a wait %d elements are right", right)
			}
			if right := probe(order, 1, 0); right == n {
				t.Error("a missing barrier is not seen")
			}
		})
	}
}
