package llamacpp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
)

// space stands for a space in SentencePiece.
const space = "▁"

// mostWork bounds what looking at the ways to cut a vocabulary may cost, in bytes that are hashed.
const mostWork = 1 << 32

// sentencePiece is a tokenizer whose tokens are text, with tokens for bytes that are in no other.
//
// llama.cpp joins the neighbours that make the token of the highest score, wherever they make one. The file lists pairs
// instead, so the scores follow from the order of the merges, if these are all pairs that make a token, those of one token
// beside one another. Those that come of a SentencePiece model are.
func (v *Vocabulary) sentencePiece(f *file, tok *tokenizer.Tokenizer, size int) error {
	prefix, err := f.spaces()
	if err != nil {
		return err
	}
	if f.Model.IgnoreMerges {
		return errors.New("it has ignore_merges, which llama.cpp does not know of such tokenizers")
	}
	for _, a := range f.Added {
		if a.Normalized {
			return fmt.Errorf("its token %q is found in a text whose spaces are changed (normalized), which llama.cpp "+
				"does not know", foreign.Shown(a.Content))
		}
	}
	list, types := f.tokens(tok, size)
	bytes := 0
	for b := range 256 {
		if id, ok := f.vocab[fmt.Sprintf("<0x%02X>", b)]; ok && int(id) < size {
			types[id] = aByte
			bytes++
		}
	}
	if bytes < 256 {
		return fmt.Errorf("it has tokens for %d of the 256 bytes; llama.cpp needs all", bytes)
	}
	if u := f.Model.Unknown; u != nil {
		if id, ok := tok.ID(*u); ok && int(id) < size {
			types[id] = unknown
		}
	}
	scores, err := v.scores(f, list, types)
	if err != nil {
		return err
	}
	v.add("ggml.model", "llama")
	v.add("ggml.pre", "default")
	v.add("ggml.tokens", list)
	v.add("ggml.scores", scores)
	v.add("ggml.token_type", types)
	v.add("ggml.add_space_prefix", prefix)
	return nil
}

// spaces checks what is done to spaces, and reports whether one is put before a text.
func (f *file) spaces() (prefix bool, err error) {
	normal, err := components(f.Normalizer)
	if err != nil {
		return false, err
	}
	pre, err := components(f.PreTokenizer)
	if err != nil {
		return false, err
	}
	replaced := false
	for _, c := range append(normal, pre...) {
		switch {
		case c.Type == "Prepend" && c.Prepend == space && !replaced:
			prefix = true
		case c.Type == "Replace" && c.pattern() == " " && c.Content == space && !replaced:
			replaced = true
		case c.Type == "Metaspace" && c.Replacement == space && !replaced && !prefix:
			replaced = true
			prefix = c.PrependScheme != "never" && whether(c.AddPrefixSpace)
			if whether(c.Split) && f.spansWords() {
				return false, errors.New("its words do not span spaces (Metaspace with split) though some of its tokens do, and " +
					"llama.cpp would use these")
			}
		default:
			return false, fmt.Errorf("its normalizer and pre-tokenizer do more than put %q for spaces, such as %s, and "+
				"llama.cpp does that alone", space, foreign.Shown(c.Type))
		}
	}
	if !replaced {
		return false, fmt.Errorf("it does not put %q for spaces, as llama.cpp does", space)
	}
	return prefix, nil
}

// spansWords reports whether a token has a space that is not its first character.
func (f *file) spansWords() bool {
	for t := range f.vocab {
		if strings.Contains(strings.TrimPrefix(t, space), space) {
			return true
		}
	}
	return false
}

// scores gives a token that is merged the negative of its place among them, as SentencePiece does; the others are not
// compared and come after them.
func (v *Vocabulary) scores(f *file, list []string, types []int32) ([]float32, error) {
	scores := make([]float32, len(list))
	merges := make(map[merge]bool, len(f.Model.Merges))
	placed := make(map[string]bool, len(list))
	last := ""
	for _, m := range f.Model.Merges {
		merges[m] = true
		t := m[0] + m[1]
		if t == last || strings.Contains(t, " ") { // there are no spaces once they are replaced
			continue
		}
		if placed[t] {
			return nil, fmt.Errorf("its merges that make %q are not beside one another, so that no score says their order",
				foreign.Shown(t))
		}
		if id := f.vocab[t]; int(id) < len(scores) {
			scores[id] = -float32(len(placed))
		}
		placed[t], last = true, t
	}
	work, odd, example := 0, 0, ""
	for id, t := range list {
		if types[id] != normal || strings.Contains(t, " ") {
			continue
		}
		if !placed[t] {
			scores[id] = -float32(len(placed) + id)
		}
		if work += len(t) * len(t); work > mostWork {
			return nil, errors.New("its tokens are too long to compare their merges with llama.cpp's")
		}
		for i := range t {
			m := merge{t[:i], t[i:]}
			if i == 0 || merges[m] {
				continue
			}
			if !f.symbol(m[0]) || !f.symbol(m[1]) {
				continue
			}
			_, left := f.vocab[m[0]]
			_, right := f.vocab[m[1]]
			if left && right {
				return nil, fmt.Errorf("it does not join %s and %s, though it has their token, and llama.cpp would",
					quoted(m[0]), quoted(m[1]))
			}
			odd++
			example = t
		}
	}
	if odd > 0 { // as in Llama 2: SentencePiece joins these, and the tokenizer.json that was made of it does not
		v.Warnings = append(v.Warnings, fmt.Sprintf("has %d ways to join characters that are no tokens themselves into one, "+
			"such as %s, and does not use them; llama.cpp does", odd, quoted(example)))
	}
	return scores, nil
}

// quoted is a text in which a reader sees also what has no shape.
func quoted(s string) string { return strconv.QuoteToASCII(s) }

// symbol reports whether a text may be what llama.cpp joins with another: a character, or a token.
func (f *file) symbol(t string) bool {
	_, ok := f.vocab[t]
	return ok || utf8.RuneCountInString(t) == 1
}
