package mlflow

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of texts, in characters.
const (
	longestKey   = 250
	longestValue = 6000
)

// key is a text as the key of a metric or a parameter, which MLflow takes for a path: of letters, digits and _ - . : / and
// spaces. A text that has others, or is too long, ends in its hash, so that two never become one.
func key(text string) string {
	clean := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-./", r) {
			return '_'
		}
		return r
	}, text)
	parts := strings.Split(clean, "/")
	for i, p := range parts {
		if p == "" || p == "." || p == ".." {
			parts[i] = "_" + p
		}
	}
	clean = strings.Join(parts, "/")
	if clean == text && utf8.RuneCountInString(text) <= longestKey {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	end := "-" + hex.EncodeToString(sum[:4])
	return cut(clean, longestKey-len(end)) + end
}

// value is a text as the value of a parameter or a tag.
func value(text string) string {
	const end = "…"
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "")
	if utf8.RuneCountInString(text) <= longestValue {
		return text
	}
	return cut(text, longestValue-1) + end
}

// cut is the first characters of a text.
func cut(text string, most int) string {
	n := 0
	for i := range text {
		if n == most {
			return text[:i]
		}
		n++
	}
	return text
}

// pageOf is the address of a page of the server.
func (s *Server) pageOf(experiment, run string) string {
	if run == "" {
		return fmt.Sprintf("%s/#/experiments/%s", s.base, experiment)
	}
	return fmt.Sprintf("%s/#/experiments/%s/runs/%s", s.base, experiment, run)
}
