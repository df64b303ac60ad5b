package memoryplan

import (
	"math"

	"stepflow/ops/growth"
)

// line guesses the size of a stage: what is outside the layers, and so much for each. Sizes that were computed since move
// it. Only sizes that are far from a limit are told by it; see far.
type line struct {
	rest, fresh, old float64
	off              float64 // how far it was from the last size that was computed
}

// margin is the share of a limit, 1/margin, by which a guess must miss it to be believed.
const margin = 8

// far reports whether a guess is so much above a limit that the size is.
func far(guess, limit int64) bool { return guess > limit && guess-limit > limit/margin }

func (l *line) at(s shape) float64 {
	return l.rest + l.fresh*float64(s.fresh) + l.old*float64(s.old) + l.off
}

// meet moves the line to a size that was computed.
func (l *line) meet(s shape, size int64) {
	if l != nil {
		l.off += float64(size) - l.at(s)
	}
}

// few are the stages whose sizes a line is drawn through.
var few = map[bool][3]shape{true: {{1, 0}, {2, 0}, {3, 0}}, false: {{1, 2}, {1, 3}, {2, 3}}}

// least number of layers of models whose sizes are guessed: others are as soon computed.
const leastGuessed = 6

// guess tells about what a stage takes with an option: 0 for a model of few layers, which counts as an unknown size.
func (q *search) guess(at shape, option int) (int64, error) {
	if n, ok := q.sizes[sized{at, option}]; ok {
		return n, nil
	}
	if q.model.NumHiddenLayers < leastGuessed {
		return 0, nil
	}
	l, err := q.line(lined{option, at.old == 0})
	if err != nil {
		return 0, err
	}
	return int64(l.at(at)), nil
}

// line is the line of an option.
func (q *search) line(key lined) (*line, error) {
	if l, ok := q.lines[key]; ok {
		return l, nil
	}
	var n [3]float64
	for i, at := range few[key.first] {
		size, err := q.size(at, key.option)
		if err != nil {
			return nil, err
		}
		n[i] = float64(size)
	}
	l := &line{fresh: n[2] - n[1], old: n[1] - n[0]}
	if key.first {
		l.old = 0
	}
	l.rest = n[2] - l.at(few[key.first][2])
	q.lines[key] = l
	return l, nil
}

// guessMost tells how many layers a stage may about add within a limit.
func (q *search) guessMost(old, bound int, limit int64) (int, error) {
	most := 0
	for _, i := range q.choices(old) {
		if q.model.NumHiddenLayers < leastGuessed {
			return bound, nil
		}
		l, err := q.line(lined{i, old == 0})
		if err != nil {
			return 0, err
		}
		if room := (float64(limit) - l.at(shape{0, old})) / max(l.fresh, 1); room > float64(most) {
			most = int(min(room, float64(bound)))
		}
	}
	return most, nil
}

// guessSplit is about the split into so many stages whose largest is smallest.
func (q *search) guessSplit(stages int) ([]int, bool) {
	if q.model.NumHiddenLayers < leastGuessed {
		return nil, false
	}
	split, _, err := growth.Partition(q.model.NumHiddenLayers, stages, func(fresh, old int) int64 {
		least, at := int64(math.MaxInt64), shape{fresh, old}
		for _, i := range q.choices(old) {
			if l := q.lines[lined{i, old == 0}]; l != nil {
				least = min(least, int64(l.at(at)))
			}
		}
		return least
	}, q.room)
	return split, err == nil
}
