package blocks

import (
	"testing"

	"stepflow/gpu"
	"stepflow/runtime/state"
)

// The rate of a large product is measured for work that takes longer than that, and for no other.
func TestPredictMeasuresLargeWork(t *testing.T) {
	p := &gpu.Program{Segments: []gpu.Segment{{Name: "probe"}}}
	asked := 0
	w := &World{State: &state.State{}, Peak: func(gpu.DType) float64 { asked++; return 1e9 }}
	small, large := Forecast{FLOPs: measurement}, Forecast{FLOPs: 2 * measurement}
	small.Predict(w, "perplexity", gpu.F32, p, "probe")
	if asked != 0 || small.Rate != 0 || small.Seconds != 0 {
		t.Errorf("asked %d times: %+v", asked, small)
	}
	large.Predict(w, "perplexity", gpu.F32, p, "probe")
	if asked != 1 || !large.Least || large.Rate != 1e9 || large.Seconds != 2*measurement/1e9 {
		t.Errorf("asked %d times: %+v", asked, large)
	}
	w.State.Rate(Work("perplexity").Rate(w.Caps, gpu.F32, p, "probe", 0), 5e8)
	small.Predict(w, "perplexity", gpu.F32, p, "probe")
	if small.Least || small.Rate != 5e8 || small.Seconds != measurement/5e8 {
		t.Errorf("%+v", small)
	}
}

// The least time goes by the highest rate that is known of the device, whatever else ran while it was measured now.
func TestForecastByTheHighestPeak(t *testing.T) {
	caps := gpu.Caps{Kind: "cpu", Name: "one", Threads: 4}
	st := &state.State{}
	for _, rate := range []float64{3e9, 2e9} {
		if got := st.RateAtLeast(PeakRate(caps, gpu.F32), rate); got != 3e9 {
			t.Errorf("after %g: %g, want 3e9", rate, got)
		}
	}
	for _, name := range []string{"another", "one more", "oneself"} {
		st.Rate(PeakRate(gpu.Caps{Kind: "cpu", Name: name}, gpu.F32), 9e9)
	}
	st.Rate(PeakRate(caps, gpu.BF16), 8e9)
	measured := 1e9
	w := &World{State: st, Caps: gpu.Caps{Kind: "cpu", Name: "one"}, Peak: func(gpu.DType) float64 { return measured }}
	for _, x := range []struct{ measured, want float64 }{{1e9, 3e9}, {5e9, 5e9}, {0, 0}} {
		measured = x.measured
		if got := w.peak(gpu.F32); got != x.want {
			t.Errorf("measured %g: %g, want %g", x.measured, got, x.want)
		}
	}
}
