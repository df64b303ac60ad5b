package llamacpp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
)

// preTokenizer is a way to cut text into words that llama.cpp knows by a name.
type preTokenizer struct {
	name         string
	steps        string // as steps spells them
	ignoreMerges bool   // words that are tokens are not cut
}

// The patterns of preTokenizers, as tokenizer.json has them.
const (
	splitGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	splitGPT4 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	splitQwen = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// preTokenizers lists them. llama.cpp has a rewritten pattern for each, and where its own differs from the original for
// some texts, as those of gpt-4o and tekken do, the pre-tokenizer is not here.
var preTokenizers = []preTokenizer{
	{name: "gpt-2", steps: "words of GPT-2"},
	{name: "gpt-2", steps: "split " + splitGPT2 + ", bytes"},
	{name: "smollm", steps: "digits, words of GPT-2"},
	{name: "llama-bpe", steps: "split " + splitGPT4 + ", bytes", ignoreMerges: true},
	{name: "dbrx", steps: "split " + splitGPT4 + ", bytes"},
	{name: "qwen2", steps: "split " + splitQwen + ", bytes"},
}

// component is a step of a normalizer, pre-tokenizer or decoder.
type component struct {
	Type           string          `json:"type"`
	Normalizers    []component     `json:"normalizers"`
	PreTokenizers  []component     `json:"pretokenizers"`
	Decoders       []component     `json:"decoders"`
	AddPrefixSpace *bool           `json:"add_prefix_space"`
	UseRegex       *bool           `json:"use_regex"`
	Individual     bool            `json:"individual_digits"`
	Pattern        json.RawMessage `json:"pattern"`
	Behavior       string          `json:"behavior"`
	Invert         bool            `json:"invert"`
	Prepend        string          `json:"prepend"`
	Content        string          `json:"content"`
	Replacement    string          `json:"replacement"`
	PrependScheme  string          `json:"prepend_scheme"`
	Split          *bool           `json:"split"`
}

// components lists the steps of a part of a tokenizer.json.
func components(raw json.RawMessage) ([]component, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var c component
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, err
	}
	return c.flat(), nil
}

// flat lists the steps of a sequence, whose parts may be sequences.
func (c component) flat() (list []component) {
	if c.Type != "Sequence" {
		return []component{c}
	}
	for _, x := range slices.Concat(c.Normalizers, c.PreTokenizers, c.Decoders) {
		list = append(list, x.flat()...)
	}
	return list
}

// pattern is the regular expression of a step, or the text that it looks for.
func (c component) pattern() string {
	var p struct{ Regex, String string }
	if json.Unmarshal(c.Pattern, &p) != nil {
		return ""
	}
	return cmp.Or(p.Regex, p.String)
}

// whether gives a switch that is on where it is not written.
func whether(b *bool) bool { return b == nil || *b }

// spelled is a step of a pre-tokenizer as preTokenizers spells it, or its type if none of them has it.
func (c component) spelled() string {
	switch {
	case c.Type == "ByteLevel" && !whether(c.AddPrefixSpace) && whether(c.UseRegex):
		return "words of GPT-2"
	case c.Type == "ByteLevel" && !whether(c.AddPrefixSpace):
		return "bytes"
	case c.Type == "Digits" && c.Individual:
		return "digits"
	case c.Type == "Split" && (c.Behavior == "Isolated" && !c.Invert || c.Behavior == "Removed" && c.Invert):
		return "split " + c.pattern()
	}
	return c.Type
}

// byteLevel is a tokenizer whose tokens spell bytes, as GPT-2's do.
func (v *Vocabulary) byteLevel(f *file, tok *tokenizer.Tokenizer, size int) error {
	pre, err := f.preTokenizer()
	if err != nil {
		return err
	}
	if err := v.normalizes(f); err != nil {
		return err
	}
	list, types := f.tokens(tok, size)
	merges := make([]string, len(f.Model.Merges))
	for i, m := range f.Model.Merges {
		if strings.Contains(m[0], " ") || strings.Contains(m[1], " ") {
			return fmt.Errorf("its merge of %q and %q has a space in it, which llama.cpp cannot read", foreign.Shown(m[0]),
				foreign.Shown(m[1]))
		}
		merges[i] = m[0] + " " + m[1]
	}
	v.add("ggml.model", "gpt2")
	v.add("ggml.pre", pre)
	v.add("ggml.tokens", list)
	v.add("ggml.token_type", types)
	v.add("ggml.merges", merges)
	return nil
}

// preTokenizer names the pre-tokenizer.
func (f *file) preTokenizer() (string, error) {
	list, err := components(f.PreTokenizer)
	if err != nil {
		return "", err
	}
	var steps []string
	for _, c := range list {
		steps = append(steps, c.spelled())
	}
	is := strings.Join(steps, ", ")
	for _, p := range preTokenizers {
		if p.steps == is && p.ignoreMerges == f.Model.IgnoreMerges {
			return p.name, nil
		}
	}
	if is == "" {
		is = "none"
	}
	merges := ""
	if f.Model.IgnoreMerges {
		merges = ", with ignore_merges"
	}
	return "", fmt.Errorf("its pre-tokenizer (%s%s) is not among those that llama.cpp cuts words like: those of GPT-2, SmolLM, "+
		"Llama 3, Qwen2 and OLMo 2", foreign.ShownStart(is, 200), merges)
}

// normalizes checks that llama.cpp, which changes no text, cuts the same text.
func (v *Vocabulary) normalizes(f *file) error {
	list, err := components(f.Normalizer)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Type != "NFC" {
			return fmt.Errorf("its normalizer %s changes texts, and llama.cpp does not", foreign.Shown(c.Type))
		}
		v.Warnings = append(v.Warnings, "composes characters first (NFC), which llama.cpp does not: a text with "+
			"combining characters gets other ids there")
	}
	return nil
}
