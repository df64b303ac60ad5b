package fineweb

import (
	"errors"
	"fmt"

	"stepflow/fineweb/tokenizer"
)

// ErrUsedUp says that data were read as many times as they may be.
var ErrUsedUp = errors.New("the data are used up: raise epochs, or train on fewer tokens")

// Ignored is the target of a position that does not count in the loss.
const Ignored = -1

// Cursor is the position of a stream: the next token to come. It is all the state a run keeps.
type Cursor struct {
	Epoch    int64 `json:"epoch"`
	Round    int   `json:"round"`    // of the epoch; see order.go
	Document int   `json:"document"` // of the round
	Token    int   `json:"token"`    // of the document
}

// Batch is sequences packed end to end. All slices are [sequences, seq] row-major.
type Batch struct {
	IDs, Targets []int32
	Segments     []int32  // number of the document inside its sequence
	Valid        int      // targets that count
	Cursor       Position // after the batch
	Sources      []int    // sequences of each source of a mixture
	Skipped      int64    // documents passed over so far by this stream
	Documents    []Extent // what the sequences hold, in order
	Copies       int64    // documents of the data that are left out as copies of others
	Contaminated int64    // and because they share n-grams with others; see Source.Against
	Truncated    int64    // conversations so far that are longer than a sequence
	Masked       int64    // conversations so far that are left out, since nothing of them that fits counts in the loss
	Watched      int64    // documents that ended in it and are watched; see Mix.Watch
	Specials     int64    // special tokens that stood in the texts of its documents so far
}

// Stream packs the documents of a split endlessly: sequences cut from the concatenated documents,
// an end-of-text token after each (and before each what the tokenizer's template says).
type Stream struct {
	corpus *Corpus
	tok    *tokenizer.Tokenizer
	split  Split
	seq    int
	limit  int64 // epochs; 0 for none

	epoch *shuffler
	ready bool   // epoch has the round of read
	read  Cursor // next document to read (Token is 0)

	ids      []int32 // tokens not yet handed out
	parts    []part  // the documents they belong to
	tail     tail    // what is left of the last of them
	at       Cursor  // position of ids[0]
	ends     int     // epochs finished while filling
	specials int64   // special tokens in the texts of its documents so far
	found    bool    // a document was found in this epoch

	tuned *tuned // of conversations; else nil

	watched *Watched // nil for none
	met     int64    // of these, in this batch
}

// part is consecutive tokens of a document.
type part struct {
	start  Cursor // of its first remaining token
	n      int
	last   bool // the document ends with them
	origin *Origin
	sum    tokenSum // of the whole document, if it does
}

// tail is the rest of a document of a file of tokens, which is read as it is needed: such a document may be as long as
// all files.
type tail struct {
	open   bool
	from   int64  // position of its first token in the files
	start  Cursor // of that token
	origin *Origin
	sum    tokenSum // of those before it
	cut    bool     // which are not all known
}

// Stream starts at a position; seeking reads the pieces of one round.
func (c *Corpus) Stream(split Split, tok *tokenizer.Tokenizer, seq int, at Cursor) (*Stream, error) {
	if err := c.use(tok); err != nil {
		return nil, err
	}
	s := &Stream{corpus: c, tok: tok, split: split, seq: seq, limit: c.source.Epochs, read: at, at: at}
	s.found = at != (Cursor{Epoch: at.Epoch}) // in mid-epoch the rest may well be empty
	skip := at.Token
	s.read.Token = 0
	s.epoch = s.shuffle(at.Epoch)
	if at.Round > s.epoch.rounds() || at.Round < 0 || at.Document < 0 || skip < 0 {
		return nil, fmt.Errorf("the position %+v does not lie in the data, of which an epoch has %d rounds",
			at, s.epoch.rounds())
	}
	if c.tuning != nil {
		return s, s.resume(skip)
	}
	if skip == 0 {
		return s, nil
	}
	d, here, err := s.next()
	if err != nil {
		return nil, err
	}
	inside := here.Round == at.Round && here.Document == at.Document
	if inside && c.tokens != nil {
		if inside, err = c.tokens.inside(d.at, int64(skip)); err == nil && inside {
			_, p, row := s.epoch.document(here.Document)
			s.tail = tail{open: true, from: d.at + int64(skip), start: at, origin: s.corpus.origin(d, p, row),
				cut: true}
		}
	} else if inside {
		if err = s.add(d, here); err == nil {
			if inside = skip < len(s.ids); inside {
				s.drop(skip)
			}
		}
	}
	if err == nil && !inside {
		err = fmt.Errorf("the position %+v does not lie in its document: the data or the tokenizer changed", at)
	}
	return s, err
}

// more appends tokens: the next of the document at hand, or the next document.
func (s *Stream) more() error {
	if s.tail.open {
		return s.chunk()
	}
	d, here, err := s.next()
	if err != nil {
		return err
	}
	return s.add(d, here)
}

// shuffle orders the documents of an epoch.
func (s *Stream) shuffle(epoch int64) *shuffler {
	return s.corpus.shuffler(epoch, func(p piece) ([]document, error) { return s.corpus.tokenized(p, s.tok) })
}

// next finds the next document.
func (s *Stream) next() (d *document, here Cursor, err error) {
	for {
		if s.read.Round >= s.epoch.rounds() {
			if !s.found {
				return nil, here, s.corpus.none(s.split)
			}
			if s.limit > 0 && s.read.Epoch+1 >= s.limit {
				return nil, here, fmt.Errorf("%v, %d times over: %w", s.corpus.source.Shown(), s.limit, ErrUsedUp)
			}
			s.read = Cursor{Epoch: s.read.Epoch + 1}
			s.epoch = s.shuffle(s.read.Epoch)
			s.ready, s.found = false, false
			s.ends++
		}
		if !s.ready {
			if err := s.epoch.round(s.read.Round); err != nil {
				return nil, here, err
			}
			s.ready = true
		}
		for s.read.Document < len(s.epoch.rows) {
			here = s.read
			d, p, at := s.epoch.document(here.Document)
			s.read.Document++
			ok, err := s.corpus.check(d, s.split, p, at)
			if err != nil {
				return nil, here, err
			}
			if ok {
				s.found = true
				return d, here, nil
			}
		}
		s.read = Cursor{Epoch: s.read.Epoch, Round: s.read.Round + 1}
		s.ready = false
	}
}

// add appends the tokens of a document, or of a file of tokens the first of them.
func (s *Stream) add(d *document, here Cursor) error {
	_, p, at := s.epoch.document(here.Document)
	origin := s.corpus.origin(d, p, at)
	if s.corpus.tokens != nil {
		s.tail = tail{open: true, from: d.at, start: here, origin: origin}
		return s.chunk()
	}
	n := len(s.ids)
	if d.ids == nil {
		ids, specials, err := s.corpus.reads(s.tok).Document(s.ids, d.text)
		if err != nil {
			return s.corpus.bad(p, at, err)
		}
		s.ids = ids
		s.specials += int64(specials)
	} else {
		s.ids = append(s.ids, d.ids...)
		s.specials += int64(d.specials)
	}
	s.parts = append(s.parts, part{here, len(s.ids) - n, true, origin, tokenSum(0).add(s.tok, s.ids[n:])})
	return nil
}

// chunk reads on in the tail.
func (s *Stream) chunk() error {
	files, t := s.corpus.tokens, &s.tail
	ids, next, err := files.chunk(t.from)
	if err != nil {
		return err
	}
	last := next == files.end() || ids[len(ids)-1] == files.eos
	s.ids = append(s.ids, ids...)
	t.sum = t.sum.add(s.tok, ids)
	p := part{start: t.start, n: len(ids), last: last, origin: t.origin}
	if last && !t.cut {
		p.sum = t.sum
	}
	s.parts = append(s.parts, p)
	t.open, t.from = !last, next
	t.start.Token += len(ids)
	return nil
}

// drop hands out n tokens and moves the position past them.
func (s *Stream) drop(n int) {
	s.ids = s.ids[n:]
	for n > 0 {
		p := &s.parts[0]
		k := min(n, p.n)
		p.n, n = p.n-k, n-k
		p.start.Token += k
		if p.n == 0 {
			if s.watched.has(p.sum) {
				s.met++
			}
			s.parts = s.parts[1:]
		}
	}
	switch {
	case len(s.parts) > 0:
		s.at = s.parts[0].start
	case s.tail.open:
		s.at = s.tail.start
	default:
		s.at = s.read
	}
}

// Next packs a number of sequences. A sequence's last target is the first token of the next one.
func (s *Stream) Next(sequences int) (*Batch, error) {
	if s.tuned != nil {
		return s.nextTuned(sequences)
	}
	b := &Batch{}
	s.ends, s.met = 0, 0
	for i := 0; i < sequences; i++ {
		for len(s.ids) < s.seq+1 {
			if err := s.more(); err != nil {
				return nil, err
			}
			if s.ends > 1 {
				return nil, fmt.Errorf("the data are smaller than one batch of %d sequences of %d tokens: one pass "+
					"over %v ends before the batch is full", sequences, s.seq, s.corpus.source.Shown())
			}
		}
		s.pack(b)
		s.drop(s.seq)
	}
	b.Cursor, b.Skipped, b.Specials, b.Watched = Position{Cursor: s.at}, s.corpus.Skipped, s.specials, s.met
	b.Copies, b.Contaminated = s.corpus.found(), s.corpus.contaminated()
	// Keep the window from growing without bound.
	s.ids = append([]int32(nil), s.ids...)
	return b, nil
}

// opens reports whether the token that ends a document belongs to the next one, which begins with a given token.
func (c *Corpus) opens(tok *tokenizer.Tokenizer, first int32) bool {
	return c.source.PredictFirst && first != tok.BOS
}

// pack appends one sequence made of the first tokens at hand. The end-of-text token that ends a document belongs to the
// next one, whose first token it predicts; it ends its own where the source wants no such prediction, or the next
// begins with a token for it.
func (s *Stream) pack(b *Batch) {
	src := &s.corpus.source
	seg, left := int32(0), s.parts[0].n
	b.Documents = append(b.Documents, s.extents(len(b.IDs))...)
	for j, p := 0, 0; j < s.seq; j++ {
		if left == 0 {
			p++
			left = s.parts[p].n
		}
		left--
		id, target := s.ids[j], s.ids[j+1]
		last := left == 0 && s.parts[p].last
		opens := last && id == s.tok.EOS && s.corpus.opens(s.tok, target)
		if opens && j > 0 {
			seg++
		}
		if last && !opens && (src.DocumentMask || id == s.tok.EOS && target != s.tok.BOS) {
			target = Ignored // the next token starts another document
		}
		if target != Ignored {
			b.Valid++
		}
		b.IDs = append(b.IDs, id)
		b.Targets = append(b.Targets, target)
		b.Segments = append(b.Segments, seg)
		if last && !opens {
			seg++
		}
	}
}
