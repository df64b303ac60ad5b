package train

import "testing"

func TestSpike(t *testing.T) {
	quiet := []float64{3, 3.1, 2.9, 3, 3.05, 2.95, 3, 3.1, 2.9, 3}
	for _, c := range []struct {
		loss float64
		last []float64
		yes  bool
	}{
		{3.2, quiet, false},
		{4.5, quiet, true},
		{1.5, quiet, false},
		{9, quiet[:9], false}, // too few to say
		{3.2, []float64{3, 3, 3, 3, 3, 3, 3, 3, 3, 3}, false}, // not a tenth more
		{4, []float64{2, 4, 2, 4, 2, 4, 2, 4, 2, 4}, false},
	} {
		if mean, yes := spike(c.loss, c.last); yes != c.yes || yes && (mean < 2.9 || mean > 3.1) {
			t.Errorf("%v after %v: %v, mean %v", c.loss, c.last, yes, mean)
		}
	}
}
