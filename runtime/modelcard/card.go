// Package modelcard writes the README.md of a model: metadata in YAML, which the hub reads, and Markdown. Texts that come
// from elsewhere are escaped: none of them becomes markup.
package modelcard

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"stepflow/foreign"
)

// Card is a model card.
type Card struct {
	Title    string
	Metadata Metadata
	Intro    []string // paragraphs
	Sections []Section
}

// Metadata are the keys of the hub's model cards.
type Metadata struct {
	Language    []string `yaml:"language,omitempty"`
	License     string   `yaml:"license,omitempty"`
	LibraryName string   `yaml:"library_name,omitempty"`
	PipelineTag string   `yaml:"pipeline_tag,omitempty"`
	BaseModel   string   `yaml:"base_model,omitempty"`
	Datasets    []string `yaml:"datasets,omitempty"`
	Tags        []string `yaml:"tags,omitempty"`
	ModelIndex  []Model  `yaml:"model-index,omitempty"`
}

// Model is a model with what was measured of it.
type Model struct {
	Name    string   `yaml:"name"`
	Results []Result `yaml:"results"`
}

// Result is what was measured on a data set.
type Result struct {
	Task    Task     `yaml:"task"`
	Dataset Dataset  `yaml:"dataset"`
	Metrics []Metric `yaml:"metrics"`
}

// Task, Dataset and Metric are parts of a result.
type (
	Task struct {
		Type string `yaml:"type"`
	}
	Dataset struct {
		Name string `yaml:"name"`
		Type string `yaml:"type"`
	}
	Metric struct {
		Type  string  `yaml:"type"`
		Value float64 `yaml:"value"`
		Name  string  `yaml:"name"`
	}
)

// lines has every text on one line.
func (m Metadata) lines() Metadata {
	list := func(texts []string) []string {
		texts = slices.Clone(texts)
		for i, s := range texts {
			texts[i] = Line(s)
		}
		return texts
	}
	m.Language, m.Datasets, m.Tags = list(m.Language), list(m.Datasets), list(m.Tags)
	m.License, m.BaseModel = Line(m.License), Line(m.BaseModel)
	m.ModelIndex = slices.Clone(m.ModelIndex)
	for i, x := range m.ModelIndex {
		x.Name, x.Results = Line(x.Name), slices.Clone(x.Results)
		for j := range x.Results {
			d := &x.Results[j].Dataset
			d.Name, d.Type = Line(d.Name), Line(d.Type)
		}
		m.ModelIndex[i] = x
	}
	return m
}

// Section is a part of a card under a heading of its own.
type Section struct {
	Title string
	Table *Table
	Text  []string // paragraphs of Markdown: Escape and Code make them of texts
	Code  string   // in Python; "" for none
}

// Table is a table; its cells are Markdown without line breaks.
type Table struct {
	Head []string
	Rows [][]string
}

// Bytes returns the file.
func (c *Card) Bytes() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("---\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(c.Metadata.lines()); err != nil {
		return nil, err
	}
	b.WriteString("---\n\n# " + Escape(c.Title) + "\n")
	for _, p := range c.Intro {
		b.WriteString("\n" + p + "\n")
	}
	for _, s := range c.Sections {
		b.WriteString("\n## " + s.Title + "\n")
		if s.Table != nil && len(s.Table.Rows) > 0 {
			b.WriteString("\n")
			s.Table.write(&b)
		}
		for _, p := range s.Text {
			b.WriteString("\n" + p + "\n")
		}
		if s.Code != "" {
			b.WriteString("\n```python\n" + s.Code + "\n```\n")
		}
	}
	return b.Bytes(), nil
}

func (t *Table) write(b *bytes.Buffer) {
	row := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	row(t.Head)
	b.WriteString(strings.Repeat("|---", len(t.Head)) + "|\n")
	for _, r := range t.Rows {
		row(r)
	}
}

// markup are the characters that mean something inside a line of Markdown as the hub renders it.
const markup = "\\`*_{}[]<>#!|~$@:&"

// starts is what makes a list, a line or a heading of a text that begins with it. A group is the character that does.
var starts = regexp.MustCompile(`^(?:(?:\d{1,9})?([-+.)])(?: |$)|([-=])[-=]*$)`)

// Escape is a text in Markdown that reads as it is, on one line.
func Escape(s string) string {
	s = Line(s)
	at := -1 // of a character that means something only there
	if m := starts.FindStringSubmatchIndex(s); m != nil {
		at = max(m[2], m[4])
	}
	var b strings.Builder
	for i, r := range s {
		if i == at || strings.ContainsRune(markup, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return address.ReplaceAllString(b.String(), `$1\.`)
}

// address is what begins an address that becomes a link without a scheme.
var address = regexp.MustCompile(`(?i)(\bwww)\.`)

// Code is a text as code, on one line, also in a table. There a bar ends a cell even inside backticks.
func Code(s string) string {
	s = Line(s)
	if strings.Contains(s, "|") {
		return "<code>" + Escape(s) + "</code>"
	}
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") || s == "" {
		s = " " + s + " "
	}
	return fence + s + fence
}

// Line is a text without control characters, on one line.
func Line(s string) string { return foreign.Shown(strings.Join(strings.Fields(s), " ")) }
