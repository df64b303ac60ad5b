package live

import (
	"slices"

	"stepflow/runtime/metrics"
)

// Pace is how fast a stage trains, and how well, by its latest steps.
type Pace struct{ times, losses []float64 }

// timesOf is how many steps a time is the median of. A loss is the mean of as many as a stage's loss is.
const timesOf = 50

// Add takes in a step.
func (p *Pace) Add(m *metrics.Step) {
	p.times = last(append(p.times, m.Seconds), timesOf)
	p.losses = last(append(p.losses, m.Loss), metrics.LossSteps)
}

func last(list []float64, n int) []float64 { return list[max(0, len(list)-n):] }

// Seconds is how long a step takes; 0 before the first.
func (p *Pace) Seconds() float64 {
	if len(p.times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(p.times))
	return sorted[len(sorted)/2]
}

// Loss is what the loss is, in nats a token; 0 before the first step.
func (p *Pace) Loss() (mean float64) {
	for _, l := range p.losses {
		mean += l / float64(len(p.losses))
	}
	return mean
}
