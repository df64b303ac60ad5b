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
