// Package chat turns conversations into the text and the tokens that a model is tuned on: the forms in which people
// keep them, the chat templates of tokenizers, and which part of the text the loss is taken on.
package chat

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"stepflow/foreign"
	"stepflow/foreign/jinja"
)

// Conversation is a row of data.
type Conversation struct {
	// Messages are rendered by a chat template. Those from Completion on are what the row teaches to say; -1 if the row
	// does not say.
	Messages   []*jinja.Dict
	Completion int
	Tools      jinja.Value            // nil for none
	Variables  map[string]jinja.Value // for the template, beside those that it always has

	// Prompt and Answer are a row without messages: plain texts, which no template touches.
	Plain          bool
	Prompt, Answer string
	parts          []string // of Prompt, where a form puts others around what the row holds
}

// Forms are the forms of rows, by their names. Auto finds out by the columns.
var Forms = []string{"auto", "messages", "sharegpt", "prompt_completion", "alpaca"}

// forms are tried in order.
var forms = []struct {
	name, column string // that it is known by
	read         func(row *jinja.Dict) (*Conversation, error)
}{
	{"messages", "messages", func(row *jinja.Dict) (*Conversation, error) { return fromMessages(row, "messages") }},
	{"sharegpt", "conversations", func(row *jinja.Dict) (*Conversation, error) { return fromMessages(row, "conversations") }},
	{"prompt_completion", "prompt", fromPrompt},
	{"alpaca", "instruction", fromAlpaca},
}

// Parse reads a row, whose form may be "auto".
func Parse(form string, row *jinja.Dict) (*Conversation, error) {
	for _, f := range forms {
		if form != f.name && form != "auto" {
			continue
		}
		if v, ok := row.Get(f.column); !ok || v == nil && form == "auto" {
			if form == "auto" {
				continue
			}
			return nil, fmt.Errorf("it has no %q, which the form %q needs; it has %s", f.column, form, shownNames(row))
		}
		c, err := f.read(row)
		if err != nil {
			return nil, err
		}
		return c, c.extras(row)
	}
	if form != "auto" {
		return nil, fmt.Errorf("%q is not a form of conversations; the forms are %s", form, strings.Join(Forms, ", "))
	}
	for _, f := range forms {
		if _, ok := row.Get(f.column); ok {
			return nil, fmt.Errorf("its %q is null", f.column)
		}
	}
	return nil, fmt.Errorf(`it has none of the columns that conversations are known by, "messages", "conversations", `+
		`"prompt" and "completion", or "instruction" and "output"; it has %s`, shownNames(row))
}

func shownNames(row *jinja.Dict) string {
	names := row.Names()
	if len(names) == 0 {
		return "no columns"
	}
	for i := range names {
		names[i] = fmt.Sprintf("%q", foreign.ShownStart(names[i], 40))
	}
	return strings.Join(names[:min(len(names), 12)], ", ")
}

// own are the variables that a template has of every conversation.
var own = []string{"messages", "tools", "documents", "add_generation_prompt"}

// extras reads the columns that stand beside the messages.
func (c *Conversation) extras(row *jinja.Dict) error {
	if tools, ok := row.Get("tools"); ok && tools != nil && !c.Plain {
		if s, ok := tools.(string); ok && strings.TrimSpace(s) != "" {
			v, err := jinja.FromJSON([]byte(s))
			if err != nil {
				return fmt.Errorf("tools is text that is not JSON: %w", err)
			}
			tools = v
		}
		list, ok := tools.(*jinja.List)
		if !ok {
			return fmt.Errorf("tools is not a list")
		}
		if len(list.Items) > 0 {
			c.Tools = list
		}
	}
	if v, ok := row.Get("chat_template_kwargs"); ok && v != nil && !c.Plain {
		d, ok := v.(*jinja.Dict)
		if !ok {
			return fmt.Errorf("chat_template_kwargs is not an object")
		}
		c.Variables = map[string]jinja.Value{}
		for _, n := range d.Names() {
			if slices.Contains(own, n) {
				return fmt.Errorf("chat_template_kwargs has %s, which every template is given already", n)
			}
			c.Variables[n], _ = d.Get(n)
		}
	}
	return nil
}

// roles are the names that ShareGPT's data give roles.
var roles = map[string]string{"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant",
	"bard": "assistant", "model": "assistant", "assistant": "assistant", "system": "system", "tool": "tool", "observation": "tool",
	"developer": "developer"}

func fromMessages(row *jinja.Dict, column string) (*Conversation, error) {
	v, _ := row.Get(column)
	messages, err := messagesOf(v, column)
	if err != nil {
		return nil, err
	}
	if s, ok := row.Get("system"); ok && column == "conversations" {
		text, isText := s.(string)
		if !isText && s != nil {
			return nil, errors.New("system is not text")
		}
		if text != "" {
			messages = append([]*jinja.Dict{jinja.NewDict("role", "system", "content", text)}, messages...)
		}
	}
	return &Conversation{Messages: messages, Completion: -1}, nil
}

// messagesOf reads a list of messages, of which each has role and content, or from and value.
func messagesOf(v jinja.Value, column string) ([]*jinja.Dict, error) {
	list, ok := v.(*jinja.List)
	if !ok {
		return nil, fmt.Errorf("%s is not a list of messages", column)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("%s is empty", column)
	}
	var messages []*jinja.Dict
	for i, x := range list.Items {
		d, ok := x.(*jinja.Dict)
		if !ok {
			return nil, fmt.Errorf("%s[%d] is not an object with role and content", column, i)
		}
		m, err := message(d)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]%s", column, i, err)
		}
		messages = append(messages, m)
	}
	return messages, nil
}

// message makes role and content of a message, drops what is null, and turns a list of texts into one.
func message(d *jinja.Dict) (*jinja.Dict, error) {
	m := &jinja.Dict{}
	for _, n := range d.Names() {
		v, _ := d.Get(n)
		if v == nil {
			continue
		}
		switch n {
		case "from":
			n = "role"
		case "value":
			n = "content"
		}
		if _, twice := m.Get(n); twice {
			return nil, fmt.Errorf(" has both %s and the name that ShareGPT gives it", n)
		}
		m.Set(n, v)
	}
	role, ok := m.Get("role")
	name, isText := role.(string)
	if !ok || !isText || name == "" {
		return nil, fmt.Errorf(" has no role")
	}
	if _, shareGPT := d.Get("from"); shareGPT {
		if name, ok = roles[name]; !ok {
			return nil, fmt.Errorf(".from is %q: it may be human, gpt, system, tool and the like", foreign.ShownStart(role.(string), 40))
		}
		m.Set("role", name)
	}
	content, ok := m.Get("content")
	if !ok {
		if callsTools(m) {
			return m, nil
		}
		return nil, fmt.Errorf(".content is missing or null")
	}
	switch c := content.(type) {
	case string:
	case *jinja.List:
		text, err := textParts(c)
		if err != nil {
			return nil, err
		}
		m.Set("content", text)
	default:
		return nil, fmt.Errorf(".content is neither text nor a list of parts")
	}
	return m, nil
}

// textParts joins the parts of a content, which must be text.
func textParts(parts *jinja.List) (string, error) {
	var b strings.Builder
	for i, x := range parts.Items {
		if s, ok := x.(string); ok {
			b.WriteString(s)
			continue
		}
		d, ok := x.(*jinja.Dict)
		if !ok {
			return "", fmt.Errorf(".content[%d] is neither text nor an object", i)
		}
		kind, _ := d.Get("type")
		text, has := d.Get("text")
		s, isText := text.(string)
		if k, _ := kind.(string); k != "text" && !(kind == nil && has) {
			return "", fmt.Errorf(".content[%d] is of type %q: a language model reads text alone", i, foreign.ShownStart(k, 40))
		}
		if !isText {
			return "", fmt.Errorf(".content[%d] has no text", i)
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// fromPrompt reads prompt and completion, both texts or both lists of messages.
func fromPrompt(row *jinja.Dict) (*Conversation, error) {
	prompt, _ := row.Get("prompt")
	completion, ok := row.Get("completion")
	if !ok || completion == nil {
		return nil, fmt.Errorf(`it has a "prompt" and no "completion"`)
	}
	p, isText := prompt.(string)
	a, isText2 := completion.(string)
	if isText && isText2 {
		return plain(p, a, "completion")
	}
	if isText != isText2 {
		return nil, fmt.Errorf("one of prompt and completion is text, and the other is not")
	}
	before, err := messagesOf(prompt, "prompt")
	if err != nil {
		return nil, err
	}
	after, err := messagesOf(completion, "completion")
	if err != nil {
		return nil, err
	}
	return &Conversation{Messages: append(before, after...), Completion: len(before)}, nil
}

func plain(prompt, answer, column string) (*Conversation, error) {
	if answer == "" {
		return nil, fmt.Errorf("%s is empty", column)
	}
	return &Conversation{Plain: true, Prompt: prompt, Answer: answer, Completion: -1}, nil
}

// The prompts of Alpaca: https://github.com/tatsu-lab/stanford_alpaca/blob/main/train.py
const (
	alpacaInput = "Below is an instruction that describes a task, paired with an input that provides further context. " +
		"Write a response that appropriately completes the request.\n\n" +
		"### Instruction:\n%s\n\n### Input:\n%s\n\n### Response:"
	alpacaAlone = "Below is an instruction that describes a task. " +
		"Write a response that appropriately completes the request.\n\n### Instruction:\n%s\n\n### Response:"
)

func fromAlpaca(row *jinja.Dict) (*Conversation, error) {
	var texts [3]string
	for i, n := range []string{"instruction", "input", "output"} {
		v, ok := row.Get(n)
		s, isText := v.(string)
		if (!ok || v == nil) && n == "input" {
			continue
		}
		if !isText {
			return nil, fmt.Errorf("%s is missing or is not text", n)
		}
		texts[i] = s
	}
	prompt := fmt.Sprintf(alpacaAlone, texts[0])
	if texts[1] != "" {
		prompt = fmt.Sprintf(alpacaInput, texts[0], texts[1])
	}
	c, err := plain(prompt, texts[2], "output")
	if err == nil {
		c.parts = texts[:2]
	}
	return c, err
}

// said reports whether a message is the assistant's.
func said(m *jinja.Dict) bool {
	role, _ := m.Get("role")
	return role == "assistant"
}

// callsTools reports whether a message calls tools, which it may do without a word.
func callsTools(m *jinja.Dict) bool {
	calls, _ := m.Get("tool_calls")
	list, isList := calls.(*jinja.List)
	return calls != nil && !(isList && len(list.Items) == 0)
}

// check finds what cannot be trained on.
func (c *Conversation) check() error {
	if c.Plain {
		return nil
	}
	if !slices.ContainsFunc(c.Messages[max(0, c.Completion):], said) {
		return fmt.Errorf("it has no message of the assistant")
	}
	for i, m := range c.Messages {
		content, _ := m.Get("content")
		if s, _ := content.(string); said(m) && strings.TrimSpace(s) == "" && !callsTools(m) {
			return fmt.Errorf("message %d, of the assistant, is empty", i+1)
		}
	}
	return nil
}
