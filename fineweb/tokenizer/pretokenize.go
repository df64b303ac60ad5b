package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"unicode/utf8"

	"stepflow/foreign"
)

// splitter appends the words that it makes of a piece to out.
type splitter func(out []piece, p piece) ([]piece, error)

// preTokenizerFields are the fields of the components of a pre-tokenizer.
type preTokenizerFields struct {
	AddPrefixSpace *bool    `json:"add_prefix_space"`
	UseRegex       *bool    `json:"use_regex"`
	Individual     bool     `json:"individual_digits"`
	Replacement    string   `json:"replacement"`
	PrependScheme  string   `json:"prepend_scheme"`
	Split          *bool    `json:"split"`
	Pattern        *pattern `json:"pattern"`
	Behavior       string   `json:"behavior"`
	Invert         bool     `json:"invert"`
	Delimiter      string   `json:"delimiter"`
	Length         *int     `json:"length"`
}

// preTokenizers makes the steps of each type of component but ByteLevel, whose words may be bytes, and Sequence.
var preTokenizers = map[string]func(f *preTokenizerFields) ([]splitter, error){
	"BertPreTokenizer":   bertSteps,
	"CharDelimiterSplit": delimiterSteps,
	"Digits":             digitSteps,
	"FixedLength":        lengthSteps,
	"Metaspace":          metaspaceSteps,
	"Punctuation":        punctuationSteps,
	"Split":              splitSteps,
	"Whitespace": func(*preTokenizerFields) ([]splitter, error) {
		return cuts(splitWords, removed, true), nil
	},
	"WhitespaceSplit": func(*preTokenizerFields) ([]splitter, error) {
		return cuts(eachRune(isWhite), removed, false), nil
	},
}

// parsePreTokenizer lists the steps. last says that no step follows; if so, and if words may come as bytes, a ByteLevel
// leaves them as they are and asBytes is true.
func parsePreTokenizer(raw json.RawMessage, last, bytes bool) (list []splitter, asBytes bool, err error) {
	var f preTokenizerFields
	kind, parts, err := component(raw, &f, "pretokenizers")
	if err != nil {
		return nil, false, err
	}
	switch kind {
	case "":
		return nil, false, nil
	case "Sequence":
		for i, p := range parts {
			l, b, err := parsePreTokenizer(p, last && i == len(parts)-1, bytes)
			if err != nil {
				return nil, false, err
			}
			list, asBytes = append(list, l...), b
		}
		return list, asBytes, nil
	case "ByteLevel":
		list, asBytes = byteLevelSteps(&f, last && bytes)
		return list, asBytes, nil
	}
	steps, ok := preTokenizers[kind]
	if !ok {
		return nil, false, fmt.Errorf("%q is not supported", kind)
	}
	list, err = steps(&f)
	return list, false, err
}

// cuts is the step that cuts a text where find finds something.
func cuts(find finder, how behavior, invert bool) []splitter {
	return []splitter{func(out []piece, p piece) ([]piece, error) { return cut(out, p, find, how, invert) }}
}

// byteLevelSteps cuts as GPT-2 does, and spells words with a character a byte unless they may be bytes.
func byteLevelSteps(f *preTokenizerFields, bytes bool) (list []splitter, asBytes bool) {
	prefix := f.AddPrefixSpace == nil || *f.AddPrefixSpace
	regex := f.UseRegex == nil || *f.UseRegex
	list = []splitter{func(out []piece, p piece) ([]piece, error) {
		if prefix && p.s != "" && p.s[0] != ' ' {
			if p.s = " " + p.s; p.origin > 0 {
				p.origin++
			}
		}
		if !regex {
			return append(out, p), nil
		}
		splitGPT2(p.s, func(from, to int) { out = append(out, p.part(from, to)) })
		return out, nil
	}}
	if bytes {
		return list, true
	}
	mapped := pointwise(toByteLevel)[0]
	return append(list, func(out []piece, p piece) ([]piece, error) {
		p, err := mapped(p, math.MaxInt)
		return append(out, p), err
	}), false
}

func digitSteps(f *preTokenizerFields) ([]splitter, error) {
	how := contiguous
	if f.Individual {
		how = isolated
	}
	return cuts(eachRune(table("numeric").has), how, false), nil
}

func punctuationSteps(f *preTokenizerFields) ([]splitter, error) {
	how, err := behaviorOf("Punctuation", cmp.Or(f.Behavior, "Isolated"))
	return cuts(eachRune(table("punctuation").has), how, false), err
}

func bertSteps(*preTokenizerFields) ([]splitter, error) {
	list := cuts(eachRune(isWhite), removed, false)
	return append(list, cuts(eachRune(table("punctuation").has), isolated, false)...), nil
}

func delimiterSteps(f *preTokenizerFields) ([]splitter, error) {
	if utf8.RuneCountInString(f.Delimiter) != 1 {
		return nil, fmt.Errorf("delimiter is \"%s\"; it takes one character", foreign.ShownStart(f.Delimiter, 40))
	}
	return cuts(literal(f.Delimiter), removed, false), nil
}

func lengthSteps(f *preTokenizerFields) ([]splitter, error) {
	n := 5
	if f.Length != nil {
		n = *f.Length
	}
	if n < 1 {
		return nil, fmt.Errorf("FixedLength has length %d", n)
	}
	return []splitter{func(out []piece, p piece) ([]piece, error) { return fixedLength(out, p, n), nil }}, nil
}

func metaspaceSteps(f *preTokenizerFields) ([]splitter, error) {
	scheme := f.PrependScheme
	if f.AddPrefixSpace != nil && !*f.AddPrefixSpace {
		if scheme != "" && scheme != "never" {
			return nil, fmt.Errorf("Metaspace: add_prefix_space is false, but prepend_scheme is %q", scheme)
		}
		scheme = "never"
	}
	if scheme == "" {
		scheme = "always"
	}
	if scheme != "always" && scheme != "first" && scheme != "never" {
		return nil, fmt.Errorf("Metaspace: prepend_scheme %q is not supported", scheme)
	}
	if err := oneRune(f.Replacement); err != nil {
		return nil, err
	}
	return []splitter{metaspace(f.Replacement, scheme, f.Split == nil || *f.Split)}, nil
}

func splitSteps(f *preTokenizerFields) ([]splitter, error) {
	if f.Pattern == nil {
		return nil, errors.New("Split has no pattern")
	}
	find, err := f.Pattern.finder()
	if err != nil {
		return nil, fmt.Errorf("Split: %w", err)
	}
	how, err := behaviorOf("Split", f.Behavior)
	return cuts(find, how, f.Invert), err
}

func behaviorOf(kind, name string) (behavior, error) {
	how, ok := behaviors[name]
	if !ok {
		return 0, fmt.Errorf("%s: behavior %q is not supported", kind, name)
	}
	return how, nil
}

// splitWords finds what the regex crate finds for \w+|[^\w\s]+.
func splitWords(s string, visit func(from, to int)) error {
	word := table("word")
	class := func(r rune) int {
		switch {
		case word.has(r):
			return 1
		case isWhite(r):
			return 0
		}
		return 2
	}
	from, was := 0, 0
	for i, r := range s {
		is := class(r)
		if is == was {
			continue
		}
		if was != 0 {
			visit(from, i)
		}
		from, was = i, is
	}
	if was != 0 {
		visit(from, len(s))
	}
	return nil
}

func fixedLength(out []piece, p piece, n int) []piece {
	from, count := 0, 0
	for i := range p.s {
		if count == n {
			out = append(out, p.part(from, i))
			from, count = i, 0
		}
		count++
	}
	if from < len(p.s) {
		out = append(out, p.part(from, len(p.s)))
	}
	return out
}

// splitGPT2 cuts as the regular expression of GPT-2 does:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func splitGPT2(s string, visit func(from, to int)) {
	for at := 0; len(s) > 0; {
		n := 0
		if s[0] == '\'' {
			for _, c := range [...]string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
				if strings.HasPrefix(s, c) {
					n = len(c)
					break
				}
			}
		}
		if n == 0 {
			skip := 0
			if s[0] == ' ' && len(s) > 1 {
				skip = 1
			}
			if c := classAt(s[skip:]); c != space {
				n = skip + runOf(s[skip:], c)
			} else if c := classAt(s); c != space {
				n = runOf(s, c)
			} else {
				n = runOf(s, space)
				if n < len(s) { // leave the last white space to what follows
					_, last := utf8.DecodeLastRuneInString(s[:n])
					if n > last {
						n -= last
					}
				}
			}
		}
		visit(at, at+n)
		at, s = at+n, s[n:]
	}
}

type class uint8

const (
	other class = iota
	letter
	number
	space
)

var asciiClass = func() (t [utf8.RuneSelf]class) {
	for r := range t {
		switch {
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z':
			t[r] = letter
		case r >= '0' && r <= '9':
			t[r] = number
		case isWhite(rune(r)):
			t[r] = space
		}
	}
	return t
}()

// letters and numbers are \p{L} and \p{N} of Oniguruma.
var (
	letters = sync.OnceValue(func() *runeSet { return property("L") })
	numbers = sync.OnceValue(func() *runeSet { return property("N") })
)

func classOf(r rune) class {
	switch {
	case letters().has(r):
		return letter
	case numbers().has(r):
		return number
	case isWhite(r):
		return space
	}
	return other
}

func classAt(s string) class {
	if s[0] < utf8.RuneSelf {
		return asciiClass[s[0]]
	}
	r, _ := utf8.DecodeRuneInString(s)
	return classOf(r)
}

func runOf(s string, c class) int {
	i := 0
	for i < len(s) {
		if s[i] < utf8.RuneSelf {
			if asciiClass[s[i]] != c {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if classOf(r) != c {
			return i
		}
		i += n
	}
	return i
}

// oneRune checks what stands for a space.
func oneRune(s string) error {
	if utf8.RuneCountInString(s) != 1 {
		return fmt.Errorf("replacement is \"%s\"; it takes one character", foreign.ShownStart(s, 40))
	}
	return nil
}

func metaspace(replacement, scheme string, split bool) splitter {
	spaces, parts := literal(" "), literal(replacement)
	return func(out []piece, p piece) ([]piece, error) {
		first := p.origin > 0
		p, err := replace(p, spaces, replacement, math.MaxInt)
		if err != nil {
			return out, err
		}
		if p.s != "" && !strings.HasPrefix(p.s, replacement) && (scheme == "always" || scheme == "first" && first) {
			if p.s = replacement + p.s; p.origin > 0 {
				p.origin += len(replacement)
			}
		}
		if !split {
			return append(out, p), nil
		}
		return cut(out, p, parts, mergedWithNext, false)
	}
}
