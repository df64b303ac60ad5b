package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"

	"stepflow/runtime/metrics"
)

// points is how many points of a stage are drawn at most; of more steps, each point is the mean of equally many.
const points = 1200

// Series are the steps of a stage in columns, for charts. Tokens, FLOPs and seconds count from the stage's first step. A
// loss is null where no step of the point was finite.
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

// tail reads a growing file of steps: each time only what is new.
type tail struct {
	offset int64
	steps  []metrics.Step
}

// read gives all steps so far. A file that became shorter, as when a run goes on from an older step, is read anew.
func (t *tail) read(path string) ([]metrics.Step, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		*t = tail{}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < t.offset {
		*t = tail{}
	}
	if _, err := f.Seek(t.offset, io.SeekStart); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(f, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil { // the end, or a line that is being written
			return t.steps, nil
		}
		var s metrics.Step
		if json.Unmarshal(line, &s) != nil {
			return t.steps, nil
		}
		if n := len(t.steps); n > 0 && s.Step <= t.steps[n-1].Step {
			t.steps = t.steps[:0]
		}
		t.offset += int64(len(line))
		t.steps = append(t.steps, s)
	}
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
		s.Step, s.Tokens, s.FLOPs = append(s.Step, end.Step), append(s.Tokens, end.Tokens), append(s.FLOPs, float64(end.FLOPs))
		s.Seconds = append(s.Seconds, seconds)
		s.LR, s.Speed, s.MFU = append(s.LR, number(lr/count)), append(s.Speed, number(speed/count)), append(s.MFU, number(mfu/count))
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
