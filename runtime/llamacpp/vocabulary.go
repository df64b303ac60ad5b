package llamacpp

import (
	"encoding/json"
	"fmt"
	"strings"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/runtime/gguf"
)

// Types of tokens.
const (
	normal      = 1
	unknown     = 2
	control     = 3
	userDefined = 4
	unused      = 5
	aByte       = 6
)

// file is what a tokenizer.json says that matters here.
type file struct {
	Added        []added         `json:"added_tokens"`
	Normalizer   json.RawMessage `json:"normalizer"`
	PreTokenizer json.RawMessage `json:"pre_tokenizer"`
	Decoder      json.RawMessage `json:"decoder"`
	Model        struct {
		Type         string          `json:"type"`
		Vocab        json.RawMessage `json:"vocab"` // of Unigram a list
		Merges       []merge         `json:"merges"`
		Unknown      *string         `json:"unk_token"`
		Prefix       *string         `json:"continuing_subword_prefix"`
		Suffix       *string         `json:"end_of_word_suffix"`
		ByteFallback bool            `json:"byte_fallback"`
		IgnoreMerges bool            `json:"ignore_merges"`
	} `json:"model"`

	vocab map[string]int32
}

// added is a token that is looked for before the model sees a text.
type added struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// merge is a pair of tokens, which is written as a list or, with a space between them, as one text.
type merge [2]string

func (m *merge) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) == nil && len(list) == 2 {
		m[0], m[1] = list[0], list[1]
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	var ok bool
	if m[0], m[1], ok = strings.Cut(s, " "); !ok {
		return fmt.Errorf("the merge %q is not two tokens", foreign.Shown(s))
	}
	return nil
}

// Vocabulary is a tokenizer in llama.cpp's words.
type Vocabulary struct {
	Metadata []gguf.KV
	Warnings []string // what is different in llama.cpp, in words that follow on "The tokenizer"
}

// NewVocabulary returns the tokenizer of a model with size tokens, or why llama.cpp has none that gives the same ids.
func NewVocabulary(tok *tokenizer.Tokenizer, size int) (*Vocabulary, error) {
	var f file
	if err := json.Unmarshal(tok.JSON(), &f); err != nil {
		return nil, err
	}
	if t := f.Model.Type; t != "BPE" && t != "" {
		return nil, fmt.Errorf("its model is %s; llama.cpp gives the same ids for BPE alone", foreign.Shown(t))
	}
	if err := json.Unmarshal(f.Model.Vocab, &f.vocab); err != nil {
		return nil, err
	}
	m := f.Model
	if m.Prefix != nil && *m.Prefix != "" || m.Suffix != nil && *m.Suffix != "" {
		return nil, fmt.Errorf("its BPE marks the inside or the end of words (continuing_subword_prefix, end_of_word_suffix), " +
			"which llama.cpp does not know")
	}
	for _, a := range f.Added {
		if a.SingleWord || a.LStrip || a.RStrip {
			return nil, fmt.Errorf("its token %q is found with the spaces beside it, or as a word alone (lstrip, rstrip, "+
				"single_word), which llama.cpp does not know", foreign.Shown(a.Content))
		}
	}
	v := &Vocabulary{}
	var err error
	if m.ByteFallback {
		err = v.sentencePiece(&f, tok, size)
	} else {
		err = v.byteLevel(&f, tok, size)
	}
	if err == nil {
		err = v.specials(tok, &f)
	}
	return v, err
}

func (v *Vocabulary) add(key string, value any) {
	v.Metadata = append(v.Metadata, gguf.KV{Key: "tokenizer." + key, Value: value})
}

// tokens returns the tokens by id, and their types. Ids without a token, which a model may have, get one that no text has.
func (f *file) tokens(tok *tokenizer.Tokenizer, size int) (list []string, types []int32) {
	list, types = make([]string, size), make([]int32, size)
	seen := map[string]bool{}
	for i := range list {
		if list[i], types[i] = tok.Token(int32(i)), normal; list[i] != "" {
			seen[list[i]] = true
		}
	}
	for i := range list {
		if list[i] == "" {
			name := fmt.Sprintf("[PAD%d]", i)
			for seen[name] {
				name += "_"
			}
			seen[name] = true
			list[i], types[i] = name, unused
		}
	}
	for _, a := range f.Added {
		if a.Content == "" || int(a.ID) >= size {
			continue
		}
		if types[a.ID] = userDefined; a.Special {
			types[a.ID] = control
		}
	}
	return list, types
}

// specials adds the tokens that begin and end a text.
func (v *Vocabulary) specials(tok *tokenizer.Tokenizer, f *file) error {
	before, after := tok.Template()
	switch {
	case tok.EOS < 0:
		return fmt.Errorf("it has no token that ends a text, and llama.cpp would take another for it")
	case len(before) > 1:
		return fmt.Errorf("it puts %d tokens before a text; llama.cpp puts one there", len(before))
	case len(after) > 1 || len(after) == 1 && after[0] != tok.EOS:
		return fmt.Errorf("it puts tokens after a text other than %q, which ends a text; llama.cpp puts that one there",
			foreign.Shown(tok.Token(tok.EOS)))
	}
	bos := tok.BOS
	if bos < 0 { // without the key, llama.cpp takes token 11 or 1; documents follow on the token that ends one
		bos = tok.EOS
	}
	v.add("ggml.bos_token_id", uint32(bos))
	v.add("ggml.eos_token_id", uint32(tok.EOS))
	if u := f.Model.Unknown; u != nil {
		if id, ok := tok.ID(*u); ok {
			v.add("ggml.unknown_token_id", uint32(id))
		}
	}
	v.add("ggml.add_bos_token", len(before) > 0)
	v.add("ggml.add_eos_token", len(after) > 0)
	return nil
}
