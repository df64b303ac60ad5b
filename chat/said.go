package chat

import (
	"errors"
	"slices"
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

// Said returns what is said in a row, in order, on lines: the contents of messages, or prompt and answer. It leaves out what
// many rows have in common, which are system prompts, and what a template or a form puts around the texts.
func Said(form, row string) (string, error) {
	c, err := Row(form, row)
	if err != nil {
		return "", err
	}
	if c.Plain {
		if c.parts != nil {
			return joined(append(slices.Clone(c.parts), c.Answer)), nil
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

// joined puts texts on lines, without empty ones.
func joined(list []string) string {
	return strings.Join(slices.DeleteFunc(list, func(s string) bool { return s == "" }), "\n")
}
