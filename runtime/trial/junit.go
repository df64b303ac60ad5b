package trial

import (
	"encoding/xml"
	"fmt"

	"stepflow/foreign"
)

// The elements of a JUnit XML file, as Jenkins and others read them: a suite is a test file, a case a run.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string       `xml:"name,attr"`
		Class   string       `xml:"classname,attr"`
		Time    string       `xml:"time,attr"`
		Skipped *junitDetail `xml:"skipped"`
		Failure *junitDetail `xml:"failure"`
		Error   *junitDetail `xml:"error"`
	}
	junitDetail struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",cdata"`
	}
)

// JUnit returns what came of a suite as JUnit XML. text writes the problems of a run.
func (s *Suite) JUnit(text func(*Run) string) ([]byte, error) {
	var all junitSuites
	for _, f := range s.Files {
		x := junitSuite{Name: f.Path, Tests: len(f.Runs)}
		var seconds float64
		for _, r := range f.Runs {
			c := junitCase{Name: r.Name, Class: f.Path, Time: junitTime(r.Seconds)}
			seconds += r.Seconds
			switch r.Status {
			case Skip:
				x.Skipped++
				c.Skipped = &junitDetail{Message: r.Why}
			case Fail:
				x.Failures++
				c.Failure = newDetail(r, text(r))
			case Error:
				x.Errors++
				c.Error = newDetail(r, text(r))
			}
			x.Cases = append(x.Cases, c)
		}
		x.Time = junitTime(seconds)
		all.Suites = append(all.Suites, x)
	}
	b, err := xml.MarshalIndent(all, "", "  ")
	return append(append([]byte(xml.Header), b...), '\n'), err
}

// junitTime writes seconds as XML Schema's decimal.
func junitTime(seconds float64) string { return fmt.Sprintf("%.3f", seconds) }

// newDetail returns the first of a run's problems in a line, and all of them as a text. What XML cannot hold, such as an
// escape, is written as one.
func newDetail(r *Run, text string) *junitDetail {
	first := r.Diags[0]
	return &junitDetail{foreign.Shown(first.Summary + ": " + first.Detail), foreign.ShownText(text)}
}
