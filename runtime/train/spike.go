package train

import (
	"math"

	"stepflow/runtime/metrics"
)

// A loss is a spike if it is above the mean of the losses before it by so many of their standard deviations, and by so
// much of the mean.
const (
	spikeDeviations = 6
	spikeShare      = 0.1
)

// spike reports whether a loss stands out from the last ones, and their mean.
func spike(loss float64, last []float64) (mean float64, yes bool) {
	if len(last) < metrics.LossSteps {
		return 0, false
	}
	var squares float64
	for _, x := range last {
		mean += x / float64(len(last))
	}
	for _, x := range last {
		squares += (x - mean) * (x - mean) / float64(len(last))
	}
	return mean, loss-mean > max(spikeDeviations*math.Sqrt(squares), spikeShare*mean)
}
