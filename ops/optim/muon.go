package optim

import (
	"fmt"
	"math"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// Muon moves a matrix along its momentum, made nearly orthogonal: all singular values of an update are about 1,
// whatever those of the gradient (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon). The fields are
// those of torch.optim.Muon:
//
//	m = μ m + (1-μ) g
//	u = μ m + (1-μ) g with Nesterov, else m
//	w = w - lr wd w - lr ratio(rows, cols) orthogonalize(u)
//
// It is meant for the matrices between embedding and head; see Muon.With for the rest.
type Muon struct {
	LearningRate   float64
	Momentum       float64 // μ
	Nesterov       bool
	NSCoefficients [3]float64 // a, b and c of the Newton-Schulz iteration
	NSSteps        int
	Eps            float64 // the least Frobenius norm that a matrix is divided by
	WeightDecay    float64
	AdjustLR       string  // a key of Adjustments; "" stands for original
	MaxGradNorm    float64 // 0: no clipping
	// BF16StochasticRound rounds updated bf16 weights at random instead of keeping an fp32 master of each.
	BF16StochasticRound bool
	StateDType          string   // a word of StateDTypes: what the momentum is kept in; "" stands for fp32
	NoDecay             []string // patterns of parameter names without decay
}

var _ Optimizer = Muon{}

// NSCoefficients are those of Jordan et al. 2024: they raise small singular values fastest, and end within about 0.3
// of 1.
var NSCoefficients = [3]float64{3.4445, -4.7750, 2.0315}

// Adjustments maps the values of AdjustLR to the ratio of the update of a matrix [rows, cols] to the orthogonal matrix.
var Adjustments = map[string]func(rows, cols float64) float64{
	// Jordan et al. 2024: larger for matrices of more rows than columns.
	"original": func(rows, cols float64) float64 { return math.Sqrt(max(1, rows/cols)) },
	// The root mean square of AdamW's updates, so that its learning rate and weight decay serve (Liu et al. 2025,
	// arXiv 2502.16982, equation 4).
	"match_rms_adamw": func(rows, cols float64) float64 { return 0.2 * math.Sqrt(max(rows, cols)) },
	// The same spectral norm of what a layer's output changes by (Bernstein 2025, Deriving Muon).
	"spectral_unclamped": func(rows, cols float64) float64 { return math.Sqrt(rows / cols) },
}

const muonM = "muon_m" // the mean of the gradient

var _ = keep(false, muonM)

// With returns Muon for projections, and rest for everything else: embeddings and the head, whose rows are tokens and
// not a map between features; gains and biases, which are not matrices; and adapters, whose factors are not the
// change of a weight but multiply to it, so that orthogonal steps of both are not an orthogonal step of their product.
func (o Muon) With(rest Optimizer) Groups { return onProjections(o, rest) }

// Peak is LearningRate.
func (o Muon) Peak() float64 { return o.LearningRate }

// Rate is LearningRate: AdjustLR is part of the update.
func (o Muon) Rate(ops.Param) float64 { return o.LearningRate }

// ClipNorm is MaxGradNorm.
func (o Muon) ClipNorm() float64 { return o.MaxGradNorm }

// States are the momentum and the master of a bf16 weight that is not rounded at random. Linear quantisation serves for a
// momentum of which only the directions count (Gupta et al. 2025, Effective Quantization of Muon Optimizer States, arXiv
// 2509.23106).
func (o Muon) States(p ops.Param, d gpu.DType) []State {
	return append([]State{moment(muonM, p, o.StateDType, gpu.Linear8)}, masters(p, d, o.BF16StochasticRound)...)
}

// Update orthogonalizes in the type of the weight, as torch.optim.Muon does in bf16; momentum and weight are updated
// in fp32.
func (o Muon) Update(g *graph.Graph, s Slot, coef graph.Value) {
	if !s.Weight.Valid() || !s.Grad.Valid() {
		return // the graph has an error
	}
	u := o.orthogonalize(g, s.mean(g, muonM, s.Grad, coef, o.Momentum, o.Nesterov), s.Weight.Type().DType)
	a := step(s.Param, o.ratio(s.Param.Shape), o.WeightDecay, o.NoDecay)
	s.put(g, g.Op1("sgdw", a, s.wide(g), u, coef, s.Hyper))
}

// ratio is what AdjustLR multiplies the learning rate of an update by, but not that of weight decay.
func (o Muon) ratio(s gpu.Shape) float64 {
	adjust := Adjustments[o.AdjustLR]
	if adjust == nil {
		adjust = Adjustments["original"]
	}
	return adjust(float64(s.Rows()), float64(s.Cols()))
}

// orthogonalize replaces the singular values of u [rows, cols] by values near 1. It divides u by its Frobenius norm,
// which bounds the largest by 1, and runs NSSteps of the Newton-Schulz iteration in type d:
//
//	X = a X + (b A + c A²) X with A = X Xᵀ
//
// or, where there are more rows than columns, X = a X + X (b A + c A²) with A = Xᵀ X, which is the same for Xᵀ.
func (o Muon) orthogonalize(g *graph.Graph, u graph.Value, d gpu.DType) graph.Value {
	scale := func(x graph.Value, alpha float64) graph.Value { return g.Op1("scale", gpu.Attrs{Alpha: alpha}, x) }
	cast := func(x graph.Value, d gpu.DType) graph.Value {
		if !x.Valid() || x.Type().DType == d {
			return x
		}
		return g.Op1("cast", gpu.Attrs{DType: d}, x)
	}
	a, b, c := o.NSCoefficients[0], o.NSCoefficients[1], o.NSCoefficients[2]
	tall := u.Valid() && u.Shape().Rows() > u.Shape().Cols()
	x := cast(g.Op1("normalize", gpu.Attrs{Eps: o.Eps}, u, g.Op1("sum_squares", gpu.Attrs{}, u)), d)
	for range o.NSSteps {
		gram := g.Matmul(x, x, tall, !tall)
		p := g.Op1("matmul", gpu.Attrs{Alpha: c}, gram, gram, scale(gram, b))
		left, right := p, x
		if tall {
			left, right = x, p
		}
		x = g.Op1("matmul", gpu.Attrs{Alpha: 1}, left, right, scale(x, a))
	}
	return cast(x, gpu.F32)
}

// Scalars are the learning rate, and where rounding is stochastic the seed of its draws.
func (o Muon) Scalars(p ops.Param, rate float64, t int64) [gpu.HyperLen]float32 {
	return scalars(p, rate, t, draws(o.BF16StochasticRound, o.StateDType))
}

// Key prints all but the learning rate.
func (o Muon) Key() string {
	o.LearningRate = 0
	return fmt.Sprintf("%#v", o)
}
