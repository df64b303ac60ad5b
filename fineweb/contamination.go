package fineweb

import (
	"fmt"
	"slices"
	"sync/atomic"

	"stepflow/fineweb/ngram"
	"stepflow/fineweb/tokenizer"
)

// ContaminationGram is how many words or tokens in a row two documents must share: the largest n of Brown et al. (2020,
// appendix C).
const ContaminationGram = 13

// Check looks for n-grams of documents that are measured, by words and by tokens, in documents that were trained on. The
// first are in memory, as hashes of their n-grams; the others are read once.
type Check struct {
	tok      *tokenizer.Tokenizer
	words    *overlap
	tokens   *overlap
	measured []fmt.Stringer // where the documents lie
	trained  []*Set         // to which the sightings refer
	group    uint64         // the number of the next set
}

// overlap is the n-grams of one kind.
type overlap struct {
	index *ngram.Index
	add   *ngram.Scanner
	first []atomic.Uint64 // for each n-gram, where it was found first: 1 + a sighting; 0 if it was not found
}

// spot is where a document lies.
type spot struct {
	corpus *Corpus
	piece  piece
	row    int   // of the piece
	at     int64 // of files of tokens
}

func (s spot) String() string {
	c := s.corpus
	if c.tokens != nil {
		file, token := c.tokens.place(s.at)
		return fmt.Sprintf("%s, token %d", Shown(c.files[file]), token)
	}
	return Shown(c.files[s.piece.file]) + ", " + c.place(s.piece, s.row)
}

// A sighting is a place as a number, which is smaller the earlier the place was trained on: the set, the source of a
// mixture, and the row of the source or the position in its tokens.
const (
	setShift    = 56
	sourceShift = 48
)

// NewCheck makes a check without documents. Tokens are those of tok.
func NewCheck(tok *tokenizer.Tokenizer) *Check {
	of := func() *overlap {
		x := ngram.New(ContaminationGram)
		return &overlap{index: x, add: x.Adder()}
	}
	return &Check{tok: tok, words: of(), tokens: of()}
}

// CheckBytes is what a Check of documents of so many tokens takes in memory at most.
func CheckBytes(tokens int64) int64 {
	const kinds, first = 2, 8
	return kinds * (ngram.Bytes(tokens) + first*min(tokens, ngram.MostGrams))
}

// Text adds a text that is measured, such as a question with its answer, and where it lies. It reports whether more may
// follow: all texts are added before the first is looked for.
func (k *Check) Text(text string, place fmt.Stringer) (more bool, err error) {
	ids, err := k.plain(text)
	if err != nil {
		return false, err
	}
	return k.document(text, ids, place), nil
}

// plain are the tokens of a text that is no document.
func (k *Check) plain(text string) ([]int32, error) {
	ids, _, err := k.tok.Plain().Document(nil, text)
	return ids, err
}

func (k *Check) document(text string, ids []int32, place fmt.Stringer) (more bool) {
	k.words.add.Text(text)
	k.words.add.End()
	k.tokens.add.Tokens(ids, k.tok.BOS, k.tok.EOS)
	k.tokens.add.End()
	k.measured = append(k.measured, place)
	return !k.full()
}

// Measured adds the documents that windows are cut of, with a tokenizer.
func (m *Set) Measured(k *Check, tok *tokenizer.Tokenizer, w Windows) error {
	return m.reached(tok, w, func(c *Corpus, p piece, r int, d *document, ids []int32) (bool, error) {
		text, ok, err := c.compared(d)
		if err != nil {
			return false, c.bad(p, r, err)
		}
		if !ok {
			return true, nil
		}
		if c.tokens != nil {
			text = content(tok, ids)
		}
		if c.source.Said != nil {
			if ids, err = k.plain(text); err != nil {
				return false, c.bad(p, r, err)
			}
		} else if tok != k.tok {
			if ids, _, err = c.reads(k.tok).Document(nil, text); err != nil {
				return false, c.bad(p, r, err)
			}
		}
		return k.document(text, ids, spot{c, p, r, d.at}), nil
	})
}

func (k *Check) kinds() []*overlap { return []*overlap{k.words, k.tokens} }

// full reports whether the documents have more n-grams than are looked for.
func (k *Check) full() bool { return k.words.index.Full() || k.tokens.index.Full() }

// Trained looks for the n-grams in the documents that a stream of the training split has given up to a position, each
// once, however often it was read. A text that was begun counts whole. Conversations are those that sequences of seq
// tokens hold. The set stays open for Result.
func (m *Set) Trained(k *Check, at Position, seq int) error {
	for _, o := range k.kinds() {
		if o.first == nil {
			o.first = make([]atomic.Uint64, o.index.Grams())
		}
	}
	set := k.group
	k.group++
	k.trained = append(k.trained, m)
	for i, c := range m.corpora {
		from := at.Cursor
		if len(at.Sources) > 0 {
			from = at.Sources[i]
		}
		if err := c.trained(k, from, seq, set<<setShift|uint64(i)<<sourceShift); err != nil {
			return err
		}
	}
	return nil
}

func (c *Corpus) trained(k *Check, at Cursor, seq int, base uint64) error {
	if err := c.use(k.tok); err != nil {
		return err
	}
	if _, err := c.Copies(); err != nil {
		return err
	}
	if err := c.findContaminated(); err != nil {
		return err
	}
	given, err := c.givenTo(at, k.tok, seq)
	if err != nil {
		return err
	}
	if c.source.TokenDir != "" && c.tokens == nil {
		for _, p := range c.pieces() {
			c.tokenPath(p, k.tok) // each file is hashed once, not once a worker
		}
	}
	return c.inParallel(func(w *Corpus) func(p piece) error {
		bases := w.newRowBases()
		var now uint64
		finder := func(o *overlap) *ngram.Scanner {
			return o.index.Finder(func(g uint32) {
				for was := o.first[g].Load(); (was == 0 || now < was) && !o.first[g].CompareAndSwap(was, now); {
					was = o.first[g].Load()
				}
			})
		}
		words, tokens := finder(k.words), finder(k.tokens)
		return func(p piece) error {
			if !given.any(p) {
				return nil
			}
			docs, err := w.read(p)
			if err != nil {
				return err
			}
			kept := w.keptTokens(p, k.tok)
			for _, r := range given.rows(p, len(docs)) {
				d := &docs[r]
				if d.flaw != sound || !w.belongs(d, Train) {
					continue
				}
				if w.tokens != nil {
					now = (base | uint64(d.at)) + 1
					if err := w.scanTokens(d.at, given.most(p, r), k.tok, words, tokens); err != nil {
						return err
					}
					continue
				}
				text, ids, err := w.learned(k, p, r, d, kept, seq)
				if err != nil {
					return err
				}
				now = (base | uint64(bases.row(p, r))) + 1
				words.Text(text)
				words.End()
				tokens.Tokens(ids, k.tok.BOS, k.tok.EOS)
				tokens.End()
			}
			return nil
		}
	})
}

// learned returns the text and the tokens of a document that was given; both are empty for a conversation that is not
// trained on. kept are the documents of the piece as the token cache holds them, or nil.
func (c *Corpus) learned(k *Check, p piece, r int, d *document, kept []document, seq int) (text string, ids []int32, err error) {
	if c.tuning == nil {
		if kept != nil {
			d.ids = kept[r].ids
		}
		if ids, _, err = c.tokensOf(k.tok, d); err != nil {
			err = c.bad(p, r, err)
		}
		return d.text, ids, err
	}
	_, loss, _, err := c.tuning.Encode(c.source.Form, d.text)
	switch {
	case err != nil && c.source.SkipErrors:
		return "", nil, nil
	case err != nil:
		return "", nil, c.flawed(p, r, err)
	case !c.tuning.fate(loss, seq).kept:
		return "", nil, nil
	}
	if text, _, err = c.compared(d); err == nil {
		ids, err = k.plain(text)
	}
	if err != nil {
		err = c.bad(p, r, err)
	}
	return text, ids, err
}

// scanTokens reads a document of a file of tokens, a part at a time, up to most tokens of it, 0 for all.
func (c *Corpus) scanTokens(at, most int64, tok *tokenizer.Tokenizer, words, tokens *ngram.Scanner) error {
	for end := false; !end; {
		ids, next, err := c.tokens.chunk(at)
		if err != nil {
			return err
		}
		end = next == c.tokens.end() || ids[len(ids)-1] == c.tokens.eos
		if most > 0 {
			if int64(len(ids)) >= most {
				ids, end = ids[:most], true
			}
			most -= int64(len(ids))
		}
		tokens.Tokens(ids, tok.BOS, tok.EOS)
		words.Text(content(tok, ids))
		at = next
	}
	words.End()
	tokens.End()
	return nil
}

// content is what tokens of a document spell, without those that say where it begins and ends.
func content(tok *tokenizer.Tokenizer, ids []int32) string {
	return tok.Spell(slices.DeleteFunc(slices.Clone(ids), func(id int32) bool { return id == tok.BOS || id == tok.EOS }))
}
