package fineweb

import (
	"fmt"
	"strings"

	"stepflow/fineweb/tokenizer"
)

// heldTuned is Held for conversations: they lie whole in windows, one after the other, and the tokens that count in the loss
// are those that are predicted.
func (m *Set) heldTuned(tok *tokenizer.Tokenizer, w Windows, visit func(*Batch) error) (*Held, error) {
	h := &tunedHeld{Windows: w, tok: tok, visit: visit, held: &Held{Counts: map[int32]int64{}}}
	for i, most := range m.shares(w.Limit) {
		corpus := m.corpora[i]
		err := corpus.visit(w.Split, func(d *document) (bool, error) {
			if w.Limit > 0 && h.held.Tokens >= most {
				return false, nil
			}
			ids, loss, quoted, err := corpus.tuning.Encode(corpus.source.Form, d.text)
			if err != nil && corpus.source.SkipErrors {
				corpus.Skipped++
				return true, nil
			}
			if err != nil {
				return false, err
			}
			h.held.Specials += int64(quoted)
			lo, hi := corpus.tuning.cut(len(ids), w.Length)
			h.take(ids[lo:hi], loss[lo:hi])
			return h.failed == nil, nil
		})
		if h.failed != nil {
			return nil, h.failed
		}
		if err != nil {
			return nil, err
		}
	}
	if h.flush(); h.failed != nil {
		return nil, h.failed
	}
	corpus := m.corpora[0]
	switch {
	case h.held.Documents == 0 && corpus.Skipped == 0:
		return nil, corpus.none(w.Split)
	case h.held.Tokens == 0:
		return nil, NoDocuments{fmt.Errorf("no token of the conversations of %s counts in the loss among the first %d of each",
			strings.Join(corpus.source.Shown(), ", "), w.Length)}
	}
	return h.held, nil
}

// tunedHeld makes batches of conversations.
type tunedHeld struct {
	Windows
	tok    *tokenizer.Tokenizer
	visit  func(*Batch) error
	held   *Held
	batch  *Batch
	left   int   // of the last window of the batch
	part   int32 // conversations in it
	failed error
}

// take puts a conversation into the window at hand, or the next.
func (h *tunedHeld) take(ids []int32, loss []bool) {
	if h.batch == nil || len(ids) > h.left {
		if h.batch != nil {
			if h.batch.pad(h.left); len(h.batch.IDs) == h.Batch*h.Length {
				h.flush()
			}
		}
		if h.batch == nil {
			h.batch = &Batch{}
		}
		h.left, h.part = h.Length, 0
	}
	from := len(h.batch.IDs)
	h.batch.conversation(ids, loss, h.part)
	h.left -= len(ids)
	h.part++
	var said []int32
	for _, target := range h.batch.Targets[from:] {
		if target != Ignored {
			said = append(said, target)
			h.held.Counts[target]++
		}
	}
	text := h.tok.Spell(said)
	h.held.Documents++
	h.held.Tokens += int64(len(said))
	h.held.Bytes += int64(len(text))
	h.held.Words += int64(len(strings.Fields(text)))
}

// flush hands the batch to visit, filled up with positions that count nowhere.
func (h *tunedHeld) flush() {
	if h.batch == nil || h.failed != nil {
		return
	}
	h.batch.pad(h.Batch*h.Length - len(h.batch.IDs))
	h.failed = h.visit(h.batch)
	h.batch, h.left = nil, 0
}

// reachedTuned is reached for conversations.
func (m *Set) reachedTuned(w Windows, visit func(c *Corpus, p piece, r int, d *document, ids []int32) (bool, error)) error {
	var tokens int64
	for i, most := range m.shares(w.Limit) {
		c := m.corpora[i]
		full := func() bool { return w.Limit > 0 && tokens >= most }
		for _, p := range c.pieces() {
			if full() {
				break
			}
			docs, err := c.read(p)
			if err != nil {
				return err
			}
			for r := range docs {
				if ok, err := c.check(&docs[r], w.Split, p, r); err != nil {
					return err
				} else if !ok || full() {
					continue
				}
				ids, loss, _, err := c.tuning.Encode(c.source.Form, docs[r].text)
				if err != nil && c.source.SkipErrors {
					continue
				}
				if err != nil {
					return c.bad(p, r, err)
				}
				lo, hi := c.tuning.cut(len(loss), w.Length)
				for _, counts := range loss[min(lo+1, hi):hi] {
					if counts {
						tokens++
					}
				}
				if more, err := visit(c, p, r, &docs[r], ids); err != nil || !more {
					return err
				}
			}
		}
	}
	return nil
}
