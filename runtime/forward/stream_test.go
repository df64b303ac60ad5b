package forward

import (
	"path/filepath"
	"strings"
	"testing"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
)

// TestStream feeds texts token by token: the pieces make the text, characters are whole, and nothing of a stop string is seen.
func TestStream(t *testing.T) {
	files, err := filepath.Glob("../../fineweb/tokenizer/testdata/*_style.json")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := foreign.ReadFile(file, tokenizer.MaxBytes)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := tokenizer.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		const text = "Here is the naïve café, 日本語 and 👩‍👩‍👧 too\n\nQ: next"
		all, err := PromptTokens(tok, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			prompt int // tokens
			stop   []string
		}{{0, nil}, {3, nil}, {5, []string{"never", ""}}, {3, []string{"\n\nQ:", "\n\nX"}}, {3, []string{" caf", "QQ"}}, {0, []string{"H"}},
			{3, []string{"語", "本語"}}} {
			before := all[:c.prompt]
			want := strings.TrimPrefix(text, strings.TrimPrefix(tok.Decode(before, true), " "))
			for _, x := range c.stop {
				if x != "" {
					want, _, _ = strings.Cut(want, x)
				}
			}
			cut := !strings.HasSuffix(text, want) || want == ""
			s := NewStream(tok, before, c.stop)
			var got strings.Builder
			more := true
			for _, id := range all[c.prompt:] {
				var piece string
				piece, more = s.Add(id)
				got.WriteString(piece)
				if strings.Contains(piece, "\uFFFD") || !strings.HasPrefix(want, got.String()) {
					t.Fatalf("%s: %q so far, of %q", filepath.Base(file), got.String(), want)
				}
				if !more {
					break
				}
			}
			got.WriteString(s.End())
			if got.String() != want || s.Text() != want || more == cut {
				t.Errorf("%s, %d, stop %q: %q, %q, %t, want %q", filepath.Base(file), c.prompt, c.stop, got.String(), s.Text(), more,
					want)
			}
		}
	}
}
