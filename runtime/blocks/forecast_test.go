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
