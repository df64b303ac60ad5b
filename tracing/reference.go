package tracing

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed reference.md.tmpl
var reference string

// Page is docs/tracing.md: the table of names, and what a run sends.
func Page() string {
	var spans, events, attributes, metrics strings.Builder
	spans.WriteString("| span | in | |\n|---|---|---|\n")
	for _, s := range Spans {
		in := s.Parent
		if in == "" {
			in = "*(root)*"
		}
		fmt.Fprintf(&spans, "| `%s` | %s | %s |\n", s.Name, in, s.Doc)
	}
	attributes.WriteString("| attribute | unit | |\n|---|---|---|\n")
	for _, a := range Attributes {
		fmt.Fprintf(&attributes, "| `%s` | %s | %s |\n", a.Name, a.Unit, a.Doc)
	}
	events.WriteString("| event | |\n|---|---|\n")
	for _, e := range Events {
		fmt.Fprintf(&events, "| `%s` | %s |\n", e.Name, e.Doc)
	}
	metrics.WriteString("| metric | instrument | unit | |\n|---|---|---|---|\n")
	for _, m := range Metrics {
		fmt.Fprintf(&metrics, "| `%s` | %s | %s | %s |\n", m.Name, m.Instrument, m.Unit, m.Doc)
	}
	return strings.NewReplacer("{{SPANS}}", strings.TrimSpace(spans.String()), "{{EVENTS}}",
		strings.TrimSpace(events.String()), "{{ATTRIBUTES}}",
		strings.TrimSpace(attributes.String()), "{{METRICS}}", strings.TrimSpace(metrics.String())).Replace(reference)
}
