package cuda

import (
	"cmp"

	"stepflow/gpu"
)

// The kernels on vectors of a channel each that add something up are one block.
const vectorThreads = 512

func bindRowSquares(b *binder, x *gpu.Launch) work {
	s, t := x.In[0].Type.Shape, x.In[0].Type.DType
	return work{rowCall("row_squares", t, s.Rows(), s.Cols(), b.at(x.Out[0]), b.at(x.In[0]))}
}

func bindScaled(kernel string) func(*binder, *gpu.Launch) work {
	return func(b *binder, x *gpu.Launch) work {
		s, t := x.In[0].Type.Shape, x.In[0].Type.DType
		return work{rowCall(kernel, t, s.Rows(), s.Cols(), b.at(x.Out[0]), b.at(x.In[0]), b.at(x.In[1]))}
	}
}

// vectorCall launches a kernel over the elements of a vector, as many threads as elements.
func vectorCall(kernel string, n int64, args ...any) *Call {
	return newCall(kernel, [3]int{max(1, blocks(n, flatThreads)), 1, 1}, flatThreads, 0, append([]any{n}, args...)...)
}

func bindInverseRMS(b *binder, x *gpu.Launch) work {
	return work{vectorCall("inverse_rms", elems(x.Out[0]), b.at(x.Out[0]), b.at(x.In[0]), float32(x.Attrs.Cols),
		float32(x.Attrs.Eps))}
}

func bindChannelFactors(b *binder, x *gpu.Launch) work {
	stride := 1
	if elems(x.In[0]) == 1 {
		stride = 0 // one for all
	}
	args := []any{int(elems(x.Out[0])), stride, b.at(x.Out[0]), b.at(x.Out[1])}
	for _, o := range x.In {
		args = append(args, b.at(o))
	}
	return work{newCall("channel_factors", [3]int{1, 1, 1}, vectorThreads, reduceRoom, append(args, float32(x.Attrs.Alpha))...)}
}

func bindEMASquares(b *binder, x *gpu.Launch) work {
	n := elems(x.Out[0])
	rows := cmp.Or(int64(x.Attrs.Rows), n)
	return work{vectorCall("ema_squares", n, b.at(x.Out[0]), b.at(x.In[0]), b.at(x.In[1]), b.at(x.In[2]), b.at(x.In[3]),
		float32(x.Attrs.Cols), rows, float32(x.Attrs.Eps))}
}

func bindRowFactors(b *binder, x *gpu.Launch) work {
	n := int(elems(x.Out[0]))
	rows := cmp.Or(x.Attrs.Rows, n)
	return work{newCall("row_factors", [3]int{1, 1, 1}, vectorThreads, reduceRoom, n, rows, b.at(x.Out[0]), b.at(x.In[0]),
		b.at(x.In[1]))}
}

func bindScaleRate(b *binder, x *gpu.Launch) work {
	return work{newCall("scale_rate", [3]int{1, 1, 1}, lanes, 0, gpu.HyperLen, b.at(x.Out[0]), b.at(x.In[0]), b.at(x.In[1]),
		float32(x.Attrs.Cols), float32(x.Attrs.Eps))}
}
