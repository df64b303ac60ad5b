package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// addedToken is a token that is cut out of a text before the model sees it.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// addedTokens are those of a tokenizer, to be found in raw text and in what the normalizer makes of it.
type addedTokens struct {
	byID            map[int32]addedToken
	ids             map[string]int32
	raw, normalized *dictionary
	shown           map[int32]string // what a token decodes to, where that is not its content
	special         map[string]bool
}

// newAddedTokens gives tokens the ids that the tokenizers library gives them: that of the model's token of the same
// content, else the next one after the model's. A file with another id is refused, since its ids would not be the
// library's.
func newAddedTokens(list []addedToken, m model, normalize func(string) (string, error)) (*addedTokens, error) {
	a := &addedTokens{byID: map[int32]addedToken{}, ids: map[string]int32{}, shown: map[int32]string{},
		special: map[string]bool{}}
	next := int32(m.size())
	for _, t := range list {
		if t.ID < 0 || t.ID >= maxVocab {
			return nil, fmt.Errorf("added token %q has id %d; ids go from 0 to %d", t.Content, t.ID, maxVocab-1)
		}
		if t.Content == "" {
			continue
		}
		id, ok := a.ids[t.Content]
		if !ok {
			id, ok = m.id(t.Content)
		}
		if !ok {
			id = next
			next++
		}
		if id != t.ID {
			return nil, fmt.Errorf("added token %q has id %d, but the tokenizers library would give it %d: the ids "+
				"of added tokens follow on the model's %d", t.Content, t.ID, id, m.size())
		}
		if t.Normalized {
			s, err := normalize(t.Content)
			if err != nil {
				return nil, fmt.Errorf("added token %q: %w", t.Content, err)
			}
			if s != t.Content {
				a.shown[id] = s
			}
		}
		if t.Special {
			a.special[t.Content] = true
		}
		a.byID[id], a.ids[t.Content] = t, id
	}
	var keys [2][]string
	var ids [2][]int32
	seen := [2]map[string]bool{{}, {}}
	for id, t := range a.byID {
		key, which := t.Content, 0
		if t.Normalized {
			which = 1
			if s, ok := a.shown[id]; ok {
				key = s
			}
		}
		if key == "" {
			return nil, fmt.Errorf("added token %q is nothing to the normalizer, so it would be found everywhere",
				t.Content)
		}
		if seen[which][key] {
			return nil, fmt.Errorf("added token %q is %q to the normalizer, as another is: it is open which one is "+
				"meant", t.Content, key)
		}
		seen[which][key] = true
		keys[which], ids[which] = append(keys[which], key), append(ids[which], id)
	}
	a.raw, a.normalized = newDictionary(keys[0], ids[0]), newDictionary(keys[1], ids[1])
	return a, nil
}

// cut visits the parts of s in order: added tokens of d by their ids, and the text between with id -1. Where
// specialAsText is true, special tokens are text; seen is called for each one found, either way.
func (a *addedTokens) cut(
	s string, d *dictionary, specialAsText func(from, to int) bool, visit func(id int32, from, to int), seen func(),
) {
	if len(d.keys) == 0 {
		if s != "" {
			visit(-1, 0, len(s))
		}
		return
	}
	start, white := 0, 0 // white is the end of the white space after an earlier token: it is looked for once
	for i := 0; i < len(s); {
		if d.first[s[i]] == d.first[int(s[i])+1] {
			i++
			continue
		}
		id, n := d.longest(s[i:])
		if n == 0 {
			i++
			continue
		}
		from, to := i, i+n
		i = to // even a token that is left as text hides those that it overlaps, as in the library
		t := a.byID[id]
		if a.special[t.Content] {
			if seen != nil {
				seen()
			}
			if specialAsText(from, to) {
				continue
			}
		}
		if t.SingleWord && (wordBefore(s[:from]) || wordAfter(s[to:])) {
			continue
		}
		if t.LStrip {
			from = max(from, start)
			from = start + len(strings.TrimRightFunc(s[start:from], isWhite))
		}
		if t.RStrip {
			if to >= white {
				white = len(s) - len(strings.TrimLeftFunc(s[to:], isWhite))
			}
			to = white
		}
		if start < from {
			visit(-1, start, from)
		}
		if from < to { // not white space that an earlier token took
			visit(id, from, to)
		}
		start = to
	}
	if start < len(s) {
		visit(-1, start, len(s))
	}
}

// wordBefore and wordAfter report whether a character of the regex crate's \w stands at the end or the start of s.
func wordBefore(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && table("word").has(r)
}

func wordAfter(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && table("word").has(r)
}

// ErrNoUnknown reports a text that cannot be encoded.
var ErrNoUnknown = errors.New("a text has what the vocabulary lacks, and there is no unknown token")
