package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"io"
	"regexp"

	"stepflow/runtime/program"
)

var (
	//go:embed assets/page.html
	pageHTML string
	//go:embed assets/page.css
	pageCSS string
	//go:embed assets/units.js
	unitsJS string
	//go:embed assets/charts.js
	linesJS string
	//go:embed assets/page.js
	pageJS string
	//go:embed assets/echarts.min.js
	chartsJS string // Apache ECharts 6.1.0; its licence lies beside it
)

// Page is what the page shows: one run, or several side by side.
type Page struct {
	Title string   `json:"title"`
	Live  bool     `json:"live"` // it listens for more
	Runs  []*Run   `json:"runs"`
	Kinds []string `json:"kinds"`           // of memory, in order
	Table *Table   `json:"table,omitempty"` // nil where there is nothing to compare
}

// NewPage makes a page of runs.
func NewPage(title string, runs ...*Run) *Page {
	p := &Page{Title: title, Runs: runs, Kinds: program.ByteKinds}
	if t, err := Compare(runs, nil); err == nil && t.Show(nil, false, "") == nil {
		p.Table = t
	}
	return p
}

var page = template.Must(template.New("page").Parse(pageHTML))

// HTML makes the page: one file without a reference to anything outside it.
func (p *Page) HTML() ([]byte, error) {
	data, err := json.Marshal(p) // escapes <, > and &, so no text can end the script element
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = page.Execute(&b, map[string]any{"Title": p.Title, "CSS": template.CSS(pageCSS),
		"Charts": template.JS(chartsJS), "Code": template.JS(unitsJS + linesJS + pageJS), "Data": template.JS(data)})
	return b.Bytes(), err
}

// mark is in the head of every page that HTML writes.
var mark = regexp.MustCompile(`^<!doctype html>\s*<html lang="en">\s*<head>[^{]*<title>[^<]* · stepflow</title>`)

// Is reports whether a file is a page that HTML wrote.
func Is(r io.Reader) bool {
	head, err := io.ReadAll(io.LimitReader(r, 64<<10))
	return err == nil && mark.Match(head)
}
