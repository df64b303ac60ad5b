package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func load(t testing.TB, path string) *Tokenizer {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Parse(b)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return tok
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// TestAgainstTokenizers compares with ids made by the tokenizers library (tools/parity).
func TestAgainstTokenizers(t *testing.T) {
	for _, name := range []string{"gpt2_style", "smollm_style", "llama3_style", "llama2_style"} {
		tok := load(t, "testdata/"+name+".json")
		var cases []struct {
			Text        string  `json:"text"`
			IDs         []int32 `json:"ids"`
			WithSpecial []int32 `json:"with_special"`
			Decoded     string  `json:"decoded"`
		}
		readJSON(t, "testdata/"+name+".cases.json", &cases)
		for _, c := range cases {
			got, err := tok.Encode(nil, c.Text)
			if err != nil || !slices.Equal(got, c.IDs) {
				t.Errorf("%s: %q gives %v, tokenizers %v", name, c.Text, got, c.IDs)
				continue
			}
			if d := tok.Decode(got, false); d != c.Decoded {
				t.Errorf("%s: %v decodes to %q, tokenizers %q", name, got, d, c.Decoded)
			}
			want := c.WithSpecial
			if tok.EOS >= 0 {
				want = append(want, tok.EOS)
			}
			if doc, _, err := tok.Document(nil, c.Text); err != nil || !slices.Equal(doc, want) {
				t.Errorf("%s: document %q is %v, want %v", name, c.Text, doc, want)
			}
		}
	}
}

// TestSharedVectors runs the larger vectors where they are at hand.
func TestSharedVectors(t *testing.T) {
	dir := os.Getenv("STEPFLOW_TEST_DATA")
	if dir == "" {
		t.Skip("STEPFLOW_TEST_DATA names no folder with tokenizers/")
	}
	dir = filepath.Join(dir, "tokenizers")
	texts, err := os.ReadFile(filepath.Join(dir, "llamacpp-vocab.inp"))
	if err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]string{"gpt2-tokenizer.json": "llamacpp-gpt2.out", "llama2-tokenizer.json": "llamacpp-llama2.out"} {
		tok := load(t, filepath.Join(dir, name))
		want, err := os.ReadFile(filepath.Join(dir, out))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(want), "\n")
		for i, text := range strings.Split(string(texts), "\n__ggml_vocab_test__\n") {
			var ids []int32
			for _, f := range strings.Fields(lines[i]) {
				var id int32
				if err := json.Unmarshal([]byte(f), &id); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, id)
			}
			if got, err := tok.Encode(nil, text); err != nil || !slices.Equal(got, ids) {
				t.Errorf("%s: %q gives %v, want %v", name, text, got, ids)
			}
		}
	}
	tok := load(t, filepath.Join(dir, "smollm2-tokenizer.json"))
	var f struct {
		Cases []struct {
			Text string  `json:"text"`
			IDs  []int32 `json:"ids"`
		} `json:"cases"`
	}
	readJSON(t, filepath.Join(dir, "smollm2-cases.json"), &f)
	for _, c := range f.Cases {
		if got, err := tok.Encode(nil, c.Text); err != nil || !slices.Equal(got, c.IDs) {
			t.Errorf("smollm2: %q gives %v, want %v", c.Text, got, c.IDs)
		}
	}
}

func TestTrainAgreesWithTokenizers(t *testing.T) {
	var f struct {
		Corpus []string    `json:"corpus"`
		Merges [][2]string `json:"merges"`
	}
	readJSON(t, "testdata/trained.merges.json", &f)
	tr := NewTrainer()
	for _, s := range f.Corpus {
		tr.Add(s)
	}
	tok, err := tr.Train(t.Context(), 400)
	if err != nil {
		t.Fatal(err)
	}
	var mine struct {
		Model struct {
			Merges [][2]string `json:"merges"`
		} `json:"model"`
	}
	if err := json.Unmarshal(tok.JSON(), &mine); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(mine.Model.Merges, f.Merges) {
		for i := range f.Merges {
			if i >= len(mine.Model.Merges) || mine.Model.Merges[i] != f.Merges[i] {
				t.Fatalf("merge %d is %q, tokenizers %q", i, mine.Model.Merges[i], f.Merges[i])
			}
		}
		t.Fatalf("%d merges, tokenizers %d", len(mine.Model.Merges), len(f.Merges))
	}
	if tok.VocabSize() != 400 || tok.EOS != 0 {
		t.Errorf("vocabulary of %d, end of text %d", tok.VocabSize(), tok.EOS)
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct{ json, want string }{
		"not json":       {`{`, "unexpected end"},
		"empty":          {`{"model":{"type":"BPE","vocab":{},"merges":[]}}`, "empty"},
		"unknown merge":  {`{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}`, "merge 0"},
		"negative id":    {`{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}`, "id -1"},
		"pre-tokenizer":  {`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"UnicodeScripts"}}`, "pre_tokenizer: \"UnicodeScripts\""},
		"normalizer":     {`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Rot13"}}`, "normalizer: \"Rot13\""},
		"post-processor": {`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"post_processor":{"type":"Other"}}`, "Other"},
		"model":          {`{"model":{"type":"Other","vocab":{"a":0}}}`, `model type "Other"`},
		"two of an id":   {`{"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}}`, "both have id 0"},
		"added id":       {`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"added_tokens":[{"id":7,"content":"x"}]}`, "the tokenizers library would give it 1"},
		"added nothing":  {`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Strip","strip_left":true,"strip_right":true},"added_tokens":[{"id":1,"content":" ","normalized":true}]}`, "found everywhere"},
		"added twice":    {`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Lowercase"},"added_tokens":[{"id":1,"content":"X","normalized":true},{"id":2,"content":"x","normalized":true}]}`, "as another is"},
		"prepend":        {`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Prepend","prepend":""}}`, "Prepend puts in nothing"},
		"replace empty":  {`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Replace","pattern":{"Regex":"^"},"content":"x"}}`, "may match nothing"},
		"dropout":        {`{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}}`, "dropout"},
	} {
		if _, err := Parse([]byte(c.json)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v does not name %q", name, err, c.want)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	tok := load(f, "testdata/gpt2_style.json")
	f.Add("hello world")
	f.Add(" don't \n\n 123 é 😀")
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		ids, err := tok.Encode(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Decode(ids, false); got != s {
			t.Errorf("%q comes back as %q", s, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tok, err := Parse(b); err == nil {
			if ids, err := tok.Encode(nil, "hello ab"); err == nil {
				tok.Decode(ids, true)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	tok := load(b, "testdata/gpt2_style.json")
	text := strings.Repeat("The documentation of a package says what it does, for whom, and with which errors. ", 200)
	b.SetBytes(int64(len(text)))
	var ids []int32
	for i := 0; i < b.N; i++ {
		var err error
		if ids, err = tok.Encode(ids[:0], text); err != nil {
			b.Fatal(err)
		}
	}
}
