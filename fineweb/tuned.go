package fineweb

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// Tuning makes tokens of the rows of conversations, and says how they are put into sequences.
type Tuning struct {
	// Encode returns the tokens of a row of a form, and for each whether predicting it counts in the loss. quoted is the number
	// of special tokens that stand in the row itself, which are text. It is called by several goroutines at a time.
	Encode func(form, row string) (ids []int32, loss []bool, quoted int, err error)
	Pack   bool // several conversations share a sequence, masked from each other
	Wrap   bool // they follow one another without a mask, and are cut where a sequence is full; none is too long
	Drop   bool // those that are longer than a sequence are left out; else their ends are
	End    bool // or their starts
}

// fate is what becomes of a conversation in sequences of so many tokens.
type fate struct{ kept, truncated, masked bool }

func (t *Tuning) fate(loss []bool, seq int) (f fate) {
	if t.Wrap {
		return fate{kept: true}
	}
	if f.truncated = len(loss) > seq; f.truncated {
		if t.Drop {
			return f
		}
		lo, hi := t.cut(len(loss), seq)
		loss = loss[lo:hi]
	}
	f.kept = len(loss) >= 2 && slices.Contains(loss[1:], true)
	f.masked = !f.kept
	return f
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
	piece  piece
	row    int
	sum    tokenSum // of the whole conversation
}

// tuned is what a stream of conversations has in memory.
type tuned struct {
	examples []example
	rows     [][]portion // of the sequences, what they hold
	given    int         // sequences that were handed out
	from     Cursor      // of the first row that was read for them
	next     *rawExample
	here     Cursor // of next
	used     bool   // the data are used up after these
	barren   int64  // the epoch since which no example was found; -1 if the last rows gave some

	truncated, masked int64 // conversations of which the end, or all that counts, does not fit into a sequence
	quoted            int64
}

// rawExample is a row that is to become an example.
type rawExample struct {
	text   string
	origin *Origin
	piece  piece
	row    int

	ids    []int32
	loss   []bool
	quoted int
	err    error
}

// fill reads conversations of one epoch and packs them.
func (s *Stream) fill() error {
	t := s.tuned
	if t.used {
		return fmt.Errorf("%v, %d times over: %w", s.corpus.source.Shown(), s.limit, ErrUsedUp)
	}
	t.examples, t.rows, t.given = nil, nil, 0
	var read []rawExample
	for len(read) < packedAtOnce {
		if t.next == nil {
			d, here, err := s.next()
			if errors.Is(err, ErrUsedUp) && len(read) > 0 {
				t.used = true
				break
			}
			if err != nil {
				return err
			}
			_, p, row := s.epoch.document(here.Document)
			t.next = &rawExample{text: d.text, origin: s.corpus.origin(d, p, row), piece: p, row: row}
			t.here = here
		}
		if len(read) == 0 {
			t.from = t.here
		} else if t.here.Epoch != t.from.Epoch {
			break
		}
		read, t.next = append(read, *t.next), nil
	}
	s.encode(read)
	for i := range read {
		if err := s.take(&read[i]); err != nil {
			return err
		}
	}
	if len(t.examples) > 0 {
		t.barren = -1
	} else if t.barren < 0 {
		t.barren = t.from.Epoch
	} else if t.from.Epoch > t.barren+1 {
		return fmt.Errorf("no conversation of %s can be trained on: none has a token that counts in the loss among its "+
			"first %d", strings.Join(s.corpus.source.Shown(), ", "), s.seq)
	}
	s.arrange()
	return nil
}

// encode makes tokens of rows, on all processors.
func (s *Stream) encode(rows []rawExample) {
	parallel(len(rows), runtime.GOMAXPROCS(0), func(i int) {
		if x := &rows[i]; s.corpus.source.ended() == nil {
			x.ids, x.loss, x.quoted, x.err = s.corpus.tuning.Encode(s.corpus.source.Form, x.text)
		}
	})
}

// take adds a conversation, cut to the length of a sequence.
func (s *Stream) take(x *rawExample) error {
	t := s.tuned
	var fatal interface{ Fatal() bool }
	switch {
	case s.corpus.source.ended() != nil:
		return s.corpus.source.ended()
	case errors.As(x.err, &fatal) && fatal.Fatal(): // as it would be for the next, and each may take long
		return s.corpus.bad(x.piece, x.row, x.err)
	case x.err != nil && s.corpus.source.SkipErrors:
		s.corpus.Skipped++
		return nil
	case x.err != nil:
		return s.corpus.flawed(x.piece, x.row, x.err)
	}
	t.quoted += int64(x.quoted)
	tuning := s.corpus.tuning
	f := tuning.fate(x.loss, s.seq)
	if f.truncated {
		t.truncated++
	}
	if f.masked {
		t.masked++
	}
	if !f.kept {
		return nil
	}
	sum := tokenSum(0).add(s.tok, x.ids)
	if f.truncated {
		lo, hi := tuning.cut(len(x.ids), s.seq)
		x.ids, x.loss = slices.Clone(x.ids[lo:hi]), slices.Clone(x.loss[lo:hi])
	}
	t.examples = append(t.examples, example{x.ids, x.loss, x.origin, x.piece, x.row, sum})
	return nil
}

// cut returns which of n tokens stay of a conversation that is to have so many at most.
func (t *Tuning) cut(n, most int) (lo, hi int) {
	if t.End {
		return max(0, n-most), n
	}
	return 0, min(n, most)
}

// resume starts a stream of conversations: of those that are packed from its position on, so many sequences were given.
func (s *Stream) resume(given int) error {
	s.tuned = &tuned{barren: -1}
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
	s.met = 0
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
	b.Copies, b.Contaminated, b.Watched = s.corpus.found(), s.corpus.contaminated(), s.met
	b.Truncated, b.Masked = t.truncated, t.masked
	return b, nil
}

// lay appends a sequence: its conversations, one after the other, and what is left of its length, which counts nowhere.
func (s *Stream) lay(b *Batch, row []portion) {
	left := s.seq
	var ids []int32
	var loss []bool
	for segment, p := range row {
		x := &s.tuned.examples[p.example]
		b.Documents = append(b.Documents, Extent{x.origin, len(b.IDs) + len(ids), p.hi - p.lo, p.lo})
		left -= p.hi - p.lo
		if s.corpus.tuning.Wrap { // the first token of a conversation is predicted from the one before it
			ids, loss = append(ids, x.ids[p.lo:p.hi]...), append(loss, x.loss[p.lo:p.hi]...)
		} else {
			b.conversation(x.ids[p.lo:p.hi], x.loss[p.lo:p.hi], int32(segment))
		}
		if p.lo == 0 && s.watched.has(x.sum) {
			s.met++
		}
	}
	b.conversation(ids, loss, 0)
	b.pad(left)
}

// conversation appends the tokens of a conversation. Targets are those that count in the loss.
func (b *Batch) conversation(ids []int32, loss []bool, segment int32) {
	for j, id := range ids {
		target := int32(Ignored)
		if j+1 < len(ids) && loss[j+1] {
			target = ids[j+1]
			b.Valid++
		}
		b.position(id, target, segment)
	}
}

// pad appends positions that count nowhere.
func (b *Batch) pad(n int) {
	for range n {
		b.position(0, Ignored, -1)
	}
}

func (b *Batch) position(id, target, segment int32) {
	b.IDs, b.Targets, b.Segments = append(b.IDs, id), append(b.Targets, target), append(b.Segments, segment)
}
