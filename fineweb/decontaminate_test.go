package fineweb

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/foreign"
)

// question is a document of an evaluation, of thirteen words.
func question(i int) string {
	return fmt.Sprintf("Question %d: which of the seven wonders of the ancient world still stands?", i)
}

// against are documents to keep out, by name.
func against(name string, n, matches int, texts ...string) Against {
	return Against{Name: name, Identity: name + strings.Join(texts, "\n"), N: n, MaxMatches: matches,
		Read: func(_ context.Context, visit func(string) bool) error {
			for _, t := range texts {
				if !visit(t) {
					break
				}
			}
			return nil
		}}
}

// leaks are 4,000 documents of which some hold a question, and what should become of them.
func leaks(t *testing.T) (s Source, dirty map[string]bool) {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	dirty = map[string]bool{}
	for i := range 4000 {
		text := fmt.Sprintf("Document %d says something of its own, which nobody else has said before or after.", i)
		q := question(i)
		switch i % 100 {
		case 3:
			text += " " + strings.ReplaceAll(strings.ToUpper(q), " ", `\n`)
			dirty[fmt.Sprint(i)] = true
		case 5:
			text += " " + strings.ReplaceAll(q, "?", " — ?!")
			dirty[fmt.Sprint(i)] = true
		case 7:
			text += " " + strings.Replace(q, "seven", "eight", 1) // not the same words
		}
		fmt.Fprintf(&b, `{"id":"%d","text":"%s"}`+"\n", i, text)
	}
	write(t, filepath.Join(dir, "d.jsonl"), b.String())
	return Source{Format: "jsonl", Dir: dir, Patterns: []string{"*.jsonl"}}, dirty
}

func questions() (list []string) {
	for i := range 4000 {
		list = append(list, question(i))
	}
	return list
}

func ids(list []Sample) (ids []string) {
	for _, d := range list {
		ids = append(ids, d.ID)
	}
	return ids
}

// What is left out depends on the documents alone: not on the order of reading, on what was found before, or on the
// cache of tokens. The others stay in their order.
func TestDecontaminate(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	s, dirty := leaks(t)
	all, _, _ := readAll(t, s)
	s.Against = []Against{against("questions", 13, 0, questions()...)}
	var want []Sample
	for _, d := range all {
		if !dirty[d.ID] {
			want = append(want, d)
		}
	}
	first, _, _ := readAll(t, s)
	if len(dirty) != 80 || !slices.EqualFunc(first, want, same) {
		t.Fatalf("%d documents of %d, want %d: %v", len(first), len(all), len(want), ids(first)[:10])
	}
	kept, err := filepath.Glob(filepath.Join(foreign.CacheDir(), "decontaminated", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	if again, _, _ := readAll(t, s); !slices.EqualFunc(again, want, same) {
		t.Error("what was kept gives other documents")
	}
	write(t, kept[0], "damaged")
	if again, _, _ := readAll(t, s); !slices.EqualFunc(again, want, same) {
		t.Error("a damaged file gives other documents")
	}
	c := open(t, s)
	n, of, err := c.Contaminated()
	if err != nil || n != 80 || !slices.Equal(of, []int64{80}) {
		t.Errorf("%d, %v, %v", n, of, err)
	}
	if places := c.ContaminatedPlaces(0, 2); len(places) != 2 || !strings.HasSuffix(places[0], "d.jsonl, line 4") ||
		!strings.HasSuffix(places[1], "d.jsonl, line 6") {
		t.Errorf("%q", places)
	}
	// A shuffled stream from the middle on meets each of the others once, with the cache of tokens and without.
	s.Shuffle, s.Epochs = true, 1
	for _, cached := range []string{"", t.TempDir(), "again"} {
		if cached != "again" {
			s.TokenDir = cached
		}
		st, err := open(t, s).Stream(Train, tok(t), 8, Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; drawn(st); n++ {
		}
		if n != len(want) {
			t.Errorf("an epoch has %d documents, want %d", n, len(want))
		}
	}
}

// Held-out documents stay, though they are what is kept out of the training data.
func TestHeldOutDocumentsStay(t *testing.T) {
	s, dirty := leaks(t)
	s.ValidationFraction = 0.5
	var held []string
	must(t, open(t, s).Texts(Validation, func(text string) bool { held = append(held, text); return true }))
	train := 0
	must(t, open(t, s).visit(Train, func(d *document) (bool, error) {
		if !dirty[d.id] {
			train++
		}
		return true, nil
	}))
	s.Against = []Against{against("questions", 13, 0, questions()...)}
	var stay, rest []string
	must(t, open(t, s).Texts(Validation, func(text string) bool { stay = append(stay, text); return true }))
	must(t, open(t, s).Texts(Train, func(text string) bool { rest = append(rest, text); return true }))
	if !slices.Equal(held, stay) || len(rest) != train {
		t.Errorf("%d held out, %d without; %d to train on, want %d", len(stay), len(held), len(rest), train)
	}
}

// An n-gram that many documents hold does not count, where that is asked for; each set counts by itself.
func TestMaxMatches(t *testing.T) {
	s, _ := leaks(t)
	common := "says something of its own, which nobody else has said before or after"
	for _, x := range []struct {
		matches int
		want    int64
	}{{0, 4000}, {3999, 0}, {4000, 4000}} {
		s.Against = []Against{against("common", 12, x.matches, common)}
		if n, _, err := open(t, s).Contaminated(); err != nil || n != x.want {
			t.Errorf("max_matches = %d: %d, %v", x.matches, n, err)
		}
	}
	s.Against = []Against{against("common", 12, 10, common+"\n\n"+question(3)), against("two", 13, 1, question(5), question(105))}
	n, of, err := open(t, s).Contaminated()
	if err != nil || n != 3 || !slices.Equal(of, []int64{1, 2}) {
		t.Errorf("%d, %v, %v", n, of, err)
	}
}

func TestDecontaminateErrors(t *testing.T) {
	s, _ := leaks(t)
	gone := errors.New("the files are gone")
	for want, a := range map[string]Against{
		"no document of short has 8 words or more":  against("short", 13, 0, "a few words only", ""),
		"no document of five has 5 words or more":   against("five", 5, 0, "a few words only"),
		"keep out of the training data: the files ": {Name: "gone", N: 13, Read: func(context.Context, func(string) bool) error { return gone }},
	} {
		s.Against = []Against{a}
		if _, err := open(t, s).Stream(Train, tok(t), 8, Cursor{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := open(t, s).Contaminated(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	s.Against = []Against{against("all", 13, 0, "Document 1 says something of its own, which nobody else has said before or after.")}
	s.Filter = "id == '1'"
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	if _, err := Measure(context.Background(), s, nil, Train); err != nil {
		t.Errorf("nothing is known before a run looks: %v", err)
	}
	c := open(t, s)
	if _, _, err := c.Contaminated(); err != nil {
		t.Fatal(err)
	}
	st, err := c.Stream(Train, tok(t), 8, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	_, run := st.Next(1)
	_, plan := Measure(context.Background(), s, nil, Train)
	for _, err := range []error{run, plan} {
		if none := (NoDocuments{}); !errors.As(err, &none) ||
			!strings.Contains(err.Error(), "1 share n-grams with those that decontaminate names") {
			t.Errorf("%v", err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
