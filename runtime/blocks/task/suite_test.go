package task

import (
	"slices"
	"strings"
	"testing"

	"stepflow/dsl"
	"stepflow/tasks"
)

// TestDocumentedTasks: the page of the language names the built-in tasks.
func TestDocumentedTasks(t *testing.T) {
	attrs := dsl.KindOf("evaluate").Attrs
	i := slices.IndexFunc(attrs, func(a dsl.Attr) bool { return a.Name == "tasks" })
	want := "(" + strings.Join((&Suite{all: tasks.Builtin()}).shown(), ", ") + ")"
	if !strings.Contains(attrs[i].Doc, want) {
		t.Errorf("%q does not hold %s", attrs[i].Doc, want)
	}
}
