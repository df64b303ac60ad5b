package memoryplan

import (
	"math"

	"stepflow/ops/growth"
)

// space returns how many layers may be added to old ones, whatever they take.
func (q *search) space(old int) int {
	if old == 0 {
		return q.model.NumHiddenLayers
	}
	return min(q.room(old), q.model.NumHiddenLayers-old)
}

// most returns how many layers, up to a bound, a stage on old layers may add within a limit; 0 for none. A stage that
// adds more layers takes more. over is a limit below which no more can be added; MaxInt64 for none.
func (q *search) most(old, bound int, limit int64) (n int, over int64, err error) {
	lo, hi, over := 0, bound+1, int64(math.MaxInt64) // so many fit, so many do not
	for tries := 0; hi-lo > 1; tries++ {
		n := lo + (hi-lo)/2
		if tries < 4 || tries%2 > 0 {
			if n, err = q.guessMost(old, bound, limit); err != nil {
				return 0, 0, err
			}
		}
		n = min(max(n, lo+1), hi-1)
		ok, size, err := q.within(shape{n, old}, limit)
		switch {
		case err != nil:
			return 0, 0, err
		case ok:
			lo = n
		default:
			hi, over = n, size
		}
	}
	return lo, over, nil
}

// largest splits the layers into stages that each take as many as fit, the largest first: into the fewest stages, or
// exactly as many as asked for, if that is not 0. No other split into as many has more layers after any stage. It is nil if
// there is none, or only with more stages than bound, if that is not 0; over is then a limit below which there is none either.
func (q *search) largest(limit int64, stages, bound int) (split []int, over int64, err error) {
	over = math.MaxInt64
	layers := q.model.NumHiddenLayers
	for n := 0; n < layers; {
		if bound > 0 && len(split) == bound {
			return nil, over, nil
		}
		room := q.space(n)
		if stages > 0 {
			left := stages - len(split) - 1
			if left < 0 {
				return nil, over, nil
			}
			room = min(room, layers-n-left) // at least one for each stage to come
		}
		add, more, err := q.most(n, room, limit)
		if err != nil {
			return nil, 0, err
		}
		if over = min(over, more); add < 1 {
			return nil, over, nil
		}
		split, n = append(split, add), n+add
	}
	if stages > 0 && len(split) != stages {
		return nil, over, nil
	}
	return split, over, nil
}

// hopeful splits the layers as largest does, with each stage as large as may fit: no split that fits has fewer stages, or more
// layers after any of so many stages. It is nil if there is none.
func (q *search) hopeful(limit int64, stages int) (split []int, err error) {
	layers := q.model.NumHiddenLayers
	for n := 0; n < layers; {
		room := q.space(n)
		if stages > 0 {
			room = min(room, layers-n-(stages-len(split)-1))
		}
		add := 0
		for lo, hi := 1, room; lo <= hi && err == nil; {
			mid := lo + (hi-lo)/2
			var ok bool
			if ok, err = q.anyMayFit(shape{mid, n}, limit); ok {
				add, lo = mid, mid+1
			} else {
				hi = mid - 1
			}
		}
		if err != nil || add < 1 || stages > 0 && len(split) == stages {
			return nil, err
		}
		split, n = append(split, add), n+add
	}
	if stages > 0 && len(split) != stages {
		return nil, nil
	}
	return split, nil
}

func (q *search) anyMayFit(at shape, limit int64) (bool, error) {
	for _, i := range q.choices(at.old) {
		if ok, err := q.mayFit(at, i, limit); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// guessSplit splits the layers into so many stages, or any number of them for 0, so that the largest is as small as possible by size.
// The split is nil if there is none into so many stages.
func (q *search) guessSplit(stages int, size func(shape) (int64, error)) (split []int, peak int64, err error) {
	known := map[shape]int64{}
	cost := func(fresh, old int) int64 {
		at := shape{fresh, old}
		n, ok := known[at]
		if !ok {
			var failed error
			if n, failed = size(at); failed != nil {
				err, n = failed, math.MaxInt64
			}
			known[at] = n
		}
		return n
	}
	layers := q.model.NumHiddenLayers
	if stages == 0 {
		split, peak, _ = growth.Fewest(layers, 0, cost, q.room)
		return split, peak, err
	}
	split, peak, impossible := growth.Partition(layers, stages, cost, q.room)
	if impossible != nil {
		return nil, 0, err
	}
	return split, peak, err
}

// smallest returns the least limit within which the layers can be split into as many stages as a given split has, and the split
// that they then have.
func (q *search) smallest(split []int) ([]int, int64, error) {
	high, err := q.peak(split)
	if err != nil {
		return nil, 0, err
	}
	guess, _, err := q.guessSplit(len(split), q.leastGuess)
	if err != nil {
		return nil, 0, err
	}
	if guess != nil {
		n, err := q.peak(guess)
		if err != nil {
			return nil, 0, err
		}
		if n < high {
			split, high = guess, n
		}
	}
	return q.shrink(split, high, len(split))
}

// nearest returns the least limit within which the layers can be split, and the split that they then have; nil if there is none.
func (q *search) nearest(stages int) (split []int, peak int64, err error) {
	if split, _, err = q.guessSplit(stages, q.leastGuess); err != nil || split == nil {
		return nil, 0, err
	}
	high, err := q.peak(split)
	if err != nil {
		return nil, 0, err
	}
	return q.shrink(split, high, stages)
}

// shrink lowers the peak of a split, into so many stages or any number of them for 0, until there is none with a lower one.
func (q *search) shrink(split []int, high int64, stages int) ([]int, int64, error) {
	low := int64(0)
	for tries := 0; low < high; tries++ {
		mid := low + (high-low)/2
		if tries < 4 { // the split is likely the best already
			mid = high - 1
		}
		list, over, err := q.largest(mid, stages, 0)
		if err != nil {
			return nil, 0, err
		}
		if list == nil {
			low = max(mid+1, min(over, high))
			continue
		}
		split = list
		if high, err = q.peak(split); err != nil {
			return nil, 0, err
		}
	}
	return split, high, nil
}

// peak returns what the largest stage of a split takes at least.
func (q *search) peak(split []int) (most int64, err error) {
	old := 0
	for _, fresh := range split {
		n, err := q.bytes(shape{fresh, old})
		if err != nil {
			return 0, err
		}
		most, old = max(most, n), old+fresh
	}
	return most, nil
}
