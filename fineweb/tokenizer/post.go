package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
)

// postFields are the fields of the components of a post-processor.
type postFields struct {
	Single []map[string]struct {
		ID string `json:"id"`
	} `json:"single"`
	Special map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
	First json.RawMessage `json:"cls"`
	Last  json.RawMessage `json:"sep"`
}

// parsePost reads the tokens that go before a text and after it.
func parsePost(raw json.RawMessage) (before, after []int32, err error) {
	var f postFields
	kind, parts, err := component(raw, &f, "processors")
	if err != nil {
		return nil, nil, err
	}
	switch kind {
	case "", "ByteLevel":
		return nil, nil, nil
	case "Sequence":
		for _, p := range parts {
			b, e, err := parsePost(p)
			if err != nil {
				return nil, nil, err
			}
			before, after = append(slices.Clone(b), before...), append(after, e...)
		}
		return before, after, nil
	case "TemplateProcessing":
		return f.template()
	case "BertProcessing", "RobertaProcessing":
		id := func(raw json.RawMessage) []int32 {
			var token string
			var id int32
			pair := []any{&token, &id}
			if e := json.Unmarshal(raw, &pair); e != nil || len(pair) != 2 {
				err = fmt.Errorf("%s: cls and sep are pairs of a token and its id", kind)
			}
			return []int32{id}
		}
		return id(f.First), id(f.Last), err
	}
	return nil, nil, fmt.Errorf("%q is not supported", kind)
}

// template reads what a template puts in before and after its one text.
func (f *postFields) template() (before, after []int32, err error) {
	texts := 0
	for _, piece := range f.Single {
		if s, ok := piece["Sequence"]; ok {
			if texts++; s.ID != "A" || texts > 1 {
				return nil, nil, fmt.Errorf("TemplateProcessing: the template of one text has it %d times, the last "+
					"as %q",
					texts, s.ID)
			}
			continue
		}
		s := piece["SpecialToken"]
		special, ok := f.Special[s.ID]
		if !ok {
			return nil, nil, fmt.Errorf("TemplateProcessing: the template puts in token %q, which special_tokens "+
				"does not list",
				s.ID)
		}
		if texts == 0 {
			before = append(before, special.IDs...)
		} else {
			after = append(after, special.IDs...)
		}
	}
	if texts == 0 {
		return nil, nil, fmt.Errorf("TemplateProcessing: the template leaves out the text")
	}
	return before, after, nil
}
