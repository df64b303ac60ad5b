package fineweb

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"stepflow/foreign"
)

// TestFieldsThatNoLineHas refuses what parquet refuses of a column that is missing, and says what there is.
func TestFieldsThatNoLineHas(t *testing.T) {
	lines := "\n{\"id\":1,\"text\":\"one\",\"meta\":{\"lang\":\"en\"}}\n{\"id\":2,\"text\":\"two\",\"url\":\"x\"}\n"
	least := 3.0
	for name, c := range map[string]struct {
		change         func(*Source)
		want, warnings string
	}{
		"nested": {func(s *Source) { s.Filter = "meta.lang == 'en'" }, "", ""},
		"later":  {func(s *Source) { s.Filter = "url == null" }, "", ""},
		"text":   {func(s *Source) { s.TextColumn = "body" }, `d.jsonl, line 2 has id, meta, text`, ""},
		"filter": {func(s *Source) { s.Filter = "lang == null" }, `no line of d.jsonl has a field "lang" (a filter)`,
			""},
		"score":       {func(s *Source) { s.MinScore = &least }, `has a field "score" (a filter)`, ""},
		"inner":       {func(s *Source) { s.Filter = "meta.langs == 'en'" }, `has a field "meta.langs"`, ""},
		"skipped":     {func(s *Source) { s.TextColumn, s.SkipErrors = "body", true }, `has a field "body"`, ""},
		"id":          {func(s *Source) { s.IDColumn = "key" }, "", `no line of d.jsonl has a field "key" (id_column); `},
		"the usual":   {func(s *Source) { s.IDColumn = "" }, "", ""},
		"id and more": {func(s *Source) { s.IDColumn, s.TextColumn = "key", "url" }, "", `"key"`},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "d.jsonl"), lines)
		s := Source{Format: "jsonl", Dir: dir, Patterns: []string{"d.jsonl"}}
		c.change(&s)
		corpus, err := Open(context.Background(), s)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join(corpus.Warnings, "; "); !strings.Contains(got,
			c.warnings) || (got == "") != (c.warnings == "") {
			t.Errorf("%s: warned of %q, want %q", name, got, c.warnings)
		}
		corpus.Close()
	}
	// Of more lines than are looked at it is a guess.
	dir := t.TempDir()
	write(t, filepath.Join(dir, "d.jsonl"), strings.Repeat("{\"text\":\"one\"}\n", absentLines+40))
	corpus := open(t, Source{Format: "jsonl", Dir: dir, Patterns: []string{"d.jsonl"}, Filter: "lang == null"})
	if got := strings.Join(corpus.Warnings, "; "); !strings.HasPrefix(got,
		`none of the first 16384 lines of d.jsonl has a field "lang" (a filter)`) {
		t.Error(got)
	}
	corpus.Close()
	if none, err := Open(context.Background(), Source{Format: "parquet", Patterns: []string{"testdata/types.parquet"},
		IDColumn: "key"}); err != nil || !strings.Contains(strings.Join(none.Warnings, ";"),
		`no file has a column "key" (id_column)`) {
		t.Error(none, err)
	}
}

// wide is a text in UTF-16 or UTF-32.
func wideBytes(text string, size int, big bool) string {
	var b []byte
	put := func(u uint32) {
		for i := range size {
			shift := 8 * i
			if big {
				shift = 8 * (size - 1 - i)
			}
			b = append(b, byte(u>>shift))
		}
	}
	if size == 4 {
		for _, r := range text {
			put(uint32(r))
		}
		return string(b)
	}
	for _, u := range utf16.Encode([]rune(text)) {
		put(uint32(u))
	}
	return string(b)
}

// TestWideTextWithoutAMark refuses UTF-16 and UTF-32 by their zeros, and reads UTF-8 that holds some.
func TestWideTextWithoutAMark(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"{\"text\": \"Größe and naïve wörds\"}\n{\"text\": \"日本語 and more\"}\n",
		"{\"text\": \"" + strings.Repeat("日本語の文章、中文字。", 90) + "\"}\n", "ab"} {
		for _, format := range []string{"jsonl", "text"} {
			for name, b := range map[string]string{
				"UTF-16LE": wideBytes(text, 2, false), "UTF-16BE": wideBytes(text, 2, true),
				"UTF-32LE": wideBytes(text, 4, false), "UTF-32BE": wideBytes(text, 4, true),
			} {
				write(t, filepath.Join(dir, "d"), b)
				if _, err := Open(context.Background(), Source{Format: format, Dir: dir,
					Patterns: []string{"d"}}); err == nil || !strings.Contains(err.Error(),
					"the file looks like "+name+" without a byte order mark") || !strings.Contains(err.Error(),
					"iconv -f "+name+" -t UTF-8") {
					t.Errorf("%s of %s: %v", format, name, err)
				}
			}
		}
	}
	for _, ok := range []string{"a\x00", strings.Repeat("\x00", 100), "one\x00two\x00three and so on", "x", "",
		strings.Repeat("a b c d\x00", 40)} {
		if got := wideText([]byte(ok)); got != "" {
			t.Errorf("%q is %s", ok, got)
		}
	}
}

// TestCarriageReturns says how the lines of a file end.
func TestCarriageReturns(t *testing.T) {
	dir := t.TempDir()
	a, b := `{"text":"one"}`, `{"text":"two"}`
	for text, want := range map[string]string{
		a + "\r" + b + "\r":            "its lines end with carriage returns alone: end them with newlines",
		a + "\r" + b + "\n" + a + "\n": "its lines end with carriage returns alone",
		strings.Repeat(a+"\r", 1<<17):  "its lines end with carriage returns alone",
		a + "\n" + a + "\r" + b + "\n": "line 2: its lines end with carriage returns alone",
		a + "\r\n" + b + "\r\n":        "",
		"{\"text\":\r\"one\"}\r\n":     "",
		"\r\n" + a + "\r\n":            "",
	} {
		write(t, filepath.Join(dir, "d.jsonl"), text)
		_, err := kept(t, Source{Format: "jsonl", Dir: dir, Patterns: []string{"d.jsonl"}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

// TestPaddedGzip reads what zeros follow, as gzip and Python do, and says where other bytes begin.
func TestPaddedGzip(t *testing.T) {
	member := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write([]byte(text))
		w.Close()
		return b.String()
	}
	one, two := member("{\"text\":\"one\"}\n"), member("{\"text\":\"two\"}\n")
	zeros := strings.Repeat("\x00", 5000)
	for _, c := range []struct{ packed, want, err string }{
		{one + zeros, "e", ""}, {one + "\x00", "e", ""}, {one + two, "eo", ""}, {one + zeros + two, "eo", ""},
		{one + two + zeros, "eo", ""},
		{one + "rest", "", "line 1: the gzip stream is damaged or cut off: at byte 39, after what gzip compressed, " +
			"other bytes follow"},
		{one + "\x00\x00rest", "", "at byte 41, after what gzip compressed"}, {one + "\x1f\x8b", "", "damaged or cut off"},
		{one[:3], "", "line 1: the gzip stream is damaged or cut off: unexpected EOF"},
		{one + "\x1f", "", "damaged or cut off"}, {one + two[:9], "", "damaged or cut off"},
	} {
		t.Setenv(foreign.CacheDirVariable, t.TempDir())
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "d.jsonl.gz"), []byte(c.packed), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := kept(t, Source{Format: "jsonl", Dir: dir, Patterns: []string{"d.jsonl.gz"}})
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%d bytes: %q, %v; want %q, %q", len(c.packed), got, err, c.want, c.err)
		}
	}
	if len(one) != 39 {
		t.Errorf("a member of %d bytes", len(one))
	}
}

// TestHeadRefusesWhatARunRefuses shows documents up to the one that would end a run, with the same words.
func TestHeadRefusesWhatARunRefuses(t *testing.T) {
	for _, format := range []string{"jsonl", "parquet", "text"} {
		texts := []string{"one", "", "two"}
		if format == "text" { // a file that is empty
			texts = []string{""}
		}
		s := inFormat(t, format, texts)
		c := open(t, s)
		shown := 0
		err := c.Head(nil, func(Sample) bool { shown++; return true })
		run := c.Texts(All, func(string) bool { return true })
		if err == nil || run == nil || err.Error() != run.Error() || !errors.Is(err, errEmpty) || shown != len(texts)/2 {
			t.Errorf("%s: %d are shown, then %v; a run says %v", format, shown, err, run)
		}
	}
}
