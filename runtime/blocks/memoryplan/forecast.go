package memoryplan

import "math"

// The scaling law of Hoffmann et al. (arXiv 2203.15556), L = E + A/N^a + B/D^b nats a token, with the constants that
// Besiroglu et al. (arXiv 2404.10102) fitted to the same runs. For a model that changes while it trains, N is the number of
// parameters in the mean over training (Jin et al., arXiv 2501.12486).
const (
	lawE, lawA, lawB  = 1.8172, 482.01, 2085.43
	lawAlpha, lawBeta = 0.3478, 0.3658
)

// loss forecasts the loss of a model with n parameters in the mean over d tokens. The constants are those of one tokenizer
// and text, so that differences say more than the value.
func loss(n, d float64) float64 {
	return lawE + lawA/math.Pow(n, lawAlpha) + lawB/math.Pow(d, lawBeta)
}

// tokensPerParameter is how long a run is that does not say, the ratio of Hoffmann et al.
const tokensPerParameter = 20
