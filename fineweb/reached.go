package fineweb

import "stepflow/fineweb/tokenizer"

// reached visits the documents that windows are cut of, with their tokens, until visit returns false. Where documents are
// joined, what stands between them does not count among the first tokens.
func (m *Set) reached(tok *tokenizer.Tokenizer, w Windows,
	visit func(c *Corpus, p piece, r int, d *document, ids []int32) (bool, error)) error {
	if m.corpora[0].tuning != nil {
		return m.reachedTuned(w, visit)
	}
	windows := m.cutter(tok, w, func(*Batch) error { return nil })
	windows.Batch = 1 // the batches are not used
	for i, most := range m.shares(w.Limit) {
		c := m.corpora[i]
		windows.most = most
		if err := c.use(tok); err != nil {
			return err
		}
		for _, p := range c.pieces() {
			if windows.full() {
				break
			}
			docs, err := c.read(p)
			if err != nil {
				return err
			}
			for r := range docs {
				d := &docs[r]
				if ok, err := c.check(d, w.Split, p, r); err != nil && w.Join == nil {
					return err
				} else if !ok || err != nil || windows.full() {
					continue
				}
				if c.tokens != nil {
					if d.ids, err = c.tokens.whole(d.at); err != nil {
						return err
					}
				}
				ids, _, err := c.tokensOf(tok, d)
				if err != nil {
					return c.bad(p, r, err)
				}
				if w.Limit > 0 {
					windows.document(ids, len(ids) > 0 && c.opens(tok, ids[0]))
				}
				if more, err := visit(c, p, r, d, ids); err != nil || !more {
					return err
				}
			}
		}
	}
	return nil
}
