package tokenizer

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// generated is a tokenizer of random parts, and what the tokenizers library gives for texts.
type generated struct {
	N         int    `json:"n"`
	Tokenizer string `json:"tokenizer"`
	Rows      []struct {
		Text    string  `json:"text"`
		IDs     []int32 `json:"ids"`
		Plain   []int32 `json:"plain"`
		Decoded string  `json:"decoded"`
		Skipped string  `json:"skipped"`
	} `json:"rows"`
}

// differences lists what is not as the library gives it.
func (g *generated) differences(t *testing.T, tok *Tokenizer) (n int) {
	fail := func(format string, args ...any) {
		if n++; n <= 2 {
			t.Errorf(format, args...)
		}
	}
	for _, r := range g.Rows {
		got, err := tok.Encode(nil, r.Text)
		if err != nil || !slices.Equal(got, r.IDs) {
			fail("tokenizer %d, %q:\n%v %v, tokenizers gives\n%v", g.N, r.Text, got, err, r.IDs)
			continue
		}
		if d := tok.Decode(got, false); d != r.Decoded {
			fail("tokenizer %d, %q: %v decodes to\n%q, tokenizers\n%q", g.N, r.Text, got, d, r.Decoded)
		}
		if d := tok.Decode(got, true); d != r.Skipped {
			fail("tokenizer %d, %q: %v decodes without special tokens to\n%q, tokenizers\n%q", g.N, r.Text, got, d, r.Skipped)
		}
		if _, ok := tok.model.(*bpe); ok && !tok.model.(*bpe).ignoreMerges { // elsewhere the library takes text for special tokens all the same
			if got, err := tok.Plain().Encode(nil, r.Text); err != nil || !slices.Equal(got, r.Plain) {
				fail("tokenizer %d, %q, special tokens as text:\n%v %v, tokenizers gives\n%v", g.N, r.Text, got, err, r.Plain)
			}
		}
	}
	return n
}

func readGenerated(t *testing.T, path string, visit func(g *generated)) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var g generated
		if err := json.Unmarshal(lines.Bytes(), &g); err != nil {
			t.Fatal(err)
		}
		visit(&g)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// TestGenerated compares with what tools/parity/tokenizers_generated.py wrote to the file STEPFLOW_TOKENIZERS_GENERATED names: tokenizers of
// random parts are refused or give equal ids.
func TestGenerated(t *testing.T) {
	path := os.Getenv("STEPFLOW_TOKENIZERS_GENERATED")
	if path == "" {
		t.Skip("STEPFLOW_TOKENIZERS_GENERATED names no file")
	}
	equal, differ := 0, 0
	refused := map[string]int{}
	readGenerated(t, path, func(g *generated) {
		tok, err := Parse([]byte(g.Tokenizer))
		if err != nil {
			reason := err.Error()
			refused[reason[max(0, strings.LastIndex(reason, ": ")):]]++
			t.Logf("tokenizer %d is refused: %v", g.N, err)
			return
		}
		if g.differences(t, tok) > 0 {
			differ++
			t.Logf("tokenizer %d is %s", g.N, g.Tokenizer[:min(len(g.Tokenizer), strings.Index(g.Tokenizer, `"model"`))])
		} else {
			equal++
		}
	})
	if equal == 0 {
		t.Error("no tokenizer was compared")
	}
	t.Logf("%d tokenizers are equal, %d differ; refused: %v", equal, differ, refused)
}

// TestGeneratedThatDiffered compares with tokenizers of random parts that gave other ids once, and with one of each model and published
// pattern.
func TestGeneratedThatDiffered(t *testing.T) {
	n := 0
	readGenerated(t, "testdata/generated.jsonl", func(g *generated) {
		tok, err := Parse([]byte(g.Tokenizer))
		if err != nil {
			t.Errorf("tokenizer %d: %v", g.N, err)
			return
		}
		g.differences(t, tok)
		n++
	})
	if n == 0 {
		t.Error("no tokenizers")
	}
}
