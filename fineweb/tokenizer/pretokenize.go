package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"

	"stepflow/foreign"
)

// splitter appends the words of s to out; first is set if s starts the text.
type splitter func(out []string, s string, first bool) ([]string, error)

// sure is a splitter that cannot fail.
func sure(f func(out []string, s string, first bool) []string) []splitter {
	return []splitter{func(out []string, s string, first bool) ([]string, error) { return f(out, s, first), nil }}
}

func parsePreTokenizer(raw json.RawMessage) (list []splitter, byteLevel bool, err error) {
	f := struct {
		AddPrefixSpace *bool   `json:"add_prefix_space"`
		UseRegex       *bool   `json:"use_regex"`
		Individual     bool    `json:"individual_digits"`
		Replacement    string  `json:"replacement"`
		PrependScheme  string  `json:"prepend_scheme"`
		Split          *bool   `json:"split"`
		Pattern        pattern `json:"pattern"`
		Behavior       string  `json:"behavior"`
		Invert         bool    `json:"invert"`
	}{}
	kind, parts, err := component(raw, &f, "pretokenizers")
	if err != nil {
		return nil, false, err
	}
	switch kind {
	case "":
		return nil, false, nil
	case "Sequence":
		for _, p := range parts {
			l, b, err := parsePreTokenizer(p)
			if err != nil {
				return nil, false, err
			}
			list, byteLevel = append(list, l...), byteLevel || b
		}
		return list, byteLevel, nil
	case "ByteLevel":
		prefix := f.AddPrefixSpace == nil || *f.AddPrefixSpace
		regex := f.UseRegex == nil || *f.UseRegex
		return sure(func(out []string, s string, _ bool) []string {
			if prefix && s != "" && !strings.HasPrefix(s, " ") {
				s = " " + s
			}
			if regex {
				return splitGPT2(out, s)
			}
			return append(out, s)
		}), true, nil
	case "Digits":
		return sure(func(out []string, s string, _ bool) []string { return splitDigits(out, s, f.Individual) }), false, nil
	case "WhitespaceSplit":
		return sure(func(out []string, s string, _ bool) []string {
			return append(out, strings.FieldsFunc(s, unicode.IsSpace)...)
		}), false, nil
	case "Metaspace":
		scheme := f.PrependScheme
		if scheme == "" {
			scheme = "always"
			if f.AddPrefixSpace != nil && !*f.AddPrefixSpace {
				scheme = "never"
			}
		}
		if err := oneRune(f.Replacement); err != nil {
			return nil, false, err
		}
		return sure(metaspace(f.Replacement, scheme, f.Split == nil || *f.Split)), false, nil
	case "Split":
		s, err := splitPattern(f.Pattern, f.Behavior, f.Invert)
		return []splitter{s}, false, err
	}
	return nil, false, fmt.Errorf("%q is not supported", kind)
}

// splitGPT2 cuts as the regular expression of GPT-2 does:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func splitGPT2(out []string, s string) []string {
	for len(s) > 0 {
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
		out = append(out, s[:n])
		s = s[n:]
	}
	return out
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
		t[r] = classOf(rune(r))
	}
	return t
}()

func classOf(r rune) class {
	r = known(r)
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
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

func splitDigits(out []string, s string, individual bool) []string {
	start := 0
	was := false
	for i, r := range s {
		is := unicode.IsNumber(known(r))
		if i > start && (is != was || is && individual) {
			out = append(out, s[start:i])
			start = i
		}
		was = is
	}
	if start < len(s) {
		out = append(out, s[start:])
	}
	return out
}

// oneRune checks what stands for a space.
func oneRune(s string) error {
	if utf8.RuneCountInString(s) != 1 {
		return fmt.Errorf("replacement is %q; it takes one character", foreign.Shown(s[:min(len(s), 40)]))
	}
	return nil
}

func metaspace(replacement, scheme string, split bool) func(out []string, s string, first bool) []string {
	return func(out []string, s string, first bool) []string {
		s = strings.ReplaceAll(s, " ", replacement)
		if (scheme == "always" || scheme == "first" && first) && !strings.HasPrefix(s, replacement) {
			s = replacement + s
		}
		if !split {
			return append(out, s)
		}
		for s != "" {
			_, n := utf8.DecodeRuneInString(s)
			i := strings.Index(s[n:], replacement)
			if i < 0 {
				return append(out, s)
			}
			out = append(out, s[:i+n])
			s = s[i+n:]
		}
		return out
	}
}

// splitPattern is the Split pre-tokenizer, with the tokenizers library's five behaviours.
func splitPattern(p pattern, behavior string, invert bool) (splitter, error) {
	var expr string
	switch {
	case p.Regex != nil:
		expr = *p.Regex
	case p.String != nil:
		expr = regexp2.Escape(*p.String)
	default:
		return nil, fmt.Errorf("Split has neither String nor Regex")
	}
	switch behavior {
	case "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous":
	default:
		return nil, fmt.Errorf("Split behavior %q is not supported", behavior)
	}
	re, err := compile(expr, regexp2.Unicode)
	if err != nil {
		return nil, err
	}
	// Where case does not matter, ſ is an s and the sign of the kelvin a K: a pattern does not see the difference, as
	// regexp2 does not know of it.
	fold := strings.Contains(expr, "(?i")
	type piece struct {
		s     string
		match bool
	}
	return func(out []string, s string, _ bool) ([]string, error) {
		var ps []piece
		runes := []rune(s)
		like := runes // what the pattern sees
		for i, r := range runes {
			k := known(r)
			if fold && r == 'ſ' {
				k = 's'
			} else if fold && r == '\u212a' { // the sign of the kelvin
				k = 'K'
			}
			if k != r {
				if &like[0] == &runes[0] {
					like = slices.Clone(runes)
				}
				like[i] = k
			}
		}
		last := 0
		err := re.each(like, func(at, n int) {
			if n == 0 {
				return
			}
			if at > last {
				ps = append(ps, piece{string(runes[last:at]), invert})
			}
			ps = append(ps, piece{string(runes[at : at+n]), !invert})
			last = at + n
		})
		if err != nil {
			return nil, err
		}
		if last < len(runes) {
			ps = append(ps, piece{string(runes[last:]), invert})
		}
		for i := 0; i < len(ps); i++ {
			p := ps[i]
			switch {
			case behavior == "Removed" && p.match:
			case behavior == "Contiguous" && i > 0 && ps[i-1].match == p.match,
				behavior == "MergedWithPrevious" && i > 0 && p.match && !ps[i-1].match,
				behavior == "MergedWithNext" && i > 0 && !p.match && ps[i-1].match:
				out[len(out)-1] += p.s
			default:
				out = append(out, p.s)
			}
		}
		return out, nil
	}, nil
}

func wordBefore(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return s != "" && isWord(r)
}

func wordAfter(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && isWord(r)
}

func isWord(r rune) bool { r = known(r); return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }
