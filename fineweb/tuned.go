package fineweb

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Tuning makes tokens of the rows of conversations, and says how they are put into sequences.
type Tuning struct {
	// Encode gives the tokens of a row of a form, and for each whether predicting it counts in the loss. Quoted counts special tokens
	// that the row itself holds, which are text. It may be called by several goroutines at a time.
	Encode func(form, row string) (ids []int32, loss []bool, quoted int, err error)
	Pack   bool // several conversations share a sequence, masked from each other
	Drop   bool // those that are longer than a sequence are left out; else their ends are
}

// Tune says how conversations become sequences, before a stream of them is opened.
func (s *Set) Tune(t *Tuning) {
	for _, c := range s.corpora {
		c.tuning = t
	}
}

// packedAtOnce is how many conversations are packed together, as in TRL, whose packing works on batches of the usual size
// of datasets.map. A stream goes on from the first of them.
const packedAtOnce = 1000

// example is a conversation to be put into a sequence.
type example struct {
	ids    []int32
	loss   []bool
	origin *Origin
}

// tuned is what a stream of conversations has in memory.
type tuned struct {
	examples []example
	rows     [][]int // of the sequences, the examples in them
	given    int     // sequences that were handed out
	from     Cursor  // of the first example
	next     *document
	piece    piece // of next
	row      int
	here     Cursor // of next
	used     bool   // the data are used up after these

	truncated, masked int64 // conversations of which the end, or all that counts, does not fit into a sequence
	quoted            int64
}

// fill reads conversations of one epoch and packs them.
func (s *Stream) fill() error {
	t := s.tuned
	if t.used {
		return fmt.Errorf("%v, %d times over: %w", s.corpus.source.Shown(), s.limit, ErrUsedUp)
	}
	t.examples, t.rows, t.given = nil, nil, 0
	s.ends = 0
	for looked := 0; looked < packedAtOnce; looked++ {
		if t.next == nil {
			d, here, err := s.next()
			if errors.Is(err, ErrUsedUp) && len(t.examples) > 0 {
				t.used = true
				break
			}
			if err != nil {
				return err
			}
			_, p, row := s.epoch.document(here.Document)
			t.next, t.piece, t.row, t.here = d, p, row, here
		}
		if len(t.examples) == 0 && looked == 0 {
			t.from = t.here
		} else if t.here.Epoch != t.from.Epoch {
			if len(t.examples) > 0 {
				break
			}
			t.from = t.here
		}
		if err := s.encode(t.next, t.piece, t.row); err != nil {
			return err
		}
		t.next = nil
		if s.ends > 1 && len(t.examples) == 0 {
			return fmt.Errorf("no conversation of %v can be trained on: none has a token that counts in the loss among its "+
				"first %d", s.corpus.source.Shown(), s.seq)
		}
	}
	s.arrange()
	return nil
}

// encode adds a conversation, cut to the length of a sequence.
func (s *Stream) encode(d *document, p piece, row int) error {
	t, tuning := s.tuned, s.corpus.tuning
	ids, loss, quoted, err := tuning.Encode(s.corpus.source.Form, d.text)
	var fatal interface{ Fatal() bool }
	switch {
	case errors.As(err, &fatal) && fatal.Fatal(): // as it would be for the next, and each may take long
		return s.corpus.bad(p, row, err)
	case err != nil && s.corpus.source.SkipErrors:
		s.corpus.Skipped++
		return nil
	case err != nil:
		return s.corpus.flawed(p, row, err)
	}
	t.quoted += int64(quoted)
	if len(ids) > s.seq {
		t.truncated++
		if tuning.Drop {
			return nil
		}
		ids, loss = ids[:s.seq], loss[:s.seq]
	}
	if len(ids) < 2 || !slices.Contains(loss[1:], true) {
		t.masked++
		return nil
	}
	t.examples = append(t.examples, example{slices.Clone(ids), slices.Clone(loss), s.corpus.origin(d, p, row)})
	return nil
}

// arrange puts the examples into sequences: the longest first, each where the least room is left that it fits into (best
// fit decreasing). Then the sequences are put in the order of their first conversations, or shuffled.
func (s *Stream) arrange() {
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
		t.rows[best] = append(t.rows[best], i)
	}
	for _, r := range t.rows {
		slices.Sort(r)
	}
	slices.SortFunc(t.rows, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	if s.corpus.source.Shuffle {
		number := uint64(t.from.Round)<<32 | uint64(t.from.Document)
		r := rand.New(rand.NewPCG(s.corpus.source.Seed^uint64(t.from.Epoch)*0x9e3779b97f4a7c15, ofSequences^number))
		r.Shuffle(len(t.rows), func(i, j int) { t.rows[i], t.rows[j] = t.rows[j], t.rows[i] })
	}
}

// ofSequences is what is permuted; see order.go.
const ofSequences = 4 << 48

// resume starts a stream of conversations: of those that are packed from its position on, so many sequences were given.
func (s *Stream) resume(given int) error {
	s.tuned = &tuned{}
	if given == 0 {
		return nil
	}
	if err := s.fill(); err != nil {
		return err
	}
	if given >= len(s.tuned.rows) {
		return fmt.Errorf("the position %+v does not lie in the conversations: the data, the tokenizer or its chat template changed", s.at)
	}
	s.tuned.given = given
	s.tuned.truncated, s.tuned.masked, s.tuned.quoted = 0, 0, 0 // they were counted
	return nil
}

// nextTuned packs sequences of conversations.
func (s *Stream) nextTuned(sequences int) (*Batch, error) {
	b, t := &Batch{}, s.tuned
	first := int64(-1)
	for range sequences {
		for t.given == len(t.rows) {
			if err := s.fill(); err != nil {
				return nil, err
			}
			if first >= 0 && t.from.Epoch > first+1 {
				return nil, fmt.Errorf("the conversations are fewer than one batch of %d sequences: one pass over %v ends before "+
					"the batch is full. Lower batch_size, or sequence_length if many share a sequence", sequences, s.corpus.source.Shown())
			}
		}
		if first < 0 {
			first = t.from.Epoch
		}
		s.lay(b, t.rows[t.given])
		t.given++
	}
	s.at = t.from
	if s.at.Token = t.given; t.given == len(t.rows) {
		if s.at = s.read; t.next != nil {
			s.at = t.here
		}
	}
	b.Cursor, b.Skipped, b.Specials = Position{Cursor: s.at}, s.corpus.Skipped, t.quoted
	b.Copies, b.Truncated, b.Masked = s.corpus.found(), t.truncated, t.masked
	return b, nil
}

// lay appends a sequence: its conversations, one after the other, and what is left of its length, which counts nowhere.
func (s *Stream) lay(b *Batch, row []int) {
	left := s.seq
	for segment, i := range row {
		x := &s.tuned.examples[i]
		b.Documents = append(b.Documents, Extent{x.origin, len(b.IDs), len(x.ids), 0})
		for j, id := range x.ids {
			target := int32(Ignored)
			if j+1 < len(x.ids) && x.loss[j+1] {
				target = x.ids[j+1]
				b.Valid++
			}
			b.IDs, b.Targets, b.Segments = append(b.IDs, id), append(b.Targets, target), append(b.Segments, int32(segment))
		}
		left -= len(x.ids)
	}
	for range left {
		b.IDs, b.Targets, b.Segments = append(b.IDs, 0), append(b.Targets, Ignored), append(b.Segments, -1)
	}
}
