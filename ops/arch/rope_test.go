package arch

import (
	"math"
	"testing"
)

// TestFrequencies holds each kind of scaling to values computed by hand: theta 10000, 8 channels, so 1, 0.1, 0.01,
// 0.001.
func TestFrequencies(t *testing.T) {
	for _, x := range []struct {
		s     *RopeScaling
		want  []float64
		scale float64
	}{
		{nil, []float64{1, 0.1, 0.01, 0.001}, 1},
		{&RopeScaling{RopeType: "dynamic", Factor: 4}, []float64{1, 0.1, 0.01, 0.001}, 1},
		{&RopeScaling{RopeType: "linear", Factor: 4}, []float64{0.25, 0.025, 0.0025, 0.00025}, 1},
		// 2 pi/f is 6.28, 62.8, 628, 6283; the bounds are 64/1 and 64/4, so 62.8 is blended with (64/62.8 - 1)/3.
		{&RopeScaling{RopeType: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 64},
			[]float64{1, (1-0.0061972)*0.0125 + 0.0061972*0.1, 0.00125, 0.000125}, 1},
		// Turns 32 and 1 within 4096 are at channels 1.31 and 2.81: rounded to 1 and 3, channel 2 is half of each.
		{&RopeScaling{RopeType: "yarn", Factor: 4, OriginalMaxPositionEmbeddings: 4096, AttentionFactor: 1.25, BetaFast: 32, BetaSlow: 1},
			[]float64{1, 0.1, 0.01*0.5 + 0.0025*0.5, 0.00025}, 1.25},
	} {
		c := Config{HeadDim: 8, RopeTheta: 10000, RopeScaling: x.s}
		f, scale := c.Frequencies()
		for i := range x.want {
			if math.Abs(f[i]/x.want[i]-1) > 1e-5 || scale != x.scale {
				t.Errorf("%+v: %v times %g, want %v times %g", x.s, f, scale, x.want, x.scale)
				break
			}
		}
		cos, sin := c.RopeTables(3)
		if i := 2*4 + 1; math.Abs(float64(cos[i])-scale*math.Cos(2*f[1])) > 1e-6 || math.Abs(float64(sin[i])-scale*math.Sin(2*f[1])) > 1e-6 {
			t.Errorf("%+v: the tables differ from the frequencies", x.s)
		}
	}
}
