package llamacpp

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stepflow/fineweb/tokenizer"
)

// value returns what a vocabulary says under a key.
func (v *Vocabulary) value(key string) any {
	for _, kv := range v.Metadata {
		if kv.Key == "tokenizer.ggml."+key {
			return kv.Value
		}
	}
	return nil
}

// read makes the vocabulary of a tokenizer.json, for a model with more tokens.
func read(t *testing.T, b []byte, more int) (*Vocabulary, error) {
	t.Helper()
	tok, err := tokenizer.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return NewVocabulary(tok, tok.VocabSize()+more)
}

// style reads one of the tokenizers that another package tests, and edits it.
func style(t *testing.T, name string, edit func(file map[string]any)) []byte {
	t.Helper()
	b, err := os.ReadFile("../../fineweb/tokenizer/testdata/" + name + "_style.json")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	edit(file)
	if b, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestByteLevel(t *testing.T) {
	for _, c := range []struct{ style, want string }{{"gpt2", "gpt-2"}, {"smollm", "smollm"}, {"llama3", "dbrx"}} {
		v, err := read(t, style(t, c.style, func(map[string]any) {}), 2)
		if err != nil {
			t.Errorf("%s: %v", c.style, err)
			continue
		}
		tokens, types := v.value("tokens").([]string), v.value("token_type").([]int32)
		n := len(tokens)
		if v.value("model") != "gpt2" || v.value("pre") != c.want || tokens[0] != "<|endoftext|>" || types[0] != control ||
			types[1] != normal || n != 502 || tokens[n-1] != "[PAD501]" || types[n-1] != unused {
			t.Errorf("%s: %v %v, %q %d … %q %d of %d", c.style, v.value("model"), v.value("pre"), tokens[0], types[0],
				tokens[n-1], types[n-1], n)
		}
		if v.value("add_bos_token") != (c.style == "llama3") || v.value("eos_token_id") != uint32(0) {
			t.Errorf("%s: bos %v, eos %v", c.style, v.value("add_bos_token"), v.value("eos_token_id"))
		}
	}
	v, err := read(t, style(t, "llama3", func(f map[string]any) { f["model"].(map[string]any)["ignore_merges"] = true }), 0)
	if err != nil || v.value("pre") != "llama-bpe" {
		t.Errorf("with ignore_merges: %v, %v", v, err)
	}
	v, err = read(t, style(t, "gpt2", func(f map[string]any) { f["normalizer"] = map[string]any{"type": "NFC"} }), 0)
	if err != nil || len(v.Warnings) != 1 {
		t.Errorf("with NFC: %v, %v", v, err)
	}
}

func TestNotByteLevel(t *testing.T) {
	for want, edit := range map[string]func(f map[string]any){
		"its normalizer Lowercase changes texts": func(f map[string]any) { f["normalizer"] = map[string]any{"type": "Lowercase"} },
		"its pre-tokenizer (WhitespaceSplit, words of GPT-2) is not": func(f map[string]any) {
			f["pre_tokenizer"] = map[string]any{"type": "Sequence",
				"pretokenizers": []any{map[string]any{"type": "WhitespaceSplit"}, f["pre_tokenizer"]}}
		},
		"its pre-tokenizer (ByteLevel) is not": func(f map[string]any) {
			f["pre_tokenizer"].(map[string]any)["add_prefix_space"] = true
		},
		"with ignore_merges": func(f map[string]any) { f["model"].(map[string]any)["ignore_merges"] = true },
		`its token "<|endoftext|>" is found with the spaces beside it`: func(f map[string]any) {
			f["added_tokens"].([]any)[0].(map[string]any)["lstrip"] = true
		},
		"has no token that ends a text": func(f map[string]any) {
			f["added_tokens"].([]any)[0].(map[string]any)["content"] = "<end>"
			vocab := f["model"].(map[string]any)["vocab"].(map[string]any)
			vocab["<end>"] = vocab["<|endoftext|>"]
			delete(vocab, "<|endoftext|>")
		},
		"end_of_word_suffix": func(f map[string]any) { f["model"].(map[string]any)["end_of_word_suffix"] = "</w>" },
	} {
		if _, err := read(t, style(t, "gpt2", edit), 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := read(t, []byte(`{"added_tokens": [], "model": {"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0}}}`),
		0); err == nil || !strings.Contains(err.Error(), "its model is WordLevel") {
		t.Error(err)
	}
}

// pieces is a tokenizer.json as it is made of a SentencePiece model, with these tokens and merges after three special
// tokens and those of bytes.
func pieces(tokens []string, merges ...[2]string) map[string]any {
	vocab := map[string]any{"<unk>": 0, "<s>": 1, "</s>": 2}
	for b := range 256 {
		vocab[fmt.Sprintf("<0x%02X>", b)] = 3 + b
	}
	for i, x := range tokens {
		vocab[x] = 259 + i
	}
	var added []any
	for i, x := range []string{"<unk>", "<s>", "</s>"} {
		added = append(added, map[string]any{"id": i, "content": x, "special": true})
	}
	return map[string]any{"added_tokens": added,
		"normalizer": map[string]any{"type": "Sequence", "normalizers": []any{
			map[string]any{"type": "Prepend", "prepend": space},
			map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": space}}},
		"decoder": map[string]any{"type": "ByteFallback"},
		"post_processor": map[string]any{"type": "TemplateProcessing",
			"single":         []any{map[string]any{"SpecialToken": map[string]any{"id": "<s>"}}, map[string]any{"Sequence": map[string]any{"id": "A"}}},
			"special_tokens": map[string]any{"<s>": map[string]any{"ids": []int{1}}}},
		"model": map[string]any{"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "vocab": vocab, "merges": merges}}
}

func TestSentencePiece(t *testing.T) {
	tokens := []string{"bc", "abc", "ab", "a", "b", "c", space}
	b, err := json.Marshal(pieces(tokens, [2]string{"b", "c"}, [2]string{"a", "b"}, [2]string{"a", "bc"}, [2]string{"ab", "c"}))
	if err != nil {
		t.Fatal(err)
	}
	v, err := read(t, b, 1)
	if err != nil {
		t.Fatal(err)
	}
	scores := v.value("scores").([]float32)[259:]
	if got := []float32{scores[0], scores[2], scores[1]}; !slices.Equal(got, []float32{0, -1, -2}) {
		t.Errorf("bc, ab and abc have scores %v", got)
	}
	types := v.value("token_type").([]int32)
	if got := []int32{types[0], types[1], types[3], types[258], types[259], types[266]}; !slices.Equal(got,
		[]int32{unknown, control, aByte, aByte, normal, unused}) {
		t.Errorf("types %v", got)
	}
	for key, want := range map[string]any{"model": "llama", "bos_token_id": uint32(1), "eos_token_id": uint32(2),
		"unknown_token_id": uint32(0), "add_bos_token": true, "add_eos_token": false, "add_space_prefix": true} {
		if got := v.value(key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
}

func TestNotSentencePiece(t *testing.T) {
	tokens := []string{"bc", "abc", "ab", "a", "b", "c", space}
	all := [][2]string{{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"ab", "c"}}
	for want, edit := range map[string]func(f map[string]any){
		`does not join "ab" and "c"`: func(f map[string]any) { f["model"].(map[string]any)["merges"] = all[:3] },
		`merges that make "abc" are not beside one another`: func(f map[string]any) {
			f["model"].(map[string]any)["merges"] = [][2]string{all[0], all[2], all[1], all[3]}
		},
		"tokens for 255 of the 256 bytes": func(f map[string]any) {
			vocab := f["model"].(map[string]any)["vocab"].(map[string]any)
			vocab["x"] = vocab["<0x41>"]
			delete(vocab, "<0x41>")
		},
		"such as NFC":            func(f map[string]any) { f["normalizer"] = map[string]any{"type": "NFC"} },
		"does not put \"▁\"":     func(f map[string]any) { f["normalizer"] = nil },
		"in a text whose spaces": func(f map[string]any) { f["added_tokens"].([]any)[1].(map[string]any)["normalized"] = true },
		"has ignore_merges":      func(f map[string]any) { f["model"].(map[string]any)["ignore_merges"] = true },
		"puts tokens after a text": func(f map[string]any) {
			p := f["post_processor"].(map[string]any)
			p["single"] = append(p["single"].([]any), map[string]any{"SpecialToken": map[string]any{"id": "<s>"}})
		},
	} {
		f := pieces(tokens, all...)
		edit(f)
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := read(t, b, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
