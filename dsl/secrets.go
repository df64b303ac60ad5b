package dsl

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/foreign"
)

// Sensitive is the mark of values that are not shown.
const Sensitive = "sensitive"

// Hidden is shown in place of a sensitive value.
const Hidden = "(sensitive)"

// Secrets collects the texts of a pipeline's sensitive values. Values carry marks, which say what to hide of them.
// Messages from elsewhere, such as the operating system's, are text without marks: Redact hides secrets in them before
// they are shown, written or sent. The nil Secrets is empty.
type Secrets struct {
	mu       sync.Mutex
	texts    map[string]bool
	replacer *strings.Replacer // replaces the texts; nil after one was added
}

// Texts shorter than leastText, and ordinary words, are replaced only in quotes, since they occur in messages by
// chance. Numbers of fewer digits than leastNumber are not replaced.
const (
	leastText   = 4
	leastNumber = 6
)

// Add collects the marked parts of a value.
func (s *Secrets) Add(v cty.Value) { s.add(v, false) }

// AddAll collects a value that is sensitive as a whole, marked or not.
func (s *Secrets) AddAll(v cty.Value) { s.add(v, true) }

func (s *Secrets) add(v cty.Value, marked bool) {
	if s == nil || v == cty.NilVal {
		return
	}
	v, marks := v.Unmark()
	_, here := marks[Sensitive]
	marked = marked || here
	if !v.IsKnown() || v.IsNull() {
		return
	}
	switch t := v.Type(); {
	case t == cty.String && marked:
		s.addText(v.AsString())
	case t == cty.Number && marked:
		if text := showNumber(v.AsBigFloat()); len(text) >= leastNumber {
			s.addText(text)
		}
	case t.IsCollectionType() || t.IsTupleType() || t.IsObjectType():
		for it := v.ElementIterator(); it.Next(); {
			key, e := it.Element()
			s.add(e, marked)
			if t.IsMapType() || t.IsObjectType() {
				s.add(key, marked)
			}
		}
	}
}

// addText collects a text, and its forms in paths, quotes, JSON, addresses and what package foreign shows.
func (s *Secrets) addText(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.texts == nil {
		s.texts = map[string]bool{}
	}
	forms := []string{text, filepath.Clean(text), url.QueryEscape(text), url.PathEscape(text)}
	if i := strings.IndexAny(text, "*?[{"); i > 0 { // the beginning of the files that a pattern matches
		forms = append(forms, filepath.Clean(text[:i]))
	}
	if r, n := utf8.DecodeRuneInString(text); unicode.IsLower(r) { // as at the beginning of a sentence
		forms = append(forms, string(unicode.ToUpper(r))+text[n:])
	}
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); len(line) >= 2*leastText {
			forms = append(forms, line)
		}
	}
	for _, f := range forms {
		quoted := strconv.Quote(f)
		asJSON, _ := json.Marshal(f)
		for _, x := range []string{f, quoted[1 : len(quoted)-1], string(asJSON[1 : len(asJSON)-1]), foreign.Shown(f),
			foreign.ShownText(f)} {
			if x != "" && (len(x) < leastText || isOrdinary(x)) {
				x = `"` + x + `"`
			}
			if x != "" && !s.texts[x] {
				s.texts[x], s.replacer = true, nil
			}
		}
	}
}

// isOrdinary reports whether a text is in many messages whatever the secret is: a word of the language or of its
// reference, or a short number.
func isOrdinary(text string) bool {
	if _, err := strconv.ParseFloat(text, 64); err == nil && len(text) < leastNumber {
		return true
	}
	return ordinaryWords()[strings.ToLower(text)]
}

// ordinaryWords holds the words of the language and of its reference.
var ordinaryWords = sync.OnceValue(func() map[string]bool {
	words := map[string]bool{}
	add := func(texts ...string) {
		for _, t := range texts {
			for _, w := range strings.FieldsFunc(t, func(r rune) bool { return !unicode.IsLetter(r) && r != '_' }) {
				words[strings.ToLower(w)] = true
			}
		}
	}
	add("true false null default error warning value block file line column")
	attrs := func(list []Attr) {
		for _, a := range list {
			add(a.Name, a.Doc)
			add(a.OneOf...)
		}
	}
	var nested func([]Nested)
	nested = func(list []Nested) {
		for _, n := range list {
			add(n.Name, n.Doc)
			add(n.Label...)
			attrs(n.Attrs)
			nested(n.Blocks)
		}
	}
	nested([]Nested{dynamicBlock})
	for _, list := range [][]Kind{Meta, Kinds} {
		for _, k := range list {
			add(k.Name, k.Doc)
			add(k.Types...)
			attrs(k.Attrs)
			nested(k.Blocks)
			for _, e := range k.Exports {
				add(e.Name, e.Doc)
			}
		}
	}
	return words
})

// Redact prepares text from elsewhere to be shown, written or sent: it replaces secrets, and writes control characters,
// which a terminal would obey, as escapes.
func (s *Secrets) Redact(text string) string { return foreign.ShownText(s.replace(text)) }

func (s *Secrets) replace(text string) string {
	if s == nil || text == "" {
		return text
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.texts) == 0 {
		return text
	}
	if s.replacer == nil {
		var list []string
		for t := range s.texts {
			list = append(list, t)
		}
		slices.SortFunc(list, func(a, b string) int { // the longer first
			if len(a) != len(b) {
				return len(b) - len(a)
			}
			return strings.Compare(a, b)
		})
		var pairs []string
		for _, t := range list {
			pairs = append(pairs, t, Hidden)
		}
		s.replacer = strings.NewReplacer(pairs...)
	}
	return s.replacer.Replace(text)
}

// Error returns an error whose text is redacted.
func (s *Secrets) Error(err error) error {
	if err == nil {
		return nil
	}
	if text := s.Redact(err.Error()); text != err.Error() {
		return &redacted{text, err}
	}
	return err
}

type redacted struct {
	text string
	err  error
}

func (r *redacted) Error() string { return r.text }

func (r *redacted) Unwrap() error { return r.err }

// Diagnostics redacts the texts of diagnostics. It first collects the values in their expressions: the argument of a
// function that failed may be nowhere else.
func (s *Secrets) Diagnostics(diags hcl.Diagnostics) hcl.Diagnostics {
	for _, d := range diags {
		if d.Expression != nil && d.EvalContext != nil {
			s.addParts(d.Expression, d.EvalContext)
		}
	}
	for _, d := range diags {
		d.Summary, d.Detail = s.Redact(d.Summary), s.Redact(d.Detail)
	}
	return diags
}

// addParts collects the sensitive values of an expression and of its parts.
func (s *Secrets) addParts(e hcl.Expression, ctx *hcl.EvalContext) {
	node, ok := e.(hclsyntax.Node)
	if !ok {
		return
	}
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
		if part, ok := n.(hclsyntax.Expression); ok {
			v, _, _ := contained(func() (cty.Value, hcl.Diagnostics) { return part.Value(ctx) })
			if v.ContainsMarked() {
				s.Add(v)
			}
		}
		return nil
	})
}

// mask blanks ranges of a source text, so that no snippet shows them. Lines and columns stay.
func mask(src []byte, ranges []hcl.Range) []byte {
	out := slices.Clone(src)
	for _, r := range ranges {
		for i := r.Start.Byte; i < r.End.Byte && i < len(out); i++ {
			if out[i] != '\n' {
				out[i] = '*'
			}
		}
	}
	return out
}
