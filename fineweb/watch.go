package fineweb

import (
	"math/bits"
	"slices"

	"stepflow/fineweb/tokenizer"
)

// Watched are documents that should not be trained on, by hashes of their tokens: so they are recognized under other
// ids, in other files and formats, and where the tokens come from the cache.
type Watched struct {
	Documents int64 // that were read
	Partial   bool  // there are more, which are not recognized
	sums      []tokenSum
}

// How many watched documents are recognized, at 8 bytes each, and how many bytes of data are read to find them.
const (
	mostWatched   = 1 << 22
	mostWatchRead = 1 << 30
)

// tokenSum is a hash of tokens, of a whole document or of its first ones. Tokens that only say where a document begins
// or ends do not count. 0 stands for none.
type tokenSum uint64

func (h tokenSum) add(tok *tokenizer.Tokenizer, ids []int32) tokenSum {
	const a, b = 0x9e3779b97f4a7c15, 0xe7037ed1a0b428db
	for _, id := range ids {
		if id != tok.BOS && id != tok.EOS {
			hi, lo := bits.Mul64(uint64(h)^(uint64(uint32(id))+a), b)
			h = tokenSum(hi ^ lo)
		}
	}
	return h
}

// has reports whether a document is one of them.
func (w *Watched) has(h tokenSum) bool {
	if w == nil || h == 0 {
		return false
	}
	_, found := slices.BinarySearch(w.sums, h)
	return found
}

// Watch adds the documents that windows are cut of. It reads up to 1 GiB of the data to find them, and makes tokens of
// them.
func (m *Set) Watch(into *Watched, tok *tokenizer.Tokenizer, w Windows) error {
	defer func() {
		slices.Sort(into.sums)
		into.sums = slices.Compact(into.sums)
	}()
	var bytes int64
	return m.reached(tok, w, func(c *Corpus, _ piece, _ int, d *document, ids []int32) (bool, error) {
		if into.Partial = into.Partial || bytes > mostWatchRead || len(into.sums) > mostWatched; into.Partial {
			return false, nil
		}
		if bytes += int64(len(d.text)); c.tokens != nil {
			bytes += int64(len(ids)) * 2
		}
		into.Documents++
		if h := tokenSum(0).add(tok, ids); h != 0 {
			into.sums = append(into.sums, h)
		}
		return true, nil
	})
}

// Watch counts the documents to come that are watched, each when its last token is handed out, in Batch.Watched. Of a
// file of tokens the one in whose middle the stream began is not recognized.
func (m *Mix) Watch(w *Watched) {
	for _, s := range m.streams {
		s.watched = w
	}
}
