package fineweb

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func take(t *testing.T, s Source, n int) (list []*Batch) {
	t.Helper()
	st, err := open(t, s).Stream(Train, tok(t), 16, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	for len(list) < n {
		b, err := st.Next(4)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

func tokenFiles(t *testing.T, dir string) (list []string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*", "*.tokens"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func bytesOf(t *testing.T, files []string) (n int64) {
	t.Helper()
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		n += st.Size()
	}
	return n
}

// With a cache of tokens the batches are those without: when it is filled on the way, when it is full, when parts of
// it are damaged, and with another split and seed over the same tokens.
func TestTokenCacheGivesTheSameBatches(t *testing.T) {
	least := int64(2)
	for name, change := range map[string]func(*Source){"plain": func(*Source) {}, "filtered": func(s *Source) { s.MinIntScore = &least }, "jsonl": func(s *Source) {
		var lines strings.Builder
		for i := 0; i < 50; i++ {
			lines.WriteString(`{"text":"` + strings.Repeat("some words ", i%5) + "\"}\n") // every fifth is empty
		}
		write(t, filepath.Join(s.Dir, "d.jsonl"), lines.String())
		s.Format, s.Patterns, s.SkipErrors = "jsonl", []string{"d.jsonl"}, true
	}} {
		t.Run(name, func(t *testing.T) {
			s := source(corpusDir(t))
			change(&s)
			want := take(t, s, 30)
			s.TokenDir = t.TempDir()
			same := func(when string) {
				t.Helper()
				if got := take(t, s, 30); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: other batches", when)
				}
			}
			same("filling")
			all := tokenFiles(t, s.TokenDir)
			if c := open(t, s); len(all) == 0 || len(all) != len(c.pieces()) {
				t.Fatalf("%d files of tokens", len(all))
			} else if n, of, size := c.Cached(tok(t)); n != of || size != bytesOf(t, all) {
				t.Errorf("%d of %d pieces are cached, %d bytes", n, of, size)
			}
			same("full")
			b, err := os.ReadFile(all[0])
			if err != nil {
				t.Fatal(err)
			}
			write(t, all[0], string(b[:len(b)/2]))
			b[len(b)-7] ^= 1
			write(t, all[len(all)-1], string(b))
			same("damaged")
			s.Seed, s.ValidationFraction = 99, 0.5
			got := take(t, s, 30)
			s.TokenDir = ""
			if !reflect.DeepEqual(got, take(t, s, 30)) {
				t.Error("another seed and split: other batches")
			}
			if n := len(tokenFiles(t, filepath.Dir(filepath.Dir(all[0])))); n != len(all) {
				t.Errorf("another seed made %d files of %d", n, len(all))
			}
		})
	}
}

func TestTokenize(t *testing.T) {
	s := source(corpusDir(t))
	s.TokenDir = t.TempDir()
	last, calls := 0, 0
	var tokens int64
	progress := func(done, of int, n int64) error {
		calls++
		if done != calls || of < 2 || n < tokens {
			t.Errorf("progress %d of %d, %d tokens", done, of, n)
		}
		last, tokens = of, n
		return nil
	}
	if err := Tokenize(context.Background(), s, tok(t), progress); err != nil {
		t.Fatal(err)
	}
	if calls != last || len(tokenFiles(t, s.TokenDir)) != last {
		t.Errorf("%d of %d pieces", calls, last)
	}
	var want int64
	for _, d := range rows(100) {
		want += int64(len(encoded(t, tok(t), d.Text)))
	}
	if tokens != want {
		t.Errorf("%d tokens, not %d", tokens, want)
	}
	s.TokenDir = ""
	if err := Tokenize(context.Background(), s, tok(t), nil); err == nil || !strings.Contains(err.Error(), `cache = "tokens"`) {
		t.Errorf("without a cache: %v", err)
	}
}

func FuzzTokens(f *testing.F) {
	dir := f.TempDir()
	seed := filepath.Join(dir, "x")
	for _, vocab := range []int{300, 100_000} {
		p := seed
		if err := writeTokens(p, []document{{hash: 1, ids: []int32{1, 2, 3}}, {hash: 2, drop: true}, {hash: 3, flaw: empty}}, vocab); err != nil {
			f.Fatal(err)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := parseTokens(filepath.Join(dir, "y"), b, 1<<30); err == nil {
			f.Error("a file of tokens is taken for another's")
		}
		docs, err := parseTokens(p, b, 1<<30)
		if err != nil || len(docs) != 3 || len(docs[0].ids) != 3 || docs[0].ids[2] != 3 || !docs[1].drop || docs[2].flaw != empty || docs[2].hash != 3 {
			f.Fatalf("%+v, %v", docs, err)
		}
		for _, small := range []int{2, 3} {
			if _, err := parseTokens(p, b, small); err == nil {
				f.Errorf("token 3 is taken for one of %d", small)
			}
		}
		f.Add(b[:len(b)-4])
	}
	f.Fuzz(func(t *testing.T, b []byte) { // what a file holds before its checksum, which the fuzzer would not find
		b = binary.LittleEndian.AppendUint32(slices.Clone(b), tokensSum(seed, b))
		docs, err := parseTokens(seed, b, 1<<30)
		if err != nil {
			return
		}
		p := filepath.Join(t.TempDir(), "x")
		vocab := 1 << 16
		if b[8] == 4 {
			vocab++
		}
		if err := writeTokens(p, docs, vocab); err != nil {
			t.Fatal(err)
		}
		again, err := readTokens(p, 1<<30)
		if err != nil || len(again) != len(docs) {
			t.Errorf("%d documents became %d, %v", len(docs), len(again), err)
		}
	})
}

// mixed opens a mixture of web text, code and notes by weights 5, 3 and 2.
func mixed(t *testing.T, change func([]Weighted)) *Set {
	t.Helper()
	dir := t.TempDir()
	var parts []Weighted
	for i, n := range []string{"web", "code", "notes"} {
		var text strings.Builder
		for j := 0; j < 40; j++ {
			text.WriteString(strings.Repeat(n+" ", 3+(i+j)%7) + "\n\n")
		}
		write(t, filepath.Join(dir, n+".txt"), text.String())
		parts = append(parts, Weighted{Name: n, Weight: []float64{5, 3, 2}[i], Source: Source{Format: "text", Dir: dir, Patterns: []string{n + ".txt"}, Separator: "\n\n", Shuffle: true, DocumentMask: true, ValidationFraction: 0.2}})
	}
	if change != nil {
		change(parts)
	}
	set, err := OpenSet(context.Background(), parts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

func TestMixture(t *testing.T) {
	tk := tok(t)
	set := mixed(t, nil)
	m, err := set.Stream(Train, tk, 16, Position{})
	if err != nil {
		t.Fatal(err)
	}
	var all []*Batch
	given := make([]int, 3)
	for i := 0; i < 50; i++ {
		b, err := m.Next(4)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range b.Documents {
			d.Origin.File = ""
		}
		all = append(all, b)
		for j, n := range b.Sources {
			given[j] += n
		}
		// The shares are right at every moment, to a sequence or so.
		for j, w := range []float64{0.5, 0.3, 0.2} {
			if total := float64(4 * (i + 1)); float64(given[j]) < w*total-1.5 || float64(given[j]) > w*total+1.5 {
				t.Errorf("after %g sequences source %d gave %d, not %g", total, j, given[j], w*total)
			}
		}
	}
	if got := all[49].Cursor.Drawn; got[0]+got[1]+got[2] != 200 {
		t.Errorf("%v were drawn", got)
	}
	// From any position on it is the same.
	for _, i := range []int{0, 1, 17, 48} {
		m, err := mixed(t, nil).Stream(Train, tk, 16, all[i].Cursor)
		if err != nil {
			t.Fatal(err)
		}
		b, err := m.Next(4)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range b.Documents {
			d.Origin.File = ""
		}
		if !reflect.DeepEqual(b, all[i+1]) {
			t.Errorf("going on from batch %d gives another batch", i)
		}
	}
	if _, err := mixed(t, func(p []Weighted) {}).Stream(Train, tk, 16, Position{Sources: make([]Cursor, 2), Drawn: make([]int64, 2)}); err == nil {
		t.Error("a position in another mixture is taken")
	}
	h, err := set.Held(tk, Windows{Split: Validation, Length: 16, Batch: 4, EndOfText: true}, noVisit)
	if err != nil || h.Documents < 10 {
		t.Fatalf("%+v, %v", h, err)
	}
	n := 0
	if err := set.Texts(Validation, func(string) bool { n++; return true }); err != nil || int64(n) != h.Documents {
		t.Errorf("%d held documents, %d texts, %v", h.Documents, n, err)
	}
	n = 0
	if err := set.Texts(Train, func(string) bool { n++; return n < 45 }); err != nil || n != 45 {
		t.Errorf("%d texts, %v", n, err)
	}
}

// A source that may be read once drops out, and the others go on by their weights; when none is left, that is said.
func TestMixtureIsUsedUp(t *testing.T) {
	tk := tok(t)
	m, err := mixed(t, func(p []Weighted) { p[0].Source.Epochs = 1 }).Stream(Train, tk, 16, Position{})
	if err != nil {
		t.Fatal(err)
	}
	var last *Batch
	for i := 0; i < 200; i++ {
		if last, err = m.Next(4); err != nil {
			t.Fatal(err)
		}
	}
	d := last.Cursor.Drawn
	if !m.usedUp[0] || last.Sources[0] != 0 {
		t.Errorf("the first source still gives: %v", d)
	}
	if r := float64(d[1]) / float64(d[2]); r < 1.4 || r > 1.6 {
		t.Errorf("the others gave %v", d)
	}
	m, err = mixed(t, func(p []Weighted) {
		for i := range p {
			p[i].Source.Epochs = 2
		}
	}).Stream(Train, tk, 16, Position{})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = m.Next(4)
	}
	if !strings.Contains(err.Error(), "used up") || !strings.Contains(err.Error(), "mixture") {
		t.Errorf("the end is %v", err)
	}
	s := source(corpusDir(t))
	s.Epochs = 1
	st, err := open(t, s).Stream(Train, tk, 16, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = st.Next(4)
	}
	if !strings.Contains(err.Error(), "used up: raise epochs") || n < 5 {
		t.Errorf("after %d batches: %v", n, err)
	}
}

func TestMeasure(t *testing.T) {
	tk := tok(t)
	s := source(corpusDir(t))
	s.ValidationFraction = 0
	var want int64
	for _, d := range rows(100) {
		want += int64(len(encoded(t, tk, d.Text)))
	}
	if size, err := Measure(context.Background(), s, tk, Train); err != nil || size.Tokens != want || size.How != Exact {
		t.Errorf("%+v, %v; there are %d", size, err, want)
	}
	if size, err := Measure(context.Background(), s, nil, Train); err != nil || size.How != BytesAlone || size.Tokens < 500 {
		t.Errorf("without a tokenizer: %+v, %v", size, err)
	}
	big := t.TempDir()
	if err := WriteParquet(filepath.Join(big, "0.parquet"), rows(10_000), 1000); err != nil {
		t.Fatal(err)
	}
	s.Dir = big
	want = 0
	for _, d := range rows(10_000) {
		want += int64(len(encoded(t, tk, d.Text)))
	}
	if size, err := Measure(context.Background(), s, tk, Train); err != nil || size.How != BySample || float64(size.Tokens) < 0.95*float64(want) || float64(size.Tokens) > 1.05*float64(want) {
		t.Errorf("by a sample: %+v, %v; there are %d", size, err, want)
	}
	n, ok, err := open(t, s).counted()
	if last := int64(10_000); err != nil || !ok || n != last*(last-1)/2 {
		t.Errorf("token_count adds up to %d, %t, %v", n, ok, err)
	}
}
