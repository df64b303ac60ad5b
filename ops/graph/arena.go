package graph

import (
	"slices"
	"sort"
)

// span is a piece of transient memory: alive from launch first to launch last, both included.
type span struct {
	first, last int
	bytes       int64
	offset      int64
}

// place gives every span an offset so that no two alive together overlap, and returns the size
// needed. Large spans are placed first, each at the lowest offset that is free for its whole life.
func place(spans []*span) (size int64) {
	order := append([]*span(nil), spans...)
	sort.SliceStable(order, func(i, j int) bool {
		a, b := order[i], order[j]
		if a.bytes != b.bytes {
			return a.bytes > b.bytes
		}
		return a.first < b.first
	})
	taken := newOccupancy(ending(spans))
	for _, s := range order {
		s.offset = taken.lowest(s)
		taken.add(s)
		size = max(size, s.offset+s.bytes)
	}
	return size
}

// aliveAtOnce is the largest number of bytes alive at one launch, which no placement can beat.
func aliveAtOnce(spans []*span) (most int64) {
	delta := make([]int64, ending(spans)+1)
	for _, s := range spans {
		delta[s.first] += s.bytes
		delta[s.last+1] -= s.bytes
	}
	var alive int64
	for _, d := range delta {
		alive += d
		most = max(most, alive)
	}
	return most
}

// ending is the launch after the last at which a span is alive.
func ending(spans []*span) (end int) {
	for _, s := range spans {
		end = max(end, s.last+1)
	}
	return end
}

// occupancy knows which bytes are taken when: a segment tree over time. A span is kept at the
// O(log n) widest nodes that its life covers, and noted at all nodes above them. What is taken
// during an interval is then what is noted at the widest nodes inside it, and what is kept above those.
type occupancy struct {
	end   int
	kept  []ranges // bytes taken during the whole of a node's time
	noted []ranges // bytes taken at some time in it, by spans kept here or below
	sets  []ranges // scratch of lowest
}

func newOccupancy(end int) *occupancy {
	n := 1
	for n < end {
		n *= 2
	}
	return &occupancy{end: n, kept: make([]ranges, 2*n), noted: make([]ranges, 2*n)}
}

// visit calls f for each node whose time [lo, hi) meets [first, last]: with inside for the widest
// that lie in it, which it does not descend into.
func (o *occupancy) visit(first, last int, f func(node int, inside bool)) {
	var walk func(node, lo, hi int)
	walk = func(node, lo, hi int) {
		if last < lo || hi <= first {
			return
		}
		inside := first <= lo && hi <= last+1
		f(node, inside)
		if mid := (lo + hi) / 2; !inside {
			walk(2*node, lo, mid)
			walk(2*node+1, mid, hi)
		}
	}
	walk(1, 0, o.end)
}

func (o *occupancy) add(s *span) {
	o.visit(s.first, s.last, func(node int, inside bool) {
		o.noted[node].add(s.offset, s.offset+s.bytes)
		if inside {
			o.kept[node].add(s.offset, s.offset+s.bytes)
		}
	})
}

// lowest is the least offset at which the span meets nothing that was added.
func (o *occupancy) lowest(s *span) (at int64) {
	o.sets = o.sets[:0]
	o.visit(s.first, s.last, func(node int, inside bool) {
		r := o.kept[node]
		if inside {
			r = o.noted[node]
		}
		if len(r) > 0 {
			o.sets = append(o.sets, r)
		}
	})
	for moved := true; moved; {
		moved = false
		for _, r := range o.sets {
			if end := r.past(at, s.bytes); end > at {
				at, moved = end, true
			}
		}
	}
	return at
}

// ranges are sorted ranges of bytes [lo, hi) that do not touch each other.
type ranges []struct{ lo, hi int64 }

// add takes the union with [lo, hi).
func (r *ranges) add(lo, hi int64) {
	old := *r
	i := sort.Search(len(old), func(i int) bool { return old[i].hi >= lo })
	j := i
	for ; j < len(old) && old[j].lo <= hi; j++ {
		lo, hi = min(lo, old[j].lo), max(hi, old[j].hi)
	}
	*r = slices.Replace(old, i, j, struct{ lo, hi int64 }{lo, hi})
}

// past is the end of the first range that meets [at, at+bytes); at itself if none does.
func (r ranges) past(at, bytes int64) int64 {
	i := sort.Search(len(r), func(i int) bool { return r[i].hi > at })
	if i < len(r) && r[i].lo < at+bytes {
		return r[i].hi
	}
	return at
}
