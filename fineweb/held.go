package fineweb

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"stepflow/fineweb/tokenizer"
)

// Windows says how documents are cut into what a model sees at once when it is measured on them.
type Windows struct {
	Split  Split
	Length int // tokens the model sees at once
	Batch  int // windows of a batch

	// Stride 0 lays windows end to end: the last token of one predicts the first of the next. Else a window begins that
	// many tokens after the one before, as in Hugging Face's guide to the perplexity of fixed-length models: the first
	// window predicts all its tokens but the first, each later one those that no window before it held, and never its
	// own first. With a document mask each document is cut by itself, without one all of them as one text.
	Stride int

	// How many tokens are predicted at most, of which each source of a mixture gives its share; 0 for all.
	Limit     int64
	Join      *string // makes the documents of each source one text, with this between them; nil leaves them apart
	EndOfText bool    // whether end-of-text tokens are among those that are predicted
}

// maxJoined bounds the text that Windows.Join makes, in bytes: it is in memory as a whole.
const maxJoined = 256 << 20

// Held counts what a model was measured on.
type Held struct {
	Tokens    int64           // that were predicted
	Bytes     int64           // UTF-8 bytes those spell
	Words     int64           // of the documents, between white space
	Documents int64           // with Windows.Join one a source; Windows.Limit may cut the last of a source
	Specials  int64           // special tokens that stand in their texts
	Counts    map[int32]int64 // how often each token was predicted, for the unigram entropy
}

// Held reads the documents of a split, source by source in file order, and gives them to visit in batches. The last
// batch is filled up with positions that do not count. An error of visit ends it and is returned as it is. Where no
// token is predicted the error says why.
func (m *Set) Held(tok *tokenizer.Tokenizer, w Windows, visit func(*Batch) error) (*Held, error) {
	if m.corpora[0].tuning != nil {
		return m.heldTuned(tok, w, visit)
	}
	c := m.cutter(tok, w, visit)
	if err := m.cut(c); err != nil {
		return nil, err
	}
	return c.held, m.measured(c)
}

// measured says why nothing was measured, all documents having been looked at.
func (m *Set) measured(c *cutter) error {
	switch corpus := m.corpora[0]; {
	case c.held.Documents == 0:
		return corpus.none(c.Split)
	case c.held.Tokens == 0:
		return NoDocuments{fmt.Errorf("the documents of %s are of one token each, and nothing predicts a first one",
			strings.Join(corpus.source.Shown(), ", "))}
	}
	return nil
}

func (m *Set) cutter(tok *tokenizer.Tokenizer, w Windows, visit func(*Batch) error) *cutter {
	return &cutter{Windows: w, tok: tok, visit: visit, masked: m.parts[0].Source.DocumentMask,
		held: &Held{Counts: map[int32]int64{}}}
}

// cut makes windows of the documents of all sources.
func (m *Set) cut(c *cutter) error {
	for i, most := range m.shares(c.Limit) {
		if c.most = most; c.full() {
			continue
		}
		corpus := m.corpora[i]
		if err := corpus.use(c.tok); err != nil {
			return err
		}
		read := func(d *document) (bool, error) {
			err := c.take(corpus, d)
			return err == nil && c.err == nil && !c.full(), err
		}
		var err error
		if c.Join != nil {
			err = corpus.joined(c.Split, *c.Join, read)
		} else {
			err = corpus.visit(c.Split, read)
		}
		if c.err != nil {
			return c.err
		}
		if err != nil {
			return err
		}
	}
	c.finish()
	return c.err
}

// Open opens what the windows are cut of: where documents are joined, blank ones of text files count.
func (w *Windows) Open(ctx context.Context, parts []Weighted) (*Set, error) {
	parts = slices.Clone(parts)
	for i := range parts {
		parts[i].Source.keepBlank = w.Join != nil
	}
	return OpenSet(ctx, parts)
}

// joined gives all documents of a split to read as one, empty ones included.
func (c *Corpus) joined(split Split, separator string, read func(*document) (bool, error)) error {
	if c.source.Format == "bin" {
		return fmt.Errorf("%v hold tokens, not text: they cannot be joined", c.source.Shown())
	}
	var b strings.Builder
	n := 0
	err := c.walk(split, true, func(d *document) (bool, error) {
		if n++; n > 1 {
			b.WriteString(separator)
		}
		b.WriteString(d.text)
		if a := c.allowance; a != nil && int64(b.Len()) > a.counts {
			return false, errEnough
		}
		if b.Len() > maxJoined {
			return false, fmt.Errorf("the documents of %v joined are more than %d MiB: leave join out",
				c.source.Shown(), maxJoined>>20)
		}
		return true, nil
	})
	if err != nil || b.Len() == 0 {
		return err
	}
	_, err = read(&document{text: b.String()})
	return err
}

// take cuts the windows of a document.
func (c *cutter) take(corpus *Corpus, d *document) error {
	if err := corpus.allowance.count(len(d.text)); err != nil {
		return err
	}
	ids, specials, err := corpus.tokensOf(c.tok, d)
	if err != nil {
		return err
	}
	c.held.Specials += int64(specials)
	n, silent := c.document(ids, c.Join == nil && len(ids) > 0 && corpus.opens(c.tok, ids[0]))
	text := d.text
	switch {
	case d.ids != nil:
		text = c.tok.Spell(ids[:n])
	case n < len(ids):
		text = text[:corpus.reads(c.tok).Spelled(text, ids[:n])]
	}
	c.held.Bytes += int64(len(text))
	for _, i := range silent {
		if i == 0 {
			c.held.Bytes -= int64(c.tok.First(text, ids[0]))
		} else {
			c.held.Bytes -= int64(c.tok.After(ids[i-1], ids[i]))
		}
	}
	c.held.Words += int64(len(strings.Fields(text)))
	return nil
}

// tokensOf gives the tokens of a document, and the number of special tokens that stand in its text.
func (c *Corpus) tokensOf(tok *tokenizer.Tokenizer, d *document) (ids []int32, specials int, err error) {
	if d.ids != nil {
		return d.ids, d.specials, nil
	}
	ctx := c.source.ctx
	if len(d.text) < 1<<20 { // a longer one may take seconds
		ctx = context.Background()
	}
	type encoded struct {
		ids      []int32
		specials int
	}
	e, err := Await(ctx, func() (e encoded, err error) {
		e.ids, e.specials, err = c.reads(tok).Document(nil, d.text)
		return e, err
	})
	return e.ids, e.specials, err
}

// shares are how many tokens each source of a mixture has to give, with those before it, of so many.
func (m *Set) shares(limit int64) (most []int64) {
	var sum, share float64
	for _, p := range m.parts {
		sum += p.Weight
	}
	for i, p := range m.parts {
		share += p.Weight / sum
		most = append(most, min(limit, int64(math.Ceil(share*float64(limit)))))
		if i == len(m.parts)-1 {
			most[i] = limit
		}
	}
	return most
}

// heldToken is one of a text that is cut into windows.
type heldToken struct {
	id      int32
	segment int32
	counts  bool // it is predicted, where one stands before it
}

// cutter makes batches of windows.
type cutter struct {
	Windows
	tok    *tokenizer.Tokenizer
	visit  func(*Batch) error
	masked bool
	held   *Held
	err    error // of visit
	most   int64 // tokens that are predicted at most when the source at hand ends; 0 for any number
	count  int64 // tokens taken that are predicted

	text []heldToken // of which no window is left that is to come
	done int         // tokens at its start that windows held already
	all  int         // its windows so far
	last int32       // the token before the next

	batch *Batch
	used  int   // positions of the batch's last window that are taken
	part  int32 // segments in it
}

// full reports whether no more tokens are predicted of the source at hand.
func (c *cutter) full() bool { return c.Limit > 0 && c.count >= c.most }

// document takes the tokens of a document, as many as Limit lets it: n is their number, and silent lists those of them
// that are not predicted. If opened is set the end-of-text token before it belongs to it and predicts its first token;
// where there is none it is put there.
func (c *cutter) document(ids []int32, opened bool) (n int, silent []int) {
	segment := int32(c.held.Documents & math.MaxInt32)
	if c.masked && c.Stride > 0 {
		c.cut(true)
	}
	switch begun := len(c.text) > 0 || c.all > 0; {
	case !opened:
	case !begun || c.last != c.tok.EOS:
		c.add(heldToken{id: c.tok.EOS, segment: segment})
	case c.masked:
		c.text[len(c.text)-1].segment = segment
	}
	for ; n < len(ids) && !c.full(); n++ {
		id, counts := ids[n], true
		switch {
		case n == 0 && (!opened || id == c.tok.BOS): // nothing stands before it, or nothing that should predict it
			counts = false
		case n == len(ids)-1 && id == c.tok.EOS:
			counts = c.EndOfText
		}
		if len(c.text) == 0 && c.all > 0 { // a window's own first token, after a stride of its length
			counts = false
		}
		if counts {
			c.count++
		} else {
			silent = append(silent, n)
		}
		c.add(heldToken{id, segment, counts})
	}
	c.held.Documents++
	return n, silent
}

// add appends a token, and makes the window that it completes.
func (c *cutter) add(t heldToken) {
	c.text, c.last = append(c.text, t), t.id
	c.cut(false)
}

// cut makes the windows that are complete, and at the end of a text the last one.
func (c *cutter) cut(end bool) {
	step, need := c.Stride, c.Length
	if step == 0 { // with the token that the window's last position predicts
		step, need = c.Length, c.Length+1
	}
	for c.err == nil && (len(c.text) >= need || end && len(c.text) > max(c.done, 1)) {
		n := min(need, len(c.text))
		w := c.text[:n]
		from := max(c.done, 1)
		c.window(w, from)
		if c.Stride > 0 {
			c.done = max(n-step, 0)
		}
		c.text = c.text[min(step, len(c.text)):]
		c.all++
	}
	if end {
		c.text, c.done, c.all = nil, 0, 0
	}
}

// finish makes the last window and the last batch.
func (c *cutter) finish() {
	c.cut(true)
	c.flush()
}

// window puts a window into the batch: a position for each token but the last, which predicts the next one. Those
// before from were predicted before.
func (c *cutter) window(w []heldToken, from int) {
	if c.batch == nil || c.Stride == 0 || !c.masked || c.used+len(w)-1 > c.Length {
		c.row()
	}
	if c.err != nil {
		return
	}
	b, at := c.batch, len(c.batch.IDs)-c.Length+c.used
	for j := 0; j+1 < len(w); j++ {
		b.IDs[at+j], b.Segments[at+j] = w[j].id, w[j].segment
		if c.Stride > 0 {
			b.Segments[at+j] = c.part
		}
		if next := w[j+1]; j+1 >= from && next.counts {
			b.Targets[at+j] = next.id
			b.Valid++
			c.held.Tokens++
			c.held.Counts[next.id]++
		}
	}
	c.used += len(w) - 1
	c.part++
}

// row begins a window of a batch, and where that is full a batch.
func (c *cutter) row() {
	if c.batch != nil && len(c.batch.IDs) == c.Batch*c.Length {
		c.flush()
	}
	if c.batch == nil {
		c.batch = &Batch{}
	}
	for range c.Length {
		c.batch.IDs, c.batch.Targets, c.batch.Segments = append(c.batch.IDs, 0), append(c.batch.Targets, Ignored),
			append(c.batch.Segments, -1)
	}
	c.used, c.part = 0, 0
}

// flush gives the batch away.
func (c *cutter) flush() {
	if c.err != nil || c.batch == nil {
		return
	}
	b := c.batch
	for len(b.IDs) < c.Batch*c.Length {
		b.IDs, b.Targets, b.Segments = append(b.IDs, 0), append(b.Targets, Ignored), append(b.Segments, -1)
	}
	c.batch = nil
	c.err = c.visit(b)
}
