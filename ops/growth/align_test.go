package growth

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestAssign compares assignments with the best of all permutations.
func TestAssign(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= 6; n++ {
		for range 50 {
			cost := make([]float32, n*n)
			for i := range cost {
				cost[i] = float32(r.IntN(12)) - 4 // many are equal
			}
			sum := func(order []int) (s float64) {
				for i, j := range order {
					s += float64(cost[i*n+j])
				}
				return s
			}
			best := math.Inf(1)
			each(n, func(order []int) { best = min(best, sum(order)) })
			got, err := assign(t.Context(), cost, n)
			if err != nil {
				t.Fatal(err)
			}
			if sorted := slices.Sorted(slices.Values(got)); sorted[0] != 0 || sorted[n-1] != n-1 || len(slices.Compact(sorted)) != n {
				t.Fatalf("%v is no permutation", got)
			}
			if sum(got) != best {
				t.Fatalf("%v of %v costs %g, not %g", got, cost, sum(got), best)
			}
		}
	}
}

// each calls f with every permutation of 0 to n-1.
func each(n int, f func([]int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var swap func(k int)
	swap = func(k int) {
		if k == n {
			f(order)
			return
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			swap(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	swap(0)
}

// BenchmarkAlign finds the order of neurons of a feed-forward layer with random weights, which lie as far apart as any.
func BenchmarkAlign(b *testing.B) {
	for _, x := range []struct{ hidden, neurons int }{{512, 1365}, {2048, 5461}} {
		b.Run(fmt.Sprintf("%dx%d", x.hidden, x.neurons), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			rows := func() []float32 {
				v := make([]float32, x.neurons*x.hidden)
				for i := range v {
					v[i] = float32(r.NormFloat64()) * 0.02
				}
				return v
			}
			lower, upper := rows(), rows()
			for range b.N {
				gain := make([]float32, x.neurons*x.neurons)
				began := time.Now()
				if err := subtractProducts(b.Context(), gain, upper, lower, x.neurons); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(2*float64(len(gain))*float64(x.hidden)/time.Since(began).Seconds()/1e9, "GFLOP/s")
				began = time.Now()
				if _, err := assign(b.Context(), gain, x.neurons); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(time.Since(began).Seconds(), "assign-s")
			}
		})
	}
}
