package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/foreign"
)

type color string

const (
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	cyan   color = "36"
	bold   color = "1"
	dim    color = "2"
)

// moves reports whether the standard output is a terminal on which the cursor can move.
func (a *app) moves() bool { return isTerminal(a.stdout) && os.Getenv("TERM") != "dumb" }

// colors reports whether the standard output takes colours: it is a terminal, and neither NO_COLOR nor -no-color asks
// for none.
func (a *app) colors() bool { return !a.noColor && os.Getenv("NO_COLOR") == "" && a.moves() }

// paint colours text where the standard output takes colours.
func (a *app) paint(c color, s string) string {
	if !a.colors() {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// raw writes a text as it is, for programs.
func (a *app) raw(s string) {
	if o, ok := a.stdout.(*output); ok {
		o.raw([]byte(s))
		return
	}
	fmt.Fprint(a.stdout, s)
}

// line writes a JSON object on a line of its own.
func (a *app) line(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(map[string]any{"type": "log", "message": "a value could not be written: " + err.Error()})
	}
	if a.world.Rank > 0 && len(b) > 2 && b[0] == '{' {
		host, _ := json.Marshal(a.host)
		b = append(fmt.Appendf(nil, `{"rank":%d,"host":%s,`, a.world.Rank, host), b[1:]...)
	}
	fmt.Fprintf(a.stdout, "%s\n", foreign.ShownJSON(b))
}

// diagnostics prints problems in order of place: file:line,col, the source, what, why, what to do.
func (a *app) diagnostics(diags hcl.Diagnostics, files map[string]*hcl.File) {
	list := append(hcl.Diagnostics(nil), a.secrets.Diagnostics(diags)...)
	sort.SliceStable(list, func(i, j int) bool {
		x, y := list[i], list[j]
		if x.Severity != y.Severity {
			return x.Severity < y.Severity
		}
		if x.Subject == nil || y.Subject == nil {
			return x.Subject == nil && y.Subject != nil
		}
		if x.Subject.Filename != y.Subject.Filename {
			return x.Subject.Filename < y.Subject.Filename
		}
		return x.Subject.Start.Byte < y.Subject.Start.Byte
	})
	for _, d := range list {
		if a.json {
			a.line(jsonDiagnostic(d))
		} else {
			fmt.Fprint(a.stderr, a.renderDiagnostic(d, files), "\n")
		}
	}
}

// problemLine writes a problem that is in no file as a line of JSON.
func (a *app) problemLine(severity, summary string) {
	a.line(map[string]any{"type": "diagnostic", "severity": severity, "summary": summary})
}

func jsonDiagnostic(d *hcl.Diagnostic) map[string]any {
	m := map[string]any{"type": "diagnostic", "severity": severity(d), "summary": d.Summary, "detail": d.Detail}
	if s := d.Subject; s != nil {
		m["range"] = map[string]any{"filename": s.Filename,
			"start": map[string]int{"line": s.Start.Line, "column": s.Start.Column},
			"end":   map[string]int{"line": s.End.Line, "column": s.End.Column}}
	}
	return m
}

func severity(d *hcl.Diagnostic) string {
	if d.Severity == hcl.DiagWarning {
		return "warning"
	}
	return "error"
}

// renderDiagnostic is one problem as text.
func (a *app) renderDiagnostic(d *hcl.Diagnostic, files map[string]*hcl.File) string {
	var b strings.Builder
	title, c := "Error: ", red
	if d.Severity == hcl.DiagWarning {
		title, c = "Warning: ", yellow
	}
	fmt.Fprintf(&b, "%s%s\n", a.paint(c, title), a.paint(bold, foreign.ShownText(d.Summary)))
	if s := d.Subject; s != nil {
		fmt.Fprintf(&b, "  %s:%d,%d\n", foreign.Shown(s.Filename), s.Start.Line, s.Start.Column)
		if f := files[s.Filename]; f != nil {
			lines := bytes.Split(f.Bytes, []byte("\n"))
			if n := s.Start.Line; n >= 1 && n <= len(lines) {
				text := strings.ReplaceAll(strings.TrimRight(string(lines[n-1]), "\r"), "\t", " ")
				end := s.End.Column
				if s.End.Line > n || end > len(text)+1 {
					end = len(text) + 1
				}
				text, start, end := around(text, s.Start.Column, end)
				fmt.Fprintf(&b, "  %4d | %s\n", n, text)
				fmt.Fprintf(&b, "       | %s%s\n", strings.Repeat(" ", start-1),
					a.paint(c, strings.Repeat("^", min(max(end-start, 1), widestMark))))
			}
		}
	}
	if d.Expression != nil && d.EvalContext != nil {
		for _, line := range seenValues(d) {
			fmt.Fprintf(&b, "  where %s\n", line)
		}
	}
	if d.Detail != "" {
		fmt.Fprintf(&b, "  %s\n", foreign.ShownText(d.Detail))
	}
	return b.String()
}

// widestMark is the most characters that are marked of what a problem is about, from its start.
const widestMark = 60

// around is what is shown of a line that may be long, with the columns of what it is shown for: at most widest
// characters.
func around(line string, start, end int) (text string, from, to int) {
	const widest, before = 240, 80
	r := []rune(line)
	start = max(1, min(start, len(r)+1))
	end = max(start, min(end, len(r)+1))
	if len(r) <= widest {
		return foreign.Shown(line), start, end
	}
	at := max(0, min(start-1-before, len(r)-widest))
	text = foreign.Shown(string(r[at : at+widest]))
	start, end = start-at, min(end-at, widest+1)
	if at > 0 {
		text, start, end = "…"+text, start+1, end+1
	}
	if at+widest < len(r) {
		text += "…"
	}
	return text, start, end
}

// seenValues lists the values an expression was made of.
func seenValues(d *hcl.Diagnostic) (out []string) {
	seen := map[string]bool{}
	for _, t := range d.Expression.Variables() {
		v, diags := t.TraverseAbs(d.EvalContext)
		if diags.HasErrors() {
			continue
		}
		name := dsl.TraversalText(t)
		text := dsl.Show(v)
		if seen[name] || len(text) > 80 {
			continue
		}
		seen[name] = true
		out = append(out, name+" is "+text)
	}
	return out
}
