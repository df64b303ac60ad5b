package cuda

import (
	"cmp"

	"stepflow/gpu"
)

func bindAdam(b *binder, x *gpu.Launch) work {
	a := x.Attrs
	var args []any
	for _, list := range [][]gpu.Operand{x.Out, x.In} {
		for _, o := range list {
			args = append(args, b.at(o))
		}
	}
	c := flatCall("adam", gpu.F32, elems(x.Out[0]), append(args, float32(a.Beta1), float32(a.Beta2), float32(1-a.Beta1),
		float32(1-a.Beta2), float32(a.Eps))...)
	c.Kernel = "adam" // f32 only
	return work{c}
}

func bindRandomMatrix(b *binder, x *gpu.Launch) work {
	a := x.Attrs
	return work{rowCall("random_matrix", a.DType, a.Rows, a.Cols, cmp.Or(a.Lo, a.Cols), b.at(x.Out[0]), b.at(x.In[0]), float32(a.Alpha))}
}

func bindAlignRows(b *binder, x *gpu.Launch) work {
	s, t := x.Out[0].Type.Shape, x.Out[0].Type.DType
	return work{rowCall("align_rows", t, s.Rows(), s.Cols(), b.at(x.Out[0]), b.at(x.In[0]), b.at(x.In[1]), b.at(x.In[2]))}
}

func bindEigh(b *binder, x *gpu.Launch) work {
	n := x.In[0].Type.Shape.Cols()
	threads := min(1024, max(1, (n+1)/2)*lanes) // a warp a pair of rows
	return work{newCall("eigh", [3]int{1, 1, 1}, threads, 0, n, b.at(x.Out[0]), b.at(x.In[0]), b.at(x.Scratch),
		float32(gpu.EighTolerance), gpu.EighSweeps)}
}
