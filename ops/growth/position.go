package growth

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// positions are the words that say which k of n gaps or layers an operator takes: their indices, in ascending order.
var positions = []struct {
	name  string
	slots func(k, n int, seed uint64) []int
}{
	{"upper", func(k, n int, _ uint64) []int { return series(k, func(i int) int { return n - k + i }) }},
	{"intermediate", func(k, n int, _ uint64) []int { return series(k, func(i int) int { return (n-k)/2 + i }) }},
	{"lower", func(k, n int, _ uint64) []int { return series(k, func(i int) int { return i }) }},
	{"even", func(k, n int, _ uint64) []int { return series(k, func(i int) int { return (2*i + 1) * n / (2 * k) }) }},
	{"random", func(k, n int, seed uint64) []int {
		slots := rand.New(rand.NewPCG(seed, 0x67726f77)).Perm(n)[:k]
		slices.Sort(slots)
		return slots
	}},
}

// series is f(0), f(1), …, f(k-1).
func series(k int, f func(int) int) []int {
	list := make([]int, k)
	for i := range list {
		list[i] = f(i)
	}
	return list
}

// choose returns s.Layers of the slots 0 to n-1, by position.
func (s Spec) choose(n int) ([]int, error) {
	if s.Layers > n {
		return nil, fmt.Errorf("%d new layers do not fit; grow by at most %d", s.Layers, max(n, 0))
	}
	var names []string
	for _, p := range positions {
		if p.name == s.Position {
			return p.slots(s.Layers, n, s.Seed), nil
		}
		names = append(names, p.name)
	}
	return nil, fmt.Errorf("no position %q; there are %s", s.Position, strings.Join(names, ", "))
}
