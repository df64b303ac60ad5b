package tokenizer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
	"golang.org/x/text/unicode/norm"
)

// byteRune maps each byte to the printable character that stands for it in byte-level
// vocabularies (GPT-2): printable Latin-1 stands for itself, the rest follow from U+0100.
var (
	byteRune [256]rune
	runeByte = map[rune]byte{}
)

func init() {
	next := rune(256)
	for b := 0; b < 256; b++ {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) {
			r = next
			next++
		}
		byteRune[b], runeByte[r] = r, byte(b)
	}
}

func toByteLevel(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		b.WriteRune(byteRune[s[i]])
	}
	return b.String()
}

// component reads the type of a part and its fields, and lists the parts of a Sequence.
func component(raw json.RawMessage, into any, listField string) (kind string, parts []json.RawMessage, err error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil, nil
	}
	var t struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return "", nil, err
	}
	if t.Type == "Sequence" {
		var lists map[string]json.RawMessage
		if err := json.Unmarshal(raw, &lists); err != nil {
			return "", nil, err
		}
		return t.Type, parts, json.Unmarshal(lists[listField], &parts)
	}
	return t.Type, nil, json.Unmarshal(raw, into)
}

type pattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

func parseNormalizer(raw json.RawMessage) ([]func(string) string, error) {
	var f struct {
		Prepend string  `json:"prepend"`
		Pattern pattern `json:"pattern"`
		Content string  `json:"content"`
		Left    bool    `json:"strip_left"`
		Right   bool    `json:"strip_right"`
	}
	kind, parts, err := component(raw, &f, "normalizers")
	if err != nil {
		return nil, err
	}
	one := func(g func(string) string) ([]func(string) string, error) { return []func(string) string{g}, nil }
	switch kind {
	case "":
		return nil, nil
	case "Sequence":
		var all []func(string) string
		for _, p := range parts {
			n, err := parseNormalizer(p)
			if err != nil {
				return nil, err
			}
			all = append(all, n...)
		}
		return all, nil
	case "Prepend":
		return one(func(s string) string {
			if s == "" {
				return s
			}
			return f.Prepend + s
		})
	case "Replace":
		if f.Pattern.String != nil {
			return one(func(s string) string { return strings.ReplaceAll(s, *f.Pattern.String, f.Content) })
		}
		if f.Pattern.Regex != nil {
			re, err := regexp2.Compile(*f.Pattern.Regex, regexp2.None)
			if err != nil {
				return nil, err
			}
			content := strings.ReplaceAll(f.Content, "$", "$$")
			return one(func(s string) string {
				if out, err := re.Replace(s, content, -1, -1); err == nil {
					return out
				}
				return s
			})
		}
		return nil, fmt.Errorf("Replace has neither String nor Regex")
	case "NFC":
		return one(norm.NFC.String)
	case "NFD":
		return one(norm.NFD.String)
	case "NFKC":
		return one(norm.NFKC.String)
	case "NFKD":
		return one(norm.NFKD.String)
	case "Lowercase":
		return one(strings.ToLower)
	case "Strip":
		return one(func(s string) string {
			if f.Left {
				s = strings.TrimLeftFunc(s, unicode.IsSpace)
			}
			if f.Right {
				s = strings.TrimRightFunc(s, unicode.IsSpace)
			}
			return s
		})
	}
	return nil, fmt.Errorf("%q is not supported", kind)
}

// splitter appends the words of s to out; first tells that s starts the text.
type splitter func(out []string, s string, first bool) []string

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
		return []splitter{func(out []string, s string, _ bool) []string {
			if prefix && s != "" && !strings.HasPrefix(s, " ") {
				s = " " + s
			}
			if regex {
				return splitGPT2(out, s)
			}
			return append(out, s)
		}}, true, nil
	case "Digits":
		return []splitter{func(out []string, s string, _ bool) []string { return splitDigits(out, s, f.Individual) }}, false, nil
	case "WhitespaceSplit":
		return []splitter{func(out []string, s string, _ bool) []string {
			return append(out, strings.FieldsFunc(s, unicode.IsSpace)...)
		}}, false, nil
	case "Metaspace":
		scheme := f.PrependScheme
		if scheme == "" {
			scheme = "always"
			if f.AddPrefixSpace != nil && !*f.AddPrefixSpace {
				scheme = "never"
			}
		}
		return []splitter{metaspace(f.Replacement, scheme, f.Split == nil || *f.Split)}, false, nil
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
		is := unicode.IsNumber(r)
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

func metaspace(replacement, scheme string, split bool) splitter {
	return func(out []string, s string, first bool) []string {
		s = strings.ReplaceAll(s, " ", replacement)
		if (scheme == "always" || scheme == "first" && first) && !strings.HasPrefix(s, replacement) {
			s = replacement + s
		}
		if !split {
			return append(out, s)
		}
		for s != "" {
			i := strings.Index(s[1:], replacement)
			for i >= 0 && !utf8.RuneStart(s[1+i]) {
				break
			}
			if i < 0 {
				return append(out, s)
			}
			out = append(out, s[:i+1])
			s = s[i+1:]
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
	re, err := regexp2.Compile(expr, regexp2.Unicode)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", expr, err)
	}
	type piece struct {
		s     string
		match bool
	}
	return func(out []string, s string, _ bool) []string {
		var ps []piece
		runes := []rune(s)
		last := 0
		for m, _ := re.FindRunesMatch(runes); m != nil; m, _ = re.FindNextMatch(m) {
			if m.Length == 0 {
				continue
			}
			if m.Index > last {
				ps = append(ps, piece{string(runes[last:m.Index]), invert})
			}
			ps = append(ps, piece{string(runes[m.Index : m.Index+m.Length]), !invert})
			last = m.Index + m.Length
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
		return out
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

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// parsePost reads what a template puts round a single text.
func (t *Tokenizer) parsePost(raw json.RawMessage) error {
	var f struct {
		Single []map[string]struct {
			ID string `json:"id"`
		} `json:"single"`
		Special map[string]struct {
			IDs []int32 `json:"ids"`
		} `json:"special_tokens"`
	}
	kind, parts, err := component(raw, &f, "processors")
	if err != nil {
		return err
	}
	switch kind {
	case "", "ByteLevel":
		return nil
	case "Sequence":
		for _, p := range parts {
			if err := t.parsePost(p); err != nil {
				return err
			}
		}
		return nil
	case "TemplateProcessing":
		to := &t.prefix
		for _, piece := range f.Single {
			if _, ok := piece["Sequence"]; ok {
				to = &t.suffix
			} else if s, ok := piece["SpecialToken"]; ok {
				*to = append(*to, f.Special[s.ID].IDs...)
			}
		}
		return nil
	}
	return fmt.Errorf("%q is not supported", kind)
}

func parseDecoder(raw json.RawMessage) ([]func([]string) []string, error) {
	var f struct {
		Pattern       pattern `json:"pattern"`
		Content       string  `json:"content"`
		Start         int     `json:"start"`
		Stop          int     `json:"stop"`
		Replacement   string  `json:"replacement"`
		PrependScheme string  `json:"prepend_scheme"`
		AddPrefix     *bool   `json:"add_prefix_space"`
	}
	kind, parts, err := component(raw, &f, "decoders")
	if err != nil {
		return nil, err
	}
	each := func(g func(string) string) ([]func([]string) []string, error) {
		return []func([]string) []string{func(p []string) []string {
			for i := range p {
				p[i] = g(p[i])
			}
			return p
		}}, nil
	}
	fuse := func(p []string) []string { return []string{strings.Join(p, "")} }
	switch kind {
	case "":
		return nil, nil
	case "Sequence":
		var all []func([]string) []string
		for _, p := range parts {
			d, err := parseDecoder(p)
			if err != nil {
				return nil, err
			}
			all = append(all, d...)
		}
		return all, nil
	case "ByteLevel":
		return []func([]string) []string{func(p []string) []string {
			var b []byte
			for _, s := range p {
				at := len(b)
				for _, r := range s {
					x, ok := runeByte[r]
					if !ok { // not a byte-level token: taken as it is
						b = append(b[:at], s...)
						break
					}
					b = append(b, x)
				}
			}
			return []string{lossy(b)}
		}}, nil
	case "Replace":
		if f.Pattern.String == nil {
			return nil, fmt.Errorf("Replace by regular expression is not supported")
		}
		return each(func(s string) string { return strings.ReplaceAll(s, *f.Pattern.String, f.Content) })
	case "Fuse":
		return []func([]string) []string{fuse}, nil
	case "Strip":
		return each(func(s string) string {
			for i := 0; i < f.Start && strings.HasPrefix(s, f.Content); i++ {
				s = s[len(f.Content):]
			}
			for i := 0; i < f.Stop && strings.HasSuffix(s, f.Content); i++ {
				s = s[:len(s)-len(f.Content)]
			}
			return s
		})
	case "ByteFallback":
		return []func([]string) []string{byteFallback}, nil
	case "Metaspace":
		strip := f.PrependScheme != "never" && (f.AddPrefix == nil || *f.AddPrefix)
		return []func([]string) []string{func(p []string) []string {
			for i := range p {
				s := p[i]
				if i == 0 && strip {
					s = strings.TrimPrefix(s, f.Replacement)
				}
				p[i] = strings.ReplaceAll(s, f.Replacement, " ")
			}
			return p
		}}, nil
	}
	return nil, fmt.Errorf("%q is not supported", kind)
}

// byteFallback turns runs of <0xNN> into text; a run that is not UTF-8 becomes one U+FFFD a byte.
func byteFallback(p []string) (out []string) {
	var run []byte
	flush := func() {
		if len(run) == 0 {
			return
		}
		if utf8.Valid(run) {
			out = append(out, string(run))
		} else {
			out = append(out, strings.Repeat("\uFFFD", len(run)))
		}
		run = run[:0]
	}
	for _, s := range p {
		if len(s) == 6 && strings.HasPrefix(s, "<0x") && s[5] == '>' {
			if b, err := strconv.ParseUint(s[3:5], 16, 8); err == nil {
				run = append(run, byte(b))
				continue
			}
		}
		flush()
		out = append(out, s)
	}
	flush()
	return out
}

// lossy replaces each maximal part that cannot be UTF-8 by one U+FFFD (Unicode 16, section 3.9, U+FFFD
// substitution of maximal subparts), as Rust's String::from_utf8_lossy does.
func lossy(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			for n < len(b) && n < 4 && !utf8.FullRune(b[:n]) && !utf8.RuneStart(b[n]) {
				if n+1 <= len(b) && utf8.FullRune(b[:n+1]) {
					break // the next byte makes it invalid: the part ends before it
				}
				n++
			}
		}
		out.WriteRune(r)
		b = b[n:]
	}
	return out.String()
}
