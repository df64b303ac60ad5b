package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"stepflow/foreign"
)

// bpe is the merge model (Sennrich et al. 2016): start from characters or bytes, and join the
// adjacent pair of lowest rank, leftmost first, until none has a rank.
type bpe struct {
	vocabulary
	merges         map[uint64]merge
	byteFallback   bool
	ignoreMerges   bool
	fuseUnk        bool
	unk            int32 // -1: unknown characters are dropped
	prefix, suffix string
	fallback       [256]int32
	ascii          [256]int32 // the token of each byte; -1 for none
	bytes          bool       // words are bytes that were not mapped to characters yet
	never          map[int32]bool
}

type merge struct{ rank, id int32 }

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

// parseBPE reads the model. bytes says that words come as they are, not as the characters that stand for their bytes.
func parseBPE(raw json.RawMessage, bytes bool) (*bpe, error) {
	var f struct {
		Vocab        map[string]int32  `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
		UnkToken     *string           `json:"unk_token"`
		FuseUnk      bool              `json:"fuse_unk"`
		ByteFallback bool              `json:"byte_fallback"`
		IgnoreMerges bool              `json:"ignore_merges"`
		Prefix       string            `json:"continuing_subword_prefix"`
		Suffix       string            `json:"end_of_word_suffix"`
		Dropout      *float64          `json:"dropout"`
	}
	if err := foreign.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if f.Dropout != nil && *f.Dropout != 0 {
		return nil, fmt.Errorf("dropout %g makes ids random, which is not supported", *f.Dropout)
	}
	v, err := newVocabulary(f.Vocab)
	if err != nil {
		return nil, err
	}
	m := &bpe{vocabulary: v, merges: make(map[uint64]merge, len(f.Merges)), byteFallback: f.ByteFallback,
		ignoreMerges: f.IgnoreMerges,
		fuseUnk:      f.FuseUnk, unk: -1, prefix: f.Prefix, suffix: f.Suffix, bytes: bytes}
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
		ic, ok3 := f.Vocab[a+b[min(len(b), len(f.Prefix)):]]
		if !ok1 || !ok2 || !ok3 {
			return nil, fmt.Errorf("merge %d: %q and %q or what they make is not in the vocabulary", rank, a, b)
		}
		m.merges[pairKey(ia, ib)] = merge{int32(rank), ic}
	}
	for b := 0; b < 256; b++ {
		m.fallback[b], m.ascii[b] = -1, -1
		if id, ok := m.ids[fmt.Sprintf("<0x%02X>", b)]; ok {
			m.fallback[b] = id
		}
		if id, ok := m.ids[string(byteRune[b])]; ok {
			m.ascii[b] = id
		}
	}
	return m, nil
}

// plainBytes reports whether words may come as bytes: characters that stand for them are looked up one by one, as they
// are.
func plainBytes(raw json.RawMessage) bool {
	var f struct {
		Type         string `json:"type"`
		ByteFallback bool   `json:"byte_fallback"`
		Prefix       string `json:"continuing_subword_prefix"`
		Suffix       string `json:"end_of_word_suffix"`
	}
	return json.Unmarshal(raw, &f) == nil && (f.Type == "BPE" || f.Type == "") && !f.ByteFallback && f.Prefix == "" &&
		f.Suffix == ""
}

func (m *bpe) without(ids map[int32]bool) model {
	n := *m
	n.never = ids
	return &n
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
	if err := foreign.Unmarshal(raw, &s); err != nil {
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

// encode appends the ids of one word.
func (m *bpe) encode(ids []int32, word string) ([]int32, error) {
	if m.ignoreMerges {
		key := word
		if m.bytes {
			key = toByteLevel(word)
		}
		if id, ok := m.ids[key]; ok && !m.never[id] {
			return append(ids, id), nil
		}
	}
	at := len(ids)
	// An unknown character's token waits for the next known one: bytes of a character between go before it, as in the
	// library.
	waiting := false
	known := func(id int32) {
		if waiting {
			ids, waiting = append(ids, m.unk), false
		}
		ids = append(ids, id)
	}
	unknown := func() {
		if waiting && !m.fuseUnk {
			ids = append(ids, m.unk)
		}
		waiting = m.unk >= 0
	}
	if m.bytes {
		for i := 0; i < len(word); i++ {
			if id := m.ascii[word[i]]; id >= 0 {
				known(id)
			} else {
				unknown()
			}
		}
	} else {
		for i := 0; i < len(word); {
			_, n := utf8.DecodeRuneInString(word[i:])
			s := word[i : i+n]
			if i > 0 && m.prefix != "" {
				s = m.prefix + s
			}
			if i += n; i == len(word) && m.suffix != "" {
				s += m.suffix
			}
			if id, ok := m.ids[s]; ok {
				known(id)
			} else if m.byteFallback && m.hasBytes(s) {
				for i := range len(s) {
					ids = append(ids, m.fallback[s[i]])
				}
			} else {
				unknown()
			}
		}
	}
	if waiting {
		ids = append(ids, m.unk)
	}
	return ids[:at+m.join(ids[at:])], nil
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
	var q candidates
	for i := range s {
		prev[i], next[i] = int32(i-1), int32(i+1)
	}
	next[len(s)-1] = -1
	pair := func(i int32) (merge, bool) {
		if next[i] < 0 {
			return merge{}, false
		}
		x, ok := m.merges[pairKey(s[i], s[next[i]])]
		return x, ok
	}
	push := func(i int32) {
		if x, ok := pair(i); ok {
			q.push(candidate{x.rank, i})
		}
	}
	for i := range s {
		push(int32(i))
	}
	for len(q) > 0 {
		c := q.pop()
		if s[c.at] < 0 {
			continue // joined to the one before
		}
		x, ok := pair(c.at)
		if !ok || x.rank != c.rank {
			continue // one side was joined meanwhile
		}
		j := next[c.at]
		s[c.at], s[j] = x.id, -1
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

// candidate is a pair that may be joined: its rank, and where its first part is.
type candidate struct{ rank, at int32 }

func (c candidate) before(d candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.at < d.at
}

// candidates is a heap. It is not container/heap's, which would allocate for each candidate.
type candidates []candidate

func (q *candidates) push(c candidate) {
	h := append(*q, c)
	i := len(h) - 1
	for i > 0 && c.before(h[(i-1)/2]) {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = c
	*q = h
}

func (q *candidates) pop() candidate {
	h := *q
	top, c := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	i := 0
	for {
		k := 2*i + 1
		if k >= len(h) {
			break
		}
		if k+1 < len(h) && h[k+1].before(h[k]) {
			k++
		}
		if !h[k].before(c) {
			break
		}
		h[i] = h[k]
		i = k
	}
	if len(h) > 0 {
		h[i] = c
	}
	*q = h
	return top
}
