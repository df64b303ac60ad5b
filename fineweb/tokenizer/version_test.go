package tokenizer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"testing"
)

// The ids of a corpus belong to a version of the encoder: caches of tokens are named by it, so ids that change under the same version would
// be mixed with those of before.
func TestEncoderVersion(t *testing.T) {
	const version, want = 2, "ca68efcc7dcfb8f1"
	h := sha256.New()
	for _, name := range []string{"gpt2_style", "llama2_style", "llama3_style", "smollm_style"} {
		b, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		tok, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range corpus(t, name) {
			ids, _, err := tok.Document(nil, text)
			if err != nil {
				t.Fatalf("%s: %q: %v", name, text, err)
			}
			if err := binary.Write(h, binary.LittleEndian, append(ids, -1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want || EncoderVersion != version {
		t.Errorf("the ids of the corpus hash to %s under version %d; they were %s under %d. If ids changed, raise EncoderVersion, and write both here", got, EncoderVersion, want, version)
	}
}

// corpus is the texts that a tokenizer is compared on, and some that the encoder takes apart in its own ways.
func corpus(t *testing.T, name string) []string {
	t.Helper()
	var cases []struct{ Text string }
	readJSON(t, "testdata/"+name+".cases.json", &cases)
	texts := []string{"", " ", "\ufeffa mark", "end<|endoftext|>of text", "<s>a</s>", "\r\n\t  x", "1234567890", "it's we'll", "日本語 한국어", "e\u0301é", "a\u200db 👩‍👩‍👧"}
	for _, c := range cases {
		texts = append(texts, c.Text)
	}
	return texts
}
