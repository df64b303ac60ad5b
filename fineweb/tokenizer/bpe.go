package tokenizer

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// bpe is the merge model (Sennrich et al. 2016): start from characters or bytes, and join the
// adjacent pair of lowest rank, leftmost first, until none has a rank.
type bpe struct {
	vocab        map[string]int32
	tokens       []string
	merges       map[uint64]merge
	byteFallback bool
	ignoreMerges bool
	fuseUnk      bool
	unk          int32 // -1: unknown characters are dropped
	fallback     [256]int32
	ascii        [256]int32 // byte-level: the token of each byte; -1 for none
	byteLevel    bool
}

type merge struct{ rank, id int32 }

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

func parseBPE(raw json.RawMessage) (*bpe, error) {
	var f struct {
		Type         string            `json:"type"`
		Vocab        map[string]int32  `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
		UnkToken     *string           `json:"unk_token"`
		FuseUnk      bool              `json:"fuse_unk"`
		ByteFallback bool              `json:"byte_fallback"`
		IgnoreMerges bool              `json:"ignore_merges"`
		Prefix       *string           `json:"continuing_subword_prefix"`
		Suffix       *string           `json:"end_of_word_suffix"`
		Dropout      *float64          `json:"dropout"`
	}
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	if kind.Type != "BPE" && kind.Type != "" {
		return nil, fmt.Errorf("model type %q is not supported, only BPE", kind.Type)
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if f.Prefix != nil && *f.Prefix != "" || f.Suffix != nil && *f.Suffix != "" {
		return nil, fmt.Errorf("continuing_subword_prefix and end_of_word_suffix are not supported")
	}
	if f.Dropout != nil && *f.Dropout != 0 {
		return nil, fmt.Errorf("dropout %g makes ids random, which is not supported", *f.Dropout)
	}
	if len(f.Vocab) == 0 {
		return nil, fmt.Errorf("the vocabulary is empty")
	}
	m := &bpe{vocab: f.Vocab, merges: make(map[uint64]merge, len(f.Merges)), byteFallback: f.ByteFallback, ignoreMerges: f.IgnoreMerges, fuseUnk: f.FuseUnk, unk: -1}
	for tok, id := range f.Vocab {
		if id < 0 || id >= maxVocab {
			return nil, fmt.Errorf("token %q has id %d; ids go from 0 to %d", tok, id, maxVocab-1)
		}
		for int(id) >= len(m.tokens) {
			m.tokens = append(m.tokens, make([]string, int(id)+1-len(m.tokens))...)
		}
		m.tokens[id] = tok
	}
	if f.UnkToken != nil {
		id, ok := f.Vocab[*f.UnkToken]
		if !ok {
			return nil, fmt.Errorf("unk_token %q is not in the vocabulary", *f.UnkToken)
		}
		m.unk = id
	}
	for rank, raw := range f.Merges {
		a, b, err := parseMerge(raw, f.Vocab)
		if err != nil {
			return nil, fmt.Errorf("merge %d: %w", rank, err)
		}
		ia, ok1 := f.Vocab[a]
		ib, ok2 := f.Vocab[b]
		ic, ok3 := f.Vocab[a+b]
		if !ok1 || !ok2 || !ok3 {
			return nil, fmt.Errorf("merge %d: %q and %q or what they make is not in the vocabulary", rank, a, b)
		}
		m.merges[pairKey(ia, ib)] = merge{int32(rank), ic}
	}
	return m, nil
}

// parseMerge reads both forms: "a b" and ["a", "b"]. In the first, tokens that hold spaces
// themselves are told apart by what is in the vocabulary.
func parseMerge(raw json.RawMessage, vocab map[string]int32) (a, b string, err error) {
	var pair []string
	if err := json.Unmarshal(raw, &pair); err == nil {
		if len(pair) != 2 {
			return "", "", fmt.Errorf("has %d parts", len(pair))
		}
		return pair[0], pair[1], nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", "", err
	}
	for i := range s {
		if s[i] != ' ' {
			continue
		}
		a, b = s[:i], s[i+1:]
		_, left := vocab[a]
		_, right := vocab[b]
		if _, joined := vocab[a+b]; left && right && joined || strings.Count(s, " ") == 1 {
			return a, b, nil
		}
	}
	return "", "", fmt.Errorf("%q is not two tokens of the vocabulary with a space between", s)
}

// bind prepares the tables of single bytes.
func (m *bpe) bind(byteLevel bool) {
	m.byteLevel = byteLevel
	for b := 0; b < 256; b++ {
		m.fallback[b], m.ascii[b] = -1, -1
		if id, ok := m.vocab[fmt.Sprintf("<0x%02X>", b)]; ok {
			m.fallback[b] = id
		}
		if id, ok := m.vocab[string(byteRune[b])]; ok {
			m.ascii[b] = id
		}
	}
}

// encode appends the ids of one word.
func (m *bpe) encode(ids []int32, word string) []int32 {
	if m.ignoreMerges {
		key := word
		if m.byteLevel {
			key = toByteLevel(word)
		}
		if id, ok := m.vocab[key]; ok {
			return append(ids, id)
		}
	}
	at := len(ids)
	if m.byteLevel {
		for i := 0; i < len(word); i++ {
			if id := m.ascii[word[i]]; id >= 0 {
				ids = append(ids, id)
			} else if m.unk >= 0 {
				ids = m.appendUnk(ids, at)
			}
		}
	} else {
		for i := 0; i < len(word); {
			_, n := utf8.DecodeRuneInString(word[i:])
			if id, ok := m.vocab[word[i:i+n]]; ok {
				ids = append(ids, id)
			} else if m.byteFallback && m.hasBytes(word[i:i+n]) {
				for _, b := range []byte(word[i : i+n]) {
					ids = append(ids, m.fallback[b])
				}
			} else if m.unk >= 0 {
				ids = m.appendUnk(ids, at)
			}
			i += n
		}
	}
	return ids[:at+m.join(ids[at:])]
}

func (m *bpe) appendUnk(ids []int32, at int) []int32 {
	if m.fuseUnk && len(ids) > at && ids[len(ids)-1] == m.unk {
		return ids
	}
	return append(ids, m.unk)
}

func (m *bpe) hasBytes(s string) bool {
	for i := 0; i < len(s); i++ {
		if m.fallback[s[i]] < 0 {
			return false
		}
	}
	return true
}

// join merges in place and gives the number of symbols left.
func (m *bpe) join(s []int32) int {
	if len(s) > 48 {
		return m.joinLong(s)
	}
	n := len(s)
	for n > 1 {
		best, at := merge{rank: 1<<31 - 1}, -1
		for i := 0; i+1 < n; i++ {
			if x, ok := m.merges[pairKey(s[i], s[i+1])]; ok && x.rank < best.rank {
				best, at = x, i
			}
		}
		if at < 0 {
			break
		}
		s[at] = best.id
		copy(s[at+1:n-1], s[at+2:n])
		n--
	}
	return n
}

// joinLong does the same with a queue of candidate pairs over a linked list: n log n.
func (m *bpe) joinLong(s []int32) int {
	prev, next := make([]int32, len(s)), make([]int32, len(s))
	q := &candidates{}
	push := func(i int32) {
		if j := next[i]; j >= 0 {
			if x, ok := m.merges[pairKey(s[i], s[j])]; ok {
				heap.Push(q, candidate{x, i, s[i], s[j]})
			}
		}
	}
	for i := range s {
		prev[i], next[i] = int32(i-1), int32(i+1)
	}
	next[len(s)-1] = -1
	for i := range s {
		push(int32(i))
	}
	for q.Len() > 0 {
		c := heap.Pop(q).(candidate)
		j := next[c.at]
		if s[c.at] != c.left || j < 0 || s[j] != c.right {
			continue // one side was joined meanwhile
		}
		s[c.at], s[j] = c.id, -1
		next[c.at] = next[j]
		if next[j] >= 0 {
			prev[next[j]] = c.at
		}
		push(c.at)
		if p := prev[c.at]; p >= 0 {
			push(p)
		}
	}
	n := 0
	for i := int32(0); i >= 0; i = next[i] {
		s[n] = s[i]
		n++
	}
	return n
}

type candidate struct {
	merge
	at, left, right int32
}

type candidates []candidate

func (q candidates) Len() int { return len(q) }
func (q candidates) Less(i, j int) bool {
	return q[i].rank < q[j].rank || q[i].rank == q[j].rank && q[i].at < q[j].at
}
func (q candidates) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *candidates) Push(x any)   { *q = append(*q, x.(candidate)) }
func (q *candidates) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}
