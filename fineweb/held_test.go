package fineweb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"stepflow/fineweb/tokenizer"
)

func noVisit(*Batch) error { return nil }

// prediction is a token that is predicted, and what stands before it in its window.
type prediction struct {
	before []int32
	token  int32
}

func (p prediction) String() string { return fmt.Sprint(p.before, " -> ", p.token) }

// predictions reads what a model is asked off the batches.
func predictions(t *testing.T, s *Set, tk *tokenizer.Tokenizer, w Windows) (list []string, h *Held) {
	t.Helper()
	masked := s.parts[0].Source.DocumentMask
	h, err := s.Held(tk, w, func(b *Batch) error {
		if len(b.IDs) != w.Length*w.Batch || len(b.Targets) != len(b.IDs) || len(b.Segments) != len(b.IDs) {
			t.Fatalf("a batch of %d ids, %d targets, %d segments", len(b.IDs), len(b.Targets), len(b.Segments))
		}
		for i, target := range b.Targets {
			if target == Ignored {
				continue
			}
			var before []int32
			for j := i / w.Length * w.Length; j <= i; j++ {
				if !masked || b.Segments[j] == b.Segments[i] {
					before = append(before, b.IDs[j])
				}
			}
			list = append(list, prediction{before, target}.String())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list, h
}

// predicted is a prediction of the token at a place of a text.
type predicted struct {
	prediction
	at int
}

// slidingWindow is the loop of Hugging Face's guide to the perplexity of fixed-length models, with its internal shift
// of labels.
func slidingWindow(ids []int32, length, stride int) (list []predicted) {
	before := 0
	for begin := 0; begin < len(ids); begin += stride {
		end := min(begin+length, len(ids))
		fresh := end - before
		input := ids[begin:end]
		for label := max(1, len(input)-fresh); label < len(input); label++ {
			list = append(list, predicted{prediction{input[:label], input[label]}, begin + label})
		}
		if before = end; end == len(ids) {
			break
		}
	}
	return list
}

// heldSet writes documents as JSON lines and opens them.
func heldSet(t *testing.T, mask, first bool, texts []string) *Set {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	for i, text := range texts {
		fmt.Fprintf(&b, "{\"id\":\"%d\",\"text\":%q}\n", i, text)
	}
	write(t, filepath.Join(dir, "d.jsonl"), b.String())
	s, err := OpenSet(context.Background(), []Weighted{{Source: Source{Format: "jsonl", Patterns: []string{"d.jsonl"},
		Dir: dir, DocumentMask: mask, PredictFirst: first}, Weight: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestWindowsAreTheRecipes compares windows of documents of random lengths with the loops that define them, written
// out.
func TestWindowsAreTheRecipes(t *testing.T) {
	tk := tok(t)
	rng := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the quick brown fox jumps over a lazy dog while seven wizards mix potions")
	for range 300 {
		var texts []string
		for range 1 + rng.IntN(6) {
			var text []string
			for range 1 + rng.IntN(12) {
				text = append(text, words[rng.IntN(len(words))])
			}
			texts = append(texts, strings.Join(text, " "))
		}
		length := 2 + rng.IntN(20)
		w := Windows{Split: All, Length: length, Batch: 1 + rng.IntN(4), EndOfText: rng.IntN(2) == 0}
		if rng.IntN(3) > 0 {
			w.Stride = 1 + rng.IntN(length)
		}
		if rng.IntN(3) == 0 {
			w.Join = new(string)
			*w.Join = "\n\n"
		}
		mask, first := rng.IntN(2) == 0, rng.IntN(2) == 0
		got, h := predictions(t, heldSet(t, mask, first, texts), tk, w)
		first = first && w.Join == nil

		var documents [][]int32
		bytes, wordCount := 0, 0
		if w.Join != nil {
			texts = []string{strings.Join(texts, *w.Join)}
		}
		for _, text := range texts {
			documents = append(documents, encoded(t, tk, text))
			bytes += len(text)
			wordCount += len(strings.Fields(text))
		}
		opener := []int32{tk.EOS}
		var all []int32 // with the token that opens the first
		if first {
			all = opener
		}
		unpredicted := map[int]bool{}
		for _, d := range documents {
			if !first {
				unpredicted[len(all)] = true
			}
			all = append(all, d...)
			if !w.EndOfText {
				unpredicted[len(all)-1] = true
			}
		}
		var want []string
		keep := func(list []predicted, without map[int]bool) {
			for _, p := range list {
				if !without[p.at] {
					want = append(want, p.String())
				}
			}
		}
		switch {
		case w.Stride > 0 && mask:
			for _, d := range documents {
				if first {
					d = append(opener, d...)
				}
				keep(slidingWindow(d, length, w.Stride), map[int]bool{len(d) - 1: !w.EndOfText})
			}
		case w.Stride > 0:
			keep(slidingWindow(all, length, w.Stride), unpredicted)
		// end to end: each token from those of its window, and with a mask of its document and the token that opens it
		default:
			at := 0
			if first {
				at = 1
			}
			for _, d := range documents {
				for i := range d {
					n := at + i
					begin := (n - 1) / length * length
					if mask && first {
						begin = max(begin, at-1)
					} else if mask {
						begin = max(begin, at)
					}
					if n > 0 && begin < n {
						keep([]predicted{{prediction{all[begin:n], d[i]}, n}}, unpredicted)
					}
				}
				at += len(d)
			}
		}
		if !reflect.DeepEqual(got, append([]string(nil), want...)) {
			t.Fatalf("%+v, mask %t, first %t: predicted\n%s\nwant\n%s", w, mask, first, strings.Join(got, "\n"),
				strings.Join(want, "\n"))
		}
		if h.Tokens != int64(len(want)) || h.Documents != int64(len(documents)) || h.Words != int64(wordCount) {
			t.Fatalf("%+v counts %d tokens, %d documents, %d words; want %d, %d, %d", w, h.Tokens, h.Documents, h.Words,
				len(want), len(documents), wordCount)
		}
		var counted, spelled int64
		for id, n := range h.Counts {
			counted += n
			spelled += n * int64(len(tk.Decode([]int32{id}, true)))
		}
		if counted != h.Tokens || spelled != h.Bytes {
			t.Fatalf("%+v, mask %t: %d tokens of %d bytes are counted, and %d of %d bytes predicted", w, mask, counted,
				spelled, h.Tokens, h.Bytes)
		}
	}
}

// TestHeldOfEverything measures whole sets: all documents of a fraction of 1, and of the split of all.
func TestHeldOfEverything(t *testing.T) {
	tk := tok(t)
	s := source(corpusDir(t))
	s.ValidationFraction = 1
	set, err := OpenSet(context.Background(), []Weighted{{Source: s, Weight: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	w := Windows{Split: All, Length: 16, Batch: 4, EndOfText: true}
	all, err := set.Held(tk, w, noVisit)
	if err != nil {
		t.Fatal(err)
	}
	w.Split = Validation
	held, err := set.Held(tk, w, noVisit)
	if err != nil || !reflect.DeepEqual(all, held) {
		t.Errorf("validation_fraction = 1 holds %+v of %+v out, %v", held, all, err)
	}
	n := 0
	if err := set.Texts(Train, func(string) bool { n++; return true }); err != nil || n != 0 {
		t.Errorf("%d documents are left to train on, %v", n, err)
	}
	if !s.held(^uint64(0)) {
		t.Error("the last hash is not held out by a fraction of 1")
	}
}

// TestHeldEndsWithItsVisitor ends reading at once where a batch fails, with the very error, and says why nothing is
// predicted.
func TestHeldEndsWithItsVisitor(t *testing.T) {
	tk := tok(t)
	enough := errors.New("enough")
	set := heldSet(t, true, false, []string{"a b c d e f g", "h i j k l m n", "o p q r s t u"})
	n := 0
	if _, err := set.Held(tk, Windows{Split: All, Length: 4, Batch: 1, EndOfText: true},
		func(*Batch) error { n++; return enough }); err != enough || n != 1 {
		t.Errorf("after %d batches: %v", n, err)
	}
	if _, err := heldSet(t, true, false, []string{"a"}).Held(tk, Windows{Split: All, Length: 4, Batch: 1},
		noVisit); err == nil || !strings.Contains(err.Error(), "one token") {
		t.Errorf("a document of one token: %v", err)
	}
	if _, err := set.Held(tk, Windows{Split: Validation, Length: 4, Batch: 1},
		noVisit); err == nil || !strings.Contains(err.Error(), "validation_fraction") {
		t.Errorf("an empty split: %v", err)
	}
	// Empty rows are part of a text that is joined, as in WikiText.
	join := "\n\n"
	h, err := heldSet(t, true, false, []string{"a", "", "b"}).Held(tk,
		Windows{Split: All, Length: 8, Batch: 1, Join: &join}, noVisit)
	if err != nil || h.Bytes != int64(len("a\n\n\n\nb")-1) || h.Documents != 1 {
		t.Errorf("%+v, %v", h, err)
	}
}
