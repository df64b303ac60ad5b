package tokenizer

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"golang.org/x/text/unicode/norm"
)

// normalization changes a text before it is cut into words. It may stop once it has made more than most bytes.
type normalization func(p piece, most int) (piece, error)

// mostGrowth bounds what normalizing may make of a text: that many times its bytes, and a MiB. mostContent bounds the
// bytes that are put in for one match.
const (
	mostGrowth  = 16
	mostContent = 64
)

// growthLimit is the most that normalizing may make of a text, in bytes; tokenLimit of an added token, of which a file
// may have millions.
func growthLimit(text string) int { return mostGrowth*len(text) + 1<<20 }
func tokenLimit(token string) int { return mostGrowth*len(token) + 1<<10 }

// pointwise is a normalization that makes of a text what it makes of its characters.
func pointwise(f func(string) string) []normalization {
	return growing(func(s string, _ int) string { return f(s) })
}

// growing is pointwise for what may make many bytes of one.
func growing(f func(s string, most int) string) []normalization {
	return []normalization{func(p piece, most int) (piece, error) {
		origin := 0
		if p.origin > 0 {
			origin = len(f(p.s[:p.origin], most))
		}
		s := f(p.s, most)
		origin = min(origin, len(s))
		// The first character was joined with the next.
		for origin > 0 && origin < len(s) && !utf8.RuneStart(s[origin]) {
			origin++
		}
		return piece{s, origin}, nil
	}}
}

func filter(drop *runeSet) func(string) string {
	return func(s string) string {
		return strings.Map(func(r rune) rune {
			if drop.has(r) {
				return -1
			}
			return r
		}, s)
	}
}

// normalizerFields are the fields of the components of a normalizer.
type normalizerFields struct {
	Prepend   string   `json:"prepend"`
	Pattern   *pattern `json:"pattern"`
	Content   string   `json:"content"`
	Left      bool     `json:"strip_left"`
	Right     bool     `json:"strip_right"`
	Clean     bool     `json:"clean_text"`
	Chinese   bool     `json:"handle_chinese_chars"`
	Accents   *bool    `json:"strip_accents"`
	Lowercase bool     `json:"lowercase"`
	Charsmap  string   `json:"precompiled_charsmap"`
}

// normalizers makes the steps of each type of component but Sequence.
var normalizers = map[string]func(f *normalizerFields) ([]normalization, error){
	"BertNormalizer": normalizeBERT,
	"ByteLevel":      always(toByteLevel),
	"Lowercase":      always(lowercase),
	"NFC":            always(normalizer(norm.NFC)),
	"NFD":            always(normalizer(norm.NFD)),
	"NFKC":           always(normalizer(norm.NFKC)),
	"NFKD":           always(normalizer(norm.NFKD)),
	"Nmt":            always(func(s string) string { return strings.Map(nmt, s) }),
	"Precompiled":    func(f *normalizerFields) ([]normalization, error) { return parsePrecompiled(f.Charsmap) },
	"Prepend":        normalizePrepend,
	"Replace":        normalizeReplace,
	"Strip":          normalizeStrip,
	"StripAccents": func(*normalizerFields) ([]normalization, error) {
		return pointwise(filter(table("mark"))), nil
	},
}

// always is the row of a normalizer that has no fields.
func always(f func(string) string) func(*normalizerFields) ([]normalization, error) {
	return func(*normalizerFields) ([]normalization, error) { return pointwise(f), nil }
}

func parseNormalizer(raw json.RawMessage) ([]normalization, error) {
	var f normalizerFields
	kind, parts, err := component(raw, &f, "normalizers")
	if err != nil {
		return nil, err
	}
	if n := max(len(f.Content), len(f.Prepend)); n > mostContent {
		return nil, fmt.Errorf("%s puts in %d bytes at a time; the most is %d", kind, n, mostContent)
	}
	switch kind {
	case "":
		return nil, nil
	case "Sequence":
		var all []normalization
		for _, p := range parts {
			n, err := parseNormalizer(p)
			if err != nil {
				return nil, err
			}
			all = append(all, n...)
		}
		return all, nil
	}
	steps, ok := normalizers[kind]
	if !ok {
		return nil, fmt.Errorf("%q is not supported", kind)
	}
	return steps(&f)
}

func normalizePrepend(f *normalizerFields) ([]normalization, error) {
	if f.Prepend == "" {
		return nil, errors.New("Prepend puts in nothing")
	}
	return []normalization{func(p piece, _ int) (piece, error) {
		if p.s == "" {
			return p, nil
		}
		if p.origin > 0 {
			p.origin += len(f.Prepend)
		}
		p.s = f.Prepend + p.s
		return p, nil
	}}, nil
}

func normalizeReplace(f *normalizerFields) ([]normalization, error) {
	if f.Pattern == nil {
		return nil, errors.New("Replace has no pattern")
	}
	find, err := f.Pattern.finder()
	if err != nil {
		return nil, fmt.Errorf("Replace: %w", err)
	}
	// The library loses track of where text came from, and repeats some of it later.
	if f.Content != "" && f.Pattern.mayBeEmpty() {
		return nil, fmt.Errorf("Replace: a pattern that may match nothing, and puts in %q, is not supported", f.Content)
	}
	return []normalization{func(p piece, most int) (piece, error) { return replace(p, find, f.Content, most) }}, nil
}

func normalizeStrip(f *normalizerFields) ([]normalization, error) {
	return []normalization{func(p piece, _ int) (piece, error) {
		from, to := 0, len(p.s)
		if f.Left {
			from = to - len(strings.TrimLeftFunc(p.s, isWhite))
		}
		if f.Right {
			to = from + len(strings.TrimRightFunc(p.s[from:], isWhite))
		}
		return p.part(from, to), nil
	}}, nil
}

func normalizeBERT(f *normalizerFields) ([]normalization, error) {
	var all []normalization
	if f.Clean {
		control := table("control")
		all = append(all, pointwise(func(s string) string {
			return strings.Map(func(r rune) rune {
				switch {
				case control.has(r): // some white space is, too
					return -1
				case isWhite(r):
					return ' '
				}
				return r
			}, s)
		})...)
	}
	if f.Chinese {
		all = append(all, pointwise(spaceChinese)...)
	}
	if f.Accents == nil && f.Lowercase || f.Accents != nil && *f.Accents {
		all = append(all, pointwise(normalizer(norm.NFD))...)
		all = append(all, pointwise(filter(table("nonspacing")))...)
	}
	if f.Lowercase {
		all = append(all, pointwise(lowercase)...)
	}
	return all, nil
}

// replace puts content in the place of every match, until it has made more than most bytes.
func replace(p piece, find finder, content string, most int) (piece, error) {
	if p.s == "" {
		return p, nil
	}
	var out strings.Builder
	last, origin := 0, 0
	keep := func(to int) {
		out.WriteString(p.s[last:to])
		if p.origin > last {
			origin = out.Len() - max(to-p.origin, 0)
		}
	}
	err := find(p.s, func(from, to int) {
		if out.Len() > most {
			return
		}
		keep(from)
		out.WriteString(content)
		if p.origin > 0 && to <= p.origin { // what is put in belongs to the last character taken out
			origin = out.Len()
		}
		last = to
	})
	keep(len(p.s))
	return piece{out.String(), origin}, err
}

// chinese are the blocks whose characters BERT puts spaces around.
var chinese = setOf([]runeRange{{0x4e00, 0x9fff}, {0x3400, 0x4dbf}, {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
	{0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf},
	{0xf900, 0xfaff}, {0x2f800, 0x2fa1f}})

func spaceChinese(s string) string {
	var out strings.Builder
	for _, r := range s {
		if chinese.has(r) {
			out.WriteByte(' ')
			out.WriteRune(r)
			out.WriteByte(' ')
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// nmt is the normalizer of that name: control characters go, other white space becomes a space.
func nmt(r rune) rune {
	switch {
	case r >= 1 && r <= 8, r == 0xb, r >= 0xe && r <= 0x1f, r == 0x7f, r == 0x8f, r == 0x9f:
		return -1
	case r == 9, r == 0xa, r == 0xc, r == 0xd, r == 0x1680, r >= 0x200b && r <= 0x200f, r == 0x2028, r == 0x2029,
		r == 0x2581, r == 0xfeff, r == 0xfffd:
		return ' '
	}
	return r
}

// precompiled is SentencePiece's table of normalizations: a double array (Aoe 1989) from texts to where their
// replacements begin, each of which ends with a zero byte.
type precompiled struct {
	units []uint32
	to    string
}

func parsePrecompiled(charsmap string) ([]normalization, error) {
	b, err := base64.StdEncoding.DecodeString(charsmap)
	if err != nil || len(b) < 4 {
		return nil, fmt.Errorf("Precompiled: precompiled_charsmap cannot be read: %d bytes, %v", len(b), err)
	}
	n := int(binary.LittleEndian.Uint32(b)) / 4
	if n < 1 || n > (len(b)-4)/4 {
		return nil, fmt.Errorf("Precompiled: precompiled_charsmap promises %d units in %d bytes", n, len(b))
	}
	t := &precompiled{units: make([]uint32, n), to: string(b[4+4*n:])}
	for i := range t.units {
		t.units[i] = binary.LittleEndian.Uint32(b[4+4*i:])
	}
	if !utf8.ValidString(t.to) {
		return nil, errors.New("Precompiled: precompiled_charsmap is not UTF-8")
	}
	for i := 0; i < len(t.to); { // replacements are short, as elsewhere
		end := strings.IndexByte(t.to[i:], 0)
		if end < 0 {
			end = len(t.to) - i
		}
		if end > mostContent {
			return nil, fmt.Errorf("Precompiled puts in %d bytes at a time; the most is %d", end, mostContent)
		}
		i += end + 1
	}
	return growing(t.normalize), nil
}

// find returns the replacement of the shortest text of the table that s begins with.
func (t *precompiled) find(s string) (string, bool) {
	offset := func(u uint32) uint32 { return u >> 10 << (u & (1 << 9) >> 6) }
	at := offset(t.units[0])
	for i := 0; i < len(s) && s[i] != 0; i++ {
		at ^= uint32(s[i])
		if int(at) >= len(t.units) {
			return "", false
		}
		u := t.units[at]
		if u&(1<<31|0xff) != uint32(s[i]) {
			return "", false
		}
		at ^= offset(u)
		if u>>8&1 == 0 {
			continue
		}
		if int(at) >= len(t.units) {
			return "", false
		}
		from := int(t.units[at] & (1<<31 - 1))
		if from > len(t.to) || from < len(t.to) && !utf8.RuneStart(t.to[from]) {
			return "", false
		}
		to, _, _ := strings.Cut(t.to[from:], "\x00")
		return to, true
	}
	return "", false
}

// normalize takes a grapheme of up to five bytes as one, and others character by character.
func (t *precompiled) normalize(s string, most int) string {
	var out strings.Builder
	for state := -1; s != "" && out.Len() <= most; {
		var g string
		if len(s) > 1 && s[0] < 0x80 && s[1] < 0x80 && s[0] != '\r' {
			g, s, state = s[:1], s[1:], -1 // the grapheme ends here
		} else {
			g, s, _, state = uniseg.FirstGraphemeClusterInString(s, state)
		}
		if len(g) < 6 {
			if to, ok := t.find(g); ok {
				out.WriteString(to)
				continue
			}
		}
		for i, r := range g {
			c := g[i : i+utf8.RuneLen(r)]
			if to, ok := t.find(c); ok {
				out.WriteString(to)
			} else {
				out.WriteString(c)
			}
		}
	}
	return out.String()
}
