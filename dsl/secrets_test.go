package dsl

import (
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"stepflow/foreign"
)

// TestRedactForms: a secret is found in each form in which a message may quote it.
func TestRedactForms(t *testing.T) {
	const secret = "ca\x1bna\nry \"77\" \u202e/x/../y"
	s := &Secrets{}
	s.Add(cty.StringVal(secret).Mark(Sensitive))
	for _, text := range []string{secret, foreign.Shown(secret), foreign.ShownText(secret)} {
		if got := s.Redact("reading " + text + ": no"); got != "reading "+Hidden+": no" {
			t.Errorf("%q reads %q", text, got)
		}
	}
	if got := s.Redact("nothing of it"); strings.Contains(got, Hidden) {
		t.Error(got)
	}
}
