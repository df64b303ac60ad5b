// Package pyre matches regular expressions with the meaning that they have in Python's re, for which evaluation tasks and
// their templates are written. What it does not support is an error that names it, and so is a match that takes too long.
package pyre

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"

	"stepflow/foreign"
)

// maxPattern bounds a pattern, in bytes; maxTime how long a text may be searched; maxText what a substitution may make.
const (
	maxPattern = 16 << 10
	maxTime    = 2 * time.Second
	maxText    = 64 << 20
)

var errSlow = errors.New("too slow")

// Pattern is a compiled regular expression. It serves any number of goroutines.
type Pattern struct {
	re     *regexp2.Regexp
	source string
	groups int
}

// Compile parses a pattern.
func Compile(pattern string) (*Pattern, error) {
	fail := func(err error) (*Pattern, error) {
		return nil, fmt.Errorf("the regular expression %q: %w", foreign.Shown(pattern), err)
	}
	if len(pattern) > maxPattern {
		return fail(fmt.Errorf("it has %d bytes; the most is %d", len(pattern), maxPattern))
	}
	t := translator{rest: pattern}
	if err := t.translate(); err != nil {
		return fail(err)
	}
	re, err := regexp2.Compile(t.out.String(), regexp2.OptionMaintainCaptureOrder())
	if err != nil {
		return fail(err)
	}
	re.MatchTimeout = maxTime
	return &Pattern{re, pattern, len(re.GetGroupNumbers()) - 1}, nil
}

// Groups is the number of groups that capture.
func (p *Pattern) Groups() int { return p.groups }

// FindAll is re.findall: of each match its groups, or the match itself where the pattern has none. A group that took no
// part is "".
func (p *Pattern) FindAll(text string) (all [][]string, err error) {
	err = p.each(text, 0, func(m *regexp2.Match) error {
		if p.groups == 0 {
			all = append(all, []string{m.String()})
			return nil
		}
		var list []string
		for n := 1; n <= p.groups; n++ {
			list = append(list, m.GroupByNumber(n).String())
		}
		all = append(all, list)
		return nil
	})
	return all, err
}

// each visits the matches in a text, at most so many; 0 is all.
func (p *Pattern) each(text string, most int, visit func(m *regexp2.Match) error) error {
	began := time.Now()
	m, err := p.re.FindStringMatch(text)
	for n := 0; m != nil && err == nil && (most == 0 || n < most); n++ {
		if err := visit(m); err != nil {
			return err
		}
		if m, err = p.re.FindNextMatch(m); err == nil && time.Since(began) > p.re.MatchTimeout { // the engine's is for a single match
			err = errSlow
		}
	}
	if err != nil { // the engine's error quotes all the text
		return fmt.Errorf("the regular expression %q takes more than %v to search a text of %d bytes", foreign.ShownStart(p.source, 200),
			p.re.MatchTimeout, len(text))
	}
	return nil
}

// Sub is re.sub: it replaces the matches in a text, at most so many; 0 is all.
func (p *Pattern) Sub(replacement, text string, count int) (string, error) {
	parts, err := p.template(replacement)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	runes, at := []rune(text), 0
	err = p.each(text, count, func(m *regexp2.Match) error {
		out.WriteString(string(runes[at:m.RuneIndex]))
		at = m.RuneIndex + m.RuneLength
		for _, x := range parts {
			if out.WriteString(x.text); x.group >= 0 {
				out.WriteString(m.GroupByNumber(x.group).String())
			}
		}
		if out.Len() > maxText {
			return fmt.Errorf("the regular expression %q makes more than %d bytes of a text", foreign.Shown(p.source), maxText)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	out.WriteString(string(runes[at:]))
	return out.String(), nil
}

// part is a text of a replacement, and the group that follows it; -1 for none.
type part struct {
	text  string
	group int
}

// template parses a replacement.
func (p *Pattern) template(s string) (parts []part, err error) {
	var text strings.Builder
	group := func(name string) error {
		n, err := strconv.Atoi(name)
		if err != nil {
			n = p.re.GroupNumberFromName(name)
		}
		if n < 0 || n > p.groups {
			return fmt.Errorf("the replacement %q names a group %q that %q does not have", foreign.Shown(s), name,
				foreign.Shown(p.source))
		}
		parts = append(parts, part{text.String(), n})
		text.Reset()
		return nil
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			text.WriteByte(s[i])
			continue
		}
		i++
		switch c := s[i]; {
		case c == 'g' && strings.HasPrefix(s[i+1:], "<") && strings.Contains(s[i:], ">"):
			end := i + strings.IndexByte(s[i:], '>')
			err = group(s[i+2 : end])
			i = end
		case c >= '1' && c <= '9':
			end := i + 1
			if end < len(s) && s[end] >= '0' && s[end] <= '9' {
				end++
			}
			err = group(s[i:end])
			i = end - 1
		case strings.IndexByte(escapes, c) >= 0:
			text.WriteByte(escaped[strings.IndexByte(escapes, c)])
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '0':
			err = fmt.Errorf(`the replacement %q has \%c, which is not supported`, foreign.Shown(s), c)
		default:
			text.WriteByte('\\')
			text.WriteByte(c)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(parts, part{text.String(), -1}), nil
}

const (
	escapes = `abfnrtv\`
	escaped = "\a\b\f\n\r\t\v\\"
)
