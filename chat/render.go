package chat

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"stepflow/foreign/jinja"
)

// Rendered is the text of a conversation.
type Rendered struct {
	Text   string
	Said   []jinja.Span // what {% generation %} marks
	Quoted []jinja.Span // special tokens that stood in the conversation itself: they are text
}

// Render renders a conversation as transformers' apply_chat_template does. With prompt set, it ends with what makes the
// model answer.
func (t *Template) Render(c *Conversation, prompt bool) (*Rendered, error) {
	tmpl, err := t.of(c)
	if err != nil {
		return nil, err
	}
	g := t.guard(c)
	messages := &jinja.List{Items: []jinja.Value{}}
	for _, m := range c.Messages {
		messages.Items = append(messages.Items, withReasoning(g.value(m).(*jinja.Dict)))
	}
	vars := maps.Clone(t.special)
	maps.Copy(vars, t.Variables)
	for n, v := range c.Variables {
		vars[n] = g.value(v)
	}
	vars["messages"], vars["tools"], vars["documents"] = messages, g.value(c.Tools), nil
	vars["add_generation_prompt"] = prompt
	text, spans, err := tmpl.RenderSpans(vars)
	if err != nil {
		return nil, err
	}
	return g.open(text, spans), nil
}

// reasoning are the names that a message may give what was thought before it. transformers gives it to the template
// under the first, and as thinking.
var reasoning = []string{"reasoning_content", "thinking", "reasoning"}

func withReasoning(m *jinja.Dict) *jinja.Dict {
	for _, n := range reasoning {
		v, ok := m.Get(n)
		if !ok || v == nil {
			continue
		}
		out := jinja.NewDict("thinking", v)
		for _, k := range m.Names() {
			x, _ := m.Get(k)
			out.Set(k, x)
		}
		out.Set("reasoning_content", v)
		return out
	}
	return m
}

// guard keeps special tokens that stand in a conversation from becoming tokens: whoever wrote them could end his turn and
// speak as another. A character that stands nowhere else is put into them before the template sees them, and taken out of
// what it renders.
type guard struct {
	tokens []string // that are looked for
	mark   string   // "" if nothing has to be marked
}

// guard looks for special tokens in a conversation.
func (t *Template) guard(c *Conversation) guard {
	var all strings.Builder
	for _, m := range c.Messages {
		collect(&all, m)
	}
	collect(&all, c.Tools)
	for _, v := range c.Variables {
		collect(&all, v)
	}
	text := all.String()
	var g guard
	for _, tok := range t.guarded {
		if strings.Contains(text, tok) {
			g.tokens = append(g.tokens, tok)
		}
	}
	if len(g.tokens) == 0 {
		return g
	}
	for _, s := range t.source.Templates {
		text += s
	}
	for r := '\U000F0000'; r < '\U000FFFFD'; r++ { // for private use
		if !strings.ContainsRune(text, r) {
			g.mark = string(r)
			return g
		}
	}
	return g
}

// collect writes all texts of a value.
func collect(b *strings.Builder, v jinja.Value) {
	switch v := v.(type) {
	case string:
		b.WriteString(v)
		b.WriteByte(0)
	case *jinja.List:
		for _, x := range v.Items {
			collect(b, x)
		}
	case *jinja.Dict:
		if v == nil {
			return
		}
		for _, n := range v.Names() {
			x, _ := v.Get(n)
			b.WriteString(n)
			collect(b, x)
		}
	}
}

// value puts the mark into the special tokens of a value.
func (g guard) value(v jinja.Value) jinja.Value {
	if g.mark == "" {
		return v
	}
	switch v := v.(type) {
	case string:
		return g.text(v)
	case *jinja.List:
		out := &jinja.List{Tuple: v.Tuple, Items: []jinja.Value{}}
		for _, x := range v.Items {
			out.Items = append(out.Items, g.value(x))
		}
		return out
	case *jinja.Dict:
		out := &jinja.Dict{}
		for _, n := range v.Names() {
			x, _ := v.Get(n)
			out.Set(g.text(n), g.value(x))
		}
		return out
	}
	return v
}

// text puts the mark after the first character of each special token.
func (g guard) text(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		_, size := utf8.DecodeRuneInString(s[i:])
		b.WriteString(s[i : i+size])
		if longest(g.tokens, s[i:]) != "" {
			b.WriteString(g.mark)
		}
		i += size
	}
	return b.String()
}

// longest returns the longest of the tokens that a text begins with, "" if it begins with none.
func longest(tokens []string, text string) (found string) {
	for _, tok := range tokens {
		if len(tok) > len(found) && strings.HasPrefix(text, tok) {
			found = tok
		}
	}
	return found
}

// open takes the marks out again.
func (g guard) open(text string, spans []jinja.Span) *Rendered {
	if g.mark == "" || !strings.Contains(text, g.mark) {
		return &Rendered{Text: text, Said: spans}
	}
	parts := strings.Split(text, g.mark)
	r := &Rendered{Text: strings.Join(parts, "")}
	var at []int // of the marks, in text
	end := 0     // of the parts so far, in r.Text
	for k, part := range parts[:len(parts)-1] {
		end += len(part)
		at = append(at, end+k*len(g.mark))
		_, size := utf8.DecodeLastRuneInString(r.Text[:end]) // the first character of a token
		from := end - size
		r.Quoted = append(r.Quoted, jinja.Span{Start: from, End: from + len(longest(g.tokens, r.Text[from:]))})
	}
	moved := func(i int) int {
		before, _ := slices.BinarySearch(at, i)
		return i - before*len(g.mark)
	}
	for _, s := range spans {
		r.Said = append(r.Said, jinja.Span{Start: moved(s.Start), End: moved(s.End)})
	}
	return r
}

// LossOn says on what the loss is taken.
type LossOn string

// On the messages of the assistant, on what follows the prompt, or on everything.
const (
	Assistant  LossOn = "assistant"
	Completion LossOn = "completion"
	All        LossOn = "all"
)

// Training renders a conversation and says on which parts of the text the loss is taken.
func (t *Template) Training(c *Conversation, on LossOn) (*Rendered, []jinja.Span, error) {
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	r, err := t.Render(c, false)
	if err != nil {
		return nil, nil, err
	}
	switch on {
	case All:
		return r, []jinja.Span{{Start: 0, End: len(r.Text)}}, nil
	case Completion:
		n := c.Completion
		if n < 0 {
			if n = len(c.Messages) - 1; !said(c.Messages[n]) {
				return nil, nil, fmt.Errorf("its last message is not the assistant's, which loss_on = \"completion\" trains on")
			}
		}
		start, err := t.prefix(c, r, n, true)
		return r, []jinja.Span{{Start: start, End: len(r.Text)}}, err
	}
	tmpl, err := t.of(c)
	if err != nil {
		return nil, nil, err
	}
	spans := r.Said
	if !tmpl.Marks() {
		if spans, err = t.differences(c, r); err != nil {
			return nil, nil, err
		}
	}
	if c.Completion > 0 { // of what follows the prompt
		start, err := t.prefix(c, r, c.Completion, true)
		if err != nil {
			return nil, nil, err
		}
		var kept []jinja.Span
		for _, s := range spans {
			if s.Start = max(s.Start, start); s.Start < s.End {
				kept = append(kept, s)
			}
		}
		spans = kept
	}
	return r, spans, nil
}

// prefix renders the first messages alone, and returns how much of the whole text that is.
func (t *Template) prefix(c *Conversation, whole *Rendered, n int, prompt bool) (int, error) {
	if n == 0 {
		return 0, nil
	}
	part := *c
	part.Messages = c.Messages[:n]
	r, err := t.Render(&part, prompt)
	if err != nil {
		return 0, fmt.Errorf("rendering its first %d messages alone: %w", n, err)
	}
	if !strings.HasPrefix(whole.Text, r.Text) {
		return 0, fmt.Errorf("%s renders the first %d messages otherwise when others follow, so it does not tell what the "+
			"assistant said: mark that with {%% generation %%} in a template of your own (chat_template), or set loss_on = \"all\"",
			t.source.Where, n)
	}
	return len(r.Text), nil
}

// maxAgain is how many messages are rendered again to tell what the assistant said: those of a conversation of about 1400.
const maxAgain = 1 << 20

// differences finds what the assistant said: the text that each of his messages adds.
func (t *Template) differences(c *Conversation, whole *Rendered) (spans []jinja.Span, err error) {
	again := 0
	for i, m := range c.Messages {
		if said(m) {
			again += 2*i + 1
		}
	}
	if again > maxAgain {
		return nil, fmt.Errorf("it has %d messages, and to tell what the assistant said %s renders each of his with all before it, "+
			"which would take too long: mark it with {%% generation %%} in a template of your own (chat_template), or shorten the "+
			"conversation", len(c.Messages), t.source.Where)
	}
	for i, m := range c.Messages {
		if !said(m) {
			continue
		}
		start, err := t.prefix(c, whole, i, true)
		if err != nil {
			return nil, err
		}
		end := len(whole.Text)
		if i+1 < len(c.Messages) {
			if end, err = t.prefix(c, whole, i+1, false); err != nil {
				return nil, err
			}
		}
		spans = append(spans, jinja.Span{Start: start, End: max(start, end)})
	}
	return spans, nil
}
