// Package tokenizer turns text into ids and back as Hugging Face's tokenizers library does, from
// the same tokenizer.json: byte-level BPE (GPT-2, SmolLM, LLaMA 3) and SentencePiece-style BPE with
// byte fallback (LLaMA 2). It also trains byte-level BPE. A component it does not know is an error
// when the file is read, never a silent difference.
package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// Tokenizer encodes and decodes. It is safe for concurrent use.
type Tokenizer struct {
	raw       []byte
	model     *bpe
	added     []addedToken // longest content first
	starts    [256][]int   // of those, by the first byte of their content
	normalize []normalization
	split     []splitter
	decode    []func([]string) []string
	tokens    []string // by id
	special   map[int32]bool
	prefix    []int32 // what the post-processor's template puts before a text
	suffix    []int32
	byteLevel bool
	cache     sync.Map     // word → []int32
	cached    atomic.Int64 // words in it

	// BOS and EOS are the ids of the tokens that begin and end a document; -1 if there is none.
	BOS, EOS int32
}

type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

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
	if !utf8.Valid(b) {
		return nil, errors.New("reading tokenizer.json: it is not UTF-8")
	}
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("reading tokenizer.json: %w", err)
	}
	for name, raw := range map[string]json.RawMessage{"normalizer": f.Normalizer, "pre_tokenizer": f.PreTokenizer, "post_processor": f.PostProcessor, "decoder": f.Decoder} {
		if d := depth(raw); d > maxDepth {
			return nil, fmt.Errorf("reading tokenizer.json: %s nests %d deep; the most is %d", name, d, maxDepth)
		}
	}
	t := &Tokenizer{raw: b, special: map[int32]bool{}, BOS: -1, EOS: -1}
	var err error
	if t.model, err = parseBPE(f.Model); err != nil {
		return nil, fmt.Errorf("reading tokenizer.json: model: %w", err)
	}
	if t.normalize, err = parseNormalizer(f.Normalizer); err != nil {
		return nil, fmt.Errorf("reading tokenizer.json: normalizer: %w", err)
	}
	if t.split, t.byteLevel, err = parsePreTokenizer(f.PreTokenizer); err != nil {
		return nil, fmt.Errorf("reading tokenizer.json: pre_tokenizer: %w", err)
	}
	if t.decode, err = parseDecoder(f.Decoder); err != nil {
		return nil, fmt.Errorf("reading tokenizer.json: decoder: %w", err)
	}
	if n := max(len(t.normalize), len(t.split), len(t.decode)); n > maxSteps {
		return nil, fmt.Errorf("reading tokenizer.json: it works in %d steps; the most is %d", n, maxSteps)
	}
	t.tokens = append([]string(nil), t.model.tokens...)
	for _, a := range f.AddedTokens {
		if a.ID < 0 || a.ID >= maxVocab {
			return nil, fmt.Errorf("reading tokenizer.json: added token %q has id %d; ids go from 0 to %d", a.Content, a.ID, maxVocab-1)
		}
		if n := int(a.ID) + 1 - len(t.tokens); n > 0 {
			t.tokens = append(t.tokens, make([]string, n)...)
		}
		t.tokens[a.ID] = a.Content
		t.special[a.ID] = a.Special
		if a.Content != "" {
			t.added = append(t.added, a)
		}
	}
	sort.SliceStable(t.added, func(i, j int) bool { return len(t.added[i].Content) > len(t.added[j].Content) })
	for i, a := range t.added {
		t.starts[a.Content[0]] = append(t.starts[a.Content[0]], i)
	}
	if err := t.parsePost(f.PostProcessor); err != nil {
		return nil, fmt.Errorf("reading tokenizer.json: post_processor: %w", err)
	}
	for _, id := range append(slices.Clone(t.prefix), t.suffix...) {
		if id < 0 || int(id) >= len(t.tokens) {
			return nil, fmt.Errorf("reading tokenizer.json: post_processor: the template puts in token %d, which is not one of the %d", id, len(t.tokens))
		}
	}
	if len(t.prefix) > 0 {
		t.BOS = t.prefix[0]
	}
	for _, name := range eosNames {
		if id, ok := t.ID(name); ok {
			t.EOS = id
			break
		}
	}
	t.model.bind(t.byteLevel)
	return t, nil
}

// JSON is the file the tokenizer was read from.
func (t *Tokenizer) JSON() []byte { return t.raw }

// VocabSize is one more than the largest id.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// ID finds a token by its content.
func (t *Tokenizer) ID(token string) (int32, bool) {
	for _, a := range t.added {
		if a.Content == token {
			return a.ID, true
		}
	}
	id, ok := t.model.vocab[token]
	return id, ok
}

// Token gives the content of an id; empty if there is none.
func (t *Tokenizer) Token(id int32) string {
	if id < 0 || int(id) >= len(t.tokens) {
		return ""
	}
	return t.tokens[id]
}

// Encode appends the ids of text to ids, without what the template would put round it. The error is
// ErrTooCostly.
func (t *Tokenizer) Encode(ids []int32, text string) ([]int32, error) {
	first := true
	var failed error
	ids = t.parts(ids, text, false, func(ids []int32, s string) []int32 {
		most := growthLimit(s)
		for _, n := range t.normalize {
			if failed == nil {
				s, failed = n(s)
			}
			if failed == nil && len(s) > most {
				failed = fmt.Errorf("%w: its normalizer makes more than %d bytes of %d", ErrTooCostly, most, len(text))
			}
		}
		return t.parts(ids, s, true, func(ids []int32, s string) []int32 {
			if failed == nil {
				ids, failed = t.encodeText(ids, s, first)
			}
			first = false
			return ids
		})
	}, func() { first = false })
	return ids, failed
}

// EncodeDocument is Encode with the template's tokens round the text and the end-of-text token
// after it, once.
func (t *Tokenizer) EncodeDocument(ids []int32, text string) ([]int32, error) {
	ids = append(ids, t.prefix...)
	ids, err := t.Encode(ids, text)
	if err != nil {
		return nil, err
	}
	ids = append(ids, t.suffix...)
	if t.EOS >= 0 && (len(t.suffix) == 0 || t.suffix[len(t.suffix)-1] != t.EOS) {
		ids = append(ids, t.EOS)
	}
	return ids, nil
}

// parts cuts added tokens (those matched before or after normalization) out of s; plain handles
// the text between, and found is called for each token cut out.
func (t *Tokenizer) parts(ids []int32, s string, normalized bool, plain func([]int32, string) []int32, found ...func()) []int32 {
	start := 0
	for i := 0; i < len(s); {
		a := t.addedAt(s, i, normalized)
		if a == nil {
			i++
			continue
		}
		end := i + len(a.Content)
		from := i
		if a.LStrip {
			from = start + len(strings.TrimRight(s[start:i], " \t\r\n"))
		}
		if a.RStrip {
			end += len(s[end:]) - len(strings.TrimLeft(s[end:], " \t\r\n"))
		}
		if from > start {
			ids = plain(ids, s[start:from])
		}
		ids = append(ids, a.ID)
		for _, f := range found {
			f()
		}
		start, i = end, end
	}
	if start < len(s) {
		ids = plain(ids, s[start:])
	}
	return ids
}

func (t *Tokenizer) addedAt(s string, i int, normalized bool) *addedToken {
	for _, j := range t.starts[s[i]] {
		a := &t.added[j]
		if a.Normalized != normalized || !strings.HasPrefix(s[i:], a.Content) {
			continue
		}
		if a.SingleWord && (wordBefore(s[:i]) || wordAfter(s[i+len(a.Content):])) {
			continue
		}
		return a
	}
	return nil
}

// cacheLimit bounds the number of distinct words kept, but for one a thread.
const cacheLimit = 1 << 16

// wordLists are the room that texts are cut into words in.
var wordLists = sync.Pool{New: func() any { return &[2][]string{} }}

func (t *Tokenizer) encodeText(ids []int32, s string, first bool) ([]int32, error) {
	room := wordLists.Get().(*[2][]string)
	defer func() {
		for i := range room {
			clear(room[i]) // the text is not held
		}
		wordLists.Put(room)
	}()
	room[0] = append(room[0][:0], s)
	for _, sp := range t.split {
		next := room[1][:0]
		for i, w := range room[0] {
			var err error
			if next, err = sp(next, w, first && i == 0); err != nil {
				return ids, err
			}
		}
		room[0], room[1] = next, room[0]
	}
	for _, w := range room[0] {
		if len(w) > 64 {
			ids = t.model.encode(ids, w)
			continue
		}
		if c, ok := t.cache.Load(w); ok {
			ids = append(ids, c.([]int32)...)
			continue
		}
		at := len(ids)
		ids = t.model.encode(ids, w)
		if t.cached.Load() < cacheLimit {
			t.cached.Add(1)
			t.cache.Store(strings.Clone(w), append([]int32(nil), ids[at:]...))
		}
	}
	return ids, nil
}

// Decode turns ids into text; special tokens are left out when skipSpecial is set. Bytes that are
// not UTF-8 become U+FFFD, as in the tokenizers library.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	var parts []string
	for _, id := range ids {
		if id < 0 || int(id) >= len(t.tokens) || skipSpecial && t.special[id] {
			continue
		}
		parts = append(parts, t.tokens[id])
	}
	if len(t.decode) == 0 {
		return strings.Join(parts, " ")
	}
	for _, d := range t.decode {
		parts = d(parts)
	}
	return strings.Join(parts, "")
}
