package metrics

import "math"

// MeanOf is how many of the last steps a stage's loss is the mean of.
const MeanOf = 10

// Loss returns the mean loss of the last MeanOf steps that were not skipped, the loss that a stage ends with; NaN for
// none.
func Loss(steps []Step) float64 {
	var last []float64
	for i := len(steps) - 1; i >= 0 && len(last) < MeanOf; i-- {
		if !steps[i].Skipped {
			last = append(last, steps[i].Loss)
		}
	}
	if len(last) == 0 {
		return math.NaN()
	}
	var sum float64
	for _, x := range last {
		sum += x
	}
	return sum / float64(len(last))
}
