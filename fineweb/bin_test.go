package fineweb

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stepflow/fineweb/tokenizer"
)

// inPieces cuts data that are opened from here on into smaller pieces.
func inPieces(t testing.TB, c cut) {
	t.Helper()
	before := usual
	usual = c
	t.Cleanup(func() { usual = before })
}

// narrow and wide are ids as uint16 and as uint32; headed is such a file with llm.c's header.
func narrow(ids []int32) (b []byte) {
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint16(b, uint16(id))
	}
	return b
}

func wide(ids []int32) (b []byte) {
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return b
}

func headed(magic, version uint32, tokens int, body []byte) []byte {
	h := make([]byte, binHeader)
	for i, x := range []uint32{magic, version, uint32(tokens)} {
		binary.LittleEndian.PutUint32(h[4*i:], x)
	}
	return append(h, body...)
}

// binSource is files of tokens, read in order.
func binSource(t testing.TB, files ...[]byte) Source {
	t.Helper()
	s := Source{Format: "bin", Dir: t.TempDir(), Patterns: []string{"*.bin"}, DocumentMask: true, PredictFirst: true}
	for i, b := range files {
		write(t, filepath.Join(s.Dir, fmt.Sprintf("%03d.bin", i)), string(b))
	}
	return s
}

// documentsOf cuts ids after every end-of-text token.
func documentsOf(ids []int32, eos int32) (docs [][]int32) {
	from := 0
	for i, id := range ids {
		if id == eos || i == len(ids)-1 {
			docs = append(docs, ids[from:i+1])
			from = i + 1
		}
	}
	return docs
}

// tokensOf are the documents of a stream's first epoch.
func tokensOf(t testing.TB, s Source, split Split, tk *tokenizer.Tokenizer) (docs [][]int32) {
	t.Helper()
	c := open(t, s)
	st, err := c.Stream(split, tk, 64, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		d, _, err := st.next()
		if err != nil {
			t.Fatal(err)
		}
		if st.ends > 0 {
			return docs
		}
		ids, err := c.tokens.whole(d.at)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, ids)
	}
}

// Files of tokens in all forms give the tokens that are in them, and documents end where the end-of-text token ends
// them: not where a piece, a block or a file does.
func TestBinFiles(t *testing.T) {
	tk := tok(t)
	var ids []int32
	for i := 0; len(ids) < 12_000; i++ {
		ids = append(ids, encoded(t, tk, strings.Repeat("word ", i%9+1))...)
		if i%50 == 7 {
			ids = append(ids, encoded(t, tk, strings.Repeat("a long document ", 300))...)
		}
		if i%70 == 9 {
			ids = append(ids, tk.EOS) // an empty document
		}
	}
	a, b := len(ids)/3, len(ids)/2 // in the middle of documents, as llm.c's shards end
	for name, files := range map[string][][]byte{
		"nanoGPT":       {narrow(ids)},
		"llm.c":         {headed(20240520, 1, len(ids), narrow(ids))},
		"llm.c LLaMA 3": {headed(20240801, 7, len(ids), wide(ids))},
		"shards": {headed(20240520, 1, a, narrow(ids[:a])), headed(20240520, 1, b-a, narrow(ids[a:b])),
			headed(20240520, 1, len(ids)-b, narrow(ids[b:]))},
		"shards of widths": {narrow(ids[:a]), headed(20240801, 7, 0, nil), headed(20240801, 7, b-a, wide(ids[a:b])),
			narrow(ids[b:])},
	} {
		for _, piece := range []int64{1, 7, 64, 4096, pieceTokens} {
			if piece == 1 && name != "shards of widths" {
				continue
			}
			inPieces(t, cut{pieceRows, piece})
			s := binSource(t, files...)
			st, err := open(t, s).Stream(Train, tk, 64, Cursor{})
			if err != nil {
				t.Fatal(err)
			}
			var batches []*Batch
			for at := 0; at+2*64 < len(ids); at += 2 * 64 {
				x, err := st.Next(2)
				if err != nil {
					t.Fatal(err)
				}
				batches = append(batches, x)
				for i := range x.IDs {
					if x.IDs[i] != ids[at+i] || x.Targets[i] != ids[at+i+1] {
						t.Fatalf("%s: token %d is %d before %d, not %d before %d", name, at+i, x.IDs[i], x.Targets[i], ids[at+i],
							ids[at+i+1])
					}
					if i%64 > 0 && (x.Segments[i] != x.Segments[i-1]) != (x.IDs[i] == tk.EOS) {
						t.Fatalf("%s in pieces of %d: at token %d the segment is %d after %d", name, piece, at+i, x.Segments[i],
							x.Segments[i-1])
					}
				}
			}
			for i := 0; i+1 < len(batches); i += 9 {
				st, err := open(t, s).Stream(Train, tk, 64, batches[i].Cursor.Cursor)
				if err != nil {
					t.Fatalf("%s in pieces of %d: going on from batch %d: %v", name, piece, i, err)
				}
				if x, err := st.Next(2); err != nil || !reflect.DeepEqual(x, batches[i+1]) {
					t.Fatalf("%s in pieces of %d: going on from batch %d: %v", name, piece, i, err)
				}
			}
			if size, err := Measure(context.Background(), s, tk, Train); err != nil || size.How != Exact || size.Tokens != int64(len(ids)) {
				t.Errorf("%s: %+v, %v", name, size, err)
			}
		}
	}
}

// An epoch holds each document once and whole, shuffled or not, in every split, wherever pieces end; the split is by
// what a document holds, not by where it lies.
func TestBinDocumentsAreWhole(t *testing.T) {
	tk := tok(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, tail := range []bool{true, false} {
		var ids []int32
		for len(ids) < 5000 {
			for range rng.IntN(60) {
				ids = append(ids, 1+rng.Int32N(250))
			}
			ids = append(ids, tk.EOS)
		}
		if !tail {
			ids = append(ids, 7, 8, 9)
		}
		want := documentsOf(ids, tk.EOS)
		texts := func(docs [][]int32) (list []string) {
			for _, d := range docs {
				list = append(list, fmt.Sprint(d))
			}
			slices.Sort(list)
			return list
		}
		var held []string
		for _, piece := range []int64{3, 100, pieceTokens} {
			inPieces(t, cut{pieceRows, piece})
			for _, files := range [][][]byte{{narrow(ids)}, {narrow(ids[:1234]), narrow(ids[1234:4000]), narrow(ids[4000:])},
				{headed(20240801, 7, len(ids), wide(ids))}} {
				s := binSource(t, files...)
				if got := tokensOf(t, s, Train, tk); !reflect.DeepEqual(got, want) {
					t.Fatalf("pieces of %d, %d files: documents differ", piece, len(files))
				}
				s.Shuffle, s.ValidationFraction = true, 0.3
				train, validation := tokensOf(t, s, Train, tk), tokensOf(t, s, Validation, tk)
				if got := texts(append(slices.Clone(train), validation...)); !slices.Equal(got, texts(want)) {
					t.Fatalf("pieces of %d, %d files: the splits hold %d documents of %d", piece, len(files), len(got), len(want))
				}
				if held == nil {
					held = texts(validation)
				}
				if !slices.Equal(held, texts(validation)) || len(held) < 20 {
					t.Errorf("pieces of %d, %d files: other documents are held out", piece, len(files))
				}
			}
		}
	}
}

// A file without any end-of-text token is one document; it is read in parts, from any position.
func TestBinWithoutEnds(t *testing.T) {
	tk := tok(t)
	ids := make([]int32, 3*pieceTokens+17)
	for i := range ids {
		ids[i] = int32(i%250 + 1)
	}
	s := binSource(t, narrow(ids))
	c := open(t, s)
	st, err := c.Stream(Train, tk, 1024, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for ; at+4*1024 < len(ids); at += 4 * 1024 {
		b, err := st.Next(4)
		if err != nil {
			t.Fatal(err)
		}
		if b.Valid != len(b.IDs) || slices.Max(b.Segments) != 0 || !slices.Equal(b.IDs, ids[at:at+4*1024]) {
			t.Fatalf("at token %d: %d targets, %d segments", at, b.Valid, slices.Max(b.Segments)+1)
		}
		if len(st.ids) > 2*pieceTokens {
			t.Fatalf("%d tokens are in memory", len(st.ids))
		}
		if b.Cursor.Token != at+4*1024 {
			t.Fatalf("the position is %+v", b.Cursor)
		}
	}
	for _, token := range []int{0, 1, pieceTokens - 1, pieceTokens, 3*pieceTokens - 5000} {
		st, err := c.Stream(Train, tk, 1024, Cursor{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := st.Next(2); err != nil || !slices.Equal(b.IDs, ids[token:token+2048]) {
			t.Errorf("from token %d: %v", token, err)
		}
	}
	if _, err := c.Stream(Train, tk, 64, Cursor{Token: len(ids)}); err == nil || !strings.Contains(err.Error(),
		"does not lie in its document") {
		t.Errorf("after the end: %v", err)
	}
	// The end of the data ends the document; then it comes again.
	last, err := c.Stream(Train, tk, 64, Cursor{Token: len(ids) - 40})
	if err != nil {
		t.Fatal(err)
	}
	b, err := last.Next(1)
	if err != nil || b.Targets[39] != Ignored || b.Segments[39] != 0 || b.Segments[40] != 1 || b.IDs[40] != ids[0] || b.Valid != 63 {
		t.Errorf("%+v, %v", b, err)
	}
}

// What a file of tokens cannot be is said, with where.
func TestBinRefusals(t *testing.T) {
	tk := tok(t)
	big := largeVocabulary(t, 1<<16+1)
	ids := []int32{}
	for i := range 3000 {
		ids = append(ids, int32(i%200+1))
	}
	small := narrow(ids)
	negative := append(wide(ids[:2000]), 0xff, 0xff, 0xff, 0xff)
	for name, c := range map[string]struct {
		file  []byte
		dtype string
		tok   *tokenizer.Tokenizer
		want  string
	}{
		"odd": {append(bytes.Clone(small), 1), "", tk,
			"6001 bytes are not a whole number of tokens of 2 bytes"},
		"odd after a header": {headed(20240801, 7, 1500, append(bytes.Clone(small), 1, 2)), "", tk,
			"6002 bytes are not a whole number of tokens of 4 bytes"},
		"odd uint32":      {small[:len(small)-2], "uint32", tk, "not a whole number of tokens of 4 bytes"},
		"odd for the ids": {small[:len(small)-2], "", big, "need tokens of uint32"},
		"version":         {headed(20240520, 3, len(ids), small), "", tk, "of version 3, which is not"},
		"half a header": {headed(20240520, 1, 0, nil)[:1000], "", tk,
			"header of 1024 bytes does, and ends after 1000"},
		"promise": {headed(20240520, 1, len(ids), small[2:]), "", tk,
			"the header promises 3000 tokens, the file holds 2999"},
		"header against dtype": {headed(20240520, 1, len(ids), small), "uint32", tk,
			`the header says uint16, and dtype is "uint32"`},
		"another's": {append(bytes.Clone(small), 0xff, 0xff), "", tk,
			"000.bin, token 3000 (byte 6000): 65535 is not one of the tokenizer's 281 ids"},
		"unsigned": {headed(20240801, 7, 2001, negative), "", tk,
			"000.bin, token 2000 (byte 9024): 4294967295 is not one of the tokenizer's 281 ids"},
		"wide, not said":   {wide(ids), "", tk, `set dtype to "uint32"`},
		"narrow by dtype":  {small, "uint16", big, "which cannot hold ids from 65536 on"},
		"narrow by header": {headed(20240520, 1, len(ids), small), "", big, "which cannot hold ids from 65536 on"},
		"narrow, not said": {small, "", big, "000.bin, token 0 (byte 0): 131073 is not one of the tokenizer's 65537 ids"},
		"empty":            {nil, "", tk, "hold no rows"},
		"only a header":    {headed(20240520, 1, 0, nil), "", tk, "hold no rows"},
	} {
		s := binSource(t, c.file)
		s.DType = c.dtype
		corpus, err := Open(context.Background(), s)
		if err == nil {
			var st *Stream
			if st, err = corpus.Stream(Train, c.tok, 64, Cursor{}); err == nil {
				for i := 0; i < 300 && err == nil; i++ {
					_, err = st.Next(1)
				}
			}
			corpus.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, not %q", name, err, c.want)
		}
	}
	// Without a header the tokenizer tells how wide tokens are; dtype does, where it is given.
	for _, c := range []struct {
		file  []byte
		dtype string
		tok   *tokenizer.Tokenizer
	}{{wide(ids), "", big}, {wide(ids), "uint32", tk}, {small, "uint16", tk}, {small, "auto", tk}} {
		s := binSource(t, c.file)
		s.DType = c.dtype
		st, err := open(t, s).Stream(Train, c.tok, 64, Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := st.Next(2); err != nil || !slices.Equal(b.IDs, ids[:128]) {
			t.Errorf("%s: %v", c.dtype, err)
		}
	}
	if _, err := Measure(context.Background(), binSource(t, headed(20240520, 1, len(ids), small)), big,
		Train); !errors.Is(err, ErrDType) {
		t.Errorf("measuring: %v", err)
	}
}

// largeVocabulary is tok's tokenizer with one token more, whose id is the last of n.
func largeVocabulary(t testing.TB, n int) *tokenizer.Tokenizer {
	t.Helper()
	return withToken(t, tok(t), n-1, "<|last|>", nil)
}

// withToken is a tokenizer with one special token more, and another template.
func withToken(t testing.TB, tk *tokenizer.Tokenizer, id int, name string, template any) *tokenizer.Tokenizer {
	t.Helper()
	var f map[string]any
	if err := json.Unmarshal(tk.JSON(), &f); err != nil {
		t.Fatal(err)
	}
	f["added_tokens"] = append(f["added_tokens"].([]any), map[string]any{"id": id, "content": name, "special": true,
		"normalized": false, "single_word": false, "lstrip": false, "rstrip": false})
	f["model"].(map[string]any)["vocab"].(map[string]any)[name] = id // elsewhere ids follow on the model's
	f["post_processor"] = template
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	with, err := tokenizer.Parse(b)
	if err != nil || with.VocabSize() != id+1 || with.EOS != tk.EOS {
		t.Fatalf("%v", err)
	}
	return with
}

// Documents of a file that begin with the token which the tokenizer's template puts before a text predict their first
// token from that one; those that do not, from the token that ends the one before, be it the same as in LLaMA 3's
// files of llm.c.
func TestBinWithBeginnings(t *testing.T) {
	tk := withTemplate(t, tok(t))
	same := withTemplate(t, tok(t))
	same.EOS = same.BOS
	var plain, begun, only []int32
	for i := range int32(40) {
		text := []int32{i + 5, i + 6, i + 7}
		plain = append(append(plain, text...), tk.EOS)
		begun = append(append(append(begun, tk.BOS), text...), tk.EOS)
		only = append(append(only, same.BOS), text...)
	}
	for name, c := range map[string]struct {
		tok  *tokenizer.Tokenizer
		ids  []int32
		open int32 // the token that begins a segment
	}{"without": {tk, plain, tk.EOS}, "with": {tk, begun, tk.BOS}, "one token for both": {same, only, same.BOS}} {
		st, err := open(t, binSource(t, narrow(c.ids))).Stream(Train, c.tok, 100, Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := st.Next(1)
		if err != nil {
			t.Fatal(err)
		}
		for i, target := range b.Targets {
			if ends := name == "with" && b.IDs[i] == tk.EOS; (target == Ignored) != ends {
				t.Errorf("%s: token %d predicts %d", name, b.IDs[i], target)
			}
			if i > 0 && (b.Segments[i] != b.Segments[i-1]) != (b.IDs[i] == c.open) {
				t.Errorf("%s: segments %d and %d at token %d", name, b.Segments[i-1], b.Segments[i], b.IDs[i])
			}
		}
	}
}
