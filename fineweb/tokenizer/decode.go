package tokenizer

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder turns the contents of tokens into parts of a text.
type decoder func([]string) []string

// parseDecoder lists the steps. text makes a text of bytes.
func parseDecoder(raw json.RawMessage, text func([]byte) string) ([]decoder, error) {
	c := &decoderParser{text: text, grows: 1}
	list, err := c.parse(raw)
	if err == nil && c.grows > mostDecoded {
		err = fmt.Errorf("its steps may make more than %d bytes of one", mostDecoded)
	}
	return list, err
}

// mostDecoded bounds what the steps of a decoder may make of a byte.
const mostDecoded = 256

type decoderParser struct {
	text  func([]byte) string
	grows int // how many bytes the steps so far may make of one
}

// growing notes that a step puts up to a number of bytes in the place of one.
func (c *decoderParser) growing(n int) { c.grows = min(c.grows*max(n, 1), mostDecoded+1) }

// decoderFields are the fields of the components of a decoder.
type decoderFields struct {
	Pattern       *pattern `json:"pattern"`
	Content       string   `json:"content"`
	Start         int      `json:"start"`
	Stop          int      `json:"stop"`
	Replacement   string   `json:"replacement"`
	PrependScheme string   `json:"prepend_scheme"`
	AddPrefix     *bool    `json:"add_prefix_space"`
	Prefix        string   `json:"prefix"`
	Suffix        string   `json:"suffix"`
	Cleanup       bool     `json:"cleanup"`
	Pad           string   `json:"pad_token"`
	Delimiter     string   `json:"word_delimiter_token"`
}

// decoders makes the step of each type of component; a Sequence has several.
var decoders = map[string]func(c *decoderParser, f *decoderFields) (decoder, error){
	"BPEDecoder":   (*decoderParser).bpe,
	"ByteFallback": (*decoderParser).byteFallback,
	"ByteLevel":    (*decoderParser).byteLevel,
	"CTC":          (*decoderParser).ctc,
	"Fuse":         (*decoderParser).fuse,
	"Metaspace":    (*decoderParser).metaspace,
	"Replace":      (*decoderParser).replace,
	"Strip":        (*decoderParser).strip,
	"WordPiece":    (*decoderParser).wordPiece,
}

func (c *decoderParser) parse(raw json.RawMessage) ([]decoder, error) {
	var f decoderFields
	kind, parts, err := component(raw, &f, "decoders")
	if err != nil || kind == "" {
		return nil, err
	}
	if kind == "Sequence" {
		var all []decoder
		for _, p := range parts {
			d, err := c.parse(p)
			if err != nil {
				return nil, err
			}
			all = append(all, d...)
		}
		return all, nil
	}
	makeStep, ok := decoders[kind]
	if !ok {
		return nil, fmt.Errorf("%q is not supported", kind)
	}
	d, err := makeStep(c, &f)
	if err != nil {
		return nil, err
	}
	return []decoder{d}, nil
}

// numbered is a step that changes each part, of which it knows the place among n.
func numbered(g func(i, n int, s string) string) decoder {
	return func(p []string) []string {
		for i := range p {
			p[i] = g(i, len(p), p[i])
		}
		return p
	}
}

// each is a step that changes each part.
func each(g func(string) string) decoder {
	return numbered(func(_, _ int, s string) string { return g(s) })
}

func (c *decoderParser) byteLevel(*decoderFields) (decoder, error) {
	return func(p []string) []string {
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
		return []string{c.text(b)}
	}, nil
}

func (c *decoderParser) replace(f *decoderFields) (decoder, error) {
	if f.Pattern == nil {
		return nil, fmt.Errorf("Replace has no pattern")
	}
	if len(f.Content) > mostContent {
		return nil, fmt.Errorf("Replace puts in %d bytes at a time; the most is %d", len(f.Content), mostContent)
	}
	find, err := f.Pattern.finder()
	if err != nil {
		return nil, fmt.Errorf("Replace: %w", err)
	}
	switch n := len(f.Content); {
	case f.Pattern.mayBeEmpty(): // it is put in before each byte and at the end
		c.growing(2*n + 1)
	case f.Pattern.String != nil:
		c.growing((n + len(*f.Pattern.String) - 1) / len(*f.Pattern.String))
	default:
		c.growing(n)
	}
	return each(func(s string) string {
		if p, err := replace(piece{s: s}, find, f.Content, math.MaxInt); err == nil {
			return p.s
		}
		return s // a token on which the pattern takes too many steps
	}), nil
}

func (c *decoderParser) bpe(f *decoderFields) (decoder, error) {
	if f.Suffix == "" { // a space stands between all characters then
		c.growing(3)
	}
	return numbered(func(i, n int, s string) string {
		if i == n-1 {
			return strings.ReplaceAll(s, f.Suffix, "")
		}
		return strings.ReplaceAll(s, f.Suffix, " ")
	}), nil
}

func (c *decoderParser) wordPiece(f *decoderFields) (decoder, error) {
	return numbered(func(i, _ int, s string) string {
		if i > 0 {
			if rest, ok := strings.CutPrefix(s, f.Prefix); ok {
				s = rest
			} else {
				s = " " + s
			}
		}
		if f.Cleanup {
			s = cleanup(s)
		}
		return s
	}), nil
}

func (c *decoderParser) ctc(f *decoderFields) (decoder, error) {
	if f.Pad == "" || f.Delimiter == "" {
		return nil, fmt.Errorf("CTC takes pad_token and word_delimiter_token")
	}
	return func(p []string) (out []string) {
		for _, s := range slices.Compact(p) {
			s = strings.ReplaceAll(s, f.Pad, "")
			if f.Cleanup {
				s = strings.ReplaceAll(cleanup(s), f.Delimiter, " ")
			}
			if s != "" {
				out = append(out, s)
			}
		}
		return out
	}, nil
}

func (c *decoderParser) fuse(*decoderFields) (decoder, error) {
	return func(p []string) []string { return []string{strings.Join(p, "")} }, nil
}

func (c *decoderParser) strip(f *decoderFields) (decoder, error) {
	if utf8.RuneCountInString(f.Content) != 1 {
		return nil, fmt.Errorf("Strip takes content, the character to take away")
	}
	return each(func(s string) string {
		for i := 0; i < f.Start && strings.HasPrefix(s, f.Content); i++ {
			s = s[len(f.Content):]
		}
		for i := 0; i < f.Stop && strings.HasSuffix(s, f.Content); i++ {
			s = s[:len(s)-len(f.Content)]
		}
		return s
	}), nil
}

func (c *decoderParser) byteFallback(*decoderFields) (decoder, error) {
	return func(p []string) []string {
		return byteFallback(p, func(b []byte) []string {
			s := c.text(b)
			if s != string(b) { // here each byte gets a U+FFFD of its own, which is a part of its own
				return slices.Repeat([]string{"\uFFFD"}, len(b))
			}
			return []string{s}
		})
	}, nil
}

func (c *decoderParser) metaspace(f *decoderFields) (decoder, error) {
	if err := oneRune(f.Replacement); err != nil {
		return nil, err
	}
	strip := f.PrependScheme != "never" && (f.AddPrefix == nil || *f.AddPrefix)
	return numbered(func(i, _ int, s string) string {
		if i == 0 && strip {
			return strings.ReplaceAll(s, f.Replacement, "")
		}
		return strings.ReplaceAll(s, f.Replacement, " ")
	}), nil
}

// cleanup takes away spaces as the WordPiece decoder does.
func cleanup(s string) string {
	for _, x := range [...][2]string{
		{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
		{" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
	} {
		s = strings.ReplaceAll(s, x[0], x[1])
	}
	return s
}

// byteFallback turns runs of <0xNN> into parts of a text.
func byteFallback(p []string, parts func([]byte) []string) (out []string) {
	var run []byte
	flush := func() {
		if len(run) == 0 {
			return
		}
		out = append(out, parts(run)...)
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
