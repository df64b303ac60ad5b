package gpu

import "fmt"

// HyperLen is the number of scalars of an update, which the host writes each step: the learning rate; for adamw
// 1-β1^t and 1-β2^t; and a seed of stochastic rounding, a whole number below 2^24. sgdw reads the first alone.
const HyperLen = 4

var scalar = Type{Shape{1}, F32}

// hypers are the scalars of an update.
var hypers = Type{Shape{HyperLen}, F32}

var adamwAttrs = []string{"Beta1", "Beta2", "Eps", "WeightDecay"}

// optimKernels update weights.
var optimKernels = []Kernel{
	{
		Name: "clip",
		Formula: "norm = sqrt(sum of all elements of the inputs), coef = min(1, max_norm/(norm+1e-6)); " +
			"coef = 1 when max_norm is 0, NaN when norm is not finite (inputs: vectors of sums of squares)",
		Attrs: []string{"MaxNorm"},
		FLOPs: func(_ Attrs, in, _ []Type) (n int64) {
			for _, t := range in {
				n = Sum(n, int64(t.Shape.Elems()))
			}
			return n
		},
		Infer: inferClip,
	},
	{
		Name: "adamw",
		Formula: "g' = coef g; m = β1 m + (1-β1) g'; v = β2 v + (1-β2) g'²; " +
			"w = w - lr wd w - lr (m/bc1)/(sqrt(v/bc2)+eps); nothing changes when coef is not finite; " +
			"g is of the type of w or f32; Loshchilov & Hutter 2019, alg. 2 " +
			"(inputs w, g, m, v, coef, hyper = [lr, bc1, bc2, seed])",
		Attrs:   adamwAttrs,
		InPlace: [][2]int{{0, 0}, {1, 2}, {2, 3}},
		FLOPs:   elementwise(14),
		Infer:   inferAdamW(2),
	},
	{
		Name: "adamw_master",
		Formula: "adamw on the fp32 master; w = master rounded to nearest even " +
			"(inputs w, g, master, m, v, coef, hyper)",
		Attrs:   adamwAttrs,
		InPlace: [][2]int{{0, 0}, {1, 2}, {2, 3}, {3, 4}},
		FLOPs:   elementwise(14),
		Infer:   inferAdamW(3),
	},
	{
		Name: "adamw_stochastic",
		Formula: "adamw, w in bf16 without a master: w = the new w rounded stochastically by hyper's seed " +
			"(inputs w, g, m, v, coef, hyper)",
		Attrs:   adamwAttrs,
		InPlace: [][2]int{{0, 0}, {1, 2}, {2, 3}},
		FLOPs:   elementwise(14),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if len(in) > 0 && in[0].DType != BF16 {
				return nil, fmt.Errorf("the weight is %v, not bf16", in[0])
			}
			return inferAdamW(2)(a, in)
		},
	},
	{
		Name:    "ema",
		Formula: "y = β1 x + (1-β1) coef g; y = x when coef is not finite; g in bf16 or f32 (inputs x, g, coef)",
		Attrs:   []string{"Beta1"},
		InPlace: [][2]int{{0, 0}},
		FLOPs:   elementwise(4),
		Infer:   inferEMA,
	},
	{
		Name: "sgdw",
		Formula: "w = w - lr wd w - lr alpha u; nothing changes when coef is not finite; " +
			"Loshchilov & Hutter 2019, alg. 1 (inputs w, u, coef, hyper = [lr, …] or lr alone)",
		Attrs:   []string{"Alpha", "WeightDecay"},
		InPlace: [][2]int{{0, 0}},
		FLOPs:   elementwise(4),
		Infer:   inferSGDW,
	},
}

func init() { register(optimKernels...) }

// inferClip checks the sums of squares whose root is the norm.
func inferClip(_ Attrs, in []Type) ([]Type, error) {
	if len(in) == 0 {
		return nil, fmt.Errorf("takes at least one vector of sums of squares")
	}
	for _, t := range in {
		if t.DType != F32 {
			return nil, fmt.Errorf("sums of squares are %v, not f32", t)
		}
	}
	return []Type{scalar, scalar}, nil
}

// inferAdamW checks a weight, its gradient, so many states, the clip coefficient and the scalars of the step.
func inferAdamW(states int) func(Attrs, []Type) ([]Type, error) {
	n := states + 4
	return func(_ Attrs, in []Type) ([]Type, error) {
		if err := arity(in, n, n); err != nil {
			return nil, err
		}
		if err := needGradient(in[0], in[1]); err != nil {
			return nil, err
		}
		outs := []Type{in[0]}
		for _, t := range in[2 : n-2] {
			if err := needType("the state", t, Type{in[0].Shape, F32}); err != nil {
				return nil, err
			}
			outs = append(outs, t)
		}
		if err := needType("the clip coefficient", in[n-2], scalar); err != nil {
			return nil, err
		}
		if in[n-1].Shape.Elems() != HyperLen || in[n-1].DType != F32 {
			return nil, fmt.Errorf("hyper is %v, not %d scalars", in[n-1], HyperLen)
		}
		return outs, nil
	}
}

// inferEMA checks a moving average x, what is added to it, and the clip coefficient.
func inferEMA(_ Attrs, in []Type) ([]Type, error) {
	if err := arity(in, 3, 3); err != nil {
		return nil, err
	}
	if in[0].DType != F32 {
		return nil, fmt.Errorf("the average is %v, not f32", in[0])
	}
	if !in[1].DType.IsFloat() || !in[1].Shape.Equal(in[0].Shape) {
		return nil, fmt.Errorf("adds %v to an average %v", in[1], in[0])
	}
	return in[:1:1], needType("the clip coefficient", in[2], scalar)
}

// inferSGDW checks a weight, the direction of its update, the clip coefficient and the scalars of the step.
func inferSGDW(_ Attrs, in []Type) ([]Type, error) {
	if err := arity(in, 4, 4); err != nil {
		return nil, err
	}
	if in[0].DType != F32 {
		return nil, fmt.Errorf("the weight is %v, not f32", in[0])
	}
	hyper := hypers
	if in[3].Equal(scalar) { // the rate alone
		hyper = scalar
	}
	return in[:1:1], needTypes(in[1:], []string{"the direction", "the clip coefficient", "hyper"}, in[0], scalar, hyper)
}

// needGradient checks that a gradient has the type of its weight, or f32, in which many micro-batches are added up.
func needGradient(w, g Type) error {
	if g.DType == F32 {
		return needType("the gradient", g, Type{w.Shape, F32})
	}
	return needSame("weight and gradient", w, g)
}

// needScalars checks the last two inputs of an update: the clip coefficient and the scalars.
func needScalars(in []Type) error {
	return needTypes(in, []string{"the clip coefficient", "hyper"}, scalar, hypers)
}

// needTypes checks the first inputs, each of which is something.
func needTypes(in []Type, what []string, want ...Type) error {
	for i, t := range want {
		if err := needType(what[i], in[i], t); err != nil {
			return err
		}
	}
	return nil
}
