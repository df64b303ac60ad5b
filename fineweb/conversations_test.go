package fineweb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// lengths are conversations of a number of tokens each: the row {"n": 5, "k": 3} has tokens 3, 3, 3, 3, 3, of which the
// first does not count.
func lengthsEncoder(_, text string) (ids []int32, loss []bool, quoted int, err error) {
	var row struct{ N, K int }
	if err := json.Unmarshal([]byte(text), &row); err != nil {
		return nil, nil, 0, err
	}
	if row.N < 0 {
		return nil, nil, 0, errors.New("it is upside down")
	}
	for i := range row.N {
		ids, loss = append(ids, int32(row.K)), append(loss, i > 0)
	}
	return ids, loss, 0, nil
}

func conversations(t *testing.T, n int, length func(i int) int) Source {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"n\": %d, \"k\": %d}\n", length(i), i+1)
	}
	path := filepath.Join(t.TempDir(), "c.jsonl")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return Source{Format: FormatConversations, Patterns: []string{path}, Shuffle: true}
}

func tunedStream(t *testing.T, s Source, tuning Tuning, seq int, at Position) *Mix {
	t.Helper()
	set, err := OpenSet(context.Background(), []Weighted{{Name: "a", Source: s, Weight: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	tuning.Encode = lengthsEncoder
	set.Tune(&tuning)
	m, err := set.Stream(Train, tok(t), seq, at)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestConversationsArePackedWhole: in every epoch each conversation lies once in a sequence, whole and on its own.
func TestConversationsArePackedWhole(t *testing.T) {
	for _, pack := range []bool{true, false} {
		s := conversations(t, 2345, func(i int) int { return 2 + i*7%29 })
		m := tunedStream(t, s, Tuning{Pack: pack}, 32, Position{})
		seen, sequences, padding := map[int32]int{}, 0, 0
		for {
			b, err := m.Next(1)
			if err != nil {
				t.Fatal(err)
			}
			if b.Cursor.Epoch > 0 && b.Cursor.Token > 0 { // of the next epoch
				break
			}
			sequences++
			for at := 0; at < 32; {
				if b.Segments[at] < 0 {
					padding++
					at++
					continue
				}
				k, n := b.IDs[at], 1
				for at+n < 32 && b.Segments[at+n] == b.Segments[at] {
					n++
				}
				if want := 2 + int(k-1)*7%29; n != want {
					t.Fatalf("conversation %d has %d tokens, not %d", k, n, want)
				}
				for j := range n {
					want := k
					if j == n-1 {
						want = Ignored
					}
					if b.IDs[at+j] != k || b.Targets[at+j] != want {
						t.Fatalf("conversation %d: token %d, target %d at %d", k, b.IDs[at+j], b.Targets[at+j], j)
					}
				}
				seen[k]++
				at += n
			}
		}
		for k := range int32(2345) {
			if seen[k+1] != 1 {
				t.Fatalf("pack %t: conversation %d was seen %d times", pack, k+1, seen[k+1])
			}
		}
		if waste := float64(padding) / float64(32*sequences); pack && waste > 0.05 || !pack && sequences != 2345 {
			t.Errorf("pack %t: %d sequences, %.0f %% of them padding", pack, sequences, 100*waste)
		}
	}
}

// TestTunedStreamGoesOn: from the position after any batch the same batches follow.
func TestTunedStreamGoesOn(t *testing.T) {
	s := conversations(t, 1500, func(i int) int { return 2 + i*11%61 })
	s.ValidationFraction = 0.1
	for _, tuning := range []Tuning{{Pack: true}, {Wrap: true}} {
		goesOn(t, s, tuning)
	}
}

func goesOn(t *testing.T, s Source, tuning Tuning) {
	t.Helper()
	m := tunedStream(t, s, tuning, 48, Position{})
	var want []*Batch
	for range 80 {
		b, err := m.Next(16)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, b)
	}
	if last := want[79].Cursor; last.Epoch == 0 {
		t.Fatal("the test needs more than one epoch")
	}
	for i := 0; i+1 < len(want); i += 7 {
		b, err := tunedStream(t, s, tuning, 48, want[i].Cursor).Next(16)
		if err != nil {
			t.Fatal(err)
		}
		x := want[i+1]
		if !slices.Equal(b.IDs, x.IDs) || !slices.Equal(b.Targets, x.Targets) || !slices.Equal(b.Segments, x.Segments) || fmt.Sprint(b.Cursor) != fmt.Sprint(x.Cursor) {
			t.Fatalf("after batch %d, at %+v, another batch follows", i, want[i].Cursor)
		}
	}
}

// TestWrapped: conversations follow one another as in TRL's "wrapped", cut where a sequence is full, and the first token of one is
// predicted from the one before it where it counts.
func TestWrapped(t *testing.T) {
	s := conversations(t, 4, func(i int) int { return 2 + i })
	s.Shuffle = false
	b, err := tunedStream(t, s, Tuning{Wrap: true}, 5, Position{}).Next(3)
	if err != nil {
		t.Fatal(err)
	}
	const no = Ignored
	for name, x := range map[string][2][]int32{
		"ids":      {b.IDs, {1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 0}},
		"targets":  {b.Targets, {1, no, 2, 2, no, 3, 3, 3, no, no, 4, 4, 4, no, no}},
		"segments": {b.Segments, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1}},
	} {
		if !slices.Equal(x[0], x[1]) {
			t.Errorf("%s: %v, want %v", name, x[0], x[1])
		}
	}
	if at := b.Documents[4]; len(b.Documents) != 5 || at.Token != 1 || at.At != 10 || at.N != 4 || b.Truncated != 0 {
		t.Errorf("the conversations lie at %+v", b.Documents)
	}
}

// TestKeepEnd: the last tokens of a long conversation stay, with those that count.
func TestKeepEnd(t *testing.T) {
	s := conversations(t, 1, func(int) int { return 9 })
	set := setOf(t, s)
	tuning := Tuning{End: true, Encode: func(string, string) ([]int32, []bool, int, error) {
		return []int32{1, 2, 3, 4, 5, 6}, []bool{false, true, false, true, false, true}, 0, nil
	}}
	set.Tune(&tuning)
	m, err := set.Stream(Train, tok(t), 4, Position{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Next(1)
	if err != nil || !slices.Equal(b.IDs, []int32{3, 4, 5, 6}) || !slices.Equal(b.Targets, []int32{4, Ignored, 6, Ignored}) ||
		b.Truncated != 1 {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestLongConversations are cut or left out, and counted.
func TestLongConversations(t *testing.T) {
	s := conversations(t, 10, func(i int) int { return 3 + 3*i })
	for _, drop := range []bool{false, true} {
		m := tunedStream(t, s, Tuning{Pack: true, Drop: drop}, 16, Position{})
		b, err := m.Next(3)
		if err != nil || b.Truncated != 5 {
			t.Fatal(b, err)
		}
		longest := 0
		for _, x := range b.Documents {
			longest = max(longest, x.N)
		}
		if want := map[bool]int{false: 16, true: 15}[drop]; longest != want {
			t.Errorf("drop %t: the longest has %d tokens", drop, longest)
		}
	}
	s = conversations(t, 2500, func(i int) int { return 1 }) // more than are packed at once
	if _, err := tunedStream(t, s, Tuning{}, 16, Position{}).Next(1); err == nil || !strings.Contains(err.Error(), "none has a token that counts") {
		t.Error(err)
	}
	s.Epochs = 1
	if _, err := tunedStream(t, conversations(t, 3, func(i int) int { return 4 }), Tuning{}, 16, Position{}).Next(16); err == nil || !strings.Contains(err.Error(), "fewer than one batch") {
		t.Error(err)
	}
	s = conversations(t, 5, func(i int) int { return 4 })
	s.Epochs = 2
	m := tunedStream(t, s, Tuning{Pack: true}, 8, Position{})
	n := 0
	for {
		if _, err := m.Next(1); err != nil {
			if !errors.Is(err, ErrUsedUp) {
				t.Error(err)
			}
			break
		}
		n++
	}
	if n != 6 {
		t.Errorf("two epochs of five conversations, two a sequence, are %d sequences", n)
	}
}

// TestHeldConversations: they lie whole in windows, in order, also where the first has no tokens.
func TestHeldConversations(t *testing.T) {
	set := setOf(t, conversations(t, 6, func(i int) int { return []int{0, 3, 5, 0, 2, 5}[i] }))
	set.Tune(&Tuning{Encode: lengthsEncoder})
	var ids, targets []int32
	h, err := set.Held(tok(t), Windows{Split: All, Length: 8, Batch: 2}, func(b *Batch) error {
		ids, targets = append(ids, b.IDs...), append(targets, b.Targets...)
		return nil
	})
	if err != nil || h.Documents != 6 || h.Tokens != 2+4+1+4 {
		t.Fatal(h, err)
	}
	const no = Ignored
	wantIDs := []int32{2, 2, 2, 3, 3, 3, 3, 3, 5, 5, 6, 6, 6, 6, 6, 0}
	wantTargets := []int32{2, 2, no, 3, 3, 3, 3, no, 5, no, 6, 6, 6, 6, no, no}
	if !slices.Equal(ids, wantIDs) || !slices.Equal(targets, wantTargets) {
		t.Errorf("%v\n%v", ids, targets)
	}
}

// TestBadConversations say where they lie, or are counted.
func TestBadConversations(t *testing.T) {
	s := conversations(t, 20, func(i int) int { return map[bool]int{true: -1, false: 4}[i == 7] })
	if _, err := tunedStream(t, s, Tuning{}, 8, Position{}).Next(1); err == nil || !strings.Contains(err.Error(), "c.jsonl, line 8: it is upside down") {
		t.Error(err)
	}
	s.SkipErrors = true
	if b, err := tunedStream(t, s, Tuning{}, 8, Position{}).Next(4); err != nil || b.Skipped != 1 {
		t.Error(b, err)
	}
}

// TestConversationsInParquet reads nested columns, and the same batches as from JSON, from a kept copy the second time.
func TestConversationsInParquet(t *testing.T) {
	t.Setenv("STEPFLOW_CACHE_DIR", t.TempDir())
	type message struct {
		Role    string  `parquet:"role"`
		Content *string `parquet:"content,optional"`
	}
	type row struct {
		ID       string    `parquet:"id"`
		Messages []message `parquet:"messages,list"`
		Score    float64   `parquet:"score"`
	}
	dir := t.TempDir()
	a := "a\n\"<é"
	rows := []row{{"x", []message{{"user", &a}, {"assistant", nil}}, 0.5}, {"y", nil, 2}, {"z", []message{{"user", &a}}, 3}}
	if err := parquet.WriteFile(filepath.Join(dir, "c.parquet"), rows); err != nil {
		t.Fatal(err)
	}
	list := `[{"id": "x", "messages": [{"role": "user", "content": "a\n\"<é"}, {"role": "assistant", "content": null}], "score": 0.5},
		{"id": "y", "messages": [], "score": 2}, {"id": "z", "messages": [{"role": "user", "content": "a\n\"<é"}], "score": 3}]`
	if err := os.WriteFile(filepath.Join(dir, "c.json"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	var got [3][]string
	for i, name := range []string{"c.json", "c.parquet", "c.parquet"} {
		c, err := Open(t.Context(), Source{Format: FormatConversations, Patterns: []string{filepath.Join(dir, name)}, Filter: "score < 3"})
		if err != nil {
			t.Fatal(err)
		}
		err = c.visit(All, func(d *document) (bool, error) {
			var v any
			if err := json.Unmarshal([]byte(d.text), &v); err != nil {
				return false, err
			}
			b, err := json.Marshal(v)
			got[i] = append(got[i], d.id+string(b))
			return true, err
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if len(got[0]) != 2 || !slices.Equal(got[0], got[1]) || !slices.Equal(got[1], got[2]) {
		t.Errorf("%q", got)
	}
}

// TestUnreadableParquetConversations: what a row that cannot be read makes of a file is the same whenever it is opened.
func TestUnreadableParquetConversations(t *testing.T) {
	t.Setenv("STEPFLOW_CACHE_DIR", t.TempDir())
	type row struct {
		Text string `parquet:"text"`
	}
	path := filepath.Join(t.TempDir(), "c.parquet")
	if err := parquet.WriteFile(path, []row{{"a"}, {"\xff"}, {"b"}}); err != nil {
		t.Fatal(err)
	}
	s := Source{Format: FormatConversations, Patterns: []string{path}}
	for range 2 {
		if c, err := Open(t.Context(), s); err == nil || !strings.Contains(err.Error(), "c.parquet: row group 0, row 1: column text: ") {
			t.Fatal(c, err)
		}
	}
	s.SkipErrors = true
	c, err := Open(t.Context(), s)
	if err != nil || c.Rows != 3 || len(c.Warnings) > 0 {
		t.Fatal(c, err)
	}
	c.Close()
}
