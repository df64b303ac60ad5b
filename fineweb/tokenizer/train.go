package tokenizer

import (
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// EndOfText is the token that a trained tokenizer ends documents with; its id is 0.
const EndOfText = "<|endoftext|>"

// Trainer counts words and makes a byte-level BPE of them (Sennrich et al. 2016; Radford et al. 2019).
type Trainer struct {
	counts   map[string]int64
	specials []string
}

// NewTrainer makes an empty trainer.
func NewTrainer() *Trainer { return &Trainer{counts: map[string]int64{}} }

// Special adds special tokens to the vocabulary. Their ids follow that of the end-of-text token.
func (t *Trainer) Special(tokens ...string) { t.specials = append(t.specials, tokens...) }

// Add counts the words of a text.
func (t *Trainer) Add(text string) {
	splitGPT2(text, func(from, to int) {
		w := text[from:to]
		if _, ok := t.counts[w]; ok {
			t.counts[w]++
		} else {
			t.counts[strings.Clone(w)] = 1
		}
	})
}

// Words is the number of distinct words counted.
func (t *Trainer) Words() int { return len(t.counts) }

type trainWord struct {
	symbols []int32
	count   int64
}

type trainPair struct {
	a, b  int32
	count int64
}

type trainQueue []trainPair

func (q trainQueue) Len() int { return len(q) }
func (q trainQueue) Less(i, j int) bool {
	x, y := q[i], q[j]
	if x.count != y.count {
		return x.count > y.count
	}
	if x.a != y.a {
		return x.a < y.a
	}
	return x.b < y.b
}
func (q trainQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *trainQueue) Push(x any)   { *q = append(*q, x.(trainPair)) }
func (q *trainQueue) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}

// Train makes a vocabulary of size: the end-of-text token, the 256 bytes in order of the
// characters that stand for them, and merges, the most frequent pair first and of equal ones that
// of the smaller ids. The result depends on the counts alone. It gives up with the context's error when ctx ends.
func (t *Trainer) Train(ctx context.Context, size int) (*Tokenizer, error) {
	if least := 257 + len(t.specials); size < least {
		return nil, fmt.Errorf("a byte-level vocabulary has at least %d tokens (256 bytes, %s and %d other special tokens), not %d",
			least, EndOfText, len(t.specials), size)
	}
	m := t.merging()
	for len(m.tokens) < size && m.queue.Len() > 0 {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		p := heap.Pop(&m.queue).(trainPair)
		if now := m.counts[pairKey(p.a, p.b)]; now != p.count {
			if now > 0 {
				p.count = now
				heap.Push(&m.queue, p)
			}
			continue
		}
		if p.count < 2 {
			break
		}
		m.merge(p)
	}
	return build(m.tokens, 1+len(t.specials), m.merges)
}

// merging is a vocabulary in the making.
type merging struct {
	tokens []string
	known  map[string]int32 // tokens' ids
	merges [][2]string
	words  []trainWord
	counts map[uint64]int64              // of pairs in all words
	where  map[uint64]map[int32]struct{} // words that hold, or have held, a pair
	queue  trainQueue                    // pairs; a count in it that is not that of counts is out of date
}

// merging is the vocabulary before the first merge, with the words as bytes.
func (t *Trainer) merging() *merging {
	m := &merging{tokens: append([]string{EndOfText}, t.specials...), known: map[string]int32{},
		counts: map[uint64]int64{}, where: map[uint64]map[int32]struct{}{}}
	runes := append([]rune(nil), byteRune[:]...)
	slices.Sort(runes)
	var byteID [256]int32
	for _, r := range runes {
		byteID[runeByte[r]] = int32(len(m.tokens))
		m.tokens = append(m.tokens, string(r))
	}
	for i, tok := range m.tokens {
		m.known[tok] = int32(i)
	}
	for i, w := range slices.Sorted(maps.Keys(t.counts)) {
		s := make([]int32, len(w))
		for j := range s {
			s[j] = byteID[w[j]]
		}
		m.words = append(m.words, trainWord{s, t.counts[w]})
		for j := 0; j+1 < len(s); j++ {
			m.note(int32(i), s[j], s[j+1], t.counts[w])
		}
	}
	for k, n := range m.counts {
		m.queue = append(m.queue, trainPair{int32(k >> 32), int32(uint32(k)), n})
	}
	heap.Init(&m.queue)
	return m
}

// note counts a pair n times more in a word, or less.
func (m *merging) note(word, a, b int32, n int64) {
	k := pairKey(a, b)
	m.counts[k] += n
	if n > 0 {
		set := m.where[k]
		if set == nil {
			set = map[int32]struct{}{}
			m.where[k] = set
		}
		set[word] = struct{}{}
	}
}

// merge makes a token of a pair, and puts it in its place in all words.
func (m *merging) merge(p trainPair) {
	joined := m.tokens[p.a] + m.tokens[p.b]
	id, dup := m.known[joined]
	if !dup {
		id = int32(len(m.tokens))
		m.tokens = append(m.tokens, joined)
		m.known[joined] = id
	}
	m.merges = append(m.merges, [2]string{m.tokens[p.a], m.tokens[p.b]})
	k := pairKey(p.a, p.b)
	changed := map[uint64]bool{}
	for w := range m.where[k] {
		m.mergeWord(w, p, id, changed)
	}
	delete(m.counts, k)
	delete(m.where, k)
	for c := range changed {
		if m.counts[c] > 0 {
			heap.Push(&m.queue, trainPair{int32(c >> 32), int32(uint32(c)), m.counts[c]})
		}
	}
}

// mergeWord puts a token in the place of a pair in a word, and adds to changed the pairs that this makes.
func (m *merging) mergeWord(w int32, p trainPair, id int32, changed map[uint64]bool) {
	word := &m.words[w]
	s := word.symbols
	n := 0
	for i := 0; i < len(s); i++ {
		if i+1 < len(s) && s[i] == p.a && s[i+1] == p.b {
			if n > 0 {
				m.note(w, s[n-1], p.a, -word.count)
				m.note(w, s[n-1], id, word.count)
				changed[pairKey(s[n-1], id)] = true
			}
			if i+2 < len(s) {
				m.note(w, p.b, s[i+2], -word.count)
				m.note(w, id, s[i+2], word.count)
				changed[pairKey(id, s[i+2])] = true
			}
			s[n] = id
			i++
		} else {
			s[n] = s[i]
		}
		n++
	}
	word.symbols = s[:n]
}

// build writes the tokenizer.json, of which the first tokens are special, and reads it back.
func build(tokens []string, specials int, merges [][2]string) (*Tokenizer, error) {
	vocab := map[string]int32{}
	for i, tok := range tokens {
		vocab[tok] = int32(i)
	}
	var added []map[string]any
	for id, token := range tokens[:specials] {
		added = append(added, map[string]any{"id": id, "content": token, "special": true,
			"single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
	}
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	b, err := json.MarshalIndent(map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil,
		"added_tokens": added,
		"normalizer":   nil, "pre_tokenizer": byteLevel, "post_processor": nil, "decoder": byteLevel,
		"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": nil,
			"continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": merges},
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	return Parse(append(b, '\n'))
}

// WordCount counts the words GPT-2's splitter finds in a text.
func WordCount(text string) (n int) {
	splitGPT2(text, func(int, int) { n++ })
	return n
}
