package tokenizer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

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
		if len(f.Content) > mostContent {
			return nil, fmt.Errorf("Replace puts in %d bytes at a time; the most is %d", len(f.Content), mostContent)
		}
		return each(func(s string) string { return strings.ReplaceAll(s, *f.Pattern.String, f.Content) })
	case "Fuse":
		return []func([]string) []string{fuse}, nil
	case "Strip":
		if f.Content == "" {
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
		})
	case "ByteFallback":
		return []func([]string) []string{byteFallback}, nil
	case "Metaspace":
		if err := oneRune(f.Replacement); err != nil {
			return nil, err
		}
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
