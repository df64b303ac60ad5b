package cuda

import "stepflow/gpu"

// placesCall launches a kernel with a thread for each of the elements of a matrix that x names.
func placesCall(kernel string, x *gpu.Launch, args ...any) *Call {
	n, ld := elems(x.In[1]), x.In[0].Type.Shape.Cols()
	return newCall(kernel, [3]int{max(1, min(blocks(n, flatThreads), maxBlocks)), 1, 1}, flatThreads, 0,
		append([]any{n, x.Attrs.Counted(ld), int64(ld)}, args...)...)
}

func bindScatterAdd(b *binder, x *gpu.Launch) work {
	y := x.Out[0]
	return append(b.copyOf(y, x.In[0]), placesCall("scatter_add"+suffix(y.Type.DType), x, b.at(y), b.at(x.In[1]), b.at(x.In[2])))
}

func bindGather(b *binder, x *gpu.Launch) work {
	y := x.Out[0]
	kernel := "gather" + suffix(y.Type.DType) + suffix(x.In[0].Type.DType)
	return work{placesCall(kernel, x, b.at(y), b.at(x.In[0]), b.at(x.In[1]), b.optional(x, 2))}
}
