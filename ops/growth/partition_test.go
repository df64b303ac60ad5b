package growth

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"
)

// paper is the cost of layers, adapters and a rest of so many parameters: 16 bytes each that trains, 2 each frozen one.
func paper(layer, adapter, rest int64) Cost {
	return Bytes{Layer: 16 * layer, Frozen: 2 * layer, Adapter: 16 * adapter, Rest: 16 * rest}.Cost()
}

// ratio makes the paper's cost for r = adapter/layer as a fraction, exactly: bytes times the denominator.
func ratio(r string) (Cost, int64) {
	x, _ := new(big.Rat).SetString(r)
	p := x.Denom().Int64()
	return paper(p, x.Num().Int64(), 0), p
}

// TestPartitionGolden holds the optimal splits of 24 layers that brute force over all compositions
// in exact fractions gives: up to which ratio r of adapter to layer parameters which split is best.
func TestPartitionGolden(t *testing.T) {
	for _, c := range []struct {
		stages int
		r      string
		split  []int
		saving string
	}{
		{2, "0", []int{13, 11}, "45.83"}, {2, "0.1058", []int{14, 10}, "41.67"}, {2, "0.2322", []int{15, 9}, "37.50"}, {2, "0.3", []int{15, 9}, "35.94"},
		{3, "0", []int{9, 8, 7}, "61.98"}, {3, "0.0515", []int{10, 8, 6}, "58.33"}, {3, "0.1608", []int{11, 8, 5}, "53.57"},
		{3, "0.2387", []int{12, 7, 5}, "50.00"}, {3, "0.25", []int{11, 8, 5}, "49.48"}, {3, "0.2961", []int{13, 7, 4}, "45.83"},
		{4, "0", []int{7, 6, 6, 5}, "68.23"}, {4, "0.0179", []int{6, 7, 6, 5}, "67.26"}, {4, "0.0289", []int{8, 6, 5, 5}, "66.67"}, {4, "0.0417", []int{6, 7, 6, 5}, "65.97"},
		{4, "0.0569", []int{8, 7, 5, 4}, "64.77"}, {4, "0.1478", []int{9, 7, 5, 3}, "60.60"}, {4, "0.2084", []int{10, 7, 4, 3}, "56.94"},
		{4, "0.275", []int{8, 8, 5, 3}, "52.50"}, {4, "0.2751", []int{11, 7, 4, 2}, "52.50"},
	} {
		cost, p := ratio(c.r)
		split, peak, err := Partition(24, c.stages, cost, Unbounded)
		if err != nil {
			t.Fatal(err)
		}
		saving := fmt.Sprintf("%.2f", 100*(1-float64(peak)/float64(16*24*p)))
		if !slices.Equal(split, c.split) || saving != c.saving {
			t.Errorf("%d stages at r = %s: %v saves %s %%, want %v and %s", c.stages, c.r, split, saving, c.split, c.saving)
		}
		// Interpolation has no room for some of these splits, but always for one that is as good.
		if _, gaps, err := Partition(24, c.stages, cost, Gaps); err != nil || gaps != peak {
			t.Errorf("%d stages at r = %s: %d bytes with gaps, %d without; %v", c.stages, c.r, gaps, peak, err)
		}
	}
}

// TestPartitionAgainstBruteForce tries every composition.
func TestPartitionAgainstBruteForce(t *testing.T) {
	for layers := 2; layers <= 12; layers++ {
		for stages := 1; stages <= layers; stages++ {
			for _, c := range [][3]int64{{100, 0, 0}, {100, 13, 50}, {100, 40, 9}, {7, 7, 3}, {5, 60, 9}} {
				cost := paper(c[0], c[1], c[2])
				var best []int
				var least int64
				var try func(split []int, n int, peak int64)
				try = func(split []int, n int, peak int64) {
					if len(split) == stages {
						if n == layers && (best == nil || peak < least) {
							best, least = slices.Clone(split), peak
						}
						return
					}
					for add := 1; add <= layers-n && (n == 0 || add <= n-1); add++ {
						try(append(split, add), n+add, max(peak, cost(add, n)))
					}
				}
				try(nil, 0, 0)
				split, peak, err := Partition(layers, stages, cost, Gaps)
				if best == nil {
					if err == nil {
						t.Errorf("%d layers in %d stages: %v, but none is possible", layers, stages, split)
					}
					continue
				}
				if err != nil || peak != least || !slices.Equal(split, best) {
					t.Errorf("%d layers in %d stages: %v (%d), brute force %v (%d), %v", layers, stages, split, peak, best, least, err)
				}
			}
		}
	}
}

func TestFewest(t *testing.T) {
	cost, p := ratio("0.1")
	vanilla := 16 * 24 * p
	for _, c := range []struct {
		share  float64
		stages int
	}{{1, 1}, {0.99, 2}, {0.5, 3}, {0.4, 4}} {
		split, peak, ok := Fewest(24, int64(c.share*float64(vanilla)), cost, Gaps)
		if !ok || len(split) != c.stages || peak > int64(c.share*float64(vanilla)) {
			t.Errorf("budget of %g: %v of %d bytes, %t", c.share, split, peak, ok)
		}
	}
	if split, peak, ok := Fewest(24, vanilla/100, cost, Gaps); ok || peak <= vanilla/100 || split == nil {
		t.Errorf("an impossible budget gives %v, %d, %t", split, peak, ok)
	}
}

// TestFewestTriesEveryNumber compares it with the splits into each number of stages.
func TestFewestTriesEveryNumber(t *testing.T) {
	for layers := 1; layers <= 12; layers++ {
		for _, c := range [][3]int64{{100, 0, 0}, {100, 13, 50}, {7, 7, 3}, {5, 60, 9}} {
			cost := paper(c[0], c[1], c[2])
			for budget := int64(0); budget <= cost(layers, 0); budget += 1 + cost(layers, 0)/50 {
				var want []int
				least := int64(math.MaxInt64)
				for k := 1; k <= layers && least > budget; k++ {
					if split, peak, err := Partition(layers, k, cost, Gaps); err == nil && peak < least {
						want, least = split, peak
					}
				}
				split, peak, ok := Fewest(layers, budget, cost, Gaps)
				if !slices.Equal(split, want) || peak != least || ok != (least <= budget) {
					t.Errorf("%d layers within %d bytes: %v (%d, %t), one by one %v (%d)", layers, budget, split, peak, ok, want, least)
				}
			}
		}
	}
}

// TestManyLayersAreSplit would take hours if every peak of every number of stages were tried.
func TestManyLayersAreSplit(t *testing.T) {
	cost := paper(1_000_000, 100_000, 10_000_000)
	split, peak, err := Partition(2000, 500, cost, Gaps)
	if err != nil || len(split) != 500 {
		t.Fatalf("%d stages, %v", len(split), err)
	}
	n, most := 0, int64(0)
	for _, add := range split {
		most = max(most, cost(add, n))
		n += add
	}
	if n != 2000 || most != peak {
		t.Errorf("%d layers, the largest stage %d bytes of %d", n, most, peak)
	}
	if split, peak, ok := Fewest(2000, 1, cost, Gaps); ok || peak <= 1 || len(split) == 0 {
		t.Errorf("a budget of a byte gives %d stages of %d bytes, %t", len(split), peak, ok)
	}
}
