package dsl

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// failure returns an error at a place of the source. Its detail is formatted as by fmt.Sprintf.
func failure(at hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Subject: &at,
		Detail: fmt.Sprintf(format, args...)}
}

// warning returns a warning at a place of the source.
func warning(at hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	d := failure(at, summary, format, args...)
	d.Severity = hcl.DiagWarning
	return d
}

// adds returns the detail of a problem with another sentence. An error_message may end without a full stop.
func adds(d *hcl.Diagnostic, sentence string) string {
	if d.Detail != "" && !strings.ContainsAny(d.Detail[len(d.Detail)-1:], ".!?:") {
		return d.Detail + "." + sentence
	}
	return d.Detail + sentence
}

// FileLine writes where a range starts as FILE:LINE.
func FileLine(r hcl.Range) string { return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line) }

// place writes where a range starts, with the column.
func place(r hcl.Range) string {
	return fmt.Sprintf("%s:%d,%d", r.Filename, r.Start.Line, r.Start.Column)
}

// before reports whether a range begins before another, in an earlier file or in the same one.
func before(a, b hcl.Range) bool {
	return a.Filename < b.Filename || a.Filename == b.Filename && a.Start.Byte < b.Start.Byte
}
