package optim

import (
	"fmt"
	"math"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// Adafactor is Adam whose second moment of a matrix is the product of a row and a column, usually without a first moment
// (Shazeer & Stern 2018, arXiv 1804.04235, algorithm 4). The fields are those of transformers.Adafactor:
//
//	r = β r + (1-β) (mean of g² over a row + eps), c the same of a column, with β = 1 - t^DecayRate
//	u = g / sqrt(r c / mean(r)), divided by max(1, rms(u) / ClipThreshold)
//	w = w - lr wd w - lr u, or with Beta1: m = β1 m + (1-β1) lr u, w = w - lr wd w - m
//
// where lr is times max(1e-3, rms(w)) with ScaleParameter, and at most 1/sqrt(t) with RelativeStep. A vector is one row.
type Adafactor struct {
	LearningRate        float64
	DecayRate           float64 // below 0
	ClipThreshold       float64
	Eps                 float64
	Beta1               float64 // 0: no first moment
	ScaleParameter      bool
	RelativeStep        bool
	WeightDecay         float64
	MaxGradNorm         float64 // 0: no clipping
	BF16StochasticRound bool
	StateDType          string // a word of StateDTypes: what the first moment is kept in; "" stands for fp32
	NoDecay             []string
}

var _ Optimizer = Adafactor{}

const (
	adafactorR = "adafactor_r"
	adafactorC = "adafactor_c"
	adafactorM = "adafactor_m" // the mean of what the weight moves by
)

var _, _ = keep(false, adafactorM), keep(true, adafactorR, adafactorC)

// leastParameter is the least root mean square of a parameter that its rate is scaled by.
const leastParameter = 1e-3

// Peak is LearningRate.
func (o Adafactor) Peak() float64 { return o.LearningRate }

// Rate is LearningRate, whatever the parameter.
func (o Adafactor) Rate(ops.Param) float64 { return o.LearningRate }

// ClipNorm is MaxGradNorm.
func (o Adafactor) ClipNorm() float64 { return o.MaxGradNorm }

// States are means of squares of rows and of columns in fp32, with Beta1 the first moment, and the master of a bf16 weight
// that is not rounded at random.
func (o Adafactor) States(p ops.Param, d gpu.DType) []State {
	rows, cols := []int{0}, []int{len(p.Shape) - 1}
	if len(p.Shape) == 1 {
		rows = []int{-1}
	}
	vector := func(n int) gpu.Type { return gpu.Type{Shape: gpu.Shape{n}, DType: gpu.F32} }
	list := []State{{Name: adafactorR, Type: vector(p.Shape.Rows()), Axes: rows},
		{Name: adafactorC, Type: vector(p.Shape.Cols()), Axes: cols}}
	if o.Beta1 > 0 {
		list = append(list, moment(adafactorM, p, o.StateDType, gpu.Dynamic8))
	}
	return append(list, masters(p, d, o.BF16StochasticRound)...)
}

// Update makes the direction in three passes over the matrix, and steps in a fourth.
func (o Adafactor) Update(g *graph.Graph, s Slot, coef graph.Value) {
	if !s.Weight.Valid() || !s.Grad.Valid() {
		return // the graph has an error
	}
	n, rows, cols := float64(s.Param.Elems()), channels{g, true}, channels{g, false}
	mean := func(name string, c, other channels) graph.Value {
		a := gpu.Attrs{Cols: c.length(s.Param.Shape), Rows: other.length(s.Param.Shape), Eps: o.Eps}
		y := g.Op1("ema_squares", a, s.States[name], c.squares(s.Grad), coef, s.Hyper)
		g.Update(s.States[name], y)
		return y
	}
	r, c := mean(adafactorR, rows, cols), mean(adafactorC, cols, rows)
	u := rows.scale(s.Grad, g.Op1("row_factors", gpu.Attrs{Rows: s.Param.Shape.Rows()}, r, coef))
	u = cols.scale(u, g.Op1("inverse_rms", gpu.Attrs{Cols: 1, Eps: math.Sqrt(o.Eps) / 2}, c))
	// u / max(1, rms(u)/d) is d sqrt(n) u / max(d sqrt(n), |u|).
	most := o.ClipThreshold * math.Sqrt(n)
	u = g.Op1("normalize", gpu.Attrs{Eps: most}, u, g.Op1("sum_squares", gpu.Attrs{}, u))
	hyper, w := s.Hyper, s.wide(g)
	if o.ScaleParameter {
		a := gpu.Attrs{Cols: int(s.Param.Elems()), Eps: leastParameter}
		hyper = g.Op1("scale_rate", a, g.Op1("sum_squares", gpu.Attrs{}, w), hyper)
	}
	if o.Beta1 == 0 {
		s.put(g, g.Op1("sgdw", step(s.Param, most, o.WeightDecay, o.NoDecay), w, u, coef, hyper))
		return
	}
	// The mean is of updates times their own rates: it moves the weight at a rate of 1, which is among the scalars, after
	// the decay, which is times the rate of this step.
	rate := g.Op1("scale", gpu.Attrs{Alpha: most}, g.View(hyper, 0, gpu.Shape{1}))
	finite := g.Op("clip", gpu.Attrs{}, coef)[1] // 1, or NaN where coef is
	m := s.mean(g, adafactorM, u, g.Op1("mul", gpu.Attrs{}, rate, finite), o.Beta1, false)
	if a := step(s.Param, 0, o.WeightDecay, o.NoDecay); a.WeightDecay > 0 {
		w = g.Op1("sgdw", a, w, m, coef, hyper)
	}
	s.put(g, g.Op1("sgdw", gpu.Attrs{Alpha: 1}, w, m, coef, g.View(s.Hyper, 2, gpu.Shape{1})))
}

// Scalars are the learning rate, β, 1, and where rounding is stochastic the seed of its draws.
func (o Adafactor) Scalars(p ops.Param, rate float64, t int64) [gpu.HyperLen]float32 {
	if o.RelativeStep {
		rate = min(rate, 1/math.Sqrt(float64(t)))
	}
	h := scalars(p, rate, t, draws(o.BF16StochasticRound, o.StateDType))
	h[1], h[2] = float32(1-math.Pow(float64(t), o.DecayRate)), 1
	return h
}

// Key prints all but the learning rate.
func (o Adafactor) Key() string {
	o.LearningRate = 0
	return fmt.Sprintf("%#v", o)
}
