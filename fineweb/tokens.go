package fineweb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"stepflow/fineweb/tokenizer"
	"stepflow/fineweb/web"
	"stepflow/foreign"
)

// What makes a document unusable.
const (
	sound uint8 = iota
	empty
	notUTF8
	damaged // it has the error itself, unless its tokens come from the cache
)

var (
	errEmpty   = errors.New("the document is empty")
	errNotUTF8 = errors.New("the document is not valid UTF-8")
	errTooLong = fmt.Errorf("the document is longer than %d bytes, the most that one may have", maxDocument)
	errDamaged = errors.New("the document cannot be read")
)

var flaws = map[uint8]error{empty: errEmpty, notUTF8: errNotUTF8, damaged: errDamaged}

// reads is a tokenizer that takes special tokens in a text as the source wants them taken.
func (c *Corpus) reads(tok *tokenizer.Tokenizer) *tokenizer.Tokenizer {
	if c.source.SpecialIDs {
		return tok
	}
	return tok.Plain()
}

// tokenized reads the documents of a piece with their tokens: from the cache, where the source has one, else
// from the data, and then into the cache.
func (c *Corpus) tokenized(p piece, tok *tokenizer.Tokenizer) ([]document, error) {
	if c.source.TokenDir == "" || c.tokens != nil {
		return c.read(p)
	}
	if docs := c.keptTokens(p, tok); docs != nil {
		if err := c.unchanged(p.file); err != nil { // a run ends the same with the cache and without
			return nil, err
		}
		return docs, c.leaveOut(p, docs)
	}
	docs, err := c.load(p)
	if err != nil {
		return nil, err
	}
	// What is passed over whole is not kept.
	if len(docs) > 0 && !slices.ContainsFunc(docs, func(d document) bool { return d.flaw != damaged }) {
		return docs, c.leaveOut(p, docs)
	}
	if err := c.encode(docs, p, tok); err != nil {
		return nil, err
	}
	if err := writeTokens(c.tokenPath(p, tok), docs, tok.VocabSize()); err != nil {
		return nil, fmt.Errorf("keeping tokens in %s: %w. Free some space, or set cache = \"none\"",
			c.source.TokenDir, err)
	}
	return docs, c.leaveOut(p, docs)
}

// keptTokens are the documents of a piece with their tokens, without their texts, where the cache has them; else nil.
func (c *Corpus) keptTokens(p piece, tok *tokenizer.Tokenizer) []document {
	if c.source.TokenDir == "" || c.tokens != nil {
		return nil
	}
	path := c.tokenPath(p, tok)
	docs, err := Await(c.source.ctx, func() ([]document, error) { return readTokens(path, tok.VocabSize()) })
	unread := func(d document) bool { return d.flaw == damaged } // the data say why
	if err != nil || int64(len(docs)) != p.rows || !c.source.SkipErrors && slices.ContainsFunc(docs, unread) {
		return nil
	}
	return docs
}

// encode gives the sound documents of a piece that no filter drops their tokens, on all processors.
func (c *Corpus) encode(docs []document, p piece, tok *tokenizer.Tokenizer) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, len(docs))
	for range min(runtime.GOMAXPROCS(0), len(docs)) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := int(next.Add(1)) - 1; i < len(docs) && c.source.ended() == nil; i = int(next.Add(1)) - 1 {
				if d := &docs[i]; !d.drop && d.flaw == sound {
					var err error
					d.ids, d.specials, err = c.reads(tok).Document(make([]int32, 0, len(d.text)/4+2), d.text)
					if err != nil {
						errs[i] = c.bad(p, i, err)
						next.Store(int64(len(docs))) // one is enough
						return
					}
					d.text = ""
				}
			}
		}()
	}
	wait.Wait()
	return errors.Join(append(errs, c.source.ended())...) // not all of them are encoded then
}

// tokenKey names what the tokens of a file depend on: the tokenizer, the file, and what is read of it.
func (c *Corpus) tokenKey(file int, tok *tokenizer.Tokenizer) string {
	h := sha256.New()
	s := &c.source
	fmt.Fprintf(h, "%s %x\n", tokenMagic, sha256.Sum256(tok.JSON()))
	fmt.Fprintf(h, "%d %d %d %t\n", tok.BOS, tok.EOS, tokenizer.EncoderVersion, s.SpecialIDs)
	fmt.Fprintf(h, "%s %q %q %q %q\n", s.Format, s.TextColumn, s.IDColumn, s.Separator, s.conditions())
	h.Write([]byte(c.identity(file)))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (c *Corpus) tokenPath(p piece, tok *tokenizer.Tokenizer) string {
	if c.keyed != tok {
		c.keyed, c.keys = tok, make([]string, len(c.files))
	}
	if c.keys[p.file] == "" {
		c.keys[p.file] = c.tokenKey(p.file, tok)
	}
	return filepath.Join(c.source.TokenDir, c.keys[p.file], fmt.Sprintf("%06d-%09d.tokens", p.group, p.from))
}

// Tokenize fills the token cache: every piece that is not there yet, several at a time. progress is called after
// each, from one goroutine at a time, with the pieces done and their tokens. It ends with ctx.
func Tokenize(
	ctx context.Context, s Source, tok *tokenizer.Tokenizer, progress func(done, of int, tokens int64) error,
) error {
	if s.TokenDir == "" || s.Format == "bin" {
		return errors.New("the data have no token cache: set cache = \"tokens\"")
	}
	first, err := Open(ctx, s)
	if err != nil {
		return err
	}
	defer first.Close()
	if _, err := first.Copies(); err != nil {
		return err
	}
	if err := first.findContaminated(); err != nil {
		return err
	}
	all := first.pieces()
	for _, p := range all {
		first.tokenPath(p, tok) // each file is hashed once, not once a worker
	}
	var mu sync.Mutex
	var done int
	var tokens int64
	return first.inParallel(func(c *Corpus) func(p piece) error {
		return func(p piece) error {
			docs, err := c.tokenized(p, tok)
			mu.Lock()
			defer mu.Unlock()
			for _, d := range docs {
				tokens += int64(len(d.ids))
			}
			if done++; err == nil && progress != nil {
				err = progress(done, len(all), tokens)
			}
			return err
		}
	})
}

// Cached tells how many of the corpus' pieces have their tokens in the cache, and the bytes those take.
func (c *Corpus) Cached(tok *tokenizer.Tokenizer) (pieces, of int, size int64) {
	all := c.pieces()
	if c.source.TokenDir == "" || tok == nil {
		return 0, len(all), 0
	}
	for _, p := range all {
		if st, err := os.Stat(c.tokenPath(p, tok)); err == nil {
			pieces++
			size += st.Size()
		}
	}
	return pieces, len(all), size
}

// A file of tokens holds, little-endian: the magic; uint32 bytes of a token, 2 or 4; uint32 documents; for each
// document uint64 the hash of its id, uint32 tokens, uint32 flags (1: a filter drops it; from 2 on its flaw: 1 empty, 2
// not UTF-8, 3 it cannot be read; from 256 on the special tokens that stand in its text, up to mostSpecials), uint32
// bytes of its id; the ids of all documents; the tokens of all documents; uint32 CRC-32C of the file's name and all
// before, since a file that got into another's place is as wrong as a damaged one. It is read whole and checked each
// time: no mapping, which a file cut short would turn into the end of the process.
const (
	tokenMagic   = "STEPTOK3"
	tokenHeader  = len(tokenMagic) + 8
	tokenRecord  = 20
	mostSpecials = 1<<24 - 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func writeTokens(path string, docs []document, vocab int) error {
	size := uint32(2)
	if vocab > 1<<16 {
		size = 4
	}
	b := append(make([]byte, 0, 1<<20), tokenMagic...)
	b = binary.LittleEndian.AppendUint32(b, size)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(docs)))
	for _, d := range docs {
		flags := uint32(d.flaw)<<1 | uint32(min(d.specials, mostSpecials))<<8
		if d.drop {
			flags |= 1
		}
		b = binary.LittleEndian.AppendUint64(b, d.hash)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(d.ids)))
		b = binary.LittleEndian.AppendUint32(b, flags)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(d.id)))
	}
	for _, d := range docs {
		b = append(b, d.id...)
	}
	for _, d := range docs {
		for _, id := range d.ids {
			if size == 2 {
				b = binary.LittleEndian.AppendUint16(b, uint16(id))
			} else {
				b = binary.LittleEndian.AppendUint32(b, uint32(id))
			}
		}
	}
	b = binary.LittleEndian.AppendUint32(b, tokensSum(path, b))
	return web.WriteCached(path, b, 0o755)
}

var errTokens = errors.New("not a whole file of tokens")

// readTokens reads a file of tokens of a vocabulary.
func readTokens(path string, vocab int) ([]document, error) {
	b, err := foreign.ReadFile(path, 1<<32)
	if err != nil {
		return nil, err
	}
	return parseTokens(path, b, vocab)
}

// tokensSum is the checksum of a file of tokens. Its name is its folder's, which is the key, and its own.
func tokensSum(path string, body []byte) uint32 {
	name := filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path))
	return crc32.Update(crc32.Checksum([]byte(name), castagnoli), castagnoli, body)
}

func parseTokens(path string, b []byte, vocab int) ([]document, error) {
	if len(b) < tokenHeader+4 || !bytes.HasPrefix(b, []byte(tokenMagic)) {
		return nil, errTokens
	}
	body := b[:len(b)-4]
	if tokensSum(path, body) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, errTokens
	}
	size, n := int(binary.LittleEndian.Uint32(b[8:])), int(binary.LittleEndian.Uint32(b[12:]))
	if size != 2 && size != 4 || n > (len(body)-tokenHeader)/tokenRecord {
		return nil, errTokens
	}
	table, names := body[tokenHeader:][:n*tokenRecord], body[tokenHeader+n*tokenRecord:]
	docs := make([]document, n)
	for i := range docs {
		k := int64(binary.LittleEndian.Uint32(table[i*tokenRecord+16:]))
		if k > int64(len(names)) {
			return nil, errTokens
		}
		docs[i].id, names = string(names[:k]), names[k:]
	}
	tokens := names
	ids := make([]int32, len(tokens)/size)
	for i := range ids {
		if size == 2 {
			ids[i] = int32(binary.LittleEndian.Uint16(tokens[2*i:]))
		} else {
			ids[i] = int32(binary.LittleEndian.Uint32(tokens[4*i:]))
		}
		if ids[i] < 0 || int(ids[i]) >= vocab {
			return nil, errTokens
		}
	}
	for i := range docs {
		r := table[i*tokenRecord:]
		k, flags := int(binary.LittleEndian.Uint32(r[8:])), binary.LittleEndian.Uint32(r[12:])
		if k > len(ids) {
			return nil, errTokens
		}
		docs[i] = document{id: docs[i].id, hash: binary.LittleEndian.Uint64(r), drop: flags&1 != 0,
			flaw: uint8(flags) >> 1, ids: ids[:k:k], specials: int(flags >> 8)}
		ids = ids[k:]
	}
	if len(ids) > 0 {
		return nil, errTokens
	}
	return docs, nil
}

// flawOf reports whether a document can be used.
func flawOf(text string) uint8 {
	switch {
	case text == "":
		return empty
	case !utf8.ValidString(text):
		return notUTF8
	}
	return sound
}
