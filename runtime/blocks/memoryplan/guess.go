package memoryplan

import (
	"math"

	"stepflow/ops/growth"
)

// line guesses the size of a stage: a constant for what is outside the layers, and some bytes for each new layer and each old
// one. Every size that is computed shifts it. A guess is believed only if it is far above a limit; see far.
type line struct {
	rest, fresh, old float64
	off              float64 // what it was shifted by
}

// margin is the share of a limit, 1/margin, by which a guess must miss it to be believed.
const margin = 8

// far reports whether a guess is so much above a limit that the size is.
func far(guess, limit int64) bool { return guess > limit && guess-limit > limit/margin }

func (l *line) at(s shape) float64 {
	return l.rest + l.fresh*float64(s.fresh) + l.old*float64(s.old) + l.off
}

// shift moves the line so that it passes through a size that was computed.
func (l *line) shift(s shape, size int64) {
	if l != nil {
		l.off += float64(size) - l.at(s)
	}
}

// samples are the stages that a line is drawn through, first ones and others.
var samples = map[bool][3]shape{true: {{1, 0}, {2, 0}, {3, 0}}, false: {{1, 2}, {1, 3}, {2, 3}}}

// leastGuessed is the number of layers from which on sizes of a model are guessed: with fewer, they are computed as quickly.
const leastGuessed = 6

// guess returns a guess of what a stage takes with an option; 0, for unknown, with a model of few layers.
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

// line returns the line of an option.
func (q *search) line(key lined) (*line, error) {
	if l, ok := q.lines[key]; ok {
		return l, nil
	}
	var n [3]float64
	for i, at := range samples[key.first] {
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
	l.rest = n[2] - l.at(samples[key.first][2])
	q.lines[key] = l
	return l, nil
}

// guessMost guesses how many layers a stage may add within a limit.
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

// guessSplit guesses the split into so many stages whose largest stage is the smallest.
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
