package gpu

import "fmt"

// narrowKernels are updates whose moments take fewer bytes than fp32: bf16, or codes of 8 bits (codes.go). What is kept
// of a moment is rounded: a code is the nearest one, and bf16 is rounded stochastically, since the part of a moment that
// an update takes away, 1-β of it, is soon less than half a unit in the last place, which would never change to nearest.
// The weight moves by what the moments were before.
//
// Moments have the shape of the tensor, and weight and gradient may have more rows and columns, which hold zeros: what
// shares a scale, and what is drawn for an element, is the same on every device.
var narrowKernels = []Kernel{
	{
		Name: "adamw_narrow",
		Formula: "adamw with narrow moments; a new w in bf16 is rounded stochastically by hyper's seed " +
			"(inputs w, g, m, v, coef, hyper)",
		Attrs:   adamwAttrs,
		InPlace: [][2]int{{0, 0}, {1, 2}, {2, 3}},
		FLOPs:   elementwise(14),
		Infer:   inferNarrowAdamW(false),
	},
	{
		Name: "adamw_narrow_master",
		Formula: "adamw with narrow moments on the fp32 master; w = master rounded to nearest even " +
			"(inputs w, g, master, m, v, coef, hyper)",
		Attrs:   adamwAttrs,
		InPlace: [][2]int{{0, 0}, {1, 2}, {2, 3}, {3, 4}},
		FLOPs:   elementwise(14),
		Infer:   inferNarrowAdamW(true),
	},
	{
		Name: "ema_narrow",
		Formula: "m = β1 x + (1-β1) coef g; y = m rounded, u = β2 m + (1-β2) coef g in fp32, beside the tensor 0; " +
			"y = u = x when coef is not finite (inputs x, g, coef, hyper; outputs y, u)",
		Attrs:   []string{"Beta1", "Beta2"},
		InPlace: [][2]int{{0, 0}},
		FLOPs:   elementwise(8),
		Infer:   inferNarrowEMA,
	},
	{
		Name: "adam_narrow",
		Formula: "adam with narrow moments: y = bias m / (sqrt(v) + eps) in fp32 by m and v before rounding, and 0 beside the " +
			"tensor (inputs g, m, v, coef, hyper = [lr, bias, …]; outputs y, m, v)",
		Attrs:   []string{"Beta1", "Beta2", "Eps"},
		InPlace: [][2]int{{1, 1}, {2, 2}},
		FLOPs:   elementwise(11),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 5, 5); err != nil {
				return nil, err
			}
			g, m := in[0], in[1]
			if g.DType != F32 {
				return nil, fmt.Errorf("the gradient is %v, not f32", g)
			}
			if err := needNarrow(m, in[2], g); err != nil {
				return nil, err
			}
			return in[:3:3], needScalars(in[3:])
		},
	},
}

func init() { register(narrowKernels...) }

// Draws are the numbers of the elements of moments among those for which an update draws at random: none is also the
// number of an element of the weight.
const (
	DrawsOfM = 1 << 38
	DrawsOfV = 2 << 38
)

// narrowMoments are the element types of moments of a type of state.
var narrowMoments = map[DType]struct{ m, v DType }{BF16: {BF16, BF16}, Dynamic8: {Dynamic8, UDynamic8}}

func inferNarrowAdamW(master bool) func(Attrs, []Type) ([]Type, error) {
	return func(_ Attrs, in []Type) ([]Type, error) {
		n := 6
		if master {
			n = 7
		}
		if err := arity(in, n, n); err != nil {
			return nil, err
		}
		w, m, v := in[0], in[n-4], in[n-3]
		if w.DType != BF16 && (master || w.DType != F32) {
			return nil, fmt.Errorf("the weight is %v", w)
		}
		if err := needGradient(w, in[1]); err != nil {
			return nil, err
		}
		if master {
			if err := needType("the master", in[2], Type{w.Shape, F32}); err != nil {
				return nil, err
			}
		}
		if err := needNarrow(m, v, w); err != nil {
			return nil, err
		}
		return append([]Type{w}, in[2:n-2]...), needScalars(in[n-2:])
	}
}

func inferNarrowEMA(_ Attrs, in []Type) ([]Type, error) {
	if err := arity(in, 4, 4); err != nil {
		return nil, err
	}
	x, g := in[0], in[1]
	if x.DType != BF16 && x.DType != Linear8 && x.DType != Dynamic8 {
		return nil, fmt.Errorf("the average is %v", x)
	}
	if err := needFloat(g); err != nil {
		return nil, err
	}
	if err := needInside(x, g); err != nil {
		return nil, err
	}
	return []Type{x, {g.Shape, F32}}, needScalars(in[2:])
}

// needNarrow checks both moments of a tensor, and that the tensor lies in an operand.
func needNarrow(m, v, wide Type) error {
	kept, ok := narrowMoments[m.DType]
	if !ok {
		return fmt.Errorf("the first moment is %v", m)
	}
	if err := needType("the second moment", v, Type{m.Shape, kept.v}); err != nil {
		return err
	}
	return needInside(m, wide)
}

// needInside checks that a tensor is the first rows and columns of another.
func needInside(tensor, wide Type) error {
	a, b := tensor.Shape, wide.Shape
	last := len(a) - 1
	inside := len(a) == len(b)
	for i := range a {
		longer := i == last || last == 1 // rows of more than two dimensions lie together
		inside = inside && (a[i] == b[i] || longer && a[i] < b[i])
	}
	if !inside {
		return fmt.Errorf("%v does not lie in %v", tensor, wide)
	}
	return nil
}

// Within is how the elements of a tensor, row by row, lie in a matrix whose rows may be longer.
type Within struct{ Elems, Cols, Stride int }

// In tells how the elements of a tensor lie in an operand of a shape with at least as many rows and columns.
func (s Shape) In(wide Shape) Within { return Within{s.Elems(), s.Cols(), wide.Cols()} }

// Runs calls f with each run of elements from lo to hi, excluded, that lie together: where it begins, where that is in
// the matrix, and its length.
func (w Within) Runs(lo, hi int, f func(at, in, n int)) {
	if w.Cols == w.Stride {
		f(lo, lo, hi-lo)
		return
	}
	for at := lo; at < hi; {
		col := at % w.Cols
		n := min(hi-at, w.Cols-col)
		f(at, at/w.Cols*w.Stride+col, n)
		at += n
	}
}
