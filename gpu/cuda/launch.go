package cuda

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"stepflow/gpu"
)

// binder turns launches of a program into work for the driver.
type binder struct {
	base Pointer // where the arena begins
	rank int     // of this process
	nccl *nccl   // nil where it is alone
}

// work is the calls, products and transfers of one launch, in order.
type work []any // *Call, *Product or *Transfer

const (
	flatThreads = 256
	flatPacks   = 4      // accesses of a thread to an operand
	gradThreads = 128    // of embedding_grad
	sortPiece   = 2048   // tokens of embedding_grad that a block sorts
	reduceRoom  = 32 * 8 // bytes of what a block's warps leave for each other
	maxBlocks   = 1 << 16
	mostAcross  = 65535 // blocks of a grid in its second and third dimension (CUDA C++ Programming Guide, table 21)
)

// binders has a row a kernel of gpu's table.
var binders = map[string]func(b *binder, x *gpu.Launch) work{
	"zero":             flat("zero", 0),
	"copy":             flat("copy", 1),
	"add":              flat("add", 2),
	"mul":              flat("mul", 2),
	"swiglu":           inRows("swiglu"),
	"swiglu_grad":      inRows("swiglu_grad"),
	"scale":            bindScale,
	"broadcast":        bindBroadcast,
	"slice":            bindSlice,
	"slice_grad":       bindSliceGrad,
	"cast":             bindCast,
	"cast_stochastic":  bindCastStochastic,
	"bias_add":         bindBiasAdd,
	"uniform_noise":    bindUniformNoise,
	"sum":              bindSum("sum"),
	"sum_squares":      bindSum("sum_squares"),
	"sum_rows":         bindColumns("sum_rows", 1),
	"clip":             bindClip,
	"adamw":            bindAdamW,
	"adamw_master":     bindAdamW,
	"adamw_stochastic": bindAdamW,
	"ema":              bindEMA,
	"normalize":        bindNormalize,
	"sgdw":             bindSGDW,
	"matmul":           bindMatmul,
	"matmul_swiglu":    bindMatmulSwiGLU,

	"row_squares":     bindRowSquares,
	"column_squares":  bindColumns("column_squares", 1),
	"scale_rows":      bindScaled("scale_rows"),
	"scale_columns":   bindScaled("scale_columns"),
	"inverse_rms":     bindInverseRMS,
	"channel_factors": bindChannelFactors,
	"ema_squares":     bindEMASquares,
	"row_factors":     bindRowFactors,
	"scale_rate":      bindScaleRate,
	"adam":            bindAdam,
	"random_matrix":   bindRandomMatrix,
	"align_rows":      bindAlignRows,
	"eigh":            bindEigh,

	"all_reduce": bindAllReduce,
	"reduce":     bindReduce,
	"bcast":      bindBcast,

	"scatter_add": bindScatterAdd,
	"gather":      bindGather,

	"embedding":      bindEmbedding,
	"embedding_grad": bindEmbeddingGrad,
	"rmsnorm":        bindRMSNorm,
	"rmsnorm_grad_x": bindRMSNormGradX,
	"rmsnorm_grad_w": bindColumns("rmsnorm_grad_w", 3),
	"rope":           bindRope,
	"attention":      bindAttention,
	"attention_grad": bindAttentionGrad,

	"adamw_narrow":        bindNarrowAdamW,
	"adamw_narrow_master": bindNarrowAdamW,
	"ema_narrow":          bindNarrowEMA,
	"adam_narrow":         bindNarrowAdam,

	"attention_cached": bindAttentionCached,
	"cache_write":      bindCacheWrite,

	"cross_entropy":             bindCrossEntropy,
	"cross_entropy_grad":        bindCrossEntropyGrad,
	"linear_cross_entropy":      bindHead("cross_entropy"),
	"linear_score":              bindHead("score"),
	"linear_cross_entropy_grad": bindLinearCrossEntropyGrad,
}

// bind gives the work of a launch, each piece with all the memory the launch may touch.
func (b *binder) bind(x *gpu.Launch) (work, error) {
	f := binders[x.Kernel]
	if f == nil {
		return nil, fmt.Errorf("the kernel is missing on this device")
	}
	if d := headDim(x); d > widestHead {
		return nil, fmt.Errorf("head_dim %d is more than the %d that attention's tiles hold on CUDA", d, widestHead)
	}
	w := f(b, x)
	if err := w.fits(); err != nil {
		return nil, err
	}
	w.touch(b.spans(x))
	if workspace := x.Workspace(Alignment); workspace.Span() > 0 {
		for _, s := range w {
			if p, ok := s.(*Product); ok {
				p.Workspace = Span{b.at(workspace), workspace.Span()}
			}
		}
	}
	return w, nil
}

// fits returns an error where a call has more blocks than a card launches: attention has a sequence for each in the last
// dimension of the grid, and sums over rows gpu.RowBlock tokens for each in the second.
func (w work) fits() error {
	for _, s := range w {
		if c, ok := s.(*Call); ok && max(c.Grid[1], c.Grid[2]) > mostAcross {
			return fmt.Errorf("%s needs a grid of %d x %d x %d blocks, and a card has at most %d in the second and third "+
				"dimension; set a smaller micro_batch_size", c.Kernel, c.Grid[0], c.Grid[1], c.Grid[2], mostAcross)
		}
	}
	return nil
}

// spans is all the memory that a launch may touch.
func (b *binder) spans(x *gpu.Launch) (spans []Span) {
	for _, ops := range [][]gpu.Operand{x.In, x.Out, {x.Scratch}} {
		for _, o := range ops {
			if n := o.Span(); n > 0 {
				spans = append(spans, Span{b.at(o), n})
			}
		}
	}
	return spans
}

// touch gives each piece the memory that it may touch.
func (w work) touch(spans []Span) {
	for _, s := range w {
		switch s := s.(type) {
		case *Call:
			s.Spans = spans
		case *Product:
			s.Spans = spans
		case *Transfer:
			s.Spans = spans
		}
	}
}

func (b *binder) at(o gpu.Operand) Pointer { return b.base + Pointer(o.Offset) }

func (b *binder) matrix(o gpu.Operand, trans bool) Matrix {
	return Matrix{b.at(o), o.Type.DType, o.RowStride(), trans}
}

func suffix(t gpu.DType) string {
	if t == gpu.BF16 {
		return "_bf16"
	}
	return "_f32"
}

func elems(o gpu.Operand) int64 { return int64(o.Type.Shape.Elems()) }

func blocks(n int64, size int) int { return int((n + int64(size) - 1) / int64(size)) }

// flatCall launches a grid-stride kernel over n elements: a thread has flatPacks accesses of 16 bytes to an operand,
// unless there are maxBlocks blocks.
func flatCall(kernel string, t gpu.DType, n int64, args ...any) *Call {
	per := flatThreads * flatPacks * int(16/t.Size())
	return newCall(kernel+suffix(t), [3]int{max(1, min(blocks(n, per), maxBlocks)), 1, 1}, flatThreads, 0,
		append([]any{n}, args...)...)
}

// rows is where an operand's rows lie: ld elements apart.
type rows struct {
	at Pointer
	ld int
}

func (b *binder) rows(o gpu.Operand) rows { return rows{b.at(o), o.RowStride()} }

// rowsCall launches a kernel over n rows of cols elements of several operands. Where they lie one after the other in
// each of them, they are one long row.
func rowsCall(kernel string, t gpu.DType, n, cols int, operands ...rows) *Call {
	all := int64(n) * int64(cols)
	length := int64(cols)
	if !slices.ContainsFunc(operands, func(r rows) bool { return r.ld != cols }) {
		length = all
		for i := range operands {
			operands[i].ld = 0
		}
	}
	args := []any{length}
	for _, r := range operands {
		args = append(args, r.at, int64(r.ld))
	}
	return flatCall(kernel, t, all, args...)
}

// rowCall launches a kernel with a block a row: as many threads as 16-byte pieces, up to 512.
func rowCall(kernel string, t gpu.DType, rows, cols int, args ...any) *Call {
	threads := min(512, (blocks(int64(cols)*t.Size(), 16)+31)/32*32)
	return newCall(kernel+suffix(t), [3]int{rows, 1, 1}, threads, reduceRoom, append([]any{cols}, args...)...)
}

func flat(kernel string, inputs int) func(*binder, *gpu.Launch) work {
	return func(b *binder, x *gpu.Launch) work {
		var args []any
		for _, o := range x.Out {
			args = append(args, b.at(o))
		}
		for _, o := range x.In[:inputs] {
			args = append(args, b.at(o))
		}
		return work{flatCall(kernel, x.Out[0].Type.DType, elems(x.Out[0]), args...)}
	}
}

// inRows binds a kernel whose operands all have the shape of the first output, in rows that may lie apart.
func inRows(kernel string) func(*binder, *gpu.Launch) work {
	return func(b *binder, x *gpu.Launch) work {
		var operands []rows
		for _, o := range append(slices.Clone(x.Out), x.In...) {
			operands = append(operands, b.rows(o))
		}
		y := x.Out[0].Type
		return work{rowsCall(kernel, y.DType, y.Shape.Rows(), y.Shape.Cols(), operands...)}
	}
}

func bindScale(b *binder, x *gpu.Launch) work {
	return work{flatCall("scale", x.Out[0].Type.DType, elems(x.Out[0]), b.at(x.Out[0]), b.at(x.In[0]),
		float32(x.Attrs.Alpha))}
}

func bindNormalize(b *binder, x *gpu.Launch) work {
	y := x.Out[0]
	return work{flatCall("normalize", y.Type.DType, elems(y), b.at(y), b.at(x.In[0]), b.at(x.In[1]),
		float32(x.Attrs.Eps))}
}

func bindBroadcast(b *binder, x *gpu.Launch) work {
	return work{flatCall("broadcast", x.Out[0].Type.DType, elems(x.Out[0]), b.at(x.Out[0]), b.at(x.In[0]))}
}

func bindCast(b *binder, x *gpu.Launch) work {
	return work{flatCall("cast"+suffix(x.In[0].Type.DType), x.Out[0].Type.DType, elems(x.Out[0]), b.at(x.Out[0]),
		b.at(x.In[0]))}
}

func bindCastStochastic(b *binder, x *gpu.Launch) work {
	c := flatCall("cast_stochastic", x.Out[0].Type.DType, elems(x.Out[0]), b.at(x.Out[0]), b.at(x.In[0]), b.at(x.In[1]))
	c.Kernel = "cast_stochastic" // from f32 to bf16 only
	return work{c}
}

func bindUniformNoise(b *binder, x *gpu.Launch) work {
	cols := x.Out[0].Type.Shape.Cols()
	return work{flatCall("uniform_noise", x.Out[0].Type.DType, elems(x.Out[0]), int64(cols), int64(cmp.Or(x.Attrs.Cols, cols)),
		float32(x.Attrs.Alpha), b.at(x.Out[0]), b.at(x.In[0]), b.at(x.In[1]))}
}

func bindBiasAdd(b *binder, x *gpu.Launch) work {
	return work{flatCall("bias_add", x.Out[0].Type.DType, elems(x.Out[0]), int64(x.Out[0].Type.Shape.Cols()),
		b.at(x.Out[0]), b.at(x.In[0]), b.at(x.In[1]))}
}

// copyOf copies an operand of the same type to another, unless it lies there.
func (b *binder) copyOf(to, from gpu.Operand) work {
	if to.Offset == from.Offset {
		return nil
	}
	s := from.Type.Shape
	return work{rowsCall("copy_rows", to.Type.DType, s.Rows(), s.Cols(), b.rows(to), b.rows(from))}
}

// from is an operand's rows from column c on.
func (r rows) from(c int, t gpu.DType) rows { return rows{r.at + Pointer(int64(c)*t.Size()), r.ld} }

func bindSlice(b *binder, x *gpu.Launch) work {
	from, to := x.In[0], x.Out[0]
	s := to.Type.Shape
	return work{rowsCall("copy_rows", to.Type.DType, s.Rows(), s.Cols(), b.rows(to),
		b.rows(from).from(x.Attrs.Lo, from.Type.DType))}
}

func bindSliceGrad(b *binder, x *gpu.Launch) work {
	from, to := x.In[0], x.Out[0]
	s := from.Type.Shape
	return append(b.accumulator(x, 0, 1), rowsCall("add_rows"+suffix(to.Type.DType), from.Type.DType, s.Rows(),
		s.Cols(), b.rows(to).from(x.Attrs.Lo, to.Type.DType), b.rows(from)))
}

// product binds alpha op(a) op(b) + c, and before it what widens b.
func (b *binder) product(x *gpu.Launch, addend int) (w work) {
	m, n, k, _ := gpu.MatmulDims(x.Attrs, x.In[0].Type, x.In[1].Type)
	p := &Product{M: m, N: n, K: k, Alpha: float32(x.Attrs.Alpha), A: b.matrix(x.In[0], x.Attrs.TransA),
		B: b.matrix(x.In[1], x.Attrs.TransB), D: b.matrix(x.Out[0], false)}
	if len(x.In) > addend {
		p.C = b.matrix(x.In[addend], false)
	}
	if wide := x.Widened(Alignment); wide.Span() > 0 {
		p.B = b.matrix(wide, x.Attrs.TransB)
		w = append(w, b.widen(wide, x.In[1]))
	}
	return append(w, p)
}

func bindMatmul(b *binder, x *gpu.Launch) work { return b.product(x, 2) }

func bindMatmulSwiGLU(b *binder, x *gpu.Launch) work {
	y := x.Out[1].Type
	return append(b.product(x, 3), rowsCall("swiglu", y.DType, y.Shape.Rows(), y.Shape.Cols(), b.rows(x.Out[1]),
		b.rows(x.In[2]), b.rows(x.Out[0])))
}

func bindEmbedding(b *binder, x *gpu.Launch) work {
	return work{flatCall("embedding", x.Out[0].Type.DType, elems(x.Out[0]), int64(x.In[1].Type.Shape.Cols()),
		b.at(x.Out[0]), b.at(x.In[0]), b.at(x.In[1]))}
}

// accumulator brings an optional accumulator to the output that is added to, or zeroes it.
func (b *binder) accumulator(x *gpu.Launch, out, in int) work {
	to := x.Out[out]
	if len(x.In) > in {
		return b.copyOf(to, x.In[in])
	}
	return work{flatCall("zero", to.Type.DType, elems(to), b.at(to))}
}

func bindEmbeddingGrad(b *binder, x *gpu.Launch) work {
	dw, dy := x.Out[0], x.In[1]
	tokens, cols := dy.Type.Shape.Rows(), dy.Type.Shape.Cols()
	pieces, order, borders := x.Runs(Alignment)
	piece := min(sortPiece, 1<<bits.Len(uint(max(tokens, 64)-1)))
	runs, pack := blocks(int64(tokens), gpu.RunTokens), int(16/max(dw.Type.DType.Size(), dy.Type.DType.Size()))
	if cols%pack != 0 {
		pack = 1
	}
	tile := 32 // columns of a block of embedding_borders
	if cols%4 == 0 {
		tile *= 4
	}
	threads := min(gradThreads, (blocks(int64(cols), pack)+31)/32*32)
	return append(b.accumulator(x, 0, 2),
		newCall("embedding_sort", [3]int{blocks(int64(tokens), piece), 1, 1}, piece/2, 8*piece,
			tokens, piece, b.at(pieces), b.at(x.In[0])),
		newCall("embedding_merge", [3]int{blocks(int64(tokens), flatThreads), 1, 1}, flatThreads, 0,
			tokens, piece, b.at(order), b.at(pieces)),
		newCall("embedding_runs"+suffix(dw.Type.DType)+suffix(dy.Type.DType),
			[3]int{runs, blocks(int64(cols), threads*pack), 1}, threads, 0,
			tokens, gpu.RunTokens, int64(cols), b.at(dw), b.at(order), b.at(dy), b.at(borders)),
		newCall("embedding_borders"+suffix(dw.Type.DType), [3]int{runs, blocks(int64(cols), tile), 1}, 8*32, 8*tile*4,
			tokens, gpu.RunTokens, int64(cols), b.at(dw), b.at(order), b.at(borders)))
}

// normCall launches a kernel of rows that are read once: a thread holds heldPacks pieces of 16 bytes, a warp a short row,
// a block a long one.
func normCall(kernel string, t gpu.DType, s gpu.Shape, a gpu.Attrs, args ...any) *Call {
	const heldPacks, most, blockWarps = 4, 256, 4 // most threads: the bound of kernels/norm.cu
	packs := blocks(int64(s.Cols())*t.Size(), 16)
	group := min(most, blocks(int64(packs), heldPacks*lanes)*lanes)
	threads := group
	if group == lanes {
		threads = blockWarps * lanes
	}
	return newCall(kernel+suffix(t), [3]int{blocks(int64(s.Rows()), threads/group), 1, 1}, threads, reduceRoom,
		append([]any{s.Rows(), s.Cols(), a.Counted(s.Cols()), group}, args...)...)
}

func bindRMSNorm(b *binder, x *gpu.Launch) work {
	return work{normCall("rmsnorm", x.In[0].Type.DType, x.In[0].Type.Shape, x.Attrs, b.at(x.Out[0]), b.at(x.Out[1]),
		b.at(x.In[0]), b.at(x.In[1]), float32(x.Attrs.Eps))}
}

func bindRMSNormGradX(b *binder, x *gpu.Launch) work {
	var more Pointer
	if len(x.In) > 4 {
		more = b.at(x.In[4])
	}
	return work{normCall("rmsnorm_grad_x", x.In[0].Type.DType, x.In[0].Type.Shape, x.Attrs, b.at(x.Out[0]), b.at(x.In[0]),
		b.at(x.In[1]), b.at(x.In[2]), b.at(x.In[3]), more)}
}

func bindRope(b *binder, x *gpu.Launch) work {
	s := x.In[0].Type.Shape
	half := s[2] / x.Attrs.Heads / 2
	sign := float32(1)
	if x.Attrs.Inverse {
		sign = -1
	}
	y, from := b.rows(x.Out[0]), b.rows(x.In[0])
	return work{flatCall("rope", x.In[0].Type.DType, elems(x.In[0])/2, s[1], x.Attrs.Heads, half, y.at, int64(y.ld),
		from.at, int64(from.ld), b.at(x.In[1]), b.at(x.In[2]), sign, b.optional(x, 3), x.In[1].Type.Shape[0])}
}
