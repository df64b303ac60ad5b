package report

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
)

// noisy is a step whose loss is one of 100 values, so that quantiles are known, but for one spike.
func noisy(i, spike int) *metrics.Step {
	s := &metrics.Step{Step: i, Tokens: int64(i) * 8, FLOPs: int64(i) * 100, Loss: 2 + float64(i*37%100)/100, GradNorm: 1,
		LearningRate: 1e-3, Seconds: .5, TokensPerSec: 16}
	if i == spike {
		s.Loss, s.GradNorm = 90, 50
	}
	return s
}

// TestManySteps: however many steps there are, the points are few, a spike of one step is seen, and sums are exact.
func TestManySteps(t *testing.T) {
	for _, n := range []int{1, 2, 63, 64, 65, 1000, 1024, 1025, 100_003} {
		spike := n/3 + 1
		th := newThinner(1024)
		for i := 1; i <= n; i++ {
			th.add(noisy(i, spike))
		}
		s := th.result()
		points := len(s.Step)
		if points > 1024 || points < min(n, 512) || s.Step[points-1] != n || s.Tokens[points-1] != int64(n)*8 ||
			float64(s.Seconds[points-1]) != float64(n)/2 {
			t.Fatalf("%d steps are %d points: %v", n, points, s.Step[points-1])
		}
		top := s.Loss.Max
		if s.Every == 1 {
			top = s.Loss.Mean
		}
		if at := slices.Index(top, 90); at != (spike-1)/s.Every || th.points[at].norm.max != 50 {
			t.Errorf("%d steps: the spike is at point %d of %d steps", n, at, s.Every)
		}
		if n < 1000 {
			continue
		}
		mid := points / 2
		if m, lo, hi := s.Trend.Mean[mid], s.Trend.Low[mid], s.Trend.High[mid]; math.Abs(float64(m)-2.5) > .1 ||
			math.Abs(float64(lo)-2.1) > .06 || math.Abs(float64(hi)-2.9) > .06 {
			t.Errorf("%d steps: mean %v, 80 %% between %v and %v, in a window of %d", n, m, lo, hi, s.Trend.Window)
		}
	}
}

// TestImplausibleSteps: steps that no run writes are left out.
func TestImplausibleSteps(t *testing.T) {
	th := newThinner(16)
	for _, s := range []*metrics.Step{noisy(1, 0), noisy(1, 0), {Step: -4}, {Step: 2, Seconds: math.NaN()}, {Step: 3, Seconds: -1},
		{Step: 1 << 60}, {Step: 4, Tokens: -1}, noisy(5, 0)} {
		th.add(s)
	}
	if th.steps != 2 || !slices.Equal(th.result().Step, []int{1, 5}) {
		t.Errorf("%d steps: %v", th.steps, th.result().Step)
	}
}

// TestPageIsBounded: a page of stages of a hundred thousand steps is no larger than it may be, and nothing in it is more
// than can be seen.
func TestPageIsBounded(t *testing.T) {
	dir := sampleRun(t, 60_000)
	writeState(t, dir, map[string]*state.Block{"stage.one": {Status: state.Done, Content: "x", Step: 60_000, Steps: 60_000}})
	f, err := os.Create(filepath.Join(blockDir(t, dir, "stage.one"), metrics.FileName))
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 60_000; i++ {
		b, err := json.Marshal(noisy(i, 30_000))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, "%s\n", b)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r := read(t, dir)
	b, err := json.Marshal(r.Blocks[0].Stage.Series)
	if err != nil || len(b) > 1<<20 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if top := slices.Max(r.Blocks[0].Stage.Series.Loss.Max); top != 90 {
		t.Errorf("the highest loss is %v", top)
	}
}

func blockDir(t *testing.T, dir, block string) string {
	t.Helper()
	d := filepath.Join(dir, "blocks", block)
	if err := os.MkdirAll(d, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

func BenchmarkThinner(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		th := newThinner(mostPoints)
		for i := 1; i <= 100_000; i++ {
			th.add(noisy(i, 0))
		}
		th.result()
	}
}

// TestEvaluationSeries: of any number of evaluations a bounded number is drawn, evenly, and always the last; the lowest is
// known also where it is not drawn.
func TestEvaluationSeries(t *testing.T) {
	for _, n := range []int{1, 2, 1023, 1024, 1025, 5000} {
		x := newThinner(64)
		lowest := n / 3
		for step := range n {
			if step > 0 {
				x.add(&metrics.Step{Step: step, Tokens: int64(8 * step), FLOPs: int64(step), Seconds: 2, Loss: 1, GradNorm: 1})
			}
			loss := 5.0
			switch step {
			case lowest:
				loss = 2
			case n - 1:
				loss = 3
			case n - 2:
				loss = math.NaN()
			}
			x.evaluated(&metrics.Evaluation{Name: "v", Step: step, Tokens: int64(8 * step), FLOPs: int64(step), Seconds: 0.5,
				Values: map[string]float64{"loss": loss}})
		}
		x.evaluated(&metrics.Evaluation{Name: "v", Step: 0, Values: map[string]float64{"loss": 1}}) // none that a run writes
		if x.result() == nil {                                                                      // of one at step 0
			continue
		}
		s := x.result().Evaluations[0]
		last := len(s.Step) - 1
		if s.Count != n || len(s.Step) > mostEvaluations+1 || n > 1 && len(s.Step) < min(n, mostEvaluations/2) || s.Step[0] != 0 ||
			s.Step[last] != n-1 || s.Tokens[last] != int64(8*(n-1)) || s.FLOPs[last] != int64(n-1) ||
			s.Seconds[last] != Number(2*(n-1)) || s.Values[last] != s.Last || s.BestAt != lowest && n > 2 ||
			s.Took != Number(float64(n)/2) {
			t.Errorf("of %d: %d from %d to %d, best %v at %d, last %v", n, len(s.Step), s.Step[0], s.Step[last], s.Best, s.BestAt, s.Last)
		}
		for i := 2; i < last; i++ {
			if s.Step[i]-s.Step[i-1] != s.Step[1]-s.Step[0] {
				t.Errorf("of %d: steps %d and %d beside each other", n, s.Step[i-1], s.Step[i])
				break
			}
		}
	}
}
