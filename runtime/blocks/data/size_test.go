package data

import (
	"testing"

	"stepflow/fineweb"
)

// TestOnePassOfAMixture: a part that is used up does not start over, and the others go on without it.
func TestOnePassOfAMixture(t *testing.T) {
	for _, c := range []struct {
		epochs  []int64
		weights []float64
		want    float64
	}{
		{[]int64{0, 0}, []float64{1, 1}, 2000}, {[]int64{1, 0}, []float64{1, 1}, 6000}, {[]int64{1, 0}, []float64{1e9, 1}, 6000},
		{[]int64{0, 1}, []float64{1, 1}, 2000}, {[]int64{1, 1}, []float64{1, 1}, 6000}, {[]int64{2, 0}, []float64{1, 1}, 2000},
	} {
		var parts []fineweb.Weighted
		for i, e := range c.epochs {
			parts = append(parts, fineweb.Weighted{Source: fineweb.Source{Epochs: e}, Weight: c.weights[i]})
		}
		if got := onePass(parts, []float64{1000, 5000}); got != c.want {
			t.Errorf("%+v: %g", c, got)
		}
	}
	if !Wraps(7, 3, 0, 64, 1) || Wraps(7, 2, 0, 64, 1) {
		t.Error("data used up after two passes do not start over twice, those of three do")
	}
}

// TestWraps compares what the plan knows of too few data with a stream that counts how often it starts over.
func TestWraps(t *testing.T) {
	for tokens := 1; tokens < 40; tokens++ {
		for each := 1; each < 90; each++ {
			const draws = 12
			want, ends := false, 0
			for i := 1; i <= draws; i++ {
				before := ends
				for (ends+1)*tokens < i*each+1 {
					ends++
				}
				want = want || ends-before > 1
			}
			if got := Wraps(float64(tokens), 0, 0, float64(each), draws); got != want {
				t.Fatalf("%d draws of %d of %d tokens: %t", draws, each, tokens, got)
			}
		}
	}
}
