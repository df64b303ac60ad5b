package metrics

import "math"

// LossSteps is how many of the last steps a stage's loss is the mean of.
const LossSteps = 10

// EndLoss returns the mean loss of the last LossSteps steps that were not skipped, the loss that a stage ends with; NaN for
// none.
func EndLoss(steps []Step) float64 {
	var last []float64
	for i := len(steps) - 1; i >= 0 && len(last) < LossSteps; i-- {
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
