package lsp

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/dsl"
)

// large returns a pipeline of about 1,000 blocks.
func large() string {
	head, stage, _ := strings.Cut(example, "stage \"seed\"")
	b := strings.Builder{}
	b.WriteString(head)
	for i := range 1000 {
		fmt.Fprintf(&b, "stage \"s%d\"%s\n", i, stage)
	}
	return b.String()
}

// BenchmarkAnswer measures how long an answer takes after a key is pressed in a pipeline of 1,000 blocks.
func BenchmarkAnswer(b *testing.B) {
	text := large()
	half := strings.Index(text, "stage \"s500\"")
	at := strings.Index(text[half:], "var.tokens") + half + len("var.")
	typed := strings.Index(text[half:], "16") + half + 1
	for _, c := range []struct {
		name string
		ask  func(s *session, p positionParams) error
	}{
		{"completion", func(s *session, p positionParams) error { _, err := s.completion(p); return err }},
		{"hover", func(s *session, p positionParams) error { _, err := s.hover(p); return err }},
		{"references", func(s *session, p positionParams) error {
			_, err := s.references(referenceParams{positionParams: p})
			return err
		}},
		{"rename", func(s *session, p positionParams) error { _, err := s.rename(renameParams{p, "other"}); return err }},
		{"symbols", func(s *session, p positionParams) error {
			_, err := s.documentSymbols(documentParams{p.TextDocument})
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := sessionWith(text)
			p := positionParams{TextDocument: textDocument{URI: alone}, Position: s.open[alone].text.position(at)}
			key := Range{s.open[alone].text.position(typed), s.open[alone].text.position(typed + 1)}
			for i := range b.N {
				f := s.open[alone]
				s.put(f, f.text.replace(&key, fmt.Sprint(i%10)), f.version+1)
				if err := c.ask(s, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkValidate measures how long after the pause the problems in a pipeline of 1,000 blocks are known.
func BenchmarkValidate(b *testing.B) {
	s := newSession(Options{})
	path := filepath.Join(b.TempDir(), "main.hcl")
	f := newFile(uriOf(path), path, newText([]byte(large()), inUTF16), nil)
	for range b.N {
		c, diags := s.validate(f.dir(), dsl.Texts{path: f.text.src}, []*file{f})
		if len(diags) > 0 || len(c.Blocks) < 1000 {
			b.Fatal(diags)
		}
	}
}
