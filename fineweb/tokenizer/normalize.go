package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/dlclark/regexp2"
	"golang.org/x/text/unicode/norm"
)

type pattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

// normalization changes a text before it is cut into words.
type normalization func(string) (string, error)

// mostGrowth bounds what normalizing may make of a text: so many times its bytes, and a MiB. Of what stands in a
// text's place for each match, mostContent bytes are taken.
const (
	mostGrowth  = 16
	mostContent = 64
)

func growthLimit(text string) int { return mostGrowth*len(text) + 1<<20 }

func parseNormalizer(raw json.RawMessage) ([]normalization, error) {
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
	one := func(g func(string) string) ([]normalization, error) {
		return []normalization{func(s string) (string, error) { return g(s), nil }}, nil
	}
	if len(f.Content) > mostContent || len(f.Prepend) > mostContent {
		return nil, fmt.Errorf("%s puts in %d bytes at a time; the most is %d", kind, max(len(f.Content), len(f.Prepend)), mostContent)
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
			re, err := compile(*f.Pattern.Regex, regexp2.None)
			if err != nil {
				return nil, err
			}
			return []normalization{func(s string) (string, error) { return re.replace(s, f.Content) }}, nil
		}
		return nil, fmt.Errorf("Replace has neither String nor Regex")
	case "NFC":
		return one(normalizer(norm.NFC))
	case "NFD":
		return one(normalizer(norm.NFD))
	case "NFKC":
		return one(normalizer(norm.NFKC))
	case "NFKD":
		return one(normalizer(norm.NFKD))
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
