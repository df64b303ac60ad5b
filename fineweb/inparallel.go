package fineweb

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
)

// inParallel reads all pieces, several at a time. prepare is called for each worker, one after the other, with a corpus
// that serves it alone, and returns what is done with a piece; pieces come to a worker in their order.
func (c *Corpus) inParallel(prepare func(w *Corpus) func(p piece) error) error {
	all := c.pieces()
	skipped := c.Skipped
	defer func() { c.Skipped = skipped }() // they are counted where they are read for use
	var next atomic.Int64
	var preparing sync.Mutex
	work := func(w *Corpus) error {
		preparing.Lock()
		do := prepare(w)
		preparing.Unlock()
		for i := int(next.Add(1)) - 1; i < len(all); i = int(next.Add(1)) - 1 {
			if err := do(all[i]); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, min(runtime.GOMAXPROCS(0), len(all)))
	parallel(len(errs), len(errs), func(k int) {
		w, err := c, error(nil)
		if k > 0 {
			if w, err = c.again(); err == nil {
				defer w.Close()
			}
		}
		if err == nil {
			err = work(w)
		}
		if errs[k] = err; err != nil {
			next.Store(int64(len(all)))
		}
	})
	return errors.Join(errs...)
}

// again opens the corpus once more, and takes over what is known of it.
func (c *Corpus) again() (*Corpus, error) {
	w, err := Open(c.source.ctx, c.Source())
	if err != nil {
		return nil, err
	}
	w.copies, w.unclean, w.keyed, w.keys, w.tuning = c.copies, c.unclean, c.keyed, c.keys, c.tuning
	if err := w.use(c.used); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}
