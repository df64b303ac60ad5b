package gputest

import "stepflow/gpu"

func f32(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: gpu.F32} }
func i32(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: gpu.I32} }

// Cases lists launches of every kernel of the table, in f32 and, where a kernel takes them, with bf16
// operands.
func Cases() (list []Case) {
	for _, c := range cases() {
		list = append(list, c)
		if half, ok := c.bf16(); ok {
			list = append(list, half)
		}
	}
	return append(list, mixed()...)
}

// mixed lists launches whose operands are of both types: sums of many parts in f32 beside bf16.
func mixed() (list []Case) {
	add := func(c Case) { list = append(list, c) }
	half := func(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: gpu.BF16} }
	for _, n := range [][]int{{1}, {7}, {2, 3, 65}, {3, 16411}} {
		x, w := f32(n...), half(n...)
		a := gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}
		add(Case{Kernel: "adamw", Attrs: a, In: []gpu.Type{w, x, x, x, f32(1), f32(gpu.HyperLen)}, Positive: []int{3, 4, 5}, Tol: 2e-6})
		add(Case{Kernel: "adamw_stochastic", Attrs: a, In: []gpu.Type{w, x, x, x, f32(1), f32(gpu.HyperLen)}, Positive: []int{3, 4, 5}, Tol: 2e-6})
		add(Case{Kernel: "adamw_master", Attrs: a, In: []gpu.Type{w, x, x, x, x, f32(1), f32(gpu.HyperLen)}, Positive: []int{4, 5, 6}, Tol: 2e-6})
		add(Case{Kernel: "cast_stochastic", In: []gpu.Type{x, f32(1)}, Positive: []int{1}})
		add(Case{Kernel: "ema", Attrs: gpu.Attrs{Beta1: 0.95}, In: []gpu.Type{x, w, f32(1)}, Tol: 3e-7})
		add(Case{Kernel: "slice_grad", Attrs: gpu.Attrs{Lo: 2}, In: []gpu.Type{w, f32(x.Shape.Rows(), x.Shape.Cols()+5)}, Tol: 1e-7})
	}
	for _, n := range [][2]int{{1, 1}, {65, 33}, {200, 257}} {
		ids, dy := i32(1, n[0]), half(1, n[0], n[1])
		add(Case{Kernel: "embedding_grad", In: []gpu.Type{ids, dy, f32(9, n[1])}, Ints: [2]int{0, 9}, Tol: 1e-6})
		for _, chunk := range []int{1000, 64} {
			add(Case{Kernel: "linear_cross_entropy_grad", Attrs: gpu.Attrs{Chunk: chunk}, In: []gpu.Type{f32(1, n[0]), dy, half(37, n[1]), i32(1, n[0]), f32(37, n[1])},
				Ints: [2]int{-1, 37}, Tol: 1.0 / 128}) // what softmax gives is rounded before the product
		}
	}
	for _, s := range [][3]int{{1, 1, 1}, {15, 33, 385}, {64, 70, 129}, {9, 40, 2100}, {1, 300, 17}, {300, 1, 5}, {3, 1100, 20}} {
		m, n, k := s[0], s[1], s[2]
		for _, tr := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
			x, y := half(m, k), half(k, n)
			if tr[0] {
				x = half(k, m)
			}
			if tr[1] {
				y = half(n, k)
			}
			add(Case{Kernel: "matmul", Attrs: gpu.Attrs{TransA: tr[0], TransB: tr[1], Alpha: 0.5}, In: []gpu.Type{x, y, f32(m, n)}, Tol: 2e-6})
		}
	}
	return list
}

// floats32 lists inputs that are f32 whatever the precision: tables, statistics, scalars.
var floats32 = map[string][]int{"broadcast": {0}, "normalize": {1}, "rmsnorm_grad_x": {3}, "rmsnorm_grad_w": {2}, "rope": {1, 2}, "attention_grad": {5},
	"cross_entropy_grad": {0, 3}, "linear_cross_entropy_grad": {0}}

// bf16 is the case with bf16 operands; false for kernels that take none, or that name them themselves.
func (c Case) bf16() (Case, bool) {
	switch c.Kernel {
	case "adamw", "adamw_master", "adamw_stochastic", "clip", "ema", "sgdw":
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
	case "attention", "attention_grad", "linear_cross_entropy_grad": // what softmax gives is rounded before the products that read it
		c.HalfTol = 1.0 / 128
	}
	if c.Kernel == "cast" {
		c.Attrs.DType = gpu.F32
	}
	return c, true
}

func cases() (list []Case) {
	add := func(c Case) { list = append(list, c) }
	for _, n := range [][]int{{1}, {7}, {3, 5}, {2, 3, 65}, {3, 16411}} {
		x := f32(n...)
		for _, k := range []string{"zero", "copy"} {
			add(Case{Kernel: k, In: []gpu.Type{x}})
		}
		if cols := x.Shape.Cols(); cols > 2 {
			add(Case{Kernel: "slice", Attrs: gpu.Attrs{Lo: 1, Cols: cols - 2}, In: []gpu.Type{x}})
			add(Case{Kernel: "slice_grad", Attrs: gpu.Attrs{Lo: 1, Cols: cols + 2}, In: []gpu.Type{x}})
		}
		add(Case{Kernel: "cast", Attrs: gpu.Attrs{DType: gpu.F32}, In: []gpu.Type{x}})
		add(Case{Kernel: "cast", Attrs: gpu.Attrs{DType: gpu.BF16}, In: []gpu.Type{x}})
		add(Case{Kernel: "add", In: []gpu.Type{x, x}, Tol: 1e-7})
		add(Case{Kernel: "mul", In: []gpu.Type{x, x}, Tol: 1e-7})
		add(Case{Kernel: "scale", Attrs: gpu.Attrs{Alpha: -0.3}, In: []gpu.Type{x}, Tol: 2e-7})
		add(Case{Kernel: "normalize", Attrs: gpu.Attrs{Eps: 1e-7}, In: []gpu.Type{x, f32(1)}, Positive: []int{1}, Tol: 3e-7})
		add(Case{Kernel: "normalize", Attrs: gpu.Attrs{Eps: 2}, In: []gpu.Type{x, f32(1)}, Positive: []int{1}, Tol: 3e-7})
		add(Case{Kernel: "ema", Attrs: gpu.Attrs{Beta1: 0.95}, In: []gpu.Type{x, x, f32(1)}, Tol: 3e-7})
		add(Case{Kernel: "sgdw", Attrs: gpu.Attrs{Alpha: 1.7, WeightDecay: 0.1},
			In: []gpu.Type{x, x, f32(1), f32(gpu.HyperLen)}, Positive: []int{3}, Tol: 1e-6})
		add(Case{Kernel: "broadcast", In: []gpu.Type{f32(1), x}})
		add(Case{Kernel: "sum", In: []gpu.Type{x}, Tol: 1e-4})
		add(Case{Kernel: "sum_squares", In: []gpu.Type{x}, Tol: 1e-6})
		add(Case{Kernel: "swiglu", In: []gpu.Type{x, x}, Tol: 1e-6})
		add(Case{Kernel: "swiglu_grad", In: []gpu.Type{x, x, x}, Tol: 1e-6})
		add(Case{Kernel: "adamw", Attrs: gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1},
			In: []gpu.Type{x, x, x, x, f32(1), f32(gpu.HyperLen)}, Positive: []int{3, 4, 5}, Tol: 2e-6})
		half := gpu.Type{Shape: n, DType: gpu.BF16}
		add(Case{Kernel: "adamw_stochastic", Attrs: gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1},
			In: []gpu.Type{half, half, x, x, f32(1), f32(gpu.HyperLen)}, Positive: []int{3, 4, 5}, Tol: 2e-6})
		for _, w := range []gpu.Type{x, half} {
			add(Case{Kernel: "adamw_master", Attrs: gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1},
				In: []gpu.Type{w, w, x, x, x, f32(1), f32(gpu.HyperLen)}, Positive: []int{4, 5, 6}, Tol: 2e-6})
		}
	}
	for _, n := range [][2]int{{1, 1}, {3, 7}, {65, 33}, {130, 64}, {200, 257}} {
		x, w, r := f32(n[0], n[1]), f32(n[1]), f32(n[0])
		add(Case{Kernel: "bias_add", In: []gpu.Type{x, w}, Tol: 1e-7})
		add(Case{Kernel: "sum_rows", In: []gpu.Type{x}, Tol: 2e-6})
		for _, lo := range []int{0, n[1] / 3, n[1] - 1} {
			cols := max(1, n[1]/3)
			if cols > n[1]-lo {
				cols = 1
			}
			add(Case{Kernel: "slice", Attrs: gpu.Attrs{Lo: lo, Cols: cols}, In: []gpu.Type{x}})
			add(Case{Kernel: "slice_grad", Attrs: gpu.Attrs{Lo: lo, Cols: n[1]}, In: []gpu.Type{f32(n[0], cols)}})
			add(Case{Kernel: "slice_grad", Attrs: gpu.Attrs{Lo: lo}, In: []gpu.Type{f32(n[0], cols), x}, Tol: 1e-7})
		}
		add(Case{Kernel: "rmsnorm", Attrs: gpu.Attrs{Eps: 1e-5}, In: []gpu.Type{x, w}, Tol: 2e-6})
		add(Case{Kernel: "rmsnorm_grad_x", In: []gpu.Type{x, x, w, r}, Tol: 3e-6})
		add(Case{Kernel: "rmsnorm_grad_w", In: []gpu.Type{x, x, r}, Tol: 3e-6})
		add(Case{Kernel: "cross_entropy", In: []gpu.Type{x, i32(n[0])}, Ints: [2]int{-1, n[1]}, Tol: 1e-6})
		add(Case{Kernel: "cross_entropy_grad", In: []gpu.Type{r, x, i32(n[0]), r}, Ints: [2]int{-1, n[1]}, Tol: 3e-6})
		for _, chunk := range []int{1000, 64} {
			a, hidden, table := gpu.Attrs{Chunk: chunk}, f32(1, n[0], n[1]), f32(37, n[1])
			targets := i32(1, n[0])
			dnll := f32(1, n[0])
			add(Case{Kernel: "linear_cross_entropy", Attrs: a, In: []gpu.Type{hidden, table, targets}, Ints: [2]int{-1, 37}, Tol: 3e-6})
			add(Case{Kernel: "linear_cross_entropy_grad", Attrs: a, In: []gpu.Type{dnll, hidden, table, targets}, Ints: [2]int{-1, 37}, Tol: 2e-5})
			add(Case{Kernel: "linear_cross_entropy_grad", Attrs: a, In: []gpu.Type{dnll, hidden, table, targets, table}, Ints: [2]int{-1, 37}, Tol: 2e-5})
			a.Frozen = true
			add(Case{Kernel: "linear_cross_entropy_grad", Attrs: a, In: []gpu.Type{dnll, hidden, table, targets}, Ints: [2]int{-1, 37}, Tol: 2e-5})
		}
		ids := i32(1, n[0])
		add(Case{Kernel: "embedding", In: []gpu.Type{ids, f32(9, n[1])}, Ints: [2]int{0, 9}})
		dy := f32(1, n[0], n[1])
		add(Case{Kernel: "embedding_grad", Attrs: gpu.Attrs{Rows: 9}, In: []gpu.Type{ids, dy}, Ints: [2]int{0, 9}, Tol: 1e-6})
		add(Case{Kernel: "embedding_grad", In: []gpu.Type{ids, dy, f32(9, n[1])}, Ints: [2]int{0, 9}, Tol: 1e-6})
	}
	add(Case{Kernel: "clip", Attrs: gpu.Attrs{MaxNorm: 1}, In: []gpu.Type{f32(1), f32(1), f32(1)}, Positive: []int{0, 1, 2}, Tol: 1e-6})
	add(Case{Kernel: "clip", In: []gpu.Type{f32(1)}, Positive: []int{0}, Tol: 1e-6})
	for _, s := range [][5]int{{1, 1, 1, 1, 2}, {2, 5, 2, 1, 4}, {2, 67, 4, 2, 6}, {1, 130, 3, 3, 16}} {
		a := gpu.Attrs{Heads: s[2], KVHeads: s[3]}
		q, kv, lse, seg := f32(s[0], s[1], s[2]*s[4]), f32(s[0], s[1], s[3]*s[4]), f32(s[0], s[2], s[1]), i32(s[0], s[1])
		table := f32(s[1], s[4]/2)
		for _, inverse := range []bool{false, true} {
			add(Case{Kernel: "rope", Attrs: gpu.Attrs{Heads: s[2], Inverse: inverse}, In: []gpu.Type{q, table, table}, Tol: 1e-6})
		}
		add(Case{Kernel: "attention", Attrs: a, In: []gpu.Type{q, kv, kv}, Tol: 3e-6})
		add(Case{Kernel: "attention", Attrs: a, In: []gpu.Type{q, kv, kv, seg}, Segments: true, Tol: 3e-6})
		add(Case{Kernel: "attention_grad", Attrs: a, In: []gpu.Type{q, q, kv, kv, q, lse}, Positive: []int{5}, Tol: 3e-6})
		add(Case{Kernel: "attention_grad", Attrs: a, In: []gpu.Type{q, q, kv, kv, q, lse, seg}, Positive: []int{5}, Segments: true, Tol: 3e-6})
	}
	for _, s := range [][3]int{{1, 1, 1}, {3, 5, 7}, {14, 32, 4}, {15, 33, 385}, {64, 70, 129}, {1, 300, 17}, {300, 1, 5}, {9, 40, 2100}, {200, 8, 33}, {8, 200, 50}, {3, 1100, 20}, {61, 1030, 9}} {
		m, n, k := s[0], s[1], s[2]
		for _, tr := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
			x, y := f32(m, k), f32(k, n)
			if tr[0] {
				x = f32(k, m)
			}
			if tr[1] {
				y = f32(n, k)
			}
			a := gpu.Attrs{TransA: tr[0], TransB: tr[1], Alpha: 1}
			add(Case{Kernel: "matmul", Attrs: a, In: []gpu.Type{x, y}, Tol: 2e-6})
			add(Case{Kernel: "matmul_swiglu", Attrs: a, In: []gpu.Type{x, y, f32(m, n)}, Tol: 3e-6})
			a.Alpha = 0.5
			add(Case{Kernel: "matmul_swiglu", Attrs: a, In: []gpu.Type{x, y, f32(m, n), f32(m, n)}, Tol: 3e-6})
			add(Case{Kernel: "matmul", Attrs: a, In: []gpu.Type{x, y, f32(m, n)}, Tol: 2e-6})
			add(Case{Kernel: "matmul", Attrs: a, In: []gpu.Type{x, y, f32(m, n)}, Tol: 2e-6,
				Stride: []int{x.Shape[1] + 3, y.Shape[1] + 1, n + 5}, OutStride: n + 5})
		}
	}
	add(Case{Kernel: "matmul", Attrs: gpu.Attrs{Alpha: 1, TransB: true}, In: []gpu.Type{f32(2, 3, 8), f32(5, 8)}, Tol: 2e-6})
	return list
}
