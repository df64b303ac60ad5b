package cuda

import "stepflow/gpu"

// part, parts and firsts mirror those of kernels/reduce.cu.
type part struct {
	X           Pointer
	N           int64
	First, Half int32
}
type parts struct{ At [160]part }
type firsts struct{ At [961]int32 }

const (
	rowWarps = 8 // ROW_WARPS
	lanes    = 32
)

// bindSum gives partial sums of many inputs a call, and the sums of many inputs a call.
func bindSum(kernel string) func(*binder, *gpu.Launch) work {
	return func(b *binder, x *gpu.Launch) (w work) {
		first := make([]int, len(x.In)+1) // partial sums of the inputs before
		for i, o := range x.In {
			first[i+1] = first[i] + blocks(elems(o), gpu.SumBlock)
		}
		at := func(p Pointer, n int) Pointer { return p + Pointer(4*n) }
		for lo := 0; lo < len(x.In); lo += len(parts{}.At) {
			hi := min(len(x.In), lo+len(parts{}.At))
			grid := first[hi] - first[lo]
			if grid == 0 {
				continue // all are empty
			}
			var all parts
			for i, o := range x.In[lo:hi] {
				all.At[i] = part{X: b.at(o), N: elems(o), First: int32(first[lo+i] - first[lo])}
				if o.Type.DType == gpu.BF16 {
					all.At[i].Half = 1
				}
			}
			w = append(w, newCall(kernel, [3]int{grid, 1, 1}, flatThreads, reduceRoom, hi-lo, gpu.SumBlock,
				at(b.at(x.Scratch), first[lo]), all))
		}
		most := len(firsts{}.At) - 1
		for lo := 0; lo < len(x.In); lo += most {
			hi := min(len(x.In), lo+most)
			var all firsts
			for i, n := range first[lo : hi+1] {
				all.At[i] = int32(n)
			}
			w = append(w, newCall("totals", [3]int{hi - lo, 1, 1}, flatThreads, reduceRoom, at(b.at(x.Out[0]), lo),
				b.at(x.Scratch), all))
		}
		return w
	}
}

// bindColumns adds up the rows of so many matrices, which an accumulator may follow.
func bindColumns(kernel string, inputs int) func(*binder, *gpu.Launch) work {
	return func(b *binder, x *gpu.Launch) work {
		s, t := x.In[0].Type.Shape, x.In[0].Type.DType
		parts := blocks(int64(s.Rows()), gpu.RowBlock)
		args := []any{s.Rows(), s.Cols(), gpu.RowBlock, b.at(x.Scratch)}
		for _, o := range x.In[:inputs] {
			args = append(args, b.at(o))
		}
		var acc Pointer
		if len(x.In) > inputs {
			acc = b.at(x.In[inputs])
		}
		wide := lanes * int(16/t.Size()) // columns of a block
		return work{
			newCall(kernel+suffix(t), [3]int{blocks(int64(s.Cols()), wide), parts, 1}, rowWarps*lanes, rowWarps*wide*4,
				args...),
			newCall("column_total"+suffix(x.Out[0].Type.DType), [3]int{blocks(int64(s.Cols()), lanes), 1, 1},
				rowWarps*lanes, rowWarps*lanes*4, parts, s.Cols(), b.at(x.Out[0]), b.at(x.Scratch), acc),
		}
	}
}
