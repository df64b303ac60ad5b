package fineweb

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stepflow/fineweb/tokenizer"
)

// rows makes n documents of differing length.
func rows(n int) []Row {
	list := make([]Row, n)
	for i := range list {
		list[i] = Row{Text: fmt.Sprintf("Document %d says: ", i) + strings.Repeat("word ", i%17+1),
			ID:       fmt.Sprintf("<urn:uuid:%d>", i),
			Language: []string{"en", "de"}[i%2], LanguageScore: float64(i%10) / 10, TokenCount: int64(i),
			Score: float64(i % 6), IntScore: int64(i % 6)}
	}
	return list
}

func corpusDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	all := rows(100)
	for i, part := range [][]Row{all[:40], all[40:]} {
		if err := WriteParquet(filepath.Join(dir, fmt.Sprintf("%03d.parquet", i)), part, 7); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// encoded is a document's tokens.
func encoded(t testing.TB, tk *tokenizer.Tokenizer, text string) []int32 {
	t.Helper()
	ids, _, err := tk.Document(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func tok(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tr := tokenizer.NewTrainer()
	for _, r := range rows(100) {
		tr.Add(r.Text)
	}
	tk, err := tr.Train(t.Context(), 300)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func source(dir string) Source {
	return Source{Format: "fineweb_edu", Patterns: []string{"*.parquet"}, Dir: dir, Seed: 7, Shuffle: true,
		DocumentMask: true, PredictFirst: true, ValidationFraction: 0.2}
}

func open(t testing.TB, s Source) *Corpus {
	t.Helper()
	c, err := Open(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSeekGivesTheSameTokens(t *testing.T) {
	c := open(t, source(corpusDir(t)))
	tk := tok(t)
	s, err := c.Stream(Train, tk, 16, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	var batches []*Batch
	for len(batches) < 60 { // several epochs
		b, err := s.Next(4)
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
	if last := batches[len(batches)-1].Cursor; last.Epoch < 2 {
		t.Fatalf("the test wants several epochs, ended at %+v", last)
	}
	for i := 0; i+1 < len(batches); i++ {
		raw, err := json.Marshal(batches[i].Cursor)
		if err != nil {
			t.Fatal(err)
		}
		var at Cursor
		if err := json.Unmarshal(raw, &at); err != nil {
			t.Fatal(err)
		}
		s, err := c.Stream(Train, tk, 16, at)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Next(4)
		if err != nil {
			t.Fatal(err)
		}
		if want := batches[i+1]; !slices.Equal(b.IDs, want.IDs) || !slices.Equal(b.Targets,
			want.Targets) || !slices.Equal(b.Segments, want.Segments) || !reflect.DeepEqual(b.Cursor, want.Cursor) {
			t.Fatalf("seeking to %+v gives other tokens than reading on", at)
		}
	}
}

func TestEpochHoldsEveryDocumentOnce(t *testing.T) {
	s := source(corpusDir(t))
	c := open(t, s)
	seen := map[int64]map[string]int{}
	st, err := c.Stream(Train, tok(t), 8, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	var orders [3][]string
	for st.read.Epoch < 3 {
		e := st.read.Epoch
		d, at, err := st.next()
		if err != nil {
			t.Fatal(err)
		}
		if st.read.Epoch != e && st.read.Epoch == 3 {
			break
		}
		if seen[at.Epoch] == nil {
			seen[at.Epoch] = map[string]int{}
		}
		seen[at.Epoch][d.id]++
		orders[at.Epoch] = append(orders[at.Epoch], d.id)
	}
	var held int
	if err := c.Texts(Validation, func(string) bool { held++; return true }); err != nil {
		t.Fatal(err)
	}
	if held < 8 || held > 35 {
		t.Errorf("20 %% of 100 documents are held out, not %d", held)
	}
	for e := int64(0); e < 3; e++ {
		if len(seen[e]) != 100-held {
			t.Errorf("epoch %d has %d documents, want %d", e, len(seen[e]), 100-held)
		}
		for id, n := range seen[e] {
			if n != 1 {
				t.Errorf("epoch %d reads %s %d times", e, id, n)
			}
		}
	}
	if reflect.DeepEqual(orders[0], orders[1]) {
		t.Error("two epochs have the same order")
	}
}

// Where documents end, what is predicted and what attention sees depend on the mask, on whether first tokens are
// predicted, and on whether a document begins with a token of its own.
func TestDocumentMask(t *testing.T) {
	dir := corpusDir(t)
	plain := tok(t)
	begun := withTemplate(t, plain)
	for _, c := range []struct {
		mask, first bool
		tok         *tokenizer.Tokenizer
		opens       bool // the end-of-text token belongs to the document after it
		ignored     bool // it predicts nothing
	}{
		{true, true, plain, true, false},
		{true, false, plain, false, true},
		{false, true, plain, true, false},
		{false, false, plain, false, true},
		{true, true, begun, false, true},
		{true, false, begun, false, true},
		{false, true, begun, false, false},
		{false, false, begun, false, false},
	} {
		s := source(dir)
		s.DocumentMask, s.PredictFirst = c.mask, c.first
		st, err := open(t, s).Stream(Train, c.tok, 32, Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := st.Next(8)
		if err != nil {
			t.Fatal(err)
		}
		ends, valid := 0, 0
		for i, target := range b.Targets {
			end := b.IDs[i] == c.tok.EOS
			if end {
				ends++
			}
			if target != Ignored {
				valid++
			}
			if (target == Ignored) != (end && c.ignored) {
				t.Errorf("%+v: position %d of token %d has target %d", c, i, b.IDs[i], target)
			}
			if i+1 < len(b.IDs) && target != Ignored && target != b.IDs[i+1] {
				t.Errorf("%+v: position %d predicts %d, and %d follows", c, i, target, b.IDs[i+1])
			}
			if i%32 == 0 {
				continue
			}
			begins := end && c.opens || b.IDs[i-1] == c.tok.EOS && !c.opens
			if (b.Segments[i] != b.Segments[i-1]) != begins {
				t.Errorf("%+v: segments %d and %d at %d", c, b.Segments[i-1], b.Segments[i], i)
			}
		}
		if ends < 3 || b.Valid != valid {
			t.Errorf("%+v: %d documents end, %d targets count, not %d", c, ends, b.Valid, valid)
		}
	}
}

// withTemplate is a tokenizer whose template puts a token in front of a text, as LLaMA's do.
func withTemplate(t testing.TB, tk *tokenizer.Tokenizer) *tokenizer.Tokenizer {
	t.Helper()
	id := tk.VocabSize()
	with := withToken(t, tk, id, "<s>", map[string]any{"type": "TemplateProcessing", "pair": []any{},
		"single": []any{map[string]any{"SpecialToken": map[string]any{"id": "<s>", "type_id": 0}},
			map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}}},
		"special_tokens": map[string]any{"<s>": map[string]any{"id": "<s>", "ids": []int{id}, "tokens": []string{"<s>"}}}})
	if with.BOS != int32(id) {
		t.Fatalf("BOS is %d", with.BOS)
	}
	return with
}

func TestFilters(t *testing.T) {
	dir := corpusDir(t)
	count := func(change func(*Source)) int {
		s := source(dir)
		s.ValidationFraction = 0
		change(&s)
		n := 0
		if err := open(t, s).Texts(Train, func(string) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	three, half, fifty := int64(3), 0.5, int64(50)
	want := func(name string, got int, keep func(Row) bool) {
		n := 0
		for _, r := range rows(100) {
			if keep(r) {
				n++
			}
		}
		if got != n {
			t.Errorf("%s keeps %d documents, want %d", name, got, n)
		}
	}
	want("min_int_score", count(func(s *Source) { s.MinIntScore = &three }), func(r Row) bool { return r.IntScore >= 3 })
	want("min_language_score", count(func(s *Source) { s.MinLanguageScore = &half }),
		func(r Row) bool { return r.LanguageScore >= 0.5 })
	want("min_token_count", count(func(s *Source) { s.MinTokenCount = &fifty }),
		func(r Row) bool { return r.TokenCount >= 50 })
	want("languages", count(func(s *Source) { s.Languages = []string{"de"} }),
		func(r Row) bool { return r.Language == "de" })
}

func TestFormatsShareEverything(t *testing.T) {
	dir := t.TempDir()
	var lines, text strings.Builder
	for _, r := range rows(30) {
		b, err := json.Marshal(map[string]string{"text": r.Text, "id": r.ID})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s\n", b)
		fmt.Fprintf(&text, "%s\n\n", r.Text)
	}
	write(t, filepath.Join(dir, "a.jsonl"), lines.String())
	write(t, filepath.Join(dir, "a.txt"), text.String())
	if err := WriteParquet(filepath.Join(dir, "a.parquet"), rows(30), 7); err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for _, f := range []Source{{Format: "parquet", Patterns: []string{"a.parquet"}},
		{Format: "jsonl", Patterns: []string{"a.jsonl"}}, {Format: "text", Patterns: []string{"a.txt"}, Separator: "\n\n"}} {
		f.Dir = dir
		var texts []string
		if err := open(t, f).Texts(Train, func(s string) bool {
			texts = append(texts,
				strings.TrimSpace(s))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		all = append(all, texts)
	}
	if !reflect.DeepEqual(all[0], all[1]) || !reflect.DeepEqual(all[0], all[2]) {
		t.Error("parquet, jsonl and text give different documents")
	}
}

func write(t testing.TB, path, s string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBadInput(t *testing.T) {
	good := corpusDir(t)
	b, err := os.ReadFile(filepath.Join(good, "000.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		src   Source
		want  []string
	}{
		"no match": {nil, Source{Format: "parquet", Patterns: []string{"*.parquet"}}, []string{"*.parquet", "no file"}},
		"missing column": {map[string]string{"x.parquet": string(b)},
			Source{Format: "parquet", Patterns: []string{"x.parquet"}, TextColumn: "body"},
			[]string{"x.parquet", `"body"`, "language_score"}},
		"not strings": {map[string]string{"x.parquet": string(b)},
			Source{Format: "parquet", Patterns: []string{"x.parquet"}, TextColumn: "score"}, []string{"score", "strings"}},
		"truncated": {map[string]string{"x.parquet": string(b[:len(b)/2])},
			Source{Format: "parquet", Patterns: []string{"x.parquet"}}, []string{"x.parquet"}},
		"not parquet": {map[string]string{"x.parquet": "hello"},
			Source{Format: "parquet", Patterns: []string{"x.parquet"}}, []string{"x.parquet", "parquet"}},
		"empty file": {map[string]string{"x.parquet": ""}, Source{Format: "parquet", Patterns: []string{"x.parquet"}},
			[]string{"x.parquet"}},
		"bad json": {map[string]string{"x.jsonl": "{\"text\":\"a\"}\n{oops\n"},
			Source{Format: "jsonl", Patterns: []string{"x.jsonl"}}, []string{"x.jsonl", "line 2"}},
		"json field": {map[string]string{"x.jsonl": "{\"body\":\"a\"}\n"},
			Source{Format: "jsonl", Patterns: []string{"x.jsonl"}}, []string{"line 1", `"text"`}},
		"zero bytes": {map[string]string{"x.jsonl": "{\"text\":\"a\"}\n{\"text\":\"\"}\n"},
			Source{Format: "jsonl", Patterns: []string{"x.jsonl"}}, []string{"x.jsonl, line 2", "empty"}},
		"not utf-8": {map[string]string{"x.txt": "a\xff"}, Source{Format: "text", Patterns: []string{"x.txt"}},
			[]string{"x.txt, document 1", "UTF-8"}},
		"remote": {nil, Source{Format: "parquet", Patterns: []string{"gs://a/b/*.parquet"}},
			[]string{"gs://", "AWS_ENDPOINT_URL"}},
	} {
		c.src.Dir = t.TempDir()
		for f, s := range c.files {
			write(t, filepath.Join(c.src.Dir, f), s)
		}
		corpus, err := Open(context.Background(), c.src)
		if err == nil {
			err = corpus.Texts(Train, func(string) bool { return true })
		}
		for _, w := range c.want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %v does not name %s", name, err, w)
			}
		}
	}
}

func TestSkipCounts(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.jsonl"), "{\"text\":\"one\"}\n{\"text\":\"\"}\n{\"text\":\"three\"}\n")
	s := Source{Format: "jsonl", Patterns: []string{"x.jsonl"}, Dir: dir, SkipErrors: true}
	c := open(t, s)
	n := 0
	if err := c.Texts(Train, func(string) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	if n != 2 || c.Skipped != 1 {
		t.Errorf("read %d documents and skipped %d, want 2 and 1", n, c.Skipped)
	}
}

func TestTooSmall(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.txt"), "tiny")
	s, err := open(t, Source{Format: "text", Patterns: []string{"x.txt"}, Dir: dir}).Stream(Train, tok(t), 64, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(8); err == nil || !strings.Contains(err.Error(), "smaller than one batch") {
		t.Errorf("error is %v", err)
	}
	f := source(corpusDir(t))
	huge := int64(1 << 40)
	f.MinTokenCount = &huge
	if _, err := Open(context.Background(), f); !errors.As(err, &NoDocuments{}) || !strings.Contains(err.Error(),
		"passes the filters: token_count >= 1099511627776; the least and largest") {
		t.Errorf("error is %v", err)
	}
	f.MinTokenCount, f.Filter = nil, "startswith(text, 'none')"
	if s, err = open(t, f).Stream(Train, tok(t), 8, Cursor{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(1); !errors.As(err, &NoDocuments{}) || !strings.Contains(err.Error(), "no document") {
		t.Errorf("error is %v", err)
	}
	if size, err := Measure(context.Background(), f, tok(t), Train); !errors.As(err, &NoDocuments{}) {
		t.Errorf("%+v, %v", size, err)
	}
}

// An evaluation counts whole documents: their first tokens too where the end-of-text token predicts them.
func TestHeldCountsWholeDocuments(t *testing.T) {
	for _, first := range []bool{true, false} {
		s := source(corpusDir(t))
		s.PredictFirst = first
		c := open(t, s)
		tk := tok(t)
		set, err := OpenSet(context.Background(), []Weighted{{Source: s, Weight: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		var batches []*Batch
		h, err := set.Held(tk, Windows{Split: Validation, Length: 16, Batch: 4, EndOfText: true},
			func(b *Batch) error { batches = append(batches, b); return nil })
		if err != nil {
			t.Fatal(err)
		}
		var tokens, bytes, docs int64
		var flat []int32
		if err := c.Texts(Validation, func(s string) bool {
			ids := encoded(t, tk, s)
			flat = append(flat, ids...)
			tokens += int64(len(ids))
			bytes += int64(len(s))
			if !first {
				tokens--
				bytes -= int64(len(tk.Decode(ids[:1], true)))
			}
			docs++
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if h.Tokens != tokens || h.Bytes != bytes || h.Documents != docs {
			t.Errorf("%d tokens, %d bytes, %d documents; want %d, %d, %d", h.Tokens, h.Bytes, h.Documents, tokens, bytes, docs)
		}
		if !first {
			continue
		}
		var targets []int32
		for _, b := range batches {
			for i, target := range b.Targets {
				if target != Ignored {
					targets = append(targets, target)
				}
				if i%16 > 0 && target != Ignored && (b.Segments[i] != b.Segments[i-1]) != (b.IDs[i] == tk.EOS) {
					t.Errorf("segments %d and %d before token %d", b.Segments[i-1], b.Segments[i], b.IDs[i])
				}
			}
		}
		if !slices.Equal(targets, flat) || batches[0].IDs[0] != tk.EOS {
			t.Errorf("%d targets are not the %d tokens of the documents", len(targets), len(flat))
		}
	}
}

func TestPrefetchEndsWithItsContext(t *testing.T) {
	set, err := OpenSet(context.Background(), []Weighted{{Source: source(corpusDir(t)), Weight: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	s, err := set.Stream(Train, tok(t), 16, Position{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ch := s.Prefetch(ctx, 2, 3)
	if p := <-ch; p.Err != nil || len(p.Batch.IDs) != 32 {
		t.Fatalf("first batch %+v", p)
	}
	cancel()
	for range ch { // drains what was packed; the channel is closed
	}
}

// TestFlippedBytes damages a file everywhere: whatever happens, it is an error or text, no panic.
func TestFlippedBytes(t *testing.T) {
	dir := corpusDir(t)
	b, err := os.ReadFile(filepath.Join(dir, "000.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	bad := t.TempDir()
	for i := 0; i < len(b); i += max(1, len(b)/400) {
		d := slices.Clone(b)
		d[i] ^= 0x55
		write(t, filepath.Join(bad, "x.parquet"), string(d))
		c, err := Open(context.Background(), Source{Format: "fineweb_edu", Patterns: []string{"x.parquet"}, Dir: bad})
		if err != nil {
			continue
		}
		n := 0
		err = c.Texts(Train, func(string) bool { n++; return true })
		var place *BadDocument
		if err != nil && (!errors.As(err, &place) || !strings.Contains(err.Error(), "x.parquet, row group")) {
			t.Errorf("byte %d: error %v names no row group", i, err)
		}
		if n > int(c.Rows) {
			t.Errorf("byte %d: %d rows of %d", i, n, c.Rows)
		}
		c.Close()
	}
}

func TestSharedParquet(t *testing.T) {
	data := os.Getenv("STEPFLOW_TEST_DATA")
	if data == "" {
		t.Skip("STEPFLOW_TEST_DATA names no folder with parquet/")
	}
	for _, f := range []string{"fineweb_schema.parquetrs.snappy.v1.rg16.parquet",
		"fineweb_schema.parquetrs.zstd.v2.rg16.parquet"} {
		c := open(t, Source{Format: "fineweb_edu", Patterns: []string{f}, Dir: filepath.Join(data, "parquet")})
		n := 0
		if err := c.Texts(Train, func(string) bool { n++; return true }); err != nil || n != 63 || c.Groups() != 4 {
			t.Errorf("%s: %d rows in %d groups, %v", f, n, c.Groups(), err)
		}
	}
	z, err := zip.OpenReader(filepath.Join(data, "parquet", "parquet-fixtures.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	dir := t.TempDir()
	for _, f := range z.File {
		if !strings.HasSuffix(f.Name, ".parquet") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "x.parquet"), string(b))
		// most lack the columns: an error, no panic
		c, err := Open(context.Background(), Source{Format: "fineweb_edu", Patterns: []string{"x.parquet"}, Dir: dir})
		if err == nil {
			_ = c.Texts(Train, func(string) bool { return true })
			c.Close()
		}
	}
}

func BenchmarkStream(b *testing.B) {
	dir := b.TempDir()
	all := rows(2000)
	if err := WriteParquet(filepath.Join(dir, "x.parquet"), all, 500); err != nil {
		b.Fatal(err)
	}
	s := source(dir)
	s.Patterns = []string{"x.parquet"}
	st, err := open(b, s).Stream(Train, tok(b), 256, Cursor{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		if _, err := st.Next(8); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*8*256)/b.Elapsed().Seconds(), "tokens/s")
}

func TestGoDocs(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no Go installation to read")
	}
	goroot := strings.TrimSpace(string(root))
	sample, err := GoDocs(goroot, 0.08)
	if err != nil {
		t.Fatal(err)
	}
	checkQuestions(t, sample)
	rows := sample.Rows
	part, packages := t.TempDir(), []string{"src/errors", "src/fmt", "src/net/url", "src/strings"}
	for _, p := range packages {
		if err := os.CopyFS(filepath.Join(part, p), os.DirFS(filepath.Join(goroot, p))); err != nil {
			t.Fatal(err)
		}
	}
	again, err := GoDocs(part, 0.08)
	want := slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return !slices.Contains(packages, r.FilePath) })
	if err != nil || len(again.Rows) != len(packages) || !reflect.DeepEqual(again.Rows, want) {
		t.Errorf("reading the documentation of %d packages again gives other rows: %v", len(again.Rows), err)
	}
	found := false
	for _, r := range rows {
		found = found || r.FilePath == "src/fmt" && strings.Contains(r.Text,
			"formatted I/O") && r.TokenCount > 1000 && r.IntScore >= 3
	}
	if len(rows) < 100 || !found {
		t.Errorf("%d documents, fmt among them: %t", len(rows), found)
	}
	if _, err := GoDocs(t.TempDir(), 0); err == nil {
		t.Error("an empty folder has documentation")
	}
}

// TestWriters reads the files that tools/parity/parquet_writers.py wrote to the folder STEPFLOW_PARQUET_DIFF names.
func TestWriters(t *testing.T) {
	dir := os.Getenv("STEPFLOW_PARQUET_DIFF")
	if dir == "" {
		t.Skip("STEPFLOW_PARQUET_DIFF names no folder")
	}
	b, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want [][2]string
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.parquet"))
	if err != nil || len(files) < 100 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	least := int64(0)
	for _, f := range files {
		s := Source{Format: "parquet", Patterns: []string{f}, MinIntScore: &least, MinLanguageScore: new(float64)}
		c, err := Open(context.Background(), s)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(f), err)
			continue
		}
		i := 0
		err = c.Head(nil, func(d Sample) bool {
			if i >= len(want) || d.ID != want[i][0] || d.Text != want[i][1] {
				t.Errorf("%s: row %d is %q", filepath.Base(f), i, d.ID)
				return false
			}
			i++
			return true
		})
		if err != nil || i != len(want) {
			t.Errorf("%s: %d of %d rows, %v", filepath.Base(f), i, len(want), err)
		}
		c.Close()
	}
	t.Logf("%d files of %d rows", len(files), len(want))
}
