package tokenizer

import (
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

// EndOfText is the token that a trained tokenizer ends documents with; its id is 0.
const EndOfText = "<|endoftext|>"

// Trainer counts words and makes a byte-level BPE of them (Sennrich et al. 2016; Radford et al. 2019).
type Trainer struct {
	counts map[string]int64
}

// NewTrainer makes an empty trainer.
func NewTrainer() *Trainer { return &Trainer{counts: map[string]int64{}} }

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
	if size < 257 {
		return nil, fmt.Errorf("a byte-level vocabulary has at least 257 tokens (256 bytes and %s), not %d", EndOfText, size)
	}
	tokens := []string{EndOfText}
	runes := append([]rune(nil), byteRune[:]...)
	sort.Slice(runes, func(i, j int) bool { return runes[i] < runes[j] })
	var byteID [256]int32
	for _, r := range runes {
		byteID[runeByte[r]] = int32(len(tokens))
		tokens = append(tokens, string(r))
	}
	keys := make([]string, 0, len(t.counts))
	for w := range t.counts {
		keys = append(keys, w)
	}
	sort.Strings(keys)
	words := make([]trainWord, len(keys))
	counts := map[uint64]int64{}
	where := map[uint64]map[int32]struct{}{}
	note := func(w int32, a, b int32, n int64) {
		k := pairKey(a, b)
		counts[k] += n
		if n > 0 {
			set := where[k]
			if set == nil {
				set = map[int32]struct{}{}
				where[k] = set
			}
			set[w] = struct{}{}
		}
	}
	for i, w := range keys {
		s := make([]int32, len(w))
		for j := range s {
			s[j] = byteID[w[j]]
		}
		words[i] = trainWord{s, t.counts[w]}
		for j := 0; j+1 < len(s); j++ {
			note(int32(i), s[j], s[j+1], words[i].count)
		}
	}
	q := &trainQueue{}
	for k, n := range counts {
		*q = append(*q, trainPair{int32(k >> 32), int32(uint32(k)), n})
	}
	heap.Init(q)
	var merges [][2]string
	known := map[string]int32{}
	for i, tok := range tokens {
		known[tok] = int32(i)
	}
	for len(tokens) < size && q.Len() > 0 {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		p := heap.Pop(q).(trainPair)
		k := pairKey(p.a, p.b)
		if now := counts[k]; now != p.count {
			if now > 0 {
				p.count = now
				heap.Push(q, p)
			}
			continue
		}
		if p.count < 2 {
			break
		}
		joined := tokens[p.a] + tokens[p.b]
		id, dup := known[joined]
		if !dup {
			id = int32(len(tokens))
			tokens = append(tokens, joined)
			known[joined] = id
		}
		merges = append(merges, [2]string{tokens[p.a], tokens[p.b]})
		changed := map[uint64]bool{}
		for w := range where[k] {
			word := &words[w]
			s := word.symbols
			n := 0
			for i := 0; i < len(s); i++ {
				if i+1 < len(s) && s[i] == p.a && s[i+1] == p.b {
					if n > 0 {
						note(w, s[n-1], p.a, -word.count)
						note(w, s[n-1], id, word.count)
						changed[pairKey(s[n-1], id)] = true
					}
					if i+2 < len(s) {
						note(w, p.b, s[i+2], -word.count)
						note(w, id, s[i+2], word.count)
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
		delete(counts, k)
		delete(where, k)
		for c := range changed {
			if counts[c] > 0 {
				heap.Push(q, trainPair{int32(c >> 32), int32(uint32(c)), counts[c]})
			}
		}
	}
	return build(tokens, merges)
}

// build writes the tokenizer.json and reads it back.
func build(tokens []string, merges [][2]string) (*Tokenizer, error) {
	vocab := map[string]int32{}
	for i, tok := range tokens {
		vocab[tok] = int32(i)
	}
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	b, err := json.MarshalIndent(map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil,
		"added_tokens": []map[string]any{{"id": 0, "content": EndOfText, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}},
		"normalizer":   nil, "pre_tokenizer": byteLevel, "post_processor": nil, "decoder": byteLevel,
		"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
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
