package fineweb

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"stepflow/fineweb/tokenizer"
)

// TestSpecialTokensInTexts reads documents that quote <|endoftext|>: text unless the source wants ids, counted either way, with a cache of
// tokens and without, in training and in evaluation.
func TestSpecialTokensInTexts(t *testing.T) {
	tk := tok(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "d.jsonl"), `{"id":"1","text":"first<|endoftext|>second"}`+"\n"+`{"id":"2","text":"<|endoftext|><|endoftext|>"}`+"\n")
	inText, _, err := tk.Plain().Document(nil, "first<|endoftext|>second")
	if err != nil || slices.Contains(inText[:len(inText)-1], tk.EOS) {
		t.Fatalf("text is read as %v: %v", inText, err)
	}
	for _, ids := range []bool{false, true} {
		for _, cache := range []string{"", filepath.Join(dir, "cache")} {
			s := Source{Format: "jsonl", Patterns: []string{"d.jsonl"}, Dir: dir, SpecialIDs: ids, TokenDir: cache, DocumentMask: true}
			for range 2 { // the second time from the cache
				st, err := open(t, s).Stream(All, tk, 8, Cursor{})
				if err != nil {
					t.Fatal(err)
				}
				b, err := st.Next(1)
				if err != nil {
					t.Fatal(err)
				}
				if !ids && !slices.Equal(b.IDs, inText[:8]) {
					t.Errorf("special tokens are text, and the batch holds %v, not %v", b.IDs, inText[:8])
				}
				if ids && !slices.Contains(b.IDs, tk.EOS) {
					t.Errorf("special tokens have ids, and the batch holds %v", b.IDs)
				}
				if st, err = open(t, s).Stream(All, tk, 2, Cursor{}); err != nil {
					t.Fatal(err)
				}
				for b.Specials = 0; b.Specials < 3; {
					if b, err = st.Next(1); err != nil {
						t.Fatal(err)
					}
				}
				if b.Specials != 3 {
					t.Errorf("ids %t, cache %q: %d special tokens are counted, not 3", ids, cache, b.Specials)
				}
			}
			size, err := Measure(context.Background(), s, tk, All)
			if err != nil || size.Specials != 3 {
				t.Errorf("measured %+v, %v", size, err)
			}
			set, err := OpenSet(context.Background(), []Weighted{{Source: s, Weight: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			h, err := set.Held(tk, Windows{Split: All, Length: 8, Batch: 1, EndOfText: true}, noVisit)
			if err != nil || h.Specials != 3 || h.Tokens+2 != size.Tokens { // first tokens are not predicted
				t.Errorf("held %+v of %+v, %v", h, size, err)
			}
		}
	}
}

// TestBytesArePredictedOnes counts the bytes that predicted tokens stand for: of half a character, of what a normalizer changes, and without
// the space that is put before a text.
func TestBytesArePredictedOnes(t *testing.T) {
	for _, c := range []struct {
		name, tokenizer, text string
		want                  int64 // of all tokens but the first
	}{
		{"half a character", `{"model":{"type":"BPE","vocab":{"Ã":0,"©":1,"a":2,"<|endoftext|>":3},"merges":[]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"}}`, "éa", 2},
		{"a byte", `{"model":{"type":"BPE","vocab":{"<0xC3>":0,"<0xA9>":1,"a":2,"</s>":3},"merges":[],"byte_fallback":true},"decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"}]}}`, "éa", 2},
		{"a space before", `{"model":{"type":"BPE","vocab":{"Ġ":0,"a":1,"Ġa":2,"</s>":3},"merges":["Ġ a"]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},"decoder":{"type":"ByteLevel"}}`, "aaa", 2},
		{"a space that is there", `{"model":{"type":"BPE","vocab":{"Ġ":0,"a":1,"Ġa":2,"</s>":3},"merges":["Ġ a"]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true},"decoder":{"type":"ByteLevel"}}`, " aa", 1},
		{"composed", `{"model":{"type":"BPE","vocab":{"é":0,"a":1,"</s>":2},"merges":[]},"normalizer":{"type":"NFC"},"decoder":{"type":"Fuse"}}`, "e\u0301a", 1},
		{"▁", `{"model":{"type":"BPE","vocab":{"▁":0,"a":1,"▁a":2,"</s>":3},"merges":["▁ a"]},"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}}`, "a aa", 3},
		{"lower case", `{"model":{"type":"BPE","vocab":{"i̇":0,"i":1,"̇":2,"a":3,"</s>":4},"merges":["i ̇"]},"normalizer":{"type":"Lowercase"},"decoder":{"type":"Fuse"}}`, "İA", 1},
	} {
		tk := parsed(t, c.tokenizer)
		set := heldSet(t, true, false, []string{c.text})
		h, err := set.Held(tk, Windows{Split: All, Length: 8, Batch: 1, EndOfText: true}, noVisit)
		if err != nil || h.Bytes != c.want {
			t.Errorf("%s: %+v, %v; the tokens after the first stand for %d bytes", c.name, h, err, c.want)
		}
	}
}

func parsed(t testing.TB, json string) *tokenizer.Tokenizer {
	t.Helper()
	tk, err := tokenizer.Parse([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	return tk
}
