package fineweb

import (
	"errors"

	"stepflow/fineweb/tokenizer"
)

// Effort is what measuring takes.
type Effort struct {
	Tokens    int64 // that are predicted
	Sequences int64 // of Windows.Length tokens, the last one filled up
	Whole     bool  // all of it; else what the first part of the data takes
}

// What counting an effort reads at most, in bytes of text: what is looked at, and what is made into tokens.
const (
	mostLookedAt = 16 << 20
	mostCounted  = 2 << 20
)

// allowance is how many bytes of documents may still be looked at, and how many of them counted. A nil one is without
// bounds.
type allowance struct{ looks, counts int64 }

var errEnough = errors.New("more than is counted")

func (a *allowance) read(docs []document) error {
	if a == nil {
		return nil
	}
	const row = 64 // of one that is dropped
	for i := range docs {
		a.looks -= int64(len(docs[i].text)) + row
	}
	if a.looks < 0 {
		return errEnough
	}
	return nil
}

func (a *allowance) count(text int) error {
	if a == nil {
		return nil
	}
	if a.counts -= int64(text); a.counts < 0 {
		return errEnough
	}
	return nil
}

// Effort counts what Held would measure: exactly where that is little, else of the first part of the data. Of remote
// data, and of those of which only a run knows what is left out, nothing is read.
func (m *Set) Effort(tok *tokenizer.Tokenizer, w Windows) (e Effort, err error) {
	w.Batch = 1
	left := &allowance{mostLookedAt, mostCounted}
	for _, c := range m.corpora {
		if len(c.files) > 0 && IsRemote(c.files[0]) || !c.KnowsCopies() ||
			!c.KnowsContaminated() {
			return e, nil
		}
		if err := c.use(tok); err != nil {
			return e, err
		}
		if c.tokens != nil && c.tokens.end() > mostCounted/bytesPerToken { // a document of them is read whole
			return e, nil
		}
		c.allowance = left
		defer func() { c.allowance = nil }()
	}
	c := m.cutter(tok, w, func(*Batch) error { e.Sequences++; return nil })
	switch err = m.cut(c); {
	case errors.Is(err, errEnough):
		c.finish()
		e.Tokens = c.held.Tokens
		return e, nil
	case err != nil:
		return Effort{}, err
	}
	e.Tokens, e.Whole = c.held.Tokens, true
	return e, m.measured(c)
}

// Sequences is how many windows so many tokens of one text make.
func (w *Windows) Sequences(tokens int64) int64 {
	if w.Stride == 0 {
		return (tokens + int64(w.Length) - 1) / int64(w.Length)
	}
	return 1 + max(0, tokens-int64(w.Length)+int64(w.Stride)-1)/int64(w.Stride)
}
