package fineweb

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
)

// told are documents of 15 words each, of which no two share 13 in a row.
func told(n int) (texts []string) {
	for i := range n {
		var w []string
		for k := range 15 {
			w = append(w, fmt.Sprintf("w%d", i*7+k*(i+1)))
		}
		texts = append(texts, strings.Join(w, " "))
	}
	return texts
}

// asJSON writes a file of JSON lines.
func asJSON(t *testing.T, texts []string) Source {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	for i, x := range texts {
		fmt.Fprintf(&b, `{"id":"%d","text":%q}`+"\n", i, x)
	}
	write(t, filepath.Join(dir, "d.jsonl"), b.String())
	return Source{Format: "jsonl", Dir: dir, Patterns: []string{"d.jsonl"}, PredictFirst: true, DocumentMask: true}
}

// checked looks for the documents of one source in those of a set up to a position.
func checked(t *testing.T, tk *tokenizer.Tokenizer, measured Source, w Windows, set *Set, at Position) *Contamination {
	t.Helper()
	k := NewCheck(tk)
	must(t, setOf(t, measured).Measured(k, tk, w))
	must(t, set.Trained(k, at, 64))
	return k.Result()
}

// However data are ordered, cut, mixed and cached, a check finds the documents that a stream has given, wherever it
// stops, and no others.
func TestCheckFindsWhatWasGiven(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	inPieces(t, cut{40, 400})
	tk := tok(t)
	texts := told(300)
	measured := asJSON(t, texts)
	plain := asJSON(t, texts)
	shuffled := plain
	shuffled.Shuffle, shuffled.Seed, shuffled.ValidationFraction = true, 3, 0.2
	cached := shuffled
	cached.TokenDir = t.TempDir()
	var ids []int32
	for _, x := range texts {
		ids = append(ids, encoded(t, tk, x)...)
	}
	bin := binSource(t, narrow(ids[:len(ids)/2]), narrow(ids[len(ids)/2:]))
	bin.Shuffle = true
	halves := []Weighted{{Name: "a", Source: asJSON(t, texts[:100]), Weight: 1}, {Name: "b", Source: asJSON(t, texts[100:]), Weight: 3}}
	for name, parts := range map[string][]Weighted{"in order": {{Source: plain, Weight: 1}}, "shuffled": {{Source: shuffled, Weight: 1}},
		"cached": {{Source: cached, Weight: 1}}, "bin": {{Source: bin, Weight: 1}}, "mixture": halves} {
		set, err := OpenSet(context.Background(), parts)
		must(t, err)
		mix, err := set.Stream(Train, tk, 64, Position{})
		must(t, err)
		seen, at := map[string]bool{}, Position{}
		for step := range 60 {
			if step%9 == 0 {
				again, err := OpenSet(context.Background(), parts)
				must(t, err)
				got := checked(t, tk, measured, Windows{Split: All}, again, at)
				again.Close()
				// Of the last document of a file of tokens only what was given counts, which may hold no n-gram.
				n := int64(len(seen))
				if got.Documents != 300 || got.Words.Dirty > n || got.Words.Dirty < n && (name != "bin" || got.Words.Dirty < n-1) ||
					got.Tokens.Dirty > n || got.Tokens.Dirty < n && (name != "bin" || got.Tokens.Dirty < n-1) {
					t.Errorf("%s, step %d: %d documents were given; found %+v", name, step, n, got)
				}
			}
			b, err := mix.Next(9)
			must(t, err)
			for _, d := range b.Documents {
				seen[d.Origin.String()] = true
			}
			at = b.Cursor
		}
		if name != "mixture" && at.Epoch == 0 {
			t.Errorf("%s: the test never reads the data twice", name)
		}
		set.Close()
	}
}

// What is counted: the documents, their n-grams and where they are, those that are too short, and near misses.
func TestContamination(t *testing.T) {
	tk := tok(t)
	texts := told(6)
	measured := asJSON(t, append(texts, "too short to tell", "eight words that are looked for as one"))
	train := asJSON(t, []string{
		"Nothing of it.",
		"before " + strings.ToUpper(texts[1]) + " after",
		"before " + strings.TrimPrefix(texts[2], "w14 "), // 14 of its 15 words
		strings.Replace(texts[3], "w45", "w46", 1),       // a word in the middle
		"EIGHT words: that are looked, for as one",
		texts[1],
	})
	set := setOf(t, train)
	got := checked(t, tk, measured, Windows{Split: All}, set, Position{Cursor: Cursor{Epoch: 1}})
	if w := got.Words; got.Documents != 8 || w.Checked != 7 || w.Dirty != 3 || w.Grams != 6*3+1 || w.Found != 3+2+1 {
		t.Errorf("%+v", w)
	}
	if n := got.Tokens.Dirty; n < 2 || n > 4 { // tokens tell upper case from lower case
		t.Errorf("%+v", got.Tokens)
	}
	if l := got.First; len(l) != 3 || !strings.HasSuffix(l[0].Measured, "d.jsonl, line 2") || !strings.HasSuffix(l[0].Trained, "d.jsonl, line 2") ||
		l[0].Grams != 3 || l[0].Found != 3 || l[1].Found != 2 || !strings.HasSuffix(l[2].Trained, "d.jsonl, line 5") {
		t.Errorf("%+v", l)
	}
	// All of it trained on; nothing trained on.
	if all := checked(t, tk, measured, Windows{Split: All}, setOf(t, measured), Position{Cursor: Cursor{Epoch: 1}}); all.Words.Share() != 1 || all.Words.GramShare() != 1 || all.Tokens.Share() != 1 {
		t.Errorf("%+v", all)
	}
	if none := checked(t, tk, measured, Windows{Split: All}, set, Position{}); none.Words.Dirty+none.Tokens.Dirty != 0 {
		t.Errorf("%+v", none)
	}
	// Only what is measured counts.
	if first := checked(t, tk, measured, Windows{Split: All, Length: 8, Limit: 8}, set, Position{Cursor: Cursor{Epoch: 1}}); first.Documents != 1 {
		t.Errorf("%+v", first)
	}
}

// TestContaminationOfOthers compares with what tools/parity/contamination.py found, in the folder that
// STEPFLOW_CONTAMINATION names.
func TestContaminationOfOthers(t *testing.T) {
	dir := os.Getenv("STEPFLOW_CONTAMINATION")
	if dir == "" {
		t.Skip("STEPFLOW_CONTAMINATION names no folder")
	}
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		return b
	}
	tk, err := tokenizer.Parse(read("tokenizer.json"))
	must(t, err)
	var want struct {
		Words, Tokens [][2]int
		Unclean       []int
	}
	must(t, json.Unmarshal(read("expected.json"), &want))
	source := func(name string) Source { return Source{Format: "jsonl", Dir: dir, Patterns: []string{name}} }
	k := NewCheck(tk)
	must(t, setOf(t, source("eval.jsonl")).Measured(k, tk, Windows{Split: All}))
	began := time.Now()
	must(t, setOf(t, source("train.jsonl")).Trained(k, Position{Cursor: Cursor{Epoch: 1}}, 64))
	took := time.Since(began)
	for kind, want := range map[*overlap][][2]int{k.words: want.Words, k.tokens: want.Tokens} {
		if kind.index.Documents() != len(want) {
			t.Fatalf("%d documents, want %d", kind.index.Documents(), len(want))
		}
		differ := 0
		for i, w := range want {
			grams, found := kind.index.Document(i), 0
			for _, g := range grams {
				if kind.first[g].Load() > 0 {
					found++
				}
			}
			if len(grams) != w[0] || found != w[1] {
				if differ++; differ < 5 {
					t.Errorf("document %d has %d n-grams of which %d were found, want %v", i, len(grams), found, w)
				}
			}
		}
		if differ > 0 {
			t.Errorf("%d of %d documents differ", differ, len(want))
		}
	}
	clean := source("train.jsonl")
	clean.Against = []Against{{Name: "eval", Identity: "eval", N: 13, Read: func(_ context.Context, visit func(string) bool) error {
		return open(t, source("eval.jsonl")).Texts(All, visit)
	}}}
	c := open(t, clean)
	_, _, err = c.Contaminated()
	must(t, err)
	unclean := map[int64]bool{}
	for _, i := range want.Unclean {
		unclean[int64(i)] = true
	}
	for row := range c.Rows {
		if c.unclean.all.has(row) != unclean[row] {
			t.Errorf("row %d is left out: %t", row, !unclean[row])
		}
	}
	t.Logf("%d documents, and which of %d share words with them; %v for %d bytes", len(want.Words), c.Rows,
		took.Round(time.Millisecond), len(read("train.jsonl")))
}
