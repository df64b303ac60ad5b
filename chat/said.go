package chat

import (
	"errors"
	"strings"

	"stepflow/foreign/jinja"
)

// Row reads a row in JSON, whose form may be "auto".
func Row(form, row string) (*Conversation, error) {
	v, err := jinja.FromJSON([]byte(row))
	if err != nil {
		return nil, err
	}
	fields, ok := v.(*jinja.Dict)
	if !ok {
		return nil, errors.New("it is not an object")
	}
	return Parse(form, fields)
}

// instructing are the roles of messages that say how to answer. Whole sets of data share them.
var instructing = map[string]bool{"system": true, "developer": true}

// Said is what is said in a row, in order, a line between: the contents of messages, or prompt and answer. What is the same
// in many rows is left out, so that what two rows share is of their own: what a template or a form puts around them, and
// system prompts.
func Said(form, row string) (string, error) {
	c, err := Row(form, row)
	if err != nil {
		return "", err
	}
	if c.Plain {
		if c.parts != nil {
			return joined(append(c.parts[:len(c.parts):len(c.parts)], c.Answer)), nil
		}
		return c.Prompt + c.Answer, nil
	}
	var list []string
	for _, m := range c.Messages {
		role, _ := m.Get("role")
		if name, _ := role.(string); instructing[name] {
			continue
		}
		content, _ := m.Get("content")
		text, _ := content.(string)
		list = append(list, text)
	}
	return joined(list), nil
}

// joined puts texts that are not empty on lines.
func joined(list []string) string {
	var b strings.Builder
	for _, s := range list {
		if s == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(s)
	}
	return b.String()
}
