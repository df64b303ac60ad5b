package chat

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"stepflow/foreign/jinja"
)

// TestTemplates renders what transformers renders (tools/parity/chat_templates.py), with templates that TRL and
// llama-cpp-python bring. STEPFLOW_CHAT_TEMPLATES names a fixture of all of them.
func TestTemplates(t *testing.T) {
	var fixture struct {
		Special       map[string]string
		Conversations map[string]json.RawMessage
		Tools         json.RawMessage
		Templates     map[string]string
		Cases         []struct {
			Template, Conversation string
			Tools, Prompt          bool
			Variables              map[string]any
			Text, Error            *string
			Spans                  [][2]int
		}
	}
	readFixture(t, "testdata/templates.json", "STEPFLOW_CHAT_TEMPLATES", &fixture)
	compiled := map[string]*Template{}
	for _, c := range fixture.Cases {
		name := c.Template + ", " + c.Conversation
		tmpl := compiled[c.Template]
		if tmpl == nil {
			s := Text(fixture.Templates[c.Template], c.Template)
			s.Special = fixture.Special
			var err error
			if tmpl, err = s.Compile(nil, time.Date(2024, 7, 26, 9, 5, 3, 0, time.UTC)); err != nil {
				t.Errorf("%s: %v", c.Template, err)
				continue
			}
			compiled[c.Template] = tmpl
		}
		row := `{"messages": ` + string(fixture.Conversations[c.Conversation])
		if c.Tools {
			row += `, "tools": ` + string(fixture.Tools)
		}
		conversation, err := parse(t, "auto", row+"}")
		if err != nil {
			t.Fatal(name, err)
		}
		conversation.Variables = map[string]jinja.Value{}
		for k, x := range c.Variables {
			conversation.Variables[k] = x
		}
		r, err := tmpl.Render(conversation, c.Prompt)
		switch {
		case c.Text == nil && err == nil:
			t.Errorf("%s: renders %q, and transformers fails: %s", name, r.Text, *c.Error)
		case c.Text != nil && err != nil:
			t.Errorf("%s: %v; transformers renders %q", name, err, *c.Text)
		case c.Text == nil:
		case r.Text != *c.Text:
			t.Errorf("%s renders\n%q, transformers\n%q", name, r.Text, *c.Text)
		case tmpl.compiled[Default].Marks() && !slices.EqualFunc(r.Said, c.Spans, func(a jinja.Span, b [2]int) bool { return a.Start == b[0] && a.End == b[1] }):
			t.Errorf("%s: said %v, and by transformers %v", name, r.Said, c.Spans)
		}
	}
	t.Logf("%d templates, %d cases", len(compiled), len(fixture.Cases))
}
