package report

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"stepflow/runtime/metrics"
)

// Series are the steps of a stage in columns, for charts, a value a point. A point is Every steps, the last one perhaps
// of fewer. Tokens, FLOPs and seconds count from the stage's first step to the end of the point.
type Series struct {
	Every   int      `json:"every"`
	Step    []int    `json:"step"`
	Tokens  []int64  `json:"tokens"`
	FLOPs   []int64  `json:"flops"`
	Seconds []Number `json:"seconds"`
	Loss    Curve    `json:"loss"`
	Norm    Curve    `json:"grad_norm"`
	Speed   Curve    `json:"tokens_per_second"`
	MFU     []Number `json:"mfu"`
	LR      []Number `json:"learning_rate"`
	Trend   *Trend   `json:"trend"`
	Skipped int      `json:"skipped"` // steps that were not finite

	Evaluations []*EvaluationSeries `json:"evaluations,omitempty"`

	Mean *float64 `json:"mean"` // loss of the last ten finite steps
}

// Curve is a quantity: its mean over the steps of each point, and between what they lie, without those that were not
// finite. Where a point is one step all are the same, and Min and Max are left out.
type Curve struct {
	Mean []Number `json:"mean"`
	Min  []Number `json:"min,omitempty"`
	Max  []Number `json:"max,omitempty"`
}

// Trend is the loss around each point: the mean of Window steps, and the quantiles between which 80 % of them lie.
type Trend struct {
	Window int      `json:"window"`
	Mean   []Number `json:"mean"`
	Low    []Number `json:"low"`
	High   []Number `json:"high"`
}

// EvaluationSeries are the evaluations of a name between the steps of a stage: where they stood, and a value that they
// gave. Of very many, some are left out.
type EvaluationSeries struct {
	Name    string   `json:"name"`
	Value   string   `json:"value"` // "loss", or a metric of a task, such as "hellaswag.acc"
	Higher  bool     `json:"higher_is_better,omitempty"`
	Brief   bool     `json:"-"` // it is shown where there is little room
	Count   int      `json:"count"`
	Step    []int    `json:"step"`
	Tokens  []int64  `json:"tokens"`
	FLOPs   []int64  `json:"flops"`
	Seconds []Number `json:"seconds"` // of training
	Values  []Number `json:"values"`
	Took    Number   `json:"took"` // seconds, all of them
	Last    Number   `json:"last"`
	Stderr  *Number  `json:"stderr,omitempty"` // of the last
	Best    Number   `json:"best"`
	BestAt  int      `json:"best_step"`

	every int // one of so many is kept, and the last
}

// mostEvaluations is how many evaluations of a name are drawn; even.
const mostEvaluations = 1024

// add takes an evaluation after so many seconds of training.
func (s *EvaluationSeries) add(e *metrics.Evaluation, seconds float64) {
	v := e.Values[s.Value]
	s.Count++
	best := float64(s.Best)
	if metrics.Finite(v) && (math.IsNaN(best) || s.Higher && v > best || !s.Higher && v < best) {
		s.Best, s.BestAt = Number(v), e.Step
	}
	s.Last, s.Took, s.Stderr = Number(v), s.Took+Number(e.Seconds), nil
	if x, ok := e.Values[metrics.StderrName(s.Value)]; ok {
		s.Stderr = (*Number)(&x)
	}
	n := len(s.Step)
	if n > 0 && (s.Count-2)%s.every != 0 { // the last one was kept for being the last
		n--
	}
	if n == mostEvaluations {
		for i := range n / 2 {
			s.Step[i], s.Tokens[i], s.FLOPs[i], s.Seconds[i], s.Values[i] = s.Step[2*i], s.Tokens[2*i], s.FLOPs[2*i],
				s.Seconds[2*i], s.Values[2*i]
		}
		n, s.every = n/2, 2*s.every
	}
	s.Step, s.Tokens, s.FLOPs = append(s.Step[:n], e.Step), append(s.Tokens[:n], e.Tokens), append(s.FLOPs[:n], e.FLOPs)
	s.Seconds, s.Values = append(s.Seconds[:n], Number(seconds)), append(s.Values[:n], Number(v))
}

// Number is a number of a chart: with as many digits as can be seen, and null if it is not finite.
type Number float64

// MarshalJSON is as the type says.
func (n Number) MarshalJSON() ([]byte, error) {
	if !metrics.Finite(float64(n)) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', 6, 64), nil
}

// samples is how many losses of a point are kept, evenly spaced, for quantiles.
const samples = 64

// point is some steps that follow each other.
type point struct {
	step           int
	tokens, flops  int64
	seconds        float64 // of the stage so far
	steps          int
	lr, mfu        float64 // sums
	loss, norm, ts spread
	sample         []float32 // losses
}

// spread is what is kept of a quantity.
type spread struct {
	n             int
	sum, min, max float64
}

func (s *spread) add(o spread) {
	if s.n == 0 || o.n > 0 && o.min < s.min {
		s.min = o.min
	}
	if s.n == 0 || o.n > 0 && o.max > s.max {
		s.max = o.max
	}
	s.n, s.sum = s.n+o.n, s.sum+o.sum
}

func one(x float64) spread { return spread{1, x, x, x} }

// mean is NaN of nothing.
func (s spread) mean() float64 { return s.sum / float64(s.n) }

// thinner takes the steps of a stage one by one and keeps a bounded number of points: each time there are too many, two
// neighbours become one.
type thinner struct {
	most    int // points, even
	every   int // steps a point
	points  []point
	steps   int
	skipped int
	last    metrics.Step
	ending  []metrics.Step // the last that were not skipped
	finite  []metrics.Step // of these, the last with a finite loss
	series  *Series        // as made last; nil where steps came since

	evaluations []*EvaluationSeries
}

func newThinner(most int) *thinner { return &thinner{most: most + most%2, every: 1} }

// add takes a step; one that no run writes is left out: that counts backwards, or took no time or for ever.
func (t *thinner) add(s *metrics.Step) {
	const most = 1 << 50
	if s.Step <= t.last.Step || s.Step >= most || s.Tokens < 0 || s.FLOPs < 0 || !(s.Seconds >= 0 && s.Seconds < most) {
		return
	}
	t.steps, t.last, t.series = t.steps+1, *s, nil
	if !s.Skipped {
		t.ending = recent(t.ending, s)
		if metrics.Finite(s.Loss) {
			t.finite = recent(t.finite, s)
		}
	}
	var p *point
	if n := len(t.points); n > 0 && t.points[n-1].steps < t.every {
		p = &t.points[n-1]
	} else {
		if n == t.most {
			t.halve()
		}
		seconds := 0.0
		if n := len(t.points); n > 0 {
			seconds = t.points[n-1].seconds
		}
		t.points = append(t.points, point{seconds: seconds})
		p = &t.points[len(t.points)-1]
	}
	p.step, p.tokens, p.flops, p.seconds = s.Step, s.Tokens, s.FLOPs, p.seconds+s.Seconds
	p.lr, p.mfu = p.lr+s.LearningRate, p.mfu+s.MFU
	if metrics.Finite(s.TokensPerSec) {
		p.ts.add(one(s.TokensPerSec))
	}
	if s.Skipped || !metrics.Finite(s.Loss) || !metrics.Finite(s.GradNorm) {
		t.skipped++
	} else {
		p.loss.add(one(s.Loss))
		p.norm.add(one(s.GradNorm))
		if p.steps%max(1, t.every/samples) == 0 {
			p.sample = append(p.sample, float32(s.Loss))
		}
	}
	p.steps++
}

// evaluated takes an evaluation after the steps so far. One that no run writes is left out.
func (t *thinner) evaluated(e *metrics.Evaluation) {
	const most = 1 << 50
	if e.Step < 0 || e.Step >= most || e.Tokens < 0 || e.FLOPs < 0 || !(e.Seconds >= 0 && e.Seconds < most) {
		return
	}
	seconds := 0.0
	if n := len(t.points); n > 0 {
		seconds = t.points[n-1].seconds
	}
	brief := e.Brief()
	for _, value := range drawn(e) {
		s := t.evaluation(e, value)
		if s == nil {
			return
		}
		if n := len(s.Step); n > 0 && e.Step <= s.Step[n-1] {
			continue
		}
		s.Brief = slices.ContainsFunc(brief, func(x metrics.Scalar) bool { return x.Tag == s.Title() })
		s.add(e, seconds)
	}
	t.series = nil
}

// drawn are the values of an evaluation that have a curve: the loss, or the metrics of tasks, without standard errors.
func drawn(e *metrics.Evaluation) []string {
	if _, ok := e.Values["loss"]; ok {
		return []string{"loss"}
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(e.Values)), e.IsStderr)
}

// evaluation is the series of a value; nil where there are too many.
func (t *thinner) evaluation(e *metrics.Evaluation, value string) *EvaluationSeries {
	const most = 100
	i := slices.IndexFunc(t.evaluations, func(s *EvaluationSeries) bool { return s.Name == e.Name && s.Value == value })
	switch {
	case i >= 0:
		return t.evaluations[i]
	case len(t.evaluations) == most:
		return nil
	}
	s := &EvaluationSeries{Name: e.Name, Value: value, Higher: slices.Contains(e.Higher, value), every: 1, Best: Number(math.NaN())}
	t.evaluations = append(t.evaluations, s)
	return s
}

// Title names the series: of a loss after its evaluation.
func (s *EvaluationSeries) Title() string {
	if s.Value == "loss" {
		return s.Name
	}
	return s.Name + " " + s.Value
}

// recent keeps the last steps of which a loss is the mean.
func recent(list []metrics.Step, s *metrics.Step) []metrics.Step {
	if len(list) == metrics.LossSteps {
		copy(list, list[1:])
		list = list[:len(list)-1]
	}
	return append(list, *s)
}

// halve makes one point of two.
func (t *thinner) halve() {
	t.every *= 2
	for i := range len(t.points) / 2 {
		a, b := t.points[2*i], t.points[2*i+1]
		b.steps, b.lr, b.mfu = a.steps+b.steps, a.lr+b.lr, a.mfu+b.mfu
		b.loss.add(a.loss)
		b.norm.add(a.norm)
		b.ts.add(a.ts)
		b.sample = append(a.sample, b.sample...)
		if t.every > samples {
			b.sample = everyOther(b.sample)
		}
		t.points[i] = b
	}
	clear(t.points[len(t.points)/2:])
	t.points = t.points[:len(t.points)/2]
}

func everyOther(list []float32) []float32 {
	for i := range (len(list) + 1) / 2 {
		list[i] = list[2*i]
	}
	return list[:(len(list)+1)/2]
}

// mean returns the loss of the last finite steps; nil for none.
func (t *thinner) mean() *float64 {
	if x := metrics.EndLoss(t.finite); metrics.Finite(x) {
		return &x
	}
	return nil
}

// result returns the points as columns; nil for none.
func (t *thinner) result() *Series {
	if t.series != nil || len(t.points) == 0 {
		return t.series
	}
	s := &Series{Every: t.every, Skipped: t.skipped, Mean: t.mean(), Trend: t.trend()}
	for _, e := range t.evaluations {
		c := *e
		c.Step, c.Tokens, c.FLOPs = slices.Clone(e.Step), slices.Clone(e.Tokens), slices.Clone(e.FLOPs)
		c.Seconds, c.Values = slices.Clone(e.Seconds), slices.Clone(e.Values)
		s.Evaluations = append(s.Evaluations, &c)
	}
	for _, p := range t.points {
		n := float64(p.steps)
		s.Step, s.Tokens, s.FLOPs = append(s.Step, p.step), append(s.Tokens, p.tokens), append(s.FLOPs, p.flops)
		s.Seconds, s.LR, s.MFU = append(s.Seconds, Number(p.seconds)), append(s.LR, Number(p.lr/n)),
			append(s.MFU, Number(p.mfu/n))
		s.Loss.add(p.loss, t.every)
		s.Norm.add(p.norm, t.every)
		s.Speed.add(p.ts, t.every)
	}
	t.series = s
	return s
}

func (c *Curve) add(s spread, every int) {
	c.Mean = append(c.Mean, Number(s.mean()))
	if every == 1 {
		return
	}
	if s.n == 0 {
		s.min, s.max = math.NaN(), math.NaN()
	}
	c.Min, c.Max = append(c.Min, Number(s.min)), append(c.Max, Number(s.max))
}

// trend is made of the losses in a window that is a fiftieth of the stage, and ten steps at least. At the stage's start,
// where the loss falls fast, it is as wide as it can be and still lie around its point.
func (t *thinner) trend() *Trend {
	const share, least, enough = 50, 10, 512
	half := (max(t.steps/share, least) + 2*t.every - 1) / (2 * t.every) // in points
	r := &Trend{Window: (2*half + 1) * t.every}
	sums, counts := make([]float64, len(t.points)+1), make([]int, len(t.points)+1)
	for i, p := range t.points {
		sums[i+1], counts[i+1] = sums[i]+p.loss.sum, counts[i]+p.loss.n
	}
	var window []float32
	for i := range t.points {
		around := min(half, i)
		lo, hi := i-around, min(i+around+1, len(t.points))
		stride := 1 + (hi-lo)*min(t.every, samples)/enough
		window = window[:0]
		at := 0 // of a sample in the window
		for _, p := range t.points[lo:hi] {
			for ; at < len(p.sample); at += stride {
				window = append(window, p.sample[at])
			}
			at -= len(p.sample)
		}
		slices.Sort(window)
		mean := (sums[hi] - sums[lo]) / float64(counts[hi]-counts[lo])
		r.Mean, r.Low, r.High = append(r.Mean, Number(mean)), append(r.Low, quantile(window, .1)),
			append(r.High, quantile(window, .9))
	}
	return r
}

// quantile of sorted values, between two of which it lies as far as its share says.
func quantile(sorted []float32, q float64) Number {
	if len(sorted) == 0 {
		return Number(math.NaN())
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	j := min(i+1, len(sorted)-1)
	f := at - float64(i)
	return Number((1-f)*float64(sorted[i]) + f*float64(sorted[j]))
}
