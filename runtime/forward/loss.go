package forward

import (
	"math"

	"stepflow/fineweb"
	"stepflow/runtime/metrics"
)

// Loss adds up what a model gives for the tokens of batches. Sums are in float64, token by token in order: the result
// does not depend on the batch size.
type Loss struct {
	Sum     float64 // once it is not finite, it stays as it is
	squares float64
}

// Add adds the loss of each position of a batch, [batch, seq].
func (l *Loss) Add(b *fineweb.Batch, nll []float32) {
	for i, x := range nll {
		if b.Targets[i] == fineweb.Ignored || !l.Finite() {
			continue
		}
		l.Sum += float64(x)
		l.squares += float64(x) * float64(x)
	}
}

// Finite reports whether the sum is finite.
func (l *Loss) Finite() bool { return metrics.Finite(l.Sum) }

// Values are measures of the model on the tokens held out, by name.
func (l *Loss) Values(held *fineweb.Held) map[string]float64 {
	n := float64(held.Tokens)
	loss := l.Sum / n
	return map[string]float64{"loss": loss, "perplexity": math.Exp(loss),
		"bits_per_byte":   l.Sum / math.Ln2 / float64(held.Bytes),
		"word_perplexity": math.Exp(l.Sum / float64(held.Words)),
		"stderr":          math.Sqrt(math.Max(0, l.squares/n-loss*loss) / n)}
}
