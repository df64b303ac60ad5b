package tasks

import (
	"strings"
	"testing"

	"stepflow/fineweb"
)

// A match that is not there, by its number, is one that is not found: what was written counts, and is noted.
func TestFiltersNoteWhatTheyCannotFind(t *testing.T) {
	var task Task
	err := task.filters(fineweb.List{fineweb.Object{{Name: "name", Value: "x"}, {Name: "filter", Value: fineweb.List{
		fineweb.Object{{Name: "function", Value: "regex"}, {Name: "regex_pattern", Value: "[0-9]+"}, {Name: "group_select", Value: int64(1)},
			{Name: "fallback", Value: "none"}},
		fineweb.Object{{Name: "function", Value: "take_first"}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]struct{ answer, note string }{
		"1 and 2": {"2", ""},
		"nothing": {"none", ""},
		"only 1":  {"none", `filter x: group_select is 1, counted from 0, and the pattern has 1 matches in "only 1"`},
	} {
		answer, unfound, err := task.Filters[0].apply([]string{text})
		if err != nil || answer != want.answer || (unfound == nil) != (want.note == "") ||
			unfound != nil && !strings.Contains(unfound.Error(), want.note) {
			t.Errorf("%q: %q, %v, %v", text, answer, unfound, err)
		}
	}
}
