package fineweb

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math"
	"sort"

	"stepflow/fineweb/tokenizer"
)

// Files of tokens as nanoGPT and llm.c write them: little-endian ids without a header, or after a header of 256 int32,
// of which the first is a magic number, the second a version and the third the number of tokens: uint16 (GPT-2) or
// uint32 (LLaMA 3).
const binHeader = 256 * 4

var binHeaders = []struct {
	magic, version uint32
	size           int64 // bytes a token
	dtype          string
}{
	{20240520, 1, 2, "uint16"},
	{20240801, 7, 4, "uint32"},
}

// ErrDType says that files of tokens cannot hold those of a tokenizer.
var ErrDType = errors.New("the file's tokens and the tokenizer do not fit each other")

// How many tokens are searched for documents at a time; fewer where there are few data, as with rows.
const (
	pieceTokens = 1 << 18
	leastTokens = 1 << 12
)

// binShard is a file of tokens.
type binShard struct {
	file  file
	name  string
	start int64 // byte of the first token
	size  int64 // bytes a token; 0 where the tokenizer has to say
}

func openBin(s *reading, f file, name string) (shard, error) {
	b := &binShard{file: f, name: name, size: map[string]int64{"uint16": 2, "uint32": 4}[s.DType]}
	head := make([]byte, min(12, f.Size()))
	if _, err := f.ReadAt(head, 0); err != nil && len(head) > 0 {
		return nil, err
	}
	for _, h := range binHeaders {
		if len(head) < 4 || binary.LittleEndian.Uint32(head) != h.magic {
			continue
		}
		if f.Size() < binHeader {
			return nil, fmt.Errorf("it begins as llm.c's header of %d bytes does, and ends after %d",
				binHeader, f.Size())
		}
		if v := binary.LittleEndian.Uint32(head[4:]); v != h.version {
			return nil, fmt.Errorf("it begins with llm.c's header, of version %d, which is not known", v)
		}
		if b.size != 0 && b.size != h.size {
			return nil, fmt.Errorf("the header says %s, and dtype is %q: leave dtype out", h.dtype, s.DType)
		}
		b.start, b.size = binHeader, h.size
	}
	size := f.Size() - b.start
	if width := max(b.size, 2); size%width != 0 {
		return nil, fmt.Errorf("%d bytes are not a whole number of tokens of %d bytes", size, width)
	}
	promised := int64(binary.LittleEndian.Uint32(append(head, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)[8:]))
	if b.start > 0 && promised != size/b.size {
		return nil, fmt.Errorf("the header promises %d tokens, the file holds %d", promised, size/b.size)
	}
	return b, nil
}

// groups is empty: where documents begin is known with the tokenizer (Corpus.use).
func (s *binShard) groups() []int64 { return nil }
func (s *binShard) Close() error    { return s.file.Close() }

func (s *binShard) read(int, int64, int64) ([]document, error) {
	return nil, errors.New("files of tokens are read with their tokenizer")
}

// bytes is the room that the file's tokens take.
func (s *binShard) bytes() int64 { return s.file.Size() - s.start }

// width is the number of bytes of the file's tokens if a tokenizer of so many ids made them; vocab 0 is not known.
func (s *binShard) width(vocab int) (int64, error) {
	const ids = 1 << 16
	switch {
	case s.size == 2 && vocab > ids:
		return 0, fmt.Errorf("%w: it holds uint16, which cannot hold ids from %d on, and the tokenizer has %d; the "+
			"file was made with another tokenizer, or its dtype is uint32", ErrDType, ids, vocab)
	case s.size != 0:
		return s.size, nil
	case vocab > ids:
		if s.bytes()%4 != 0 {
			return 0, fmt.Errorf("%w: %d ids need tokens of uint32, and %d bytes are not a whole number of them",
				ErrDType, vocab, s.bytes())
		}
		return 4, nil
	}
	wide, err := s.looksWide()
	if wide {
		err = fmt.Errorf(`%w: without a header it would be read as uint16, and every second of its numbers is 0, as in tokens of uint32; set dtype to "uint32", or to "uint16" if the zeros are right`, ErrDType)
	}
	return 2, err
}

// looksWide reports whether a file without a header, read as uint16, begins with ids of which every second one is 0 and
// the others are not all 0.
func (s *binShard) looksWide() (bool, error) {
	const least, most = 64, 1 << 16
	b := make([]byte, min(most, s.bytes()/4*4))
	if len(b) < least*4 || s.bytes()%4 != 0 {
		return false, nil
	}
	if _, err := s.file.ReadAt(b, s.start); err != nil {
		return false, err
	}
	any := false
	for ; len(b) > 0; b = b[4:] {
		if binary.LittleEndian.Uint16(b[2:]) != 0 {
			return false, nil
		}
		any = any || binary.LittleEndian.Uint16(b) != 0
	}
	return any, nil
}

// binFiles are the files of tokens of a corpus, one after the other: a document that a file's end cuts goes on in the
// next file, as in the shards of llm.c. Positions count the tokens of all files.
type binFiles struct {
	shards []*binShard
	widths []int64 // bytes a token of each file
	starts []int64 // position of each file's first token, and the end
	eos    int32   // ends a document; -1 for none
	vocab  int     // ids the tokenizer has
}

// use says which tokenizer made the data's tokens: it decides how wide they are and which of them ends a document.
// Without one (nil), ids in a file without a header are taken for uint16, and all tokens for one document. Data that
// hold text need no tokenizer here.
func (c *Corpus) use(tok *tokenizer.Tokenizer) error {
	if c.source.Format != "bin" || c.tokens != nil && c.used == tok {
		return nil
	}
	t := &binFiles{starts: []int64{0}, eos: -1, vocab: math.MaxInt32}
	vocab := 0
	if tok != nil {
		vocab = tok.VocabSize()
		t.eos, t.vocab = tok.EOS, vocab
	}
	for i, sh := range c.shards {
		b := sh.(*binShard)
		width, err := b.width(vocab)
		if err != nil {
			return fmt.Errorf("%s: %w", Shown(c.files[i]), err)
		}
		n := b.bytes() / width
		t.shards, t.widths, t.starts = append(t.shards, b), append(t.widths, width), append(t.starts, t.end()+n)
	}
	var groups [][]piece
	for i := range t.shards {
		if n := t.starts[i+1] - t.starts[i]; n > 0 {
			groups = append(groups, []piece{{i, 0, 0, 0, n}})
		}
	}
	c.tokens, c.used, c.groups = t, tok, apart(groups, upTo(min(c.cut.tokens, max(leastTokens, t.end()/manyPieces))))
	return nil
}

// end is the number of tokens.
func (t *binFiles) end() int64 { return t.starts[len(t.starts)-1] }

// place is the file of a position, and the token in it.
func (t *binFiles) place(at int64) (file int, token int64) {
	i := sort.Search(len(t.shards), func(i int) bool { return t.starts[i+1] > at })
	return i, at - t.starts[i]
}

// append reads n tokens from a position on.
func (t *binFiles) append(ids []int32, at, n int64) ([]int32, error) {
	const most = readAtOnce / 4
	for n > 0 {
		i, token := t.place(at)
		k := min(n, t.starts[i+1]-at, most)
		w, f := t.widths[i], t.shards[i]
		b := make([]byte, k*w)
		if _, err := f.file.ReadAt(b, f.start+token*w); err != nil {
			return nil, fmt.Errorf("%s, token %d: %w", Shown(f.name), token, err)
		}
		for j := range k {
			var id uint32
			if w == 2 {
				id = uint32(binary.LittleEndian.Uint16(b[2*j:]))
			} else {
				id = binary.LittleEndian.Uint32(b[4*j:])
			}
			if int64(id) >= int64(t.vocab) {
				return nil, fmt.Errorf("%s, token %d (byte %d): %d is not one of the tokenizer's %d ids: the file "+
					"was made with another, is damaged, or its tokens are not uint%d",
					Shown(f.name), token+j, f.start+(token+j)*w, id, t.vocab, 8*w)
			}
			ids = append(ids, int32(id))
		}
		at, n = at+k, n-k
	}
	return ids, nil
}

// documents finds those that begin among n tokens of the file. A document begins with the first token of all and after
// each that ends one. hashed gives them ids, for which the last one's tokens are read to its end.
func (t *binFiles) documents(file int, from, n int64, hashed bool) (docs []document, err error) {
	lo := t.starts[file] + from
	hi := lo + n
	before := int64(0) // whether the token before the first is there
	if lo > 0 {
		before = 1
	}
	ids, err := t.append(make([]int32, 0, n+before), lo-before, n+before)
	if err != nil {
		return nil, err
	}
	if lo == 0 {
		docs = append(docs, document{at: 0})
	}
	for i, id := range ids {
		if at := lo - before + int64(i) + 1; id == t.eos && at < hi {
			docs = append(docs, document{at: at})
		}
	}
	if !hashed {
		return docs, nil
	}
	for i := range docs {
		end := hi
		if i+1 < len(docs) {
			end = docs[i+1].at
		}
		d := newTokenHash()
		d.add(ids[docs[i].at-lo+before : end-lo+before])
		for at := hi; i+1 == len(docs) && d.last != t.eos && at < t.end(); { // the last one, whose end may be far
			var more []int32
			if more, at, err = t.chunk(at); err != nil {
				return nil, err
			}
			d.add(more)
		}
		docs[i].id = d.sum(t.eos)
	}
	return docs, nil
}

// chunk reads on in a document: up to and with the token that ends it, but no more than a piece. Next is the position
// after it.
func (t *binFiles) chunk(at int64) (ids []int32, next int64, err error) {
	const least = 1 << 12
	for len(ids) < pieceTokens && at < t.end() {
		n := len(ids)
		if ids, err = t.append(ids, at, min(max(int64(n), least), t.end()-at)); err != nil {
			return nil, 0, err
		}
		for i := n; i < len(ids); i++ {
			if at++; ids[i] == t.eos {
				return ids[:i+1], at, nil
			}
		}
	}
	return ids, at, nil
}

// inside reports whether the n-th token after a document's first is in the document, if the n-1 before it are.
func (t *binFiles) inside(at, n int64) (bool, error) {
	if n >= t.end()-at {
		return false, nil
	}
	ids, err := t.append(nil, at+n-1, 1)
	return err == nil && ids[0] != t.eos, err
}

// maxWhole bounds a document of which all tokens are needed at once, as to evaluate on it.
const maxWhole = 1 << 26

// whole reads all tokens of a document.
func (t *binFiles) whole(first int64) (ids []int32, err error) {
	for at := first; at < t.end() && (len(ids) == 0 || ids[len(ids)-1] != t.eos); {
		var more []int32
		if more, at, err = t.chunk(at); err != nil {
			return nil, err
		}
		if ids = append(ids, more...); len(ids) > maxWhole {
			i, token := t.place(first)
			return nil, fmt.Errorf("%s: the document that begins with token %d has more than %d tokens, the most "+
				"that one may have to evaluate on it; no end-of-text token (%d) ends it",
				Shown(t.shards[i].name), token, maxWhole, t.eos)
		}
	}
	return ids, nil
}

// tokenHash makes the id of a document of its tokens, as uint32 whatever the file's width, without the one that ends
// it.
type tokenHash struct {
	hash hash.Hash
	last int32 // not hashed yet
	any  bool
}

func newTokenHash() *tokenHash { return &tokenHash{hash: sha256.New(), last: -1} }

func (h *tokenHash) add(ids []int32) {
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		if h.any {
			b = binary.LittleEndian.AppendUint32(b, uint32(h.last))
		}
		h.last, h.any = id, true
	}
	h.hash.Write(b)
}

func (h *tokenHash) sum(eos int32) string {
	if h.any && h.last != eos {
		h.hash.Write(binary.LittleEndian.AppendUint32(nil, uint32(h.last)))
	}
	return hex.EncodeToString(h.hash.Sum(nil)[:16])
}
