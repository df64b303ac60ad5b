package memoryplan

import "math"

// line is a number of bytes that grows with the layers: some outside them, and some for each new layer and each old one.
type line struct{ rest, fresh, old float64 }

func (l line) at(s shape) float64 {
	return l.rest + l.fresh*float64(s.fresh) + l.old*float64(s.old)
}

// samples are the stages that a line is drawn through: for first stages, and for those that continue another.
var samples = map[bool][3]shape{true: {{1, 0}, {2, 0}, {3, 0}}, false: {{1, 2}, {1, 3}, {2, 3}}}

// draw draws a line through the sizes of samples.
func draw(first bool, size func(at shape) (int64, error)) (l line, err error) {
	var n [3]float64
	for i, at := range samples[first] {
		bytes, err := size(at)
		if err != nil {
			return l, err
		}
		n[i] = float64(bytes)
	}
	l = line{fresh: n[2] - n[1], old: n[1] - n[0]}
	if first {
		l.old = 0
	}
	l.rest = n[2] - l.at(samples[first][2])
	return l, nil
}

// bytesOf rounds what a line says.
func bytesOf(n float64) int64 { return int64(min(n, math.MaxInt64/4)) }

// floor returns what a stage takes more than with an option: what it keeps of its parameters.
func (q *search) floor(at shape, option int) (int64, error) {
	l, err := q.floorLine(lined{option, at.old == 0})
	return bytesOf(l.at(at)), err
}

func (q *search) floorLine(key lined) (l line, err error) {
	l, ok := q.floors[key]
	if ok {
		return l, nil
	}
	l, err = draw(key.first, func(at shape) (int64, error) {
		s, err := q.alone(at, key.option)
		if err != nil {
			return 0, err
		}
		return q.programs.Floor(s)
	})
	q.floors[key] = l
	return l, err
}

// leastGuessed is the number of layers from which on sizes of a model are guessed: with fewer, they are computed as quickly.
const leastGuessed = 6

// guess returns a guess of what a stage takes with an option, at least its floor. A guess is believed only if it is far above a
// limit; see far.
func (q *search) guess(at shape, option int) (int64, error) {
	if n, ok := q.sizes[sized{at, option}]; ok {
		return n, nil
	}
	key := lined{option, at.old == 0}
	floor, err := q.floorLine(key)
	if err != nil {
		return 0, err
	}
	above, err := q.above(key)
	return bytesOf(floor.at(at) + max(0, above.at(at))), err
}

// margin is the share of a limit, 1/margin, by which a guess must miss it to be believed.
const margin = 8

// far reports whether a guess is so far above a limit that the size must be above it, too.
func far(guess, limit int64) bool { return guess > limit && guess-limit > limit/margin }

// believed is the least size that a stage may have by a guess.
func believed(guess int64) int64 { return guess - guess/(margin+1) }

// above guesses what stages take above their floors. It hardly depends on the optimizer, so the searches of a plan share a line, and
// each of them moves it to pass through the last size that it has computed.
func (q *search) above(key lined) (l line, err error) {
	if q.model.NumHiddenLayers < leastGuessed {
		return l, nil
	}
	l, ok := q.common.lines[key]
	if !ok {
		l, err = draw(key.first, func(at shape) (int64, error) {
			n, err := q.size(at, key.option)
			if err != nil {
				return 0, err
			}
			floor, err := q.floor(at, key.option)
			return n - floor, err
		})
		if err != nil {
			return l, err
		}
		q.common.lines[key], q.moved[key] = l, 0
	}
	by, ok := q.moved[key]
	if !ok {
		if by, err = q.movedLike(key); err != nil {
			return l, err
		}
		q.moved[key] = by
	}
	l.rest += by
	return l, nil
}

// movedLike returns by how much the search moved the line of an option with the same update. If there is none, it computes a size.
func (q *search) movedLike(key lined) (float64, error) {
	for i, o := range q.options {
		if by, ok := q.moved[lined{i, key.first}]; ok && o.fused == q.options[key.option].fused {
			return by, nil
		}
	}
	_, err := q.size(samples[key.first][2], key.option)
	return q.moved[key], err
}

// move makes the line of an option pass through a size that was computed.
func (q *search) move(at shape, option int, size int64) error {
	key := lined{option, at.old == 0}
	l, ok := q.common.lines[key]
	if !ok {
		return nil
	}
	floor, err := q.floor(at, option)
	q.moved[key] = float64(size-floor) - l.at(at)
	return err
}

// guessMost guesses how many layers a stage may add within a limit.
func (q *search) guessMost(old, bound int, limit int64) (int, error) {
	if q.model.NumHiddenLayers < leastGuessed {
		return bound, nil
	}
	most := 0
	for _, i := range q.choices(old) {
		key := lined{i, old == 0}
		floor, err := q.floorLine(key)
		if err != nil {
			return 0, err
		}
		above, err := q.above(key)
		if err != nil {
			return 0, err
		}
		none := shape{0, old}
		if room := (float64(limit) - floor.at(none) - above.at(none)) / max(floor.fresh+above.fresh, 1); room > float64(most) {
			most = int(min(room, float64(bound)))
		}
	}
	return most, nil
}

// mayFit reports whether a stage fits a limit with an option, as far as is known without its size.
func (q *search) mayFit(at shape, option int, limit int64) (bool, error) {
	if floor, err := q.floor(at, option); err != nil || floor > limit {
		return false, err
	}
	if n, ok := q.sizes[sized{at, option}]; ok {
		return n <= limit, nil
	}
	guess, err := q.guess(at, option)
	return !far(guess, limit), err
}

// atLeast returns what a stage takes at least with any option, as far as is known without its size.
func (q *search) atLeast(at shape) (least int64, err error) {
	least = math.MaxInt64
	for _, i := range q.choices(at.old) {
		n, ok := q.sizes[sized{at, i}]
		if !ok {
			guess, err := q.guess(at, i)
			if err != nil {
				return 0, err
			}
			if n, err = q.floor(at, i); err != nil {
				return 0, err
			}
			n = max(n, believed(guess))
		}
		least = min(least, n)
	}
	return least, nil
}

// leastGuess guesses what a stage takes at least with any option.
func (q *search) leastGuess(at shape) (least int64, err error) {
	least = math.MaxInt64
	for _, i := range q.choices(at.old) {
		n, err := q.guess(at, i)
		if err != nil {
			return 0, err
		}
		least = min(least, n)
	}
	return least, nil
}
