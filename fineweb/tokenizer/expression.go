package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dlclark/regexp2"

	"stepflow/foreign"
)

// ErrTooCostly reports a text on which a tokenizer.json takes too long or makes too much: a pattern whose search tries
// ways in a number that grows exponentially with the text, or a normalizer that puts in more and more.
var ErrTooCostly = errors.New("the tokenizer costs too much on a text")

// Bounds of a pattern: its own length in bytes; the time for one match in a text up to a number of runes, and in a
// longer one; and the runes a second that a text must go forward at beyond that. Patterns that are of use need
// microseconds a match.
const (
	maxPattern = 16 << 10
	matchTime  = 2 * time.Second
	longText   = 1 << 20
	longTime   = time.Minute
	leastPace  = 50_000
)

// expression is a pattern from elsewhere.
type expression struct {
	source      string
	short, long *regexp2.Regexp // they differ in the time for one match
}

func compile(source string, options regexp2.RegexOptions) (*expression, error) {
	if len(source) > maxPattern {
		return nil, fmt.Errorf("a pattern of %d bytes; the most is %d", len(source), maxPattern)
	}
	e := &expression{source: source}
	for _, x := range []struct {
		re    **regexp2.Regexp
		limit time.Duration
	}{{&e.short, matchTime}, {&e.long, longTime}} {
		re, err := regexp2.Compile(source, options)
		if err != nil {
			return nil, fmt.Errorf("pattern %s: %w", foreign.Shown(source), err)
		}
		re.MatchTimeout = x.limit
		*x.re = re
	}
	return e, nil
}

func (e *expression) tooLong(text []rune, at int) error {
	return fmt.Errorf("%w: its pattern %s comes to no end where the text goes %q", ErrTooCostly, foreign.Shown(e.source), string(text[at:min(at+40, len(text))]))
}

// each visits the matches in a text, from the first to the last.
func (e *expression) each(text []rune, visit func(at, n int)) error {
	re, limit := e.short, matchTime
	if len(text) > longText {
		re, limit = e.long, longTime
	}
	limit += time.Duration(float64(len(text)) / leastPace * float64(time.Second))
	began, last := time.Now(), 0
	m, err := re.FindRunesMatch(text)
	for n := 1; m != nil && err == nil; n++ {
		visit(m.Index, m.Length)
		last = m.Index + m.Length
		if n%1024 == 0 && time.Since(began) > limit {
			return e.tooLong(text, min(last, len(text)))
		}
		m, err = re.FindNextMatch(m)
	}
	if err != nil {
		return e.tooLong(text, min(last, len(text)))
	}
	return nil
}

// replace puts content in the place of every match.
func (e *expression) replace(s, content string) (string, error) {
	var out strings.Builder
	text, last := []rune(s), 0
	err := e.each(text, func(at, n int) {
		out.WriteString(string(text[last:at]))
		out.WriteString(content)
		last = at + n
	})
	out.WriteString(string(text[last:]))
	return out.String(), err
}
