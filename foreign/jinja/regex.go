package jinja

import (
	"time"

	"stepflow/foreign/pyre"
)

// maxPattern is the longest pattern that a template may give, in bytes.
const maxPattern = 4096

// RegexReplace is lm-evaluation-harness's filter regex_replace: Python's re.sub.
func RegexReplace(c *Call) Value {
	a := c.Args("string pattern repl count?")
	s, ok := a[0].(string)
	pattern, ok2 := a[1].(string)
	by, ok3 := a[2].(string)
	if !ok || !ok2 || !ok3 {
		c.Fail("it takes texts")
	}
	if len(pattern) > maxPattern {
		c.Fail("the pattern has more than %d bytes", maxPattern)
	}
	count, _ := a[3].(int64)
	began := time.Now()
	p, err := pyre.Compile(pattern)
	if err != nil {
		c.Fail("%v", err)
	}
	text, err := p.Sub(by, s, int(count))
	if err != nil {
		c.Fail("%v", err)
	}
	c.Room(len(text))
	if c.r.matching -= time.Since(began); c.r.matching < 0 {
		c.r.runsAway("its regular expressions take more than %v", c.r.options.Limits.Matching)
	}
	return text
}
