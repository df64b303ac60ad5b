package fineweb

import (
	"context"
	"fmt"
	"math"
	"strings"

	"stepflow/fineweb/tokenizer"
)

// Windows says how documents are cut into what a model sees at once when it is measured on them.
type Windows struct {
	Split  Split
	Length int // tokens the model sees at once
	Batch  int // windows of a batch

	// Stride 0 lays windows end to end: the last token of one predicts the first of the next. Else a window begins that many
	// tokens behind the one before, as in Hugging Face's guide to the perplexity of fixed-length models: the first window
	// predicts all its tokens but the first, each later one those that no window before it held, and never its own first. With
	// a document mask each document is cut by itself, without one all of them as one text.
	Stride int

	Limit     int64   // whole documents until so many tokens are there, of which each source of a mixture gives its share; 0 for all
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
	Documents int64           // with Windows.Join one a source
	Specials  int64           // special tokens that stand in their texts
	Counts    map[int32]int64 // how often each token was predicted, for the unigram entropy
}

// Held reads the documents of a split, source by source in file order, and gives them to visit in batches. The last batch is filled up
// with positions that do not count. An error of visit ends it and is returned as it is. Where no token is predicted the error says why.
func (m *Set) Held(tok *tokenizer.Tokenizer, w Windows, visit func(*Batch) error) (*Held, error) {
	c := &cutter{Windows: w, tok: tok, visit: visit, masked: m.parts[0].Source.DocumentMask, held: &Held{Counts: map[int32]int64{}}}
	for i, most := range m.shares(w.Limit) {
		corpus := m.corpora[i]
		if err := corpus.use(tok); err != nil {
			return nil, err
		}
		read := func(d *document) (bool, error) {
			ids, text, err := c.encode(corpus, d)
			if err != nil {
				return false, err
			}
			c.document(ids, text, w.Join == nil && len(ids) > 0 && corpus.opens(tok, ids[0]))
			return c.err == nil && (w.Limit <= 0 || c.read < most), nil
		}
		var err error
		if w.Join != nil {
			err = corpus.joined(w.Split, *w.Join, read)
		} else {
			err = corpus.visit(w.Split, read)
		}
		if c.err != nil {
			return nil, c.err
		}
		if err != nil {
			return nil, err
		}
	}
	if c.finish(); c.err != nil {
		return nil, c.err
	}
	switch shown := m.corpora[0].source.Shown(); {
	case c.held.Documents == 0 && w.Split == Validation && m.corpora[0].source.ValidationFraction < 1:
		return nil, fmt.Errorf("the validation split of %v is empty: raise validation_fraction", shown)
	case c.held.Documents == 0:
		return nil, fmt.Errorf("no document of %v passes the filters", shown)
	case c.held.Tokens == 0:
		return nil, fmt.Errorf("the documents of %v are of one token each, and nothing predicts a first one", shown)
	}
	return c.held, nil
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
		if b.Len() > maxJoined {
			return false, fmt.Errorf("the documents of %v joined are more than %d MiB: leave join out", c.source.Shown(), maxJoined>>20)
		}
		return true, nil
	})
	if err != nil || b.Len() == 0 {
		return err
	}
	_, err = read(&document{text: b.String()})
	return err
}

// encode gives the tokens of a document and its text.
func (c *cutter) encode(corpus *Corpus, d *document) (ids []int32, text string, err error) {
	ids, specials, err := corpus.tokensOf(c.tok, d)
	c.held.Specials += int64(specials)
	if d.ids != nil {
		return ids, c.tok.Spell(d.ids), err
	}
	return ids, d.text, err
}

// tokensOf gives the tokens of a document, and the number of special tokens that stand in its text.
func (c *Corpus) tokensOf(tok *tokenizer.Tokenizer, d *document) (ids []int32, specials int, err error) {
	if d.ids != nil {
		return d.ids, d.specials, nil
	}
	ctx := c.source.Context
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
	for _, p := range m.parts {
		share += p.Weight / sum
		most = append(most, int64(math.Ceil(share*float64(limit))))
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
	read   int64 // tokens of all documents so far

	text []heldToken // of which no window is left that is to come
	done int         // tokens at its start that windows held already
	all  int         // its windows so far
	last int32       // the token before the next

	batch *Batch
	used  int   // positions of the batch's last window that are taken
	part  int32 // segments in it
}

// document takes the tokens of a document. If opened is set the end-of-text token before it belongs to it and predicts its first
// token; where there is none it is put there.
func (c *cutter) document(ids []int32, text string, opened bool) {
	h := c.held
	c.read += int64(len(ids))
	h.Bytes += int64(len(text))
	h.Words += int64(len(strings.Fields(text)))
	segment := int32(h.Documents & math.MaxInt32)
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
	for i, id := range ids {
		counts := true
		switch {
		case i == 0 && (!opened || id == c.tok.BOS): // nothing stands before it, or nothing that should predict it
			counts = false
		case i == len(ids)-1 && id == c.tok.EOS:
			counts = c.EndOfText
		}
		if len(c.text) == 0 && c.all > 0 { // a window's own first token, behind a stride of its length
			counts = false
		}
		switch {
		case counts:
		case i == 0:
			h.Bytes -= int64(c.tok.First(text, id))
		default:
			h.Bytes -= int64(c.tok.After(ids[i-1], id))
		}
		c.add(heldToken{id, segment, counts})
	}
	h.Documents++
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

// window puts a window into the batch: a position for each token but the last, which predicts the next one. Those before from were
// predicted before.
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
		c.batch.IDs, c.batch.Targets, c.batch.Segments = append(c.batch.IDs, 0), append(c.batch.Targets, Ignored), append(c.batch.Segments, -1)
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
