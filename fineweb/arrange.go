package fineweb

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// portion is tokens [lo, hi) of an example.
type portion struct{ example, lo, hi int }

// wrap puts the examples into sequences one after the other, as TRL's "wrapped" does.
func (s *Stream) wrap() {
	t := s.tuned
	left := 0
	for i, x := range t.examples {
		for lo := 0; lo < len(x.ids); {
			if left == 0 {
				t.rows, left = append(t.rows, nil), s.seq
			}
			n := min(left, len(x.ids)-lo)
			last := len(t.rows) - 1
			t.rows[last] = append(t.rows[last], portion{i, lo, lo + n})
			lo, left = lo+n, left-n
		}
	}
}

// arrange puts the examples into sequences, in the order of their first conversations, or shuffled.
func (s *Stream) arrange() {
	t := s.tuned
	if s.corpus.tuning.Wrap {
		s.wrap()
	} else {
		s.fit()
	}
	if s.corpus.source.Shuffle {
		number := uint64(t.from.Round)<<32 | uint64(t.from.Document)
		r := rand.New(rand.NewPCG(s.corpus.source.Seed^uint64(t.from.Epoch)*0x9e3779b97f4a7c15, ofSequences^number))
		r.Shuffle(len(t.rows), func(i, j int) { t.rows[i], t.rows[j] = t.rows[j], t.rows[i] })
	}
}

// fit puts whole examples into sequences: the longest first, each where the least room is left that it fits into (best fit
// decreasing).
func (s *Stream) fit() {
	t := s.tuned
	order := make([]int, len(t.examples))
	for i := range order {
		order[i] = i
	}
	if s.corpus.tuning.Pack {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(t.examples[b].ids), len(t.examples[a].ids)) })
	}
	var room []int
	for _, i := range order {
		n, best := len(t.examples[i].ids), -1
		for k, left := range room {
			if s.corpus.tuning.Pack && left >= n && (best < 0 || left < room[best]) {
				best = k
			}
		}
		if best < 0 {
			best = len(room)
			room, t.rows = append(room, s.seq), append(t.rows, nil)
		}
		room[best] -= n
		t.rows[best] = append(t.rows[best], portion{i, 0, n})
	}
	byExample := func(a, b portion) int { return cmp.Compare(a.example, b.example) }
	for _, r := range t.rows {
		slices.SortFunc(r, byExample)
	}
	slices.SortFunc(t.rows, func(a, b []portion) int { return byExample(a[0], b[0]) })
}

// ofSequences is what is permuted; see order.go.
const ofSequences = 4 << 48
