package fineweb

import (
	"math"
	"slices"
)

// nextPart chooses the part of a mixture that gives the next sequence; -1 when all are used up.
func nextPart(weights []float64, drawn []int64, usedUp func(int) bool) int {
	best, most := -1, 0.0
	for j, w := range weights {
		if x := w / float64(2*drawn[j]+1); !usedUp(j) && (best < 0 || x > most) {
			best, most = j, x
		}
	}
	return best
}

// Draws counts the sequences that each part of a mixture gives of the first n, as Mix draws them; a limit is how many a
// part can give at most, negative for any number. They add up to less than n if all parts are used up before.
//
// A part with weight w gives its k-th sequence when w/(2k-1) is the largest such quotient of all, so that at some level
// each has given round(level w), or its limit; weights count relative to the least. The level is found by bisection, up
// to what rounding may do to a tie, and the last few sequences are drawn one by one.
func Draws(weights []float64, limits []int64, n int64) []int64 {
	drawn := make([]int64, len(weights))
	least := slices.Min(weights)
	most := func(j int) int64 {
		if limits[j] < 0 {
			return n
		}
		return min(n, limits[j])
	}
	draw := func(level float64) (sum float64) {
		for j, w := range weights {
			drawn[j] = most(j)
			if x := math.Floor(level*min(w/least, math.MaxFloat64) + 0.5); x < float64(drawn[j]) {
				drawn[j] = int64(x)
			}
			sum += float64(drawn[j])
		}
		return sum
	}
	low, high := 0.0, float64(n+1) // at which a part without a limit gives all
	if draw(high) <= float64(n) {
		return drawn
	}
	for {
		mid := low + (high-low)/2
		if mid <= low || mid >= high {
			break
		}
		if draw(mid) < float64(n) {
			low = mid
		} else {
			high = mid
		}
	}
	for left := n - int64(draw(low*(1-1e-12))); left > 0; left-- {
		j := nextPart(weights, drawn, func(j int) bool { return drawn[j] >= most(j) })
		if j < 0 {
			break
		}
		drawn[j]++
	}
	return drawn
}
