package report

import (
	"math"

	"stepflow/runtime/metrics"
)

// points is how many points of a stage are drawn at most; of more steps, each point is the mean of equally many.
const points = 1200

// Series are the steps of a stage in columns, for charts. Tokens, FLOPs and seconds count from the stage's first step.
// A loss is null where no step of the point was finite.
type Series struct {
	Step    []int      `json:"step"`
	Tokens  []int64    `json:"tokens"`
	FLOPs   []float64  `json:"flops"`
	Seconds []float64  `json:"seconds"`
	Loss    []*float64 `json:"loss"`
	LR      []float64  `json:"learning_rate"`
	Norm    []*float64 `json:"grad_norm"`
	Speed   []float64  `json:"tokens_per_second"`
	MFU     []float64  `json:"mfu"`
	Skipped int        `json:"skipped"` // steps that were not finite
	Mean    *float64   `json:"mean"`    // loss of the last ten finite steps
}

func newSeries(steps []metrics.Step) *Series {
	s := &Series{}
	every := (len(steps) + points - 1) / points
	var seconds, last float64
	finite := 0
	for lo := 0; lo < len(steps); lo += every {
		part := steps[lo:min(lo+every, len(steps))]
		var loss, norm, lr, speed, mfu float64
		n := 0.0
		for _, x := range part {
			seconds += x.Seconds
			lr, speed, mfu = lr+x.LearningRate, speed+x.TokensPerSec, mfu+x.MFU
			if x.Skipped || !sound(x.Loss) || !sound(x.GradNorm) {
				s.Skipped++
				continue
			}
			loss, norm, n = loss+x.Loss, norm+x.GradNorm, n+1
		}
		end, count := part[len(part)-1], float64(len(part))
		s.Step, s.Tokens, s.FLOPs = append(s.Step, end.Step), append(s.Tokens, end.Tokens),
			append(s.FLOPs, float64(end.FLOPs))
		s.Seconds = append(s.Seconds, seconds)
		s.LR, s.Speed, s.MFU = append(s.LR, number(lr/count)), append(s.Speed, number(speed/count)),
			append(s.MFU, number(mfu/count))
		s.Loss, s.Norm = append(s.Loss, optional(loss/n)), append(s.Norm, optional(norm/n))
	}
	for i := len(steps) - 1; i >= 0 && finite < 10; i-- {
		if x := steps[i]; !x.Skipped && sound(x.Loss) {
			last += x.Loss
			finite++
		}
	}
	s.Mean = optional(last / float64(finite))
	return s
}

func sound(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// number makes x fit for JSON.
func number(x float64) float64 {
	if !sound(x) {
		return 0
	}
	return x
}

func optional(x float64) *float64 {
	if !sound(x) {
		return nil
	}
	return &x
}
