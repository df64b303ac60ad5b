package fineweb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// randomTexts are documents of few words, some of them empty or blank, and one at times that is long.
func randomTexts(rng *rand.Rand) (texts []string) {
	words := strings.Fields("the quick brown fox jumps over a lazy dog while seven wizards mix naïve potions")
	for range 1 + rng.IntN(8) {
		n := rng.IntN(12)
		switch rng.IntN(6) {
		case 0:
			n = 0
		case 1:
			n *= 20
		}
		var text []string
		for range n {
			text = append(text, words[rng.IntN(len(words))])
		}
		texts = append(texts, strings.Join(text, " "))
	}
	return texts
}

// inFormat writes documents as a format and gives the source that reads them. Text stands between newlines.
func inFormat(t testing.TB, format string, texts []string) Source {
	t.Helper()
	dir := t.TempDir()
	s := Source{Format: format, Dir: dir, Patterns: []string{"d." + format}}
	var b strings.Builder
	switch format {
	case "jsonl":
		for i, text := range texts {
			line, err := json.Marshal(map[string]any{"id": fmt.Sprint(i), "text": text})
			if err != nil {
				t.Fatal(err)
			}
			b.Write(append(line, '\n'))
		}
	case "text":
		s.Separator = "\n"
		b.WriteString(strings.Join(texts, "\n"))
	case "parquet":
		type row struct {
			ID   string `parquet:"id"`
			Text string `parquet:"text"`
		}
		w := parquet.NewGenericWriter[row](&b)
		for i, text := range texts {
			if _, err := w.Write([]row{{fmt.Sprint(i), text}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	case "bin":
		tk := tok(t)
		var ids []int32
		for _, text := range texts {
			ids = append(ids, encoded(t, tk, text)...)
		}
		b.Write(narrow(ids))
	}
	write(t, filepath.Join(dir, "d."+format), b.String())
	return s
}

// TestEffortIsWhatIsMeasured plans and measures random documents in every format and every kind of windows: the plan's tokens and
// sequences are those of the run, and max_tokens is reached to the token.
func TestEffortIsWhatIsMeasured(t *testing.T) {
	tk := tok(t)
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range 600 {
		format := []string{"jsonl", "text", "parquet", "bin"}[i%4]
		w := Windows{Split: All, Length: 2 + rng.IntN(20), Batch: 1 + rng.IntN(4), EndOfText: rng.IntN(2) == 0}
		if rng.IntN(3) > 0 {
			w.Stride = 1 + rng.IntN(w.Length)
		}
		if rng.IntN(3) == 0 && format != "bin" {
			join := []string{"", "\n", "\n\n"}[rng.IntN(3)]
			w.Join = &join
		}
		mask, first := rng.IntN(2) == 0, rng.IntN(2) == 0
		var parts []Weighted
		for range 1 + rng.IntN(2) {
			s := inFormat(t, format, randomTexts(rng))
			s.DocumentMask, s.PredictFirst, s.SkipErrors = mask, first, true
			if rng.IntN(4) == 0 {
				s.ValidationFraction, w.Split = 0.5, Validation
			}
			parts = append(parts, Weighted{Source: s, Weight: 1 + float64(rng.IntN(3))})
		}
		set, err := w.Open(context.Background(), parts)
		if err != nil {
			continue // a text that is empty
		}
		measure := func() (h *Held, sequences int64, err error) {
			h, err = set.Held(tk, w, func(*Batch) error { sequences++; return nil })
			return h, sequences, err
		}
		all, _, err := measure()
		if err != nil {
			set.Close()
			continue
		}
		for range 3 {
			effort, err := set.Effort(tk, w)
			if err != nil {
				t.Fatal(err)
			}
			h, batches, err := measure()
			if err != nil {
				t.Fatal(err)
			}
			want := all.Tokens
			if w.Limit > 0 {
				want = min(want, w.Limit)
			}
			if !effort.Whole || effort.Tokens != h.Tokens || batches != (effort.Sequences+int64(w.Batch)-1)/int64(w.Batch) {
				t.Fatalf("%s, %+v: planned %+v, measured %d tokens in %d batches", format, w, effort, h.Tokens, batches)
			}
			if h.Tokens != want && (len(parts) == 1 || h.Tokens > want) {
				t.Fatalf("%s, %+v: %d of %d tokens are measured", format, w, h.Tokens, all.Tokens)
			}
			if w.Limit > 0 {
				var spelled int64
				for id, n := range h.Counts {
					spelled += n * int64(len(tk.Spell([]int32{id})))
				}
				if spelled != h.Bytes || h.Words > all.Words {
					t.Fatalf("%s, %+v: %d bytes of %d, %d words of %d", format, w, h.Bytes, spelled, h.Words, all.Words)
				}
			}
			w.Limit = 1 + rng.Int64N(all.Tokens+2)
		}
		set.Close()
	}
}

// TestExactSizesAreExact compares what is called exact with the tokens that a pass over the data gives.
func TestExactSizesAreExact(t *testing.T) {
	tk := tok(t)
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range 200 {
		s := inFormat(t, []string{"jsonl", "text", "parquet"}[i%3], randomTexts(rng))
		s.SkipErrors, s.Deduplicate = true, rng.IntN(2) == 0
		s.ValidationFraction = []float64{0, 0.4}[rng.IntN(2)]
		var want int64
		c, err := Open(context.Background(), s)
		if err != nil {
			continue // a text that is empty
		}
		err = c.Texts(Train, func(text string) bool { want += int64(len(encoded(t, tk, text))); return true })
		if err := errors.Join(err, c.Close()); err != nil {
			t.Fatal(err)
		}
		size, err := Measure(context.Background(), s, tk, Train)
		if errors.As(err, &NoDocuments{}) && want == 0 {
			continue
		}
		if err != nil || size.How != Exact || size.Tokens != want || size.Most != want {
			t.Errorf("%+v: %+v, %v; there are %d", s, size, err, want)
		}
		if size, err := Measure(context.Background(), s, nil, Train); err != nil || size.Most < want {
			t.Errorf("%+v without a tokenizer: %+v, %v; there are %d", s, size, err, want)
		}
	}
}

// TestEffortIsBounded counts the first part of much, and says so.
func TestEffortIsBounded(t *testing.T) {
	tk := tok(t)
	line := strings.Repeat("the quick brown fox ", 50)
	s := inFormat(t, "jsonl", strings.Split(strings.Repeat(line+"\n", 3*mostCounted/len(line)), "\n"))
	s.SkipErrors = true
	join := "\n"
	for _, w := range []Windows{{Split: All, Length: 64}, {Split: All, Length: 64, Join: &join}} {
		set, err := w.Open(context.Background(), []Weighted{{Source: s, Weight: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		e, err := set.Effort(tk, w)
		if err != nil || e.Whole || w.Join == nil && (e.Tokens == 0 || e.Sequences < (e.Tokens+63)/64) {
			t.Errorf("%+v, %v", e, err)
		}
		if w.Limit = 100; w.Join == nil { // of which little is read
			if e, err := set.Effort(tk, w); err != nil || !e.Whole || e.Tokens != 100 || e.Sequences != 2 {
				t.Errorf("the first 100 tokens: %+v, %v", e, err)
			}
		}
	}
}

// TestJoinedIsTheSameText joins the same rows, blank ones among them, from every format, and a text file with its own separator.
func TestJoinedIsTheSameText(t *testing.T) {
	tk := tok(t)
	rows := []string{"", " = Title = ", "", " the quick brown fox . ", " ", "", "jumps", ""}
	for _, join := range []string{"\n\n", "\n", ""} {
		want := strings.Join(rows, join)
		for _, format := range []string{"jsonl", "text", "parquet"} {
			w := Windows{Split: All, Length: 16, Batch: 2, Join: &join}
			set, err := w.Open(context.Background(), []Weighted{{Source: inFormat(t, format, rows), Weight: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			var got []int32
			h, err := set.Held(tk, w, func(b *Batch) error {
				for i, id := range b.Targets {
					if len(got) == 0 {
						got = append(got, b.IDs[i])
					}
					if id != Ignored {
						got = append(got, id)
					}
				}
				return nil
			})
			if text := tk.Spell(got); err != nil || text != want || h.Words != int64(len(strings.Fields(want))) || h.Documents != 1 {
				t.Errorf("%s joined with %q: %q, want %q; %+v, %v", format, join, text, want, h, err)
			}
		}
	}
}

// TestCutTextsCountTheirBytes measures the beginning of a text that a normalizer changes.
func TestCutTextsCountTheirBytes(t *testing.T) {
	for _, c := range []struct {
		tokenizer, text string
		limit, want     int64
	}{
		{`{"model":{"type":"BPE","vocab":{"é":0,"a":1,"</s>":2},"merges":[]},"normalizer":{"type":"NFC"},"decoder":{"type":"Fuse"}}`, "ae\u0301ae\u0301a", 1, 3},
		{`{"model":{"type":"BPE","vocab":{"é":0,"a":1,"</s>":2},"merges":[]},"normalizer":{"type":"NFC"},"decoder":{"type":"Fuse"}}`, "ae\u0301ae\u0301a", 3, 7},
		{`{"model":{"type":"BPE","vocab":{"Ã":0,"©":1,"a":2,"<|endoftext|>":3},"merges":[]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"}}`, "aéa", 1, 1},
	} {
		tk := parsed(t, c.tokenizer)
		h, err := heldSet(t, true, false, []string{c.text}).Held(tk, Windows{Split: All, Length: 8, Batch: 1, Limit: c.limit}, noVisit)
		if err != nil || h.Tokens != c.limit || h.Bytes != c.want {
			t.Errorf("%q: %+v, %v; %d tokens stand for %d bytes", c.text, h, err, c.limit, c.want)
		}
	}
}

// TestNothingIsSaid names why no document is left.
func TestNothingIsSaid(t *testing.T) {
	tk := tok(t)
	for _, c := range []struct {
		change func(*Source)
		split  Split
		want   string
	}{
		{func(s *Source) { s.Filter = "id == 'x'" }, All, "no document of d.jsonl passes the filters: (id == 'x')"},
		{func(s *Source) { s.ValidationFraction = 1 }, Train, "all documents of d.jsonl are held out: lower validation_fraction"},
		{func(s *Source) { s.ValidationFraction = 1e-12 }, Validation, "no document of d.jsonl is held out: raise validation_fraction"},
		{func(s *Source) { s.TextColumn, s.SkipErrors = "id", true; s.Filter = "id == ''" }, All, "passes the filters"},
	} {
		s := inFormat(t, "jsonl", []string{"one two", "three four"})
		c.change(&s)
		set := setOf(t, s)
		w := Windows{Split: c.split, Length: 8, Batch: 1}
		var none NoDocuments
		if _, err := set.Held(tk, w, noVisit); !errors.As(err, &none) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("measuring: %v, want %q", err, c.want)
		}
		if _, err := set.Effort(tk, w); !errors.As(err, &none) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("planning: %v, want %q", err, c.want)
		}
	}
}
