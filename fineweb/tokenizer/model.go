package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"stepflow/foreign"
)

// model turns a word into ids.
type model interface {
	// encode appends the ids of a word.
	encode(ids []int32, word string) ([]int32, error)
	// id finds a token by its content.
	id(token string) (int32, bool)
	// tokens are the contents by id.
	tokens() []string
	// size is the number of tokens, from which the ids of added tokens go on.
	size() int
	// without is the model that never takes a word for one of these tokens.
	without(ids map[int32]bool) model
}

func parseModel(raw json.RawMessage, bytes bool) (model, error) {
	var kind struct {
		Type string `json:"type"`
	}
	if raw == nil {
		return nil, errors.New("there is none")
	}
	if err := foreign.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	switch kind.Type {
	case "BPE", "":
		return parseBPE(raw, bytes)
	case "WordPiece":
		return parseWordPiece(raw)
	case "WordLevel":
		return parseWordLevel(raw)
	case "Unigram":
		return parseUnigram(raw)
	}
	return nil, fmt.Errorf("model type %q is not supported", kind.Type)
}

// vocabulary is what BPE, WordPiece and WordLevel have in common: tokens with ids of any order.
type vocabulary struct {
	ids  map[string]int32
	list []string
}

func newVocabulary(ids map[string]int32) (vocabulary, error) {
	v := vocabulary{ids: ids}
	if len(ids) == 0 {
		return v, fmt.Errorf("the vocabulary is empty")
	}
	seen := make(map[int32]string, len(ids))
	most := int32(0)
	for tok, id := range ids {
		if id < 0 || id >= maxVocab {
			return v, fmt.Errorf("token %q has id %d; ids go from 0 to %d", tok, id, maxVocab-1)
		}
		if other, ok := seen[id]; ok {
			return v, fmt.Errorf("tokens %q and %q both have id %d", min(tok, other), max(tok, other), id)
		}
		seen[id], most = tok, max(most, id)
	}
	v.list = make([]string, most+1)
	for tok, id := range ids {
		v.list[id] = tok
	}
	return v, nil
}

func (v *vocabulary) id(token string) (int32, bool) { id, ok := v.ids[token]; return id, ok }
func (v *vocabulary) tokens() []string              { return v.list }
func (v *vocabulary) size() int                     { return len(v.ids) }

// wordPiece takes the longest token that a word begins with, again and again (Schuster and Nakajima 2012); a word that
// cannot be cut like this to its end is unknown.
type wordPiece struct {
	vocabulary
	unknown      string
	prefix       string
	most         int // characters of a word
	longest      int // bytes of a token
	never        map[int32]bool
	unknownID    int32
	hasUnknownID bool
}

func parseWordPiece(raw json.RawMessage) (model, error) {
	var f struct {
		Vocab   map[string]int32 `json:"vocab"`
		Unknown *string          `json:"unk_token"`
		Prefix  *string          `json:"continuing_subword_prefix"`
		Most    *int             `json:"max_input_chars_per_word"`
	}
	if err := foreign.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if f.Unknown == nil || f.Prefix == nil || f.Most == nil || *f.Most < 0 {
		return nil, fmt.Errorf("WordPiece takes unk_token, continuing_subword_prefix and max_input_chars_per_word")
	}
	v, err := newVocabulary(f.Vocab)
	if err != nil {
		return nil, err
	}
	m := &wordPiece{vocabulary: v, unknown: *f.Unknown, prefix: *f.Prefix, most: *f.Most}
	for tok := range v.ids {
		m.longest = max(m.longest, len(tok))
	}
	m.unknownID, m.hasUnknownID = v.ids[m.unknown]
	return m, nil
}

func (m *wordPiece) without(ids map[int32]bool) model {
	n := *m
	n.never = ids
	return &n
}

func (m *wordPiece) encode(ids []int32, word string) ([]int32, error) {
	unknown := func() ([]int32, error) {
		if !m.hasUnknownID {
			return ids, fmt.Errorf("%w: unk_token %q is not in the vocabulary", ErrNoUnknown, m.unknown)
		}
		return append(ids, m.unknownID), nil
	}
	if utf8.RuneCountInString(word) > m.most {
		return unknown()
	}
	found := ids
	var room []byte
	for start := 0; start < len(word); {
		end := min(len(word), start+m.longest) // no token is longer
		for end < len(word) && !utf8.RuneStart(word[end]) {
			end--
		}
		id, ok := int32(0), false
		for ; end > start; end -= lastLen(word[start:end]) {
			if start == 0 {
				id, ok = m.ids[word[:end]]
			} else {
				room = append(append(room[:0], m.prefix...), word[start:end]...)
				id, ok = m.ids[string(room)]
			}
			if ok = ok && !m.never[id]; ok {
				break
			}
		}
		if !ok {
			return unknown()
		}
		found, start = append(found, id), end
	}
	return found, nil
}

func lastLen(s string) int { _, n := utf8.DecodeLastRuneInString(s); return n }

// wordLevel knows whole words.
type wordLevel struct {
	vocabulary
	unknown string
	never   map[int32]bool
}

func parseWordLevel(raw json.RawMessage) (model, error) {
	var f struct {
		Vocab   map[string]int32 `json:"vocab"`
		Unknown *string          `json:"unk_token"`
	}
	if err := foreign.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if f.Unknown == nil {
		return nil, fmt.Errorf("WordLevel takes unk_token")
	}
	v, err := newVocabulary(f.Vocab)
	return &wordLevel{vocabulary: v, unknown: *f.Unknown}, err
}

func (m *wordLevel) without(ids map[int32]bool) model {
	n := *m
	n.never = ids
	return &n
}

func (m *wordLevel) encode(ids []int32, word string) ([]int32, error) {
	if id, ok := m.ids[word]; ok && !m.never[id] {
		return append(ids, id), nil
	}
	if id, ok := m.ids[m.unknown]; ok {
		return append(ids, id), nil
	}
	return ids, fmt.Errorf("%w: unk_token %q is not in the vocabulary", ErrNoUnknown, m.unknown)
}

// unigram takes the tokens of the greatest sum of scores that spell a word (Kudo 2018).
type unigram struct {
	list     []string
	ids      map[string]int32
	scores   []float64
	dict     *dictionary
	unknown  int32   // -1 for none
	penalty  float64 // the score of an unknown character
	fallback bool
	bytes    [256]int32 // the token of each byte, -1 for none
}

// unknownPenalty is how far an unknown character's score lies below the least of the vocabulary's.
const unknownPenalty = 10

func parseUnigram(raw json.RawMessage) (model, error) {
	var f struct {
		Vocab    []json.RawMessage `json:"vocab"`
		Unknown  *int              `json:"unk_id"`
		Fallback bool              `json:"byte_fallback"`
	}
	if err := foreign.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if len(f.Vocab) == 0 || len(f.Vocab) > maxVocab {
		return nil, fmt.Errorf("the vocabulary has %d tokens; it takes 1 to %d", len(f.Vocab), maxVocab)
	}
	m := &unigram{ids: make(map[string]int32, len(f.Vocab)), unknown: -1, penalty: math.Inf(1), fallback: f.Fallback}
	if f.Unknown != nil {
		if *f.Unknown < 0 || *f.Unknown >= len(f.Vocab) {
			return nil, fmt.Errorf("unk_id is %d; the vocabulary has %d tokens", *f.Unknown, len(f.Vocab))
		}
		m.unknown = int32(*f.Unknown)
	}
	numbers := make([]int32, len(f.Vocab))
	for i, entry := range f.Vocab {
		var tok string
		var score float64
		pair := []any{&tok, &score}
		if err := json.Unmarshal(entry, &pair); err != nil || len(pair) != 2 {
			return nil, fmt.Errorf("token %d is not a pair of a token and its score", i)
		}
		m.list, m.scores, m.ids[tok], numbers[i] = append(m.list, tok), append(m.scores, score), int32(i), int32(i)
		m.penalty = min(m.penalty, score)
	}
	m.penalty -= unknownPenalty
	m.dict = newDictionary(m.list, numbers)
	for b := range 256 {
		m.bytes[b] = -1
		if id, ok := m.ids[fmt.Sprintf("<0x%02X>", b)]; ok {
			m.bytes[b] = id
		}
	}
	return m, nil
}

func (m *unigram) id(token string) (int32, bool) { id, ok := m.ids[token]; return id, ok }
func (m *unigram) tokens() []string              { return m.list }
func (m *unigram) size() int                     { return len(m.list) }

func (m *unigram) without(never map[int32]bool) model {
	n := *m
	var keys []string
	var ids []int32
	for i, k := range m.dict.keys {
		if id := m.dict.ids[i]; !never[id] {
			keys, ids = append(keys, k), append(ids, id)
		}
	}
	n.dict = newDictionary(keys, ids)
	return &n
}

// encode is a Viterbi search; of equal sums the one found first counts.
func (m *unigram) encode(ids []int32, word string) ([]int32, error) {
	type best struct {
		score float64
		start int32 // -1: nothing ends here
		id    int32
	}
	ends := make([]best, len(word)+1)
	for i := range ends {
		ends[i].start = -1
	}
	for start := 0; start < len(word); {
		_, width := utf8.DecodeRuneInString(word[start:])
		here, single := ends[start].score, false
		try := func(id int32, n int, score float64) {
			if e := &ends[start+n]; e.start < 0 || score > e.score {
				*e = best{score, int32(start), id}
			}
		}
		m.dict.prefixes(word[start:], func(id int32, n int) {
			try(id, n, m.scores[id]+here)
			single = single || n == width
		})
		if !single {
			if m.unknown < 0 {
				return ids, ErrNoUnknown
			}
			try(m.unknown, width, m.penalty+here)
		}
		start += width
	}
	type span struct{ from, to int32 }
	var parts []span // from the last to the first; unknown characters beside one another are one
	fused := false
	for end := int32(len(word)); end > 0; {
		e := ends[end]
		if unknown := e.id == m.unknown; unknown && fused {
			parts[len(parts)-1].from = e.start
		} else {
			parts, fused = append(parts, span{e.start, end}), unknown
		}
		end = e.start
	}
	for _, p := range slices.Backward(parts) {
		s := word[p.from:p.to]
		if id, ok := m.ids[s]; ok {
			ids = append(ids, id)
			continue
		}
		if m.fallback && m.hasBytes(s) {
			for i := range len(s) {
				ids = append(ids, m.bytes[s[i]])
			}
			continue
		}
		if m.unknown < 0 {
			return ids, ErrNoUnknown
		}
		ids = append(ids, m.unknown)
	}
	return ids, nil
}

func (m *unigram) hasBytes(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		for _, b := range []byte(string(r)) {
			if m.bytes[b] < 0 {
				return true
			}
		}
		return false
	})
}
