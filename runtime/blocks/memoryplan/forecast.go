package memoryplan

import (
	"fmt"
	"math"
)

// law is a scaling law of Hoffmann et al. (arXiv 2203.15556), L = E + A/N^a + B/D^b nats a token. For a model that changes
// while it trains, N is the number of parameters in the mean over training (Jin et al., arXiv 2501.12486).
type law struct{ e, a, b, alpha, beta float64 }

// The constants that Besiroglu et al. (arXiv 2404.10102) fitted to the runs of Hoffmann et al., and those of the paper.
var (
	refitted  = law{1.8172, 482.01, 2085.43, 0.3478, 0.3658}
	published = law{1.69, 406.4, 410.7, 0.34, 0.28}
)

func (l law) loss(n, d float64) float64 {
	return l.e + l.a/math.Pow(n, l.alpha) + l.b/math.Pow(d, l.beta)
}

// loss is the loss of a model with n parameters in the mean over d tokens. The constants are those of one tokenizer and
// text, so that differences say more than the value.
func loss(n, d float64) float64 { return refitted.loss(n, d) }

// tokensPerParameter is the length of a run whose tokens are not given: the ratio of Hoffmann et al.
const tokensPerParameter = 20

// Forecast is what the law says of a plan, and what finished runs say of the law. Nothing that is planned depends on
// finished runs.
type Forecast struct {
	Law     float64    `json:"law_loss"`         // of the plan, if all parameters count
	Trained float64    `json:"law_trained_loss"` // if only those that train count
	Whole   float64    `json:"law_whole_loss"`   // of the full model trained at once
	Other   float64    `json:"other_constants_loss"`
	Guess   float64    `json:"guessing_loss"`  // of a model that knows nothing
	Runs    []Run      `json:"runs,omitempty"` // finished ones
	Loss    float64    `json:"loss"`           // Law, moved by how far the runs were from it in the mean
	Between [2]float64 `json:"between"`        // 95 % of such runs; zeros where fewer than two runs tell
}

// forecast compares means of parameters with the law, and the law with runs.
func forecast(means [2]float64, whole, tokens float64, vocab int, runs []Run) Forecast {
	f := Forecast{Law: loss(means[0], tokens), Trained: loss(means[1], tokens), Whole: loss(whole, tokens),
		Other: published.loss(means[0], tokens), Guess: guessing(vocab), Runs: runs}
	f.Loss = f.Law
	n := float64(len(runs))
	if n == 0 {
		return f
	}
	var mean, squares float64
	for _, r := range runs {
		mean += (r.Loss - r.Law) / n
	}
	f.Loss += mean
	if n < 2 {
		return f
	}
	for _, r := range runs {
		squares += (r.Loss - r.Law - mean) * (r.Loss - r.Law - mean)
	}
	// The interval for one more value of a normal distribution whose mean and variance n values tell.
	half := student(len(runs)-1) * math.Sqrt(squares/(n-1)*(1+1/n))
	f.Between = [2]float64{f.Loss - half, f.Loss + half}
	return f
}

// student is the 97.5 % quantile of Student's t distribution; from 10 degrees of freedom on that of 10, which is a little more.
func student(degrees int) float64 {
	table := []float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228}
	return table[min(degrees, len(table))-1]
}

// lines shows the forecast.
func (f Forecast) lines(line func(about, format string, args ...any)) {
	if f.Law >= f.Guess {
		line("loss", "the scaling law does not hold for so few parameters or tokens: it gives %.3f nats a token, and guessing among the "+
			"vocabulary's tokens gives %.3f", f.Law, f.Guess)
		return
	}
	line("loss", "%.3f nats a token by the scaling law, %.3f of the full model trained at once: compare plans by it, not texts. It "+
		"would be %.3f if frozen parameters did not count, and %.3f by the constants of arXiv 2203.15556", f.Law, f.Whole, f.Trained,
		f.Other)
	switch len(f.Runs) {
	case 0:
	case 1:
		line("your runs", "%s ended %s: such a run would give about %.3f; one run does not tell how sure that is", f.Runs[0].Stage,
			f.off(), f.Loss)
	default:
		line("your runs", "%d stages ended %s in the mean: such a run would give about %.3f, 95 %% of them between %.3f and %.3f",
			len(f.Runs), f.off(), f.Loss, f.Between[0], f.Between[1])
	}
}

// off says how far runs were from the law.
func (f Forecast) off() string {
	if d := f.Loss - f.Law; d < 0 {
		return fmt.Sprintf("%.3f below the law", -d)
	}
	return fmt.Sprintf("%.3f above the law", f.Loss-f.Law)
}
