// Package tokenizer turns text into ids and back as Hugging Face's tokenizers library does, from the same
// tokenizer.json: its models BPE, WordPiece, Unigram and WordLevel, with the normalizers, pre-tokenizers,
// post-processors and decoders in any order. It also trains byte-level BPE. A component it does not know is an error
// when the file is read, never a silent difference.
package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"stepflow/foreign"
)

// EncoderVersion changes when a text may get other ids from the same file than it did.
const EncoderVersion = 2

// Tokenizer encodes and decodes. It is safe for concurrent use.
type Tokenizer struct {
	raw       []byte
	model     model
	added     *addedTokens
	normalize []normalization
	split     []splitter
	decode    []decoder
	spell     []decoder // decode, with bytes that are not UTF-8 as they are
	tokens    []string  // by id
	before    []int32   // what the post-processor puts before a text
	after     []int32   // and after it
	asText    bool      // special tokens in a text are text
	plain     func() *Tokenizer
	cache     *wordCache

	// BOS and EOS are the ids of the tokens that begin and end a document; -1 if there is none.
	BOS, EOS int32
}

// wordCache keeps the ids of short words.
type wordCache struct {
	ids  sync.Map     // word → []int32
	held atomic.Int64 // words in it
}

// cacheLimit bounds the number of distinct words kept, give or take one for each thread; cacheWord bounds their length
// in bytes.
const (
	cacheLimit = 1 << 16
	cacheWord  = 64
)

type file struct {
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

// eosNames are tried in order when the caller names no end-of-text token.
var eosNames = []string{"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>"}

// Bounds of a tokenizer.json: its bytes, one more than the largest id, how deep its components nest, and into how many
// steps of a kind.
const (
	MaxBytes = 256 << 20
	maxVocab = 1 << 22
	maxDepth = 64
	maxSteps = 256
)

// Parse reads a tokenizer.json.
func Parse(b []byte) (*Tokenizer, error) {
	t, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("reading tokenizer.json: %w", err)
	}
	return t, nil
}

func parse(b []byte) (*Tokenizer, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("it is not UTF-8")
	}
	var f file
	if err := foreign.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	for name, raw := range map[string]json.RawMessage{
		"normalizer": f.Normalizer, "pre_tokenizer": f.PreTokenizer,
		"post_processor": f.PostProcessor, "decoder": f.Decoder,
	} {
		if d := depth(raw); d > maxDepth {
			return nil, fmt.Errorf("%s nests %d deep; the most is %d", name, d, maxDepth)
		}
	}
	t := &Tokenizer{raw: b, BOS: -1, EOS: -1, cache: &wordCache{}}
	if err := t.parseSteps(&f); err != nil {
		return nil, err
	}
	var err error
	if t.added, err = newAddedTokens(f.AddedTokens, t.model, func(s string) (string, error) {
		p, err := t.normalized(piece{s: s}, tokenLimit(s))
		return p.s, err
	}); err != nil {
		return nil, err
	}
	t.tokens = slices.Clone(t.model.tokens())
	special := map[int32]bool{}
	for id, a := range t.added.byID {
		if n := int(id) + 1 - len(t.tokens); n > 0 {
			t.tokens = append(t.tokens, make([]string, n)...)
		}
		t.tokens[id] = a.Content
		special[id] = a.Special
	}
	if err := t.parseEnds(f.PostProcessor); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	t.plain = sync.OnceValue(func() *Tokenizer {
		if len(t.added.special) == 0 {
			return t
		}
		p := *t
		p.asText, p.cache, p.model = true, &wordCache{}, t.model.without(special)
		p.plain = func() *Tokenizer { return &p }
		return &p
	})
	return t, nil
}

// parseSteps reads what is done to a text and to tokens.
func (t *Tokenizer) parseSteps(f *file) (err error) {
	in := func(part string, err error) error { return fmt.Errorf("%s: %w", part, err) }
	var asBytes bool
	if t.normalize, err = parseNormalizer(f.Normalizer); err != nil {
		return in("normalizer", err)
	}
	if t.split, asBytes, err = parsePreTokenizer(f.PreTokenizer, true, plainBytes(f.Model)); err != nil {
		return in("pre_tokenizer", err)
	}
	if t.model, err = parseModel(f.Model, asBytes); err != nil {
		return in("model", err)
	}
	if t.decode, err = parseDecoder(f.Decoder, lossy); err != nil {
		return in("decoder", err)
	}
	if t.spell, err = parseDecoder(f.Decoder, func(b []byte) string { return string(b) }); err != nil {
		return in("decoder", err)
	}
	if n := max(len(t.normalize), len(t.split), len(t.decode)); n > maxSteps {
		return fmt.Errorf("it works in %d steps; the most is %d", n, maxSteps)
	}
	return nil
}

// parseEnds reads which tokens begin and end a text.
func (t *Tokenizer) parseEnds(postProcessor json.RawMessage) (err error) {
	if t.before, t.after, err = parsePost(postProcessor); err != nil {
		return err
	}
	for _, id := range append(slices.Clone(t.before), t.after...) {
		if id < 0 || int(id) >= len(t.tokens) {
			return fmt.Errorf("the template puts in token %d, which is not one of the %d", id, len(t.tokens))
		}
	}
	if len(t.before) > 0 {
		t.BOS = t.before[0]
	}
	for _, name := range eosNames {
		if id, ok := t.ID(name); ok {
			t.EOS = id
			break
		}
	}
	return nil
}

// Plain is the same tokenizer, except that it takes special tokens in a text, such as <|endoftext|>, for text. It still
// finds other added tokens.
func (t *Tokenizer) Plain() *Tokenizer { return t.plain() }

// JSON is the file the tokenizer was read from.
func (t *Tokenizer) JSON() []byte { return t.raw }

// Template lists the tokens that the post-processor puts before a text and after it.
func (t *Tokenizer) Template() (before, after []int32) { return t.before, t.after }

// VocabSize is one more than the largest id.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// ID finds a token by its content.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.added.ids[token]; ok {
		return id, true
	}
	return t.model.id(token)
}

// Token gives the content of an id; empty if there is none.
func (t *Tokenizer) Token(id int32) string {
	if id < 0 || int(id) >= len(t.tokens) {
		return ""
	}
	return t.tokens[id]
}

// normalized is what the normalizer makes of a piece, which may have up to most bytes.
func (t *Tokenizer) normalized(p piece, most int) (piece, error) {
	size := len(p.s)
	for _, f := range t.normalize {
		var err error
		if p, err = f(p, most); err != nil {
			return p, err
		}
		if len(p.s) > most {
			return p, fmt.Errorf("%w: its normalizer makes more than %d bytes of %d", ErrTooCostly, most, size)
		}
	}
	return p, nil
}

// Encode appends the ids of text to ids, without what the template would put around it. The error is
// ErrTooCostly or ErrNoUnknown.
func (t *Tokenizer) Encode(ids []int32, text string) ([]int32, error) {
	ids, _, err := t.encode(ids, text)
	return ids, err
}

// EncodeWithTemplate appends the ids of text to ids, with the tokens that the template puts around it: as transformers
// does with add_special_tokens, its default. Its errors are those of Encode.
func (t *Tokenizer) EncodeWithTemplate(ids []int32, text string) ([]int32, error) {
	ids, err := t.Encode(append(ids, t.before...), text)
	return append(ids, t.after...), err
}

// encode also counts the special tokens that stand in the text, whether they are taken for text or not.
func (t *Tokenizer) encode(ids []int32, text string) (_ []int32, specials int, err error) {
	if !utf8.ValidString(text) {
		text = lossy([]byte(text))
	}
	_, first := utf8.DecodeRuneInString(text)
	whole := piece{text, first}
	var failed error
	seen := func() { specials++ }
	t.added.cut(text, t.added.raw, t.takesAsText, func(id int32, from, to int) {
		switch {
		case failed != nil:
		case id >= 0:
			ids = append(ids, id)
		default:
			ids, failed = t.rest(ids, whole.part(from, to), seen)
		}
	}, seen)
	return ids, specials, failed
}

// takesAsText reports whether special tokens are text, wherever they stand.
func (t *Tokenizer) takesAsText(from, to int) bool { return t.asText }

// rest appends the ids of a piece between added tokens; seen is called for each special token in what the normalizer
// makes of it.
func (t *Tokenizer) rest(ids []int32, p piece, seen func()) ([]int32, error) {
	p, err := t.normalized(p, growthLimit(p.s))
	if err != nil {
		return ids, err
	}
	t.added.cut(p.s, t.added.normalized, t.takesAsText, func(id int32, from, to int) {
		switch {
		case err != nil:
		case id >= 0:
			ids = append(ids, id)
		default:
			ids, err = t.words(ids, p.part(from, to))
		}
	}, seen)
	return ids, err
}

// Document appends the ids of a text with the template's tokens around it and the end-of-text token after it, once. It
// counts the special tokens that stand in the text, whether they are taken for text or not. Its errors are those of
// Encode.
func (t *Tokenizer) Document(ids []int32, text string) (_ []int32, specials int, err error) {
	ids = append(ids, t.before...)
	if ids, specials, err = t.encode(ids, text); err != nil {
		return nil, 0, err
	}
	ids = append(ids, t.after...)
	if t.EOS >= 0 && (len(t.after) == 0 || t.after[len(t.after)-1] != t.EOS) {
		ids = append(ids, t.EOS)
	}
	return ids, specials, nil
}

// wordLists holds room for cutting texts into words.
var wordLists = sync.Pool{New: func() any { return &[2][]piece{} }}

// words appends the ids of a piece: it is cut by each pre-tokenizer in turn, then the model takes the words.
func (t *Tokenizer) words(ids []int32, p piece) ([]int32, error) {
	room := wordLists.Get().(*[2][]piece)
	defer func() {
		for i := range room {
			clear(room[i]) // the text is not held
			if cap(room[i]) > 1<<16 {
				room[i] = nil
			}
		}
		wordLists.Put(room)
	}()
	room[0] = append(room[0][:0], p)
	for _, sp := range t.split {
		next := room[1][:0]
		for _, w := range room[0] {
			if w.s == "" {
				continue
			}
			var err error
			if next, err = sp(next, w); err != nil {
				return ids, err
			}
		}
		room[0], room[1] = next, room[0]
	}
	for _, w := range room[0] {
		if w.s == "" {
			continue
		}
		if c, ok := t.cache.ids.Load(w.s); ok && len(w.s) <= cacheWord {
			ids = append(ids, c.([]int32)...)
			continue
		}
		at := len(ids)
		var err error
		if ids, err = t.model.encode(ids, w.s); err != nil {
			return ids, err
		}
		if len(w.s) <= cacheWord && t.cache.held.Load() < cacheLimit {
			t.cache.held.Add(1)
			t.cache.ids.Store(strings.Clone(w.s), slices.Clone(ids[at:]))
		}
	}
	return ids, nil
}

// Decode turns ids into text; special tokens are left out when skipSpecial is set. Bytes that are
// not UTF-8 become U+FFFD, as in the tokenizers library.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	return t.joined(t.decode, ids, skipSpecial)
}

func (t *Tokenizer) joined(decode []decoder, ids []int32, skipSpecial bool) string {
	var parts []string
	for _, id := range ids {
		if id < 0 || int(id) >= len(t.tokens) {
			continue
		}
		s, ok := t.added.shown[id]
		if !ok {
			if s = t.tokens[id]; s == "" {
				if empty, ok := t.ID(""); !ok || empty != id {
					continue // no token has this id
				}
			}
		}
		if skipSpecial && t.added.special[s] {
			continue
		}
		parts = append(parts, s)
	}
	if len(decode) == 0 {
		return strings.Join(parts, " ")
	}
	for _, d := range decode {
		parts = d(parts)
	}
	return strings.Join(parts, "")
}
