package growth

import (
	"fmt"
	"math"
	"sort"
)

// Cost is the bytes of one stage that trains fresh layers on top of old frozen ones. It does not fall as fresh grows.
type Cost func(fresh, old int) int64

// Bytes are the model states of the parts of a model: weights, and of what trains gradients and optimizer states.
type Bytes struct {
	Layer   int64 // a layer that trains: with AdamW 16 bytes a parameter
	Frozen  int64 // a layer that does not, 2 bytes a parameter in bf16 and 4 in fp32, with the remainders of merges
	Adapter int64 // the adapters of a frozen layer, which train
	Rest    int64 // all outside the layers
}

// Cost returns the cost of stage i, which adds n_i layers to N_{i-1} frozen ones: the model states of arXiv 2504.04151,
// section 3.2, and what lies outside the layers,
//
//	P_i = n_i·layer + N_{i-1}·(frozen + adapter) + rest
func (b Bytes) Cost() Cost {
	return func(fresh, old int) int64 { return int64(fresh)*b.Layer + int64(old)*(b.Frozen+b.Adapter) + b.Rest }
}

// Room is the most layers that may be added on top of n > 0.
type Room func(n int) int

// Gaps is the room of interpolation: one new layer between two neighbours.
func Gaps(n int) int { return n - 1 }

// Unbounded is the room of the paper's integer program, and of stacking.
func Unbounded(int) int { return math.MaxInt32 }

// Partition splits L layers into K stages so that the largest stage is as small as possible; of
// equal splits it gives the lexicographically smallest, which trains fewest layers first. The
// program is solved exactly: the least peak is searched by halving, and whether a peak will do is
// answered by the numbers of layers that can be reached stage by stage, in K·L steps.
func Partition(layers, stages int, cost Cost, room Room) (split []int, peak int64, err error) {
	if stages < 1 || layers < stages {
		return nil, 0, fmt.Errorf("%d layers cannot be trained in %d stages: each stage adds at least one", layers, stages)
	}
	p := program{layers, cost, room}
	peak, ok := p.least(func(most []int) bool { return p.stages(most, stages) == stages })
	if !ok {
		return nil, 0, fmt.Errorf("%d layers cannot be reached in %d stages: a stage adds at most one layer between two old ones", layers, stages)
	}
	return p.smallest(p.most(peak), stages), peak, nil
}

// Fewest finds the smallest number of stages whose peak is within the budget. When there is none
// it returns ok = false with the split of least peak.
func Fewest(layers int, budget int64, cost Cost, room Room) (split []int, peak int64, ok bool) {
	if layers < 1 {
		return nil, 0, false
	}
	p := program{layers, cost, room}
	stages := p.stages(p.most(budget), 0)
	if ok = stages > 0; !ok {
		least, _ := p.least(p.reaches)
		stages = p.stages(p.most(least), 0)
	}
	split, peak, err := Partition(layers, stages, cost, room)
	return split, peak, ok && err == nil
}

// program is what a split has to keep to.
type program struct {
	layers int
	cost   Cost
	room   Room
}

// most lists, for each number of layers that are there, how many a stage of at most peak bytes may add.
func (p program) most(peak int64) []int {
	most := make([]int, p.layers)
	for n := range most {
		most[n] = sort.Search(p.fits(n), func(i int) bool { return p.cost(i+1, n) > peak })
	}
	return most
}

// fits is how many layers there is room for on top of n, whatever they cost.
func (p program) fits(n int) int {
	if n == 0 {
		return p.layers
	}
	return max(min(p.room(n), p.layers-n), 0)
}

// least searches the smallest peak that will do; ok is false if none does.
func (p program) least(do func(most []int) bool) (peak int64, ok bool) {
	var highest int64
	for n := range p.layers {
		if fresh := p.fits(n); fresh > 0 {
			highest = max(highest, p.cost(fresh, n))
		}
	}
	low, high := int64(0), highest // low-1 does not do, unless none does high does
	for low < high {
		if mid := low + (high-low)/2; do(p.most(mid)) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low, do(p.most(low))
}

// reaches reports whether all layers are reached in some number of stages.
func (p program) reaches(most []int) bool {
	far := most[0] // from what was reached so far
	for n := 1; n <= far && n < p.layers; n++ {
		far = max(far, n+most[n])
	}
	return far >= p.layers
}

// stages is the number of stages in which all layers are reached: exactly the one that is asked for,
// the least for 0. It is 0 if they are not.
func (p program) stages(most []int, exactly int) int {
	at, next := make([]bool, p.layers+1), make([]bool, p.layers+1)
	at[0] = true
	for k := 1; k <= p.layers; k++ {
		far, last := 0, p.layers-max(exactly-k, 0) // one layer at least for each stage to come
		for n := k - 1; n < last; n++ {
			if at[n] {
				far = max(far, n+most[n])
			}
			next[n+1] = far > n
		}
		switch {
		case k == exactly || exactly == 0 && next[p.layers]:
			if next[p.layers] {
				return k
			}
			return 0
		case far < k:
			return 0
		}
		at, next = next, at
	}
	return 0
}

// smallest is the lexicographically smallest split into stages, of those that there are.
func (p program) smallest(most []int, stages int) (split []int) {
	// ends[k][n-(stages-k)] is set if k more stages lead from n layers to all of them.
	ends := make([][]bool, stages+1)
	slack := p.layers - stages
	ends[0] = make([]bool, slack+1)
	ends[0][slack] = true
	for k := 1; k <= stages; k++ {
		ends[k] = make([]bool, slack+1)
		near := math.MaxInt // the fewest layers above n from which k-1 stages do
		for i := slack; i >= 0; i-- {
			n := i + stages - k
			if ends[k-1][i] {
				near = n + 1
			}
			ends[k][i] = near-n <= most[n]
		}
	}
	n := 0
	for k := stages; k > 0; k-- {
		add := 1
		for i := n - (stages - k); !ends[k-1][i]; i++ {
			add++
		}
		split = append(split, add)
		n += add
	}
	return split
}
