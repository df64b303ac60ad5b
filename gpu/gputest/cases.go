package gputest

import "stepflow/gpu"

func f32(s ...int) gpu.Type  { return gpu.Type{Shape: s, DType: gpu.F32} }
func i32(s ...int) gpu.Type  { return gpu.Type{Shape: s, DType: gpu.I32} }
func bf16(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: gpu.BF16} }

// ops are the operands of a launch.
func ops(in ...gpu.Type) []gpu.Type { return in }

// Cases lists launches of every kernel of the table, in f32 and, where a kernel takes them, with bf16
// operands.
func Cases() (list []Case) {
	for _, c := range cases() {
		list = append(list, c)
		if half, ok := c.bf16(); ok {
			list = append(list, half)
		}
	}
	return append(append(list, mixed()...), widened()...)
}

// floats32 lists inputs that are f32 whatever the precision: tables, statistics, scalars.
var floats32 = map[string][]int{
	"broadcast": {0}, "normalize": {1}, "rmsnorm_grad_x": {3}, "rmsnorm_grad_w": {2}, "rope": {1, 2}, "uniform_noise": {1},
	"attention_grad": {5}, "scale_rows": {1}, "scale_columns": {1}, "cross_entropy_grad": {0, 3}, "linear_cross_entropy_grad": {0},
}

// bf16 is the case with bf16 operands; false for kernels that take none, or that name them themselves.
func (c Case) bf16() (Case, bool) {
	switch c.Kernel {
	case "adamw", "adamw_master", "adamw_stochastic", "adamw_narrow", "adamw_narrow_master", "clip", "ema", "ema_narrow", "sgdw",
		"inverse_rms", "channel_factors", "ema_squares", "row_factors", "scale_rate", "adam", "adam_narrow", "random_matrix",
		"align_rows", "eigh":
		return c, false
	}
	in := append([]gpu.Type(nil), c.In...)
	for i, t := range in {
		if t.DType == gpu.F32 {
			in[i].DType = gpu.BF16
		}
	}
	for _, i := range floats32[c.Kernel] {
		in[i].DType = gpu.F32
	}
	c.In = in
	switch c.Kernel {
	// What softmax gives is rounded before the products that read it.
	case "attention", "attention_grad", "attention_cached", "linear_cross_entropy_grad":
		c.HalfTol = 1.0 / 128
	}
	if c.Kernel == "cast" {
		c.Attrs.DType = gpu.F32
	}
	return c, true
}

func cases() (list []Case) {
	for _, n := range [][]int{{1}, {7}, {3, 5}, {2, 3, 65}, {3, 16411}} {
		list = append(list, elementwise(n)...)
		list = append(list, updates(n)...)
	}
	for _, n := range [][2]int{{1, 1}, {3, 7}, {65, 33}, {130, 64}, {200, 257}} {
		list = append(list, rows(n[0], n[1])...)
		list = append(list, losses(n[0], n[1])...)
	}
	for _, n := range [][2]int{{1, 9}, {3, 7}, {40, 32}, {5, 1100}} {
		list = append(list, columns(n[0], n[1])...)
	}
	scalars := ops(f32(1), f32(1), f32(1))
	list = append(list,
		Case{Kernel: "clip", Attrs: gpu.Attrs{MaxNorm: 1}, In: scalars, Positive: []int{0, 1, 2}, Tol: 1e-6},
		Case{Kernel: "clip", In: ops(f32(1)), Positive: []int{0}, Tol: 1e-6},
		Case{Kernel: "clip", Attrs: gpu.Attrs{MaxNorm: 1}, In: ops(f32(219), f32(1), f32(1003)),
			Positive: []int{0, 1, 2}, Tol: 1e-6})
	for _, s := range [][5]int{{1, 1, 1, 1, 2}, {2, 5, 2, 1, 4}, {2, 67, 4, 2, 6}, {1, 130, 3, 3, 16}} {
		list = append(list, attention(s[0], s[1], s[2], s[3], s[4])...)
	}
	list = append(list, caches()...)
	list = append(list, narrowMoments()...)
	list = append(list, channels()...)
	list = append(list, sparse()...)
	for _, s := range [][3]int{
		{1, 1, 1}, {3, 5, 7}, {14, 32, 4}, {15, 33, 385}, {64, 70, 129}, {1, 300, 17},
		{300, 1, 5}, {9, 40, 2100}, {200, 8, 33}, {8, 200, 50}, {3, 1100, 20}, {61, 1030, 9},
	} {
		list = append(list, products(s[0], s[1], s[2])...)
	}
	list = append(list, narrow()...)
	deep := ops(f32(2, 3, 8), f32(5, 8))
	return append(list, Case{Kernel: "matmul", Attrs: gpu.Attrs{Alpha: 1, TransB: true}, In: deep, Tol: 2e-6})
}

// elementwise lists kernels of tensors of a shape.
func elementwise(n []int) (list []Case) {
	x, one := f32(n...), f32(1)
	list = []Case{{Kernel: "zero", In: ops(x)}, {Kernel: "copy", In: ops(x)}}
	if cols := x.Shape.Cols(); cols > 2 {
		list = append(list,
			Case{Kernel: "slice", Attrs: gpu.Attrs{Lo: 1, Cols: cols - 2}, In: ops(x)},
			Case{Kernel: "slice_grad", Attrs: gpu.Attrs{Lo: 1, Cols: cols + 2}, In: ops(x)})
	}
	return append(list, []Case{
		{Kernel: "cast", Attrs: gpu.Attrs{DType: gpu.F32}, In: ops(x)},
		{Kernel: "cast", Attrs: gpu.Attrs{DType: gpu.BF16}, In: ops(x)},
		{Kernel: "add", In: ops(x, x), Tol: 1e-7},
		{Kernel: "mul", In: ops(x, x), Tol: 1e-7},
		{Kernel: "scale", Attrs: gpu.Attrs{Alpha: -0.3}, In: ops(x), Tol: 2e-7},
		{Kernel: "normalize", Attrs: gpu.Attrs{Eps: 1e-7}, In: ops(x, one), Positive: []int{1}, Tol: 3e-7},
		{Kernel: "normalize", Attrs: gpu.Attrs{Eps: 2}, In: ops(x, one), Positive: []int{1}, Tol: 3e-7},
		{Kernel: "broadcast", In: ops(one, x)},
		{Kernel: "sum", In: ops(x), Tol: 1e-4},
		{Kernel: "sum_squares", In: ops(x), Tol: 1e-6},
		{Kernel: "swiglu", In: ops(x, x), Tol: 1e-6},
		{Kernel: "swiglu_grad", In: ops(x, x, x), Tol: 1e-6},
	}...)
}

// columns lists kernels of operands [rows, cols] that are columns of wider matrices: one whose rows begin at multiples
// of 16 bytes where cols does, and others.
func columns(rows, cols int) (list []Case) {
	x := f32(rows, cols)
	for _, more := range []int{8, 3} {
		a, b := cols+more, 2*cols+more
		list = append(list,
			Case{Kernel: "swiglu", In: ops(x, x), Stride: []int{a, a}, OutStride: a, Tol: 1e-6},
			Case{Kernel: "swiglu", In: ops(x, x), Stride: []int{b, a}, Tol: 1e-6},
			Case{Kernel: "swiglu_grad", In: ops(x, x, x), Stride: []int{0, a, a}, OutStride: a, Tol: 1e-6},
			Case{Kernel: "swiglu_grad", In: ops(x, x, x), Stride: []int{a, b, 0}, OutStride: b, Tol: 1e-6})
	}
	return list
}

// adam are the attributes that AdamW is tried with.
var adam = gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}

// updates lists the kernels that update weights of a shape.
func updates(n []int) (list []Case) {
	x, half, one, hyper := f32(n...), bf16(n...), f32(1), f32(gpu.HyperLen)
	list = []Case{
		{Kernel: "ema", Attrs: gpu.Attrs{Beta1: 0.95}, In: ops(x, x, one), Tol: 3e-7},
		{Kernel: "sgdw", Attrs: gpu.Attrs{Alpha: 1.7, WeightDecay: 0.1},
			In: ops(x, x, one, hyper), Positive: []int{3}, Tol: 1e-6},
		{Kernel: "sgdw", Attrs: gpu.Attrs{Alpha: 1}, In: ops(x, x, one, one), Positive: []int{3}, Tol: 1e-6},
		{Kernel: "adamw", Attrs: adam, In: ops(x, x, x, x, one, hyper), Positive: []int{3, 4, 5}, Tol: 2e-6},
		{Kernel: "adamw_stochastic", Attrs: adam,
			In: ops(half, half, x, x, one, hyper), Positive: []int{3, 4, 5}, Tol: 2e-6},
	}
	for _, w := range []gpu.Type{x, half} {
		list = append(list, Case{Kernel: "adamw_master", Attrs: adam,
			In: ops(w, w, x, x, x, one, hyper), Positive: []int{4, 5, 6}, Tol: 2e-6})
	}
	return list
}

// rows lists kernels of matrices whose rows or columns are added up, cut or looked up.
func rows(n, cols int) (list []Case) {
	x, w, r := f32(n, cols), f32(cols), f32(n)
	list = []Case{
		{Kernel: "bias_add", In: ops(x, w), Tol: 1e-7},
		{Kernel: "uniform_noise", Attrs: gpu.Attrs{Alpha: 0.5}, In: ops(x, f32(2)), Positive: []int{1}, Large: []int{1}, Tol: 1e-7},
		{Kernel: "uniform_noise", Attrs: gpu.Attrs{Alpha: 2, Cols: (cols + 1) / 2}, In: ops(x, f32(2)), Positive: []int{1},
			Large: []int{1}, Tol: 1e-7},
		{Kernel: "sum_rows", In: ops(x), Tol: 2e-6},
		{Kernel: "sum_rows", In: ops(x, w), Tol: 2e-6},
	}
	for _, lo := range []int{0, cols / 3, cols - 1} {
		part := max(1, cols/3)
		if part > cols-lo {
			part = 1
		}
		list = append(list,
			Case{Kernel: "slice", Attrs: gpu.Attrs{Lo: lo, Cols: part}, In: ops(x)},
			Case{Kernel: "slice_grad", Attrs: gpu.Attrs{Lo: lo, Cols: cols}, In: ops(f32(n, part))},
			Case{Kernel: "slice_grad", Attrs: gpu.Attrs{Lo: lo}, In: ops(f32(n, part), x), Tol: 1e-7})
	}
	const words = 9
	counted := max(1, cols-5)
	ids, dy, table, known := i32(1, n), f32(1, n, cols), f32(words, cols), [2]int{0, words}
	return append(list, []Case{
		{Kernel: "rmsnorm", Attrs: gpu.Attrs{Eps: 1e-5}, In: ops(x, w), Tol: 2e-6},
		{Kernel: "rmsnorm", Attrs: gpu.Attrs{Eps: 1e-5, Cols: counted}, In: ops(x, w), Tol: 2e-6},
		{Kernel: "rmsnorm_grad_x", In: ops(x, x, w, r), Tol: 3e-6},
		{Kernel: "rmsnorm_grad_x", Attrs: gpu.Attrs{Cols: counted}, In: ops(x, x, w, r), Tol: 3e-6},
		{Kernel: "rmsnorm_grad_x", In: ops(x, x, w, r, x), Tol: 3e-6},
		{Kernel: "rmsnorm_grad_w", In: ops(x, x, r), Tol: 3e-6},
		{Kernel: "rmsnorm_grad_w", In: ops(x, x, r, w), Tol: 3e-6},
		{Kernel: "embedding", In: ops(ids, table), Ints: known},
		{Kernel: "embedding_grad", Attrs: gpu.Attrs{Rows: words}, In: ops(ids, dy), Ints: known, Tol: 1e-6},
		{Kernel: "embedding_grad", In: ops(ids, dy, table), Ints: known, Tol: 1e-6},
	}...)
}

// losses lists losses of n rows: of logits of so many columns, and of rows of so many columns by a weight.
func losses(n, cols int) (list []Case) {
	x, r, targets := f32(n, cols), f32(n), i32(n)
	for _, a := range []gpu.Attrs{{}, {Cols: max(1, cols-5)}} {
		ids := [2]int{-1, a.Counted(cols)}
		list = append(list,
			Case{Kernel: "cross_entropy", Attrs: a, In: ops(x, targets), Ints: ids, Tol: 1e-6},
			Case{Kernel: "cross_entropy_grad", Attrs: a, In: ops(r, x, targets, r), Ints: ids, Tol: 3e-6})
	}
	const words = 37
	hidden, table, dnll := f32(1, n, cols), f32(words, cols), f32(1, n)
	targets = i32(1, n)
	for _, a := range []gpu.Attrs{{Chunk: 1000}, {Chunk: 64}, {Chunk: 64, Cols: words - 5}} {
		ids, frozen := [2]int{-1, a.Counted(words)}, a
		frozen.Frozen = true
		const loss, grad = "linear_cross_entropy", "linear_cross_entropy_grad"
		list = append(list,
			Case{Kernel: "linear_score", Attrs: a, In: ops(hidden, table, targets), Ints: ids, Tol: 3e-6},
			Case{Kernel: loss, Attrs: a, In: ops(hidden, table, targets), Ints: ids, Tol: 3e-6},
			Case{Kernel: grad, Attrs: a, In: ops(dnll, hidden, table, targets), Ints: ids, Tol: 2e-5},
			Case{Kernel: grad, Attrs: a, In: ops(dnll, hidden, table, targets, table), Ints: ids, Tol: 2e-5},
			Case{Kernel: grad, Attrs: frozen, In: ops(dnll, hidden, table, targets), Ints: ids, Tol: 2e-5})
	}
	return list
}

// attention lists attention of heads of d channels.
func attention(batch, seq, heads, kvHeads, d int) (list []Case) {
	a := gpu.Attrs{Heads: heads, KVHeads: kvHeads}
	q, kv, table := f32(batch, seq, heads*d), f32(batch, seq, kvHeads*d), f32(seq, d/2)
	lse, seg := f32(batch, heads, seq), i32(batch, seq)
	for _, inverse := range []bool{false, true} {
		rope := gpu.Attrs{Heads: heads, Inverse: inverse}
		list = append(list,
			Case{Kernel: "rope", Attrs: rope, In: ops(q, table, table), Tol: 1e-6},
			Case{Kernel: "rope", Attrs: rope, In: ops(q, table, table), Stride: []int{3 * heads * d, 0, 0},
				OutStride: 3 * heads * d, Tol: 1e-6})
		for _, rows := range []int{1, 2*seq + 3} { // positions beyond both ends are those of the ends
			table := f32(rows, d/2)
			list = append(list, Case{Kernel: "rope", Attrs: rope, In: ops(q, table, table, i32(batch, seq)),
				Ints: [2]int{-2, rows + 2}, Tol: 1e-6})
		}
	}
	w := (heads + 2*kvHeads) * d // of a row of q, k and v together
	return append(list, []Case{
		{Kernel: "attention", Attrs: a, In: ops(q, kv, kv), Stride: []int{w, w, w}, Tol: 3e-6},
		{Kernel: "attention", Attrs: a, In: ops(q, kv, kv, seg), Stride: []int{w + 1, 0, w, 0}, OutStride: w,
			Segments: true, Tol: 3e-6},
		{Kernel: "attention_grad", Attrs: a, In: ops(q, q, kv, kv, q, lse), Stride: []int{0, w, w, w, 0, 0},
			OutStride: w, Positive: []int{5}, Tol: 3e-6},
		{Kernel: "attention_grad", Attrs: a, In: ops(q, q, kv, kv, q, lse, seg), Stride: []int{w, 0, w + 3, w, w, 0, 0},
			Positive: []int{5}, Segments: true, Tol: 3e-6},
		{Kernel: "attention", Attrs: a, In: ops(q, kv, kv), Tol: 3e-6},
		{Kernel: "attention", Attrs: a, In: ops(q, kv, kv, seg), Segments: true, Tol: 3e-6},
		{Kernel: "attention_grad", Attrs: a, In: ops(q, q, kv, kv, q, lse), Positive: []int{5}, Tol: 3e-6},
		{Kernel: "attention_grad", Attrs: a, In: ops(q, q, kv, kv, q, lse, seg), Positive: []int{5},
			Segments: true, Tol: 3e-6},
	}...)
}

// transposed calls f for both operands of a product [m,k] by [k,n] as they are and transposed.
func transposed(m, n, k int, of func(s ...int) gpu.Type, f func(a gpu.Attrs, x, y gpu.Type)) {
	for _, tr := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
		x, y := of(m, k), of(k, n)
		if tr[0] {
			x = of(k, m)
		}
		if tr[1] {
			y = of(n, k)
		}
		f(gpu.Attrs{TransA: tr[0], TransB: tr[1]}, x, y)
	}
}

// products lists products of matrices, alone and with what is fused into them.
func products(m, n, k int) (list []Case) {
	transposed(m, n, k, f32, func(a gpu.Attrs, x, y gpu.Type) {
		c := f32(m, n)
		half := a
		a.Alpha, half.Alpha = 1, 0.5
		list = append(list,
			Case{Kernel: "matmul", Attrs: a, In: ops(x, y), Tol: 2e-6},
			Case{Kernel: "matmul_swiglu", Attrs: a, In: ops(x, y, c), Tol: 3e-6},
			Case{Kernel: "matmul_swiglu", Attrs: half, In: ops(x, y, c, c), Tol: 3e-6},
			Case{Kernel: "matmul", Attrs: half, In: ops(x, y, c), Tol: 2e-6},
			Case{Kernel: "matmul", Attrs: half, In: ops(x, y, c), Tol: 2e-6,
				Stride: []int{x.Shape[1] + 3, y.Shape[1] + 1, n + 5}, OutStride: n + 5})
	})
	return list
}

// gradients are tensors of both types and many sizes: of single elements, of what is no whole number of blocks or of
// 16-byte pieces, and of more than one block; and more of them than a launch of a card has places for.
func gradients() (list []gpu.Type) {
	for i := range 230 {
		t := f32(1 + i%3*7)
		switch i % 20 {
		case 3:
			t = f32(16384)
		case 7:
			t = f32(3, 16411)
		case 11:
			t = f32(2, 3, 65)
		}
		if i%2 == 1 {
			t.DType = gpu.BF16
		}
		list = append(list, t)
	}
	return list
}

// mixed lists launches whose operands are of both types: sums of many parts in f32 beside bf16.
func mixed() (list []Case) {
	one, hyper := f32(1), f32(gpu.HyperLen)
	list = []Case{{Kernel: "sum_squares", In: gradients(), Tol: 1e-6}, {Kernel: "sum_squares", In: ops(bf16(5), f32(7)), Tol: 1e-6}}
	for _, n := range [][]int{{1}, {7}, {2, 3, 65}, {3, 16411}} {
		x, w := f32(n...), bf16(n...)
		wider := f32(x.Shape.Rows(), x.Shape.Cols()+5)
		list = append(list, []Case{
			{Kernel: "adamw", Attrs: adam, In: ops(w, x, x, x, one, hyper), Positive: []int{3, 4, 5}, Tol: 2e-6},
			{Kernel: "adamw_stochastic", Attrs: adam,
				In: ops(w, x, x, x, one, hyper), Positive: []int{3, 4, 5}, Tol: 2e-6},
			{Kernel: "adamw_master", Attrs: adam,
				In: ops(w, x, x, x, x, one, hyper), Positive: []int{4, 5, 6}, Tol: 2e-6},
			{Kernel: "cast_stochastic", In: ops(x, one), Positive: []int{1}},
			{Kernel: "ema", Attrs: gpu.Attrs{Beta1: 0.95}, In: ops(x, w, one), Tol: 3e-7},
			{Kernel: "slice_grad", Attrs: gpu.Attrs{Lo: 2}, In: ops(w, wider), Tol: 1e-7},
		}...)
	}
	list = append(list, Case{Kernel: "gather", In: ops(bf16(3, 7), i32(4), f32(4)), Values: map[int][]int{1: {0, 6, 7, 20}}, Tol: 1e-7})
	for _, n := range [][2]int{{1, 1}, {65, 33}, {200, 257}} {
		ids, dnll, dy := i32(1, n[0]), f32(1, n[0]), bf16(1, n[0], n[1])
		list = append(list, Case{Kernel: "sum_rows", In: ops(dy, f32(n[1])), Tol: 2e-6},
			Case{Kernel: "rmsnorm_grad_w", In: ops(dy, dy, f32(n[0]), f32(n[1])), Tol: 3e-6})
		list = append(list, Case{Kernel: "embedding_grad", In: ops(ids, dy, f32(9, n[1])), Ints: [2]int{0, 9},
			Tol: 1e-6})
		for _, chunk := range []int{1000, 64} { // what softmax gives is rounded before the product
			list = append(list, Case{Kernel: "linear_cross_entropy_grad", Attrs: gpu.Attrs{Chunk: chunk},
				In: ops(dnll, dy, bf16(37, n[1]), ids, f32(37, n[1])), Ints: [2]int{-1, 37}, Tol: 1.0 / 128})
		}
	}
	for _, s := range [][3]int{
		{1, 1, 1}, {15, 33, 385}, {64, 70, 129}, {9, 40, 2100}, {1, 300, 17}, {300, 1, 5}, {3, 1100, 20},
	} {
		transposed(s[0], s[1], s[2], bf16, func(a gpu.Attrs, x, y gpu.Type) {
			a.Alpha = 0.5
			list = append(list, Case{Kernel: "matmul", Attrs: a, In: ops(x, y, f32(s[0], s[1])), Tol: 2e-6})
		})
	}
	return list
}
