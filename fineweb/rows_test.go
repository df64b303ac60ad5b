package fineweb

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"

	"stepflow/foreign"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

// read gives the documents of both splits, how many are held out, and how many were passed over.
func readAll(t testing.TB, s Source) (docs []Sample, held int, skipped int64) {
	t.Helper()
	c := open(t, s)
	for _, split := range []Split{Train, Validation} {
		if err := c.visit(split, func(d *document) (bool, error) {
			docs = append(docs, Sample{ID: d.id, Text: d.text})
			if split == Validation {
				held++
			}
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return docs, held, c.Skipped
}

// TestIDsThatAreNone: the split is what its fraction says, whatever the ids are.
func TestIDsThatAreNone(t *testing.T) {
	dir := t.TempDir()
	const n = 1000
	lines := map[string]func(i int) string{
		"null": func(int) string { return `,"id":null` }, "empty": func(int) string { return `,"id":""` },
		"missing": func(int) string { return "" }, "blank": func(int) string { return `,"id":" "` },
		"bool": func(int) string { return `,"id":true` }, "object": func(int) string { return `,"id":{"a":1}` },
		"list":     func(int) string { return `,"id":[1]` },
		"mixed":    func(i int) string { return []string{`,"id":null`, "", `,"id":""`, fmt.Sprintf(`,"id":%d`, i)}[i%4] },
		"infinite": func(int) string { return `,"id":1e999` },
	}
	var sources []Source
	for name, id := range lines {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"text":"document %d"%s}`+"\n", i, id(i))
		}
		write(t, filepath.Join(dir, name+".jsonl"), b.String())
		sources = append(sources, Source{Format: "jsonl", Patterns: []string{name + ".jsonl"}})
	}
	type optional struct {
		Text string  `parquet:"text"`
		ID   *string `parquet:"id,optional"`
	}
	type truths struct {
		Text string `parquet:"text"`
		ID   bool   `parquet:"id"`
	}
	type floats struct {
		Text string  `parquet:"text"`
		ID   float64 `parquet:"id"`
	}
	type lists struct {
		Text string   `parquet:"text"`
		ID   []string `parquet:"id"`
	}
	var a []optional
	var b []truths
	var c []floats
	var d []lists
	none := ""
	for i := range n {
		text := fmt.Sprintf("document %d", i)
		a = append(a, optional{text, []*string{nil, &none}[i%2]})
		b, c, d = append(b, truths{text, true}), append(c, floats{text, math.NaN()}), append(d, lists{text, []string{"x"}})
	}
	if err := errorsOf(parquet.WriteFile(filepath.Join(dir, "a.parquet"), a),
		parquet.WriteFile(filepath.Join(dir, "b.parquet"), b), parquet.WriteFile(filepath.Join(dir, "c.parquet"), c),
		parquet.WriteFile(filepath.Join(dir, "d.parquet"), d)); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"a", "b", "c", "d"} {
		sources = append(sources, Source{Format: "parquet", Patterns: []string{f + ".parquet"}})
	}
	for _, s := range sources {
		for _, fraction := range []float64{0.1, 0.9} {
			s.Dir, s.ValidationFraction = dir, fraction
			docs, held, _ := readAll(t, s)
			if share := float64(held) / n; len(docs) != n || math.Abs(share-fraction) > 0.05 {
				t.Errorf("%s: %d of %d documents are held out, at a fraction of %g", s.Patterns[0], held, len(docs), fraction)
			}
		}
	}
}

// TestNumbersAsIDs: an id is the same as an integer, a float and a text, in parquet and JSON.
func TestNumbersAsIDs(t *testing.T) {
	dir := t.TempDir()
	type ints struct {
		Text string `parquet:"text"`
		ID   int32  `parquet:"id"`
	}
	type big struct {
		Text string `parquet:"text"`
		ID   uint64 `parquet:"id"`
	}
	type floats struct {
		Text string  `parquet:"text"`
		ID   float64 `parquet:"id"`
	}
	if err := errorsOf(parquet.WriteFile(filepath.Join(dir, "1.parquet"), []ints{{"a", -7}}),
		parquet.WriteFile(filepath.Join(dir, "2.parquet"), []floats{{"a", -7}}),
		parquet.WriteFile(filepath.Join(dir, "3.parquet"), []big{{"a", math.MaxUint64}})); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "4.jsonl"), `{"text":"a","id":-7}`+"\n"+`{"text":"a","id":-7.0}`+"\n"+`{"text":"a","id":"-7"}`+"\n"+`{"text":"a","id":18446744073709551615}`+"\n"+`{"text":"a","id":"a\"\u0041\n"}`+"\n"+`{"text":"a","id":0.5}`)
	var ids []string
	for _, f := range []string{"1.parquet", "2.parquet", "3.parquet", "4.jsonl"} {
		docs, _, _ := readAll(t, Source{Format: strings.TrimPrefix(filepath.Ext(f), "."), Dir: dir, Patterns: []string{f}})
		for _, d := range docs {
			ids = append(ids, d.ID)
		}
	}
	if want := []string{"-7", "-7", "18446744073709551615", "-7", "-7", "-7", "18446744073709551615", "a\"A\n",
		"0.5"}; !slices.Equal(ids, want) {
		t.Errorf("%q, want %q", ids, want)
	}
}

// TestTextIDs: the ids of text come from the path below the source, and are the same after the folder has moved or a
// file was compressed.
func TestTextIDs(t *testing.T) {
	ids := func(dir string, patterns ...string) (list []string) {
		docs, _, _ := readAll(t, Source{Format: "text", Dir: dir, Patterns: patterns})
		for _, d := range docs {
			list = append(list, d.ID)
		}
		slices.Sort(list)
		return list
	}
	make := func(dir string) {
		for _, f := range []string{"books/1/text.txt", "books/2/text.txt", "other/x.txt"} {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, f), f)
		}
	}
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b", "deep")
	make(a)
	make(b)
	want := []string{"1/text.txt#0", "2/text.txt#0"}
	for _, got := range [][]string{ids(a, "books/*/text.txt"), ids(b, "books/*/text.txt"),
		ids("", filepath.Join(a, "books/*/text.txt")), ids("", filepath.Join(b, "books", "1", "text.txt"),
			filepath.Join(b, "books", "2", "text.txt")),
		ids(a, "books/1/text.txt", "books/2/text.txt"), ids(a, "books/1/*.txt", "books/2/*.txt"),
		ids(a, "books/../books/*/text.txt"), ids(filepath.Join(a, "other"), "../books/*/*")} {
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := ids(a, "books/1/text.txt"); !slices.Equal(got, []string{"text.txt#0"}) {
		t.Errorf("of one file: %q", got)
	}
	if got := ids(a, "*/*.txt", "books/*/*"); !slices.Equal(got,
		[]string{"books/1/text.txt#0", "books/2/text.txt#0", "other/x.txt#0"}) {
		t.Errorf("of several patterns: %q", got)
	}
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	gz(t, filepath.Join(a, "books/1/text.txt.gz"), "books/1/text.txt")
	os.Remove(filepath.Join(a, "books/1/text.txt"))
	if got := ids(a, "books/*/text.txt*"); !slices.Equal(got, want) {
		t.Errorf("of a compressed file: %q, want %q", got, want)
	}
	// The identity, which the recipe holds, moves with the folder too, and knows which file lies where.
	identity := func(dir string) string {
		id, err := open(t, Source{Format: "text", Dir: dir, Patterns: []string{"books/*/*.txt"}}).Identity()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	make(a)
	os.Remove(filepath.Join(a, "books/1/text.txt.gz"))
	if identity(a) != identity(b) {
		t.Error("a folder that moved is another")
	}
	if err := errorsOf(os.Rename(filepath.Join(b, "books/1"), filepath.Join(b, "books/0"))); err != nil {
		t.Fatal(err)
	}
	if identity(a) == identity(b) {
		t.Error("a file in another folder has the same name")
	}
}

func TestAddressesBelowTheRoot(t *testing.T) {
	for _, c := range []struct {
		patterns    []string
		file, below string
	}{
		{[]string{"hf://datasets/o/n@main/data/*/x.txt"}, "hf://datasets/o/n@0123456789012345678901234567890123456789/data/a/x.txt", "a/x.txt"},
		{[]string{"s3://bucket/data/*/x.txt.zst"}, "s3://bucket/data/a/x.txt.zst", "a/x.txt"},
		{[]string{"https://host/a/x.txt?key=1", "https://host/b/x.txt?key=2"}, "https://host/b/x.txt?key=2", "b/x.txt"},
		{[]string{"https://host/a/x.txt", "https://other/a/x.txt"}, "https://other/a/x.txt", "other/a/x.txt"},
		{[]string{"data/*.txt", "s3://bucket/x.txt"}, "s3://bucket/x.txt", "s3://bucket/x.txt"},
	} {
		s := Source{Patterns: c.patterns}
		s.root, s.rooted = s.rootOf([]string{c.file}), true
		if got := s.below(c.file); got != c.below {
			t.Errorf("%s of %q is %q, want %q", c.file, c.patterns, got, c.below)
		}
		if p := s.pinned([]string{c.file}); p.below(c.file) != c.below || p.rootOf([]string{c.file}) != s.root {
			t.Errorf("%s of %q has another name once it is pinned", c.file, c.patterns)
		}
	}
}

// TestBytesThatAreNotText: what no decoder may replace in silence stops the run at its place, or is passed over alone
// and counted.
func TestBytesThatAreNotText(t *testing.T) {
	dir := t.TempDir()
	type bin struct {
		Text []byte `parquet:"text"`
		ID   string `parquet:"id"`
	}
	if err := parquet.WriteFile(filepath.Join(dir, "latin.parquet"),
		[]bin{{[]byte("good"), "1"}, {[]byte("caf\xe9"), "2"}, {[]byte("fine"), "3"}}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"latin.jsonl":    "{\"text\":\"good\"}\n{\"text\":\"caf\xe9\"}\n{\"text\":\"fine\"}\n",
		"lone.jsonl":     "{\"text\":\"good\"}\n{\"text\":\"x\\ud83d\"}\n{\"text\":\"fine\"}\n",
		"low.jsonl":      "{\"text\":\"good\"}\n{\"text\":\"\\uDE00\\ud83d\"}\n{\"text\":\"fine\"}",
		"pairs.jsonl":    "{\"text\":\"good\"}\n{\"text\":\"\\ud83d\\ud83d\\ude00\"}\n{\"text\":\"fine\"}",
		"id.jsonl":       "{\"text\":\"good\"}\n{\"text\":\"x\",\"id\":\"\\ud800\"}\n{\"text\":\"fine\"}",
		"overlong.jsonl": "{\"text\":\"good\"}\n{\"text\":\"\xc0\xaf\"}\n{\"text\":\"fine\"}",
		"half.jsonl":     "{\"text\":\"good\"}\n{\"text\":\"\xed\xa0\xbd\"}\n{\"text\":\"fine\"}",
		"cut.jsonl":      "{\"text\":\"good\"}\n{\"text\":\"x\n{\"text\":\"fine\"}",
		"list.jsonl":     "{\"text\":\"good\"}\n[1]\n{\"text\":\"fine\"}",
		"number.jsonl":   "{\"text\":\"good\"}\n{\"text\":5}\n{\"text\":\"fine\"}",
		"field.jsonl":    "{\"text\":\"good\"}\n{\"body\":\"x\"}\n{\"text\":\"fine\"}",
		"null.jsonl":     "{\"text\":\"good\"}\n{\"text\":null}\n{\"text\":\"fine\"}",
		"latin.txt":      "good--caf\xe9--fine",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 14 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		s := Source{Format: FormatOf(f), Dir: dir, Patterns: []string{filepath.Base(f)}, Separator: "--"}
		place := map[string]string{"jsonl": "line 2", "text": "document 2", "parquet": "row group 0, row 1"}[s.Format]
		if got, err := kept(t, s); err == nil || !strings.Contains(err.Error(),
			filepath.Base(f)) || !strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), "on_error") {
			t.Errorf("%s: %q, %v", f, got, err)
		}
		s.SkipErrors = true
		docs, _, skipped := readAll(t, s)
		if len(docs) != 2 || docs[0].Text != "good" || docs[1].Text != "fine" || skipped != 1 {
			t.Errorf("%s: %+v, %d passed over", f, docs, skipped)
		}
	}
	good := `{"text":"\ud83d\ude00 \\ud83d \"\\\\u\" ` + "\U0001f600" + `"}`
	write(t, filepath.Join(dir, "good.jsonl"), good)
	if docs, _, _ := readAll(t, Source{Format: "jsonl", Dir: dir,
		Patterns: []string{"good.jsonl"}}); docs[0].Text != "\U0001f600 \\ud83d \"\\\\u\" \U0001f600" {
		t.Errorf("%q", docs[0].Text)
	}
}

func TestByteOrderMarks(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.jsonl"), "\ufeff{\"text\":\"\ufeffa\"}\n")
	write(t, filepath.Join(dir, "a.txt"), "\ufeff\ufeffa")
	gz(t, filepath.Join(dir, "b.jsonl.gz"), "\ufeff{\"text\":\"\ufeffa\"}\n")
	gz(t, filepath.Join(dir, "b.txt.gz"), "\ufeff\ufeffa")
	for _, f := range []string{"a.jsonl", "a.txt", "b.jsonl.gz", "b.txt.gz"} {
		for _, separator := range []string{"", "--"} {
			docs, _, _ := readAll(t, Source{Format: FormatOf(f), Dir: dir, Patterns: []string{f}, Separator: separator})
			if len(docs) != 1 || docs[0].Text != "\ufeffa" {
				t.Errorf("%s: %+v", f, docs)
			}
		}
	}
	for head, says := range map[string]string{"\xff\xfea\x00": "UTF-16", "\xfe\xff\x00a": "UTF-16",
		"\xff\xfe\x00\x00a\x00\x00\x00": "UTF-32", "\xfd7zXZ\x00": "xz", "BZh91AY": "bzip2", "PK\x03\x04": "zip",
		"PAR1": "parquet"} {
		for _, f := range []string{"x.jsonl", "x.txt"} {
			write(t, filepath.Join(dir, f), head)
			if _, err := Open(context.Background(), Source{Format: FormatOf(f), Dir: dir,
				Patterns: []string{f}}); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), f) {
				t.Errorf("%s of %q: %v does not say %s", f, head, err, says)
			}
		}
	}
	write(t, filepath.Join(dir, "x.jsonl"), "[{\"text\":\"a\"},\n{\"text\":\"b\"}]")
	if _, err := Open(context.Background(), Source{Format: "jsonl", Dir: dir,
		Patterns: []string{"x.jsonl"}}); err == nil || !strings.Contains(err.Error(), "JSON list") {
		t.Errorf("a JSON list: %v", err)
	}
}

func gz(t testing.TB, path string, members ...string) {
	t.Helper()
	var b bytes.Buffer
	for _, m := range members {
		w := gzip.NewWriter(&b)
		io.WriteString(w, m)
		w.Close()
	}
	write(t, path, b.String())
}

func zst(t testing.TB, path string, frames ...string) {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc") // a frame that is skipped
	for _, f := range frames {
		b = e.EncodeAll([]byte(f), b)
	}
	write(t, path, string(b))
}

// TestCompressedIsTheSame: the batches of a compressed file are those of the file, through every kind of stream and
// after seeking.
func TestCompressedIsTheSame(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	dir := t.TempDir()
	var lines, text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&lines, `{"text":"document %d %s"}`+"\n", i, strings.Repeat("word ", i%200))
		fmt.Fprintf(&text, "document %d %s\n--", i, strings.Repeat("word ", i%200))
	}
	tk := tok(t)
	batch := func(f string) *Batch {
		s, err := open(t, Source{Format: FormatOf(f), Dir: dir, Patterns: []string{f}, Shuffle: true, Seed: 3,
			Separator: "--"}).Stream(Train, tk, 512, Cursor{Epoch: 1, Round: 2, Document: 3})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Next(16)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, b := range map[string]string{"a.jsonl": lines.String(), "a.txt": text.String()} {
		write(t, filepath.Join(dir, name), b)
		half := len(b) / 2
		gz(t, filepath.Join(dir, name+".gz"), b)
		zst(t, filepath.Join(dir, name+".zst"), b)
		gz(t, filepath.Join(dir, "m"+name+".gz"), b[:half], "", b[half:])
		zst(t, filepath.Join(dir, "m"+name+".zst"), b[:half], b[half:])
		want := batch(name)
		for _, f := range []string{name + ".gz", name + ".zst", "m" + name + ".gz", "m" + name + ".zst", name + ".gz"} {
			if got := batch(f); !slices.Equal(got.IDs, want.IDs) || !slices.Equal(got.Segments, want.Segments) {
				t.Errorf("%s gives other batches than %s", f, name)
			}
		}
	}
	// The copies are damaged: they are made again.
	copies, err := filepath.Glob(filepath.Join(foreign.CacheDir(), "unpacked", "*"))
	if err != nil || len(copies) != 8 {
		t.Fatal(copies, err)
	}
	for i, c := range copies {
		b, err := os.ReadFile(c)
		if err != nil {
			t.Fatal(err)
		}
		switch i % 2 {
		case 0:
			write(t, c, string(b[:len(b)-1]))
		case 1:
			b[len(b)-30] ^= 1
			write(t, c, string(b))
		}
	}
	if want, got := batch("a.jsonl"), batch("a.jsonl.gz"); !slices.Equal(got.IDs, want.IDs) {
		t.Error("after its copy was damaged, a file gives other batches")
	}
}

func TestCompressedAndCutOff(t *testing.T) {
	dir := t.TempDir()
	var b strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&b, `{"text":"document %d %x"}`+"\n", i, i*7919)
	}
	gz(t, filepath.Join(dir, "a.jsonl.gz"), b.String())
	zst(t, filepath.Join(dir, "a.jsonl.zst"), b.String())
	gz(t, filepath.Join(dir, "a.txt.gz"), b.String())
	for _, f := range []string{"a.jsonl.gz", "a.jsonl.zst", "a.txt.gz"} {
		for _, cached := range []bool{true, false} {
			if t.Setenv(foreign.CacheDirVariable, t.TempDir()); !cached {
				t.Setenv("XDG_CACHE_HOME", "")
				t.Setenv("HOME", "")
				os.Unsetenv(foreign.CacheDirVariable)
			}
			whole, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "cut-"+f), string(whole[:len(whole)*2/3]))
			s := Source{Format: FormatOf(f), Dir: dir, Patterns: []string{"cut-" + f}, Separator: "\n"}
			place := map[string]string{"jsonl": "line ", "text": "document "}[s.Format]
			if _, err := Open(context.Background(), s); err == nil || !strings.Contains(err.Error(),
				"cut-"+f) || !strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), "cut off") {
				t.Errorf("%s: %v", f, err)
			}
			s.SkipErrors = true
			docs, _, _ := readAll(t, s)
			if len(docs) < 5000 || len(docs) > 19000 {
				t.Errorf("%s: %d documents are left", f, len(docs))
			}
			for i, d := range docs {
				if !strings.Contains(d.Text, fmt.Sprintf("document %d ", i)) || s.Format == "text" && !strings.HasSuffix(d.Text,
					"}") {
					t.Fatalf("%s: document %d is %q", f, i, d.Text)
				}
			}
			if w := open(t, s).Warnings; len(w) != 1 || !strings.Contains(w[0], "what comes before is used") {
				t.Errorf("%s: %q", f, w)
			}
		}
	}
}

func TestBombs(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	dir := t.TempDir()
	e, err := zstd.NewWriter(nil, zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a.jsonl.zst"), string(e.EncodeAll(make([]byte, 100<<20), nil)))
	if _, err := Open(context.Background(), Source{Format: "jsonl", Dir: dir,
		Patterns: []string{"a.jsonl.zst"}}); err == nil || !strings.Contains(err.Error(), "times its size") {
		t.Errorf("100 MiB of zeros: %v", err)
	}
	write(t, filepath.Join(dir, "a.jsonl.zst"), "\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00") // a window of 2 GiB
	if _, err := Open(context.Background(), Source{Format: "jsonl", Dir: dir,
		Patterns: []string{"a.jsonl.zst"}}); err == nil {
		t.Error("a window of 2 GiB is granted")
	}
}

// TestDamagedPages: the rows of a page that cannot be read are passed over, and no others.
func TestDamagedPages(t *testing.T) {
	for f, texts := range map[string]int{"plain": 1000, "index": 1000, "dictionary": 200} {
		whole, err := os.ReadFile("testdata/pages_" + f + ".parquet")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "x.parquet")
		s := Source{Format: "parquet", Dir: dir, Patterns: []string{"x.parquet"}, SkipErrors: true}
		write(t, path, string(whole))
		all, _, skipped := readAll(t, s)
		if len(all) != 1000 || skipped != 0 {
			t.Fatalf("%s: %d documents, %d passed over", f, len(all), skipped)
		}
		narrow := 0
		for at := 100; at < len(whole)-4000; at += len(whole) / 40 {
			b := slices.Clone(whole)
			for k := range 8 {
				b[at+k] ^= 0x55
			}
			write(t, path, string(b))
			docs, _, skipped := readAll(t, s)
			if int64(len(docs))+skipped != 1000 {
				t.Errorf("%s, byte %d: %d documents and %d passed over", f, at, len(docs), skipped)
			}
			for _, d := range docs { // what is read is right: a text goes with its id
				if i, _ := strconv.Atoi(strings.TrimPrefix(d.ID, "id")); !strings.HasPrefix(d.Text,
					fmt.Sprintf("document %d ", i%texts)) {
					t.Fatalf("%s, byte %d: %s has the text %q", f, at, d.ID, d.Text)
				}
			}
			if skipped > 0 && skipped < 500 {
				narrow++
			}
			fail := s
			fail.SkipErrors = false
			if _, err := kept(t, fail); (err == nil) != (skipped == 0) {
				t.Errorf("%s, byte %d: %d are passed over, and where they are not: %v", f, at, skipped, err)
			} else if err != nil && (!strings.Contains(err.Error(), "x.parquet, row group 0") || !strings.Contains(err.Error(),
				"page")) {
				t.Errorf("%s, byte %d: %v", f, at, err)
			}
			// From the middle on, as after a resumption.
			c := open(t, s)
			half, err := c.shards[0].read(0, 500, 500)
			if err != nil {
				t.Fatal(err)
			}
			for i, d := range half {
				if d.err == nil && (d.id != fmt.Sprintf("id%d", 500+i) || !strings.HasPrefix(d.text,
					fmt.Sprintf("document %d ", (500+i)%texts))) {
					t.Fatalf("%s, byte %d: row %d is %s, %q", f, at, 500+i, d.id, d.text)
				}
			}
		}
		if narrow == 0 {
			t.Errorf("%s: no damage was narrowed down to a page", f)
		}
	}
}

// TestDuplicates: which copy stays depends on neither the order of reading nor on what was found before.
func TestDuplicates(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	dir := t.TempDir()
	var a, b strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&a, `{"text":"text %d","id":"a%d","score":%d}`+"\n", i%1500, i, i)
		fmt.Fprintf(&b, `{"text":"text %d","id":"b%d","score":5000}`+"\n", i, i)
	}
	write(t, filepath.Join(dir, "a.jsonl"), a.String())
	write(t, filepath.Join(dir, "b.jsonl"), b.String()+`{"text":""}`+"\n")
	s := Source{Format: "jsonl", Dir: dir, Patterns: []string{"*.jsonl"}, Deduplicate: true, ValidationFraction: 0.3,
		SkipErrors: true}
	first, held, skipped := readAll(t, s)
	if len(first) != 3000 || held < 700 || held > 1100 || skipped != 1 {
		t.Fatalf("%d documents, %d held out, %d passed over", len(first), held, skipped)
	}
	texts := map[string]bool{}
	ids := map[string]bool{}
	for _, d := range first {
		texts[d.Text], ids[d.ID] = true, true
	}
	if len(texts) != 3000 || !ids["a0"] || !ids["a1499"] || ids["a1500"] || ids["b0"] || !ids["b1500"] {
		t.Error("another copy stays than the first")
	}
	kept, err := filepath.Glob(filepath.Join(foreign.CacheDir(), "duplicates", "*"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	again, _, _ := readAll(t, s)
	damaged, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)/2] ^= 1
	write(t, kept[0], string(damaged))
	third, _, _ := readAll(t, s)
	if !slices.EqualFunc(first, again, same) || !slices.EqualFunc(first, third, same) {
		t.Error("what was kept of the copies gives other documents")
	}
	c := open(t, s)
	if n, err := c.Copies(); err != nil || n != 3000 {
		t.Errorf("%d copies, %v", n, err)
	}
	// A stream from the middle on, shuffled, meets each text once.
	s.Shuffle, s.ValidationFraction, s.Epochs = true, 0, 1
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
		if n != 3000 {
			t.Errorf("an epoch has %d documents, want 3000", n)
		}
	}
	// A filter comes before: a copy that it drops is none.
	s.Filter = "score > 2000"
	if n, err := open(t, s).Copies(); err != nil || n != 999 {
		t.Errorf("%d copies after the filter, %v", n, err)
	}
}

func same(a, b Sample) bool { return a.ID == b.ID && a.Text == b.Text }

// TestCutIsSplit compares reading between separators with splitting the whole text.
func TestCutIsSplit(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("long ", 1<<19) // 2.5 MiB
	for _, text := range []string{"", "a", "\n\n", "a\n\n\nb\n\n\n\nc", "\n\na\n\n \n\nb", long + "\n\n" + long,
		strings.Repeat("\n", 1<<17) + "a", strings.Repeat("ab\n\n", 1<<15) + "\n", strings.Repeat(" ", 3<<19) + "\n\na",
		strings.Repeat("x", 1<<20-1) + "\n\n" + strings.Repeat("y", 1<<20-2) + "\n\nz"} {
		for _, separator := range []string{"\n\n", "\n", "ab", strings.Repeat("long ", 100)} {
			write(t, filepath.Join(dir, "a.txt"), text)
			var want []string
			parts := strings.Split(text, separator)
			for _, p := range parts {
				if len(parts) == 1 || strings.TrimSpace(p) != "" || len(p) > window {
					want = append(want, p)
				}
			}
			if len(want) == 0 || want[0] == "" {
				continue
			}
			s := Source{Format: "text", Dir: dir, Patterns: []string{"a.txt"}, Separator: separator}
			docs, _, _ := readAll(t, s)
			var got []string
			for _, d := range docs {
				got = append(got, d.Text)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%.20q of %d bytes at %.10q: %d documents, want %d", text, len(text), separator, len(got), len(want))
			}
		}
	}
}

// TestWorkIsLinear counts the bytes that are read of a file with many documents: twice all, once to find them and
// once to read them.
func TestWorkIsLinear(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.txt"), strings.Repeat("a document of a few words\n\n", 100_000))
	write(t, filepath.Join(dir, "a.jsonl"), strings.Repeat("{\"text\":\"a document of a few words\"}\n", 100_000))
	for _, name := range []string{"a.txt", "a.jsonl"} {
		source := Source{Format: FormatOf(name), TextColumn: "text", IDColumn: "id", Separator: "\n\n"}
		s := &reading{source, context.Background()}
		f, err := openLocal(s, filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		counted := &countingFile{file: f}
		sh, err := formats[s.Format](s, counted, name)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for g, rows := range sh.groups() {
			for from := int64(0); from < rows; from += 4096 {
				docs, err := sh.read(g, from, min(4096, rows-from))
				if err != nil {
					t.Fatal(err)
				}
				n += len(docs)
			}
		}
		if n != 100_000 || counted.bytes > 2*f.Size()+100_000 {
			t.Errorf("%s: %d documents, %d bytes read of %d", name, n, counted.bytes, f.Size())
		}
		sh.Close()
	}
}

// TestLongDocumentsFitMemory reads 100 documents of 300 KB, which would be one piece by their number.
func TestLongDocumentsFitMemory(t *testing.T) {
	dir := t.TempDir()
	type row struct {
		Text string `parquet:"text"`
	}
	f, err := os.Create(filepath.Join(dir, "a.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := os.Create(filepath.Join(dir, "a.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[row](f, parquet.Compression(&parquet.Zstd), parquet.PageBufferSize(1<<20))
	for i := range 100 {
		text := fmt.Sprint("document ", i, " ") + strings.Repeat("word ", 60_000)
		if _, err := w.Write([]row{{text}}); err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(map[string]string{"text": text})
		lines.Write(append(b, '\n'))
	}
	if err := errorsOf(w.Close(), f.Close(), lines.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.parquet", "a.jsonl"} {
		c := open(t, Source{Format: FormatOf(name), Dir: dir, Patterns: []string{name}})
		most := 0
		for _, p := range c.pieces() {
			docs, err := c.read(p)
			if err != nil {
				t.Fatal(err)
			}
			held := 0
			for _, d := range docs {
				held += len(d.text)
			}
			most = max(most, held)
		}
		if most > pieceBytes*5/4 || most < 1<<20 {
			t.Errorf("%s: a piece holds %d bytes of text", name, most)
		}
	}
	runtime.GC()
}

// TestRepeatedTextIsHeldOnce: a dictionary may say in a few kilobytes that a long text is repeated.
func TestRepeatedTextIsHeldOnce(t *testing.T) {
	dir := t.TempDir()
	type row struct {
		Text string `parquet:"text,dict"`
	}
	long := strings.Repeat("a long text ", 1<<15)
	all := make([]row, 300)
	for i := range all {
		all[i].Text = long[i%3:]
	}
	if err := parquet.WriteFile(filepath.Join(dir, "a.parquet"), all); err != nil {
		t.Fatal(err)
	}
	c := open(t, Source{Format: "parquet", Dir: dir, Patterns: []string{"a.parquet"}})
	n := 0
	for _, p := range c.pieces() {
		docs, err := c.read(p)
		if err != nil {
			t.Fatal(err)
		}
		held := map[*byte]bool{}
		for _, d := range docs {
			if d.text != long[n%3:] {
				t.Fatalf("document %d has another text", n)
			}
			held[unsafe.StringData(d.text)] = true
			n++
		}
		if len(held) > 3 {
			t.Errorf("%d documents of 3 texts hold %d", len(docs), len(held))
		}
	}
	if n != len(all) {
		t.Errorf("%d documents", n)
	}
}

func TestLongLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.jsonl")
	write(t, path, "{\"text\":\"a\"}\n")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 257 {
		f.Write(bytes.Repeat([]byte("x"), 1<<20))
	}
	io.WriteString(f, "\n{\"text\":\"b\"}\n")
	f.Close()
	s := Source{Format: "jsonl", Dir: dir, Patterns: []string{"a.jsonl"}}
	if _, err := kept(t, s); err == nil || !strings.Contains(err.Error(), "line 2: the document is longer than") {
		t.Errorf("a line of 257 MiB: %v", err)
	}
	s.SkipErrors = true
	docs, _, skipped := readAll(t, s)
	if len(docs) != 2 || skipped != 1 {
		t.Errorf("%d documents and %d passed over", len(docs), skipped)
	}
}

// FuzzJSONLine compares what is read of a line with what the standard library makes of it, and its surrogates with
// UTF-16's rules.
func FuzzJSONLine(f *testing.F) {
	for _, s := range []string{`{"text":"a","id":1}`, `{"a":{"text":"b"},"text":"\ud83d\ude00"}`, `{"text":"\ud83d"}`,
		`{"text":"a","text":"b"}`, `{"text":null}`, `{ "a" : [1,{"b":"}"}] , "text" : "x\"" }`, "{}", "[",
		`{"text":"\\ud83d"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		row := jsonRow{text: "text", id: "id"}
		var d document
		row.read(&d, []byte(s))
		var all map[string]any
		err := json.Unmarshal([]byte(s), &all)
		switch {
		case d.drop:
			if strings.TrimSpace(s) != "" {
				t.Fatalf("%q is dropped", s)
			}
		case d.flaw == sound:
			want, _ := all["text"].(string)
			if err != nil || d.text != want || !utf8.ValidString(s) {
				t.Fatalf("%q: %q, want %q (%v)", s, d.text, want, err)
			}
			if strings.Contains(d.text, "\ufffd") && !strings.Contains(s, "\ufffd") && !strings.Contains(strings.ToLower(s),
				`\ufffd`) {
				t.Fatalf("%q: a character was replaced: %q", s, d.text)
			}
		case err == nil && utf8.ValidString(s) && all != nil:
			if _, ok := all["text"].(string); ok && !strings.Contains(strings.ToLower(s), `\ud`) {
				t.Fatalf("%q is refused: %v", s, d.err)
			}
		}
	})
}

// drawn reports whether a stream has another document.
func drawn(s *Stream) bool {
	_, _, err := s.next()
	return err == nil
}
