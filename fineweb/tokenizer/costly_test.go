package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// tokenizerJSON is a small tokenizer.json with parts replaced.
func tokenizerJSON(t testing.TB, parts map[string]any) []byte {
	m := map[string]any{"model": map[string]any{"type": "BPE", "vocab": map[string]int{"a": 0, "b": 1, "ab": 2}, "merges": []string{"a b"}}}
	for k, v := range parts {
		m[k] = v
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func regex(kind, p string, more ...any) map[string]any {
	m := map[string]any{"type": kind, "pattern": map[string]any{"Regex": p}, "behavior": "Isolated"}
	for i := 0; i < len(more); i += 2 {
		m[more[i].(string)] = more[i+1]
	}
	return m
}

// TestCostlyTokenizers encodes with patterns that backtrack for ever and normalizers that make texts of any size: an
// error that names them, in bounded time and memory.
func TestCostlyTokenizers(t *testing.T) {
	var doubling []any
	for range 60 {
		doubling = append(doubling, map[string]any{"type": "Replace", "pattern": map[string]any{"String": "a"}, "content": "aa"})
	}
	text := strings.Repeat("a", 53) + "!"
	for name, c := range map[string]struct {
		parts map[string]any
		text  string
		says  string
	}{
		"split":       {map[string]any{"pre_tokenizer": regex("Split", "(a+)+$")}, text, "(a+)+$"},
		"in a row":    {map[string]any{"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{map[string]any{"type": "WhitespaceSplit"}, regex("Split", "(a|aa)+$")}}}, text, "(a|aa)+$"},
		"look behind": {map[string]any{"pre_tokenizer": regex("Split", "(?<=a{100000})b")}, strings.Repeat("b", 100_000), "(?<=a{100000})b"},
		"replace":     {map[string]any{"normalizer": regex("Replace", "(a+)+$", "content", "b")}, text, "(a+)+$"},
		"doubling":    {map[string]any{"normalizer": map[string]any{"type": "Sequence", "normalizers": doubling}}, text, "normalizer makes more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tok, err := Parse(tokenizerJSON(t, c.parts))
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, _, err := tok.Document(nil, c.text)
				done <- err
			}()
			select {
			case err = <-done:
			case <-time.After(time.Minute):
				t.Fatal("it does not end")
			}
			if !errors.Is(err, ErrTooCostly) || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 300 {
				t.Error(err)
			}
		})
	}
}

func TestImpossibleTokenizers(t *testing.T) {
	nested := any(map[string]any{"type": "WhitespaceSplit"})
	for range 100 {
		nested = map[string]any{"type": "Sequence", "pretokenizers": []any{nested}}
	}
	var steps []any
	for range 300 {
		steps = append(steps, map[string]any{"type": "Lowercase"})
	}
	sequence := func(kind string, n int, step map[string]any) map[string]any {
		return map[string]any{"type": "Sequence", kind: slices.Repeat([]any{step}, n)}
	}
	double := map[string]any{"type": "Replace", "pattern": map[string]any{"String": "a"}, "content": "aa"}
	vocab := func(v map[string]int) map[string]any {
		return map[string]any{"type": "BPE", "vocab": v, "merges": []string{}}
	}
	for name, c := range map[string]struct {
		parts map[string]any
		says  string
	}{
		"id":            {map[string]any{"model": vocab(map[string]int{"a": 1<<31 - 1})}, "ids go from 0 to"},
		"negative id":   {map[string]any{"model": vocab(map[string]int{"a": -1})}, "ids go from 0 to"},
		"added id":      {map[string]any{"added_tokens": []any{map[string]any{"id": 1 << 24, "content": "x"}}}, "ids go from 0 to"},
		"merge":         {map[string]any{"model": map[string]any{"type": "BPE", "vocab": map[string]int{"a": 0}, "merges": []string{"a \u202e"}}}, `"\u202e" or what they make is not in the vocabulary`},
		"template":      {map[string]any{"post_processor": map[string]any{"type": "TemplateProcessing", "single": []any{map[string]any{"SpecialToken": map[string]any{"id": "x"}}, map[string]any{"Sequence": map[string]any{"id": "A"}}}, "special_tokens": map[string]any{"x": map[string]any{"ids": []int{7}}}}}, "token 7, which is not one of the 3"},
		"nested":        {map[string]any{"pre_tokenizer": nested}, "deep"},
		"steps":         {map[string]any{"normalizer": map[string]any{"type": "Sequence", "normalizers": steps}}, "300 steps"},
		"long pattern":  {map[string]any{"pre_tokenizer": regex("Split", strings.Repeat("(", 1e5)+strings.Repeat(")", 1e5))}, "a pattern of 200000 bytes"},
		"long content":  {map[string]any{"normalizer": regex("Replace", "a", "content", strings.Repeat("a", 1000))}, "1000 bytes at a time"},
		"long prefix":   {map[string]any{"normalizer": map[string]any{"type": "Prepend", "prepend": strings.Repeat("a", 1000)}}, "1000 bytes at a time"},
		"strip nothing": {map[string]any{"decoder": map[string]any{"type": "Strip", "content": "", "start": 1 << 60, "stop": 0}}, "content"},
		"no space":      {map[string]any{"pre_tokenizer": map[string]any{"type": "Metaspace", "replacement": ""}}, "takes one character"},
		"no space back": {map[string]any{"decoder": map[string]any{"type": "Metaspace", "replacement": "xy"}}, "takes one character"},
		"long decoding": {map[string]any{"decoder": sequence("decoders", 60, double)}, "its steps may make more than 256 bytes of one"},
		"spaced out":    {map[string]any{"decoder": sequence("decoders", 60, map[string]any{"type": "BPEDecoder", "suffix": ""})}, "its steps may make more than 256 bytes of one"},
		"long token":    {map[string]any{"normalizer": sequence("normalizers", 18, double), "added_tokens": []any{map[string]any{"id": 3, "content": "a!", "normalized": true}}}, `added token "a!"`},
		"another kind":  {map[string]any{"normalizer": map[string]any{"type": "Precompiled", "precompiled_charsmap": strings.Repeat("A", 1e6)}}, "Precompiled: precompiled_charsmap promises"},
	} {
		if _, err := Parse(tokenizerJSON(t, c.parts)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if _, err := Parse([]byte("{\"model\": \"\xff\"}")); err == nil || !strings.Contains(err.Error(), "not UTF-8") {
		t.Error(err)
	}
}

// TestManyAddedTokens encodes with as many added tokens as a file may name; finding them is not a search through all.
func TestManyAddedTokens(t *testing.T) {
	var added []any
	for i := range 100_000 {
		added = append(added, map[string]any{"id": 3 + i, "content": fmt.Sprintf("<%06d>", i), "special": true})
	}
	tok, err := Parse(tokenizerJSON(t, map[string]any{"added_tokens": added}))
	if err != nil {
		t.Fatal(err)
	}
	ids, err := tok.Encode(nil, strings.Repeat("ab<", 1<<16)+"<000007>")
	if err != nil || ids[len(ids)-1] != 10 {
		t.Error(len(ids), err)
	}
}

// TestStrippedAddedTokens finds tokens that take the white space beside them in a text of nothing else, in linear time.
func TestStrippedAddedTokens(t *testing.T) {
	for _, side := range []string{"lstrip", "rstrip"} {
		tok, err := Parse(tokenizerJSON(t, map[string]any{"added_tokens": []any{map[string]any{"id": 3, "content": " ", side: true}}}))
		if err != nil {
			t.Fatal(err)
		}
		const n = 2_000_000
		done := make(chan int, 1)
		go func() {
			ids, err := tok.Encode(nil, strings.Repeat(" ", n))
			if err != nil {
				t.Error(err)
			}
			done <- len(ids)
		}()
		select {
		case got := <-done:
			if got != n {
				t.Errorf("%s: %d ids of %d spaces", side, got, n)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: it does not end", side)
		}
	}
}

// TestRoomOfNormalizers holds that a normalizer which makes 64 bytes of each is stopped before it has made them all.
func TestRoomOfNormalizers(t *testing.T) {
	const n = 4 << 20
	tok, err := Parse(tokenizerJSON(t, map[string]any{"normalizer": regex("Replace", "a", "content", strings.Repeat("b", 64))}))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("a", n)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = tok.Encode(nil, text)
	runtime.ReadMemStats(&after)
	if made := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, ErrTooCostly) || made > 64*n*3/2 {
		t.Errorf("%d bytes were allocated for %d of text, %v", made, n, err)
	}
}
