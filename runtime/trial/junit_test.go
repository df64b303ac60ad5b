package trial

import (
	"encoding/xml"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
)

// TestJUnit reads a report back: attributes count what the cases say, and no text of a problem ends it early.
func TestJUnit(t *testing.T) {
	const text = "a <b> & \"c\" ]]> \x1b[31m ü"
	problem := hcl.Diagnostics{{Summary: text, Detail: text}}
	f := &File{Path: "tests/a&b.stepflowtest.hcl", Status: Error}
	for status, diags := range map[Status]hcl.Diagnostics{Pass: nil, Skip: nil, Fail: problem, Error: problem} {
		f.Runs = append(f.Runs, &Run{TestRun: &dsl.TestRun{Name: string(status)}, Seconds: 1.5,
			outcome: outcome{Status: status, Diags: diags, Why: "why"}})
	}
	b, err := (&Suite{Files: []*File{f}}).JUnit(func(*Run) string { return text })
	if err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(b, &got); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	s := got.Suites[0]
	if s.Name != f.Path || s.Tests != 4 || s.Failures != 1 || s.Errors != 1 || s.Skipped != 1 || s.Time != "6.000" {
		t.Errorf("the suite is %+v", s)
	}
	const shown = `a <b> & "c" ]]> \x1b[31m ü` // XML has no way to hold an escape
	for _, c := range s.Cases {
		details := map[Status]*junitDetail{Skip: c.Skipped, Fail: c.Failure, Error: c.Error}
		for status, d := range details {
			if (d != nil) != (c.Name == string(status)) {
				t.Errorf("case %s has %s: %v", c.Name, status, d)
			}
		}
		if d := c.Failure; d != nil && (d.Text != shown || d.Message != shown+": "+shown) {
			t.Errorf("a failure says %q, %q", d.Message, d.Text)
		}
	}
}
