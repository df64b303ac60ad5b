package fineweb

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDraws compares the count with the draws themselves.
func TestDraws(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		k := 2 + r.IntN(4)
		weights, limits, want := make([]float64, k), make([]int64, k), make([]int64, k)
		for j := range weights {
			weights[j], limits[j] = []float64{1e-6, 0.1, 0.25, 0.3, 1, 2, 1e9}[r.IntN(7)], int64(r.IntN(40))-1
		}
		for n := range int64(120) {
			if got := Draws(weights, limits, n); !slices.Equal(got, want) {
				t.Fatalf("weights %v, limits %v: of %d sequences %v, counted as %v", weights, limits, n, want, got)
			}
			j := nextPart(weights, want, func(j int) bool { return limits[j] >= 0 && want[j] >= limits[j] })
			if j < 0 {
				break
			}
			want[j]++
		}
	}
	if got := Draws([]float64{1, 1e-300}, []int64{30, -1}, 1<<50); !slices.Equal(got, []int64{30, 1<<50 - 30}) {
		t.Errorf("%v", got)
	}
}
