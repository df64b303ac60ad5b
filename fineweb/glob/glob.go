// Package glob matches the names of files with patterns, by one set of rules wherever files lie.
//
//   - any characters of one name
//     ?      one character
//     [a-c]  one of some characters; [!a-c] and [^a-c] one of the others
//     **     any number of folders, none included; alone between slashes
//     \x     the character x, as [x] is
//
// As in the shell, a wildcard does not match a "." at the beginning of a name; as in pyarrow, it does not match a "_"
// there, of a file, such as _SUCCESS, or of a folder, such as _temporary. Braces have no meaning, and neither does a
// "[" without its "]".
package glob

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// Verdict is what a pattern makes of a name.
type Verdict uint8

const (
	No     Verdict = iota
	Hidden         // it would match if its name, or that of a folder it is in, did not begin with "_"
	Yes
)

// Aside says why a hidden file is not read; it follows the name in a message.
const Aside = `is hidden by the "_" in its name or in that of its folder: write that name out to read it`

// Pattern is a parsed pattern.
type Pattern struct{ elements []element }

// element is what stands between two slashes.
type element struct {
	pattern string // for path.Match
	lead    byte   // the first character, if it is not a wildcard
	plain   bool   // without wildcards; pattern is then the name
	folders bool   // **
}

// Has reports whether a text has characters that mean something in a pattern.
func Has(s string) bool { return strings.ContainsAny(s, `*?[\`) }

// Hint says what a pattern that matches nothing may have meant otherwise, as the end of a sentence; "" if nothing
// stands out.
func Hint(pattern string) string {
	if strings.ContainsAny(pattern, "{}") {
		return "; braces have no meaning in a pattern: give a list of several"
	}
	for _, s := range strings.Split(pattern, "/") {
		for i := 0; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case '[':
				_, rest, ok := classOf(s[i+1:])
				if !ok {
					return fmt.Sprintf("; the [ in %s is never closed by a ], so it stands for itself", s)
				}
				i = len(s) - len(rest) - 1
			}
		}
	}
	return ""
}

// Parse reads a pattern of names with slashes.
func Parse(pattern string) (*Pattern, error) {
	p := &Pattern{}
	for _, s := range strings.Split(pattern, "/") {
		if s == "**" {
			if n := len(p.elements); n == 0 || !p.elements[n-1].folders {
				p.elements = append(p.elements, element{folders: true})
			}
			continue
		}
		e, err := parse(s)
		if err != nil {
			return nil, fmt.Errorf("the pattern %s: %w", pattern, err)
		}
		p.elements = append(p.elements, e)
	}
	return p, nil
}

// parse turns an element into what path.Match understands: a class may begin with "!" or "]", a "[" without its "]" is
// itself.
func parse(s string) (e element, err error) {
	var match, name strings.Builder
	literal := func(c string) {
		if strings.Contains(`*?[\`, c) {
			match.WriteByte('\\')
		}
		match.WriteString(c)
		name.WriteString(c)
	}
	e.plain = true
	for i := 0; i < len(s); {
		_, n := utf8.DecodeRuneInString(s[i:])
		c := s[i : i+n]
		i += n
		wild := true
		switch {
		case c == "*" && strings.HasPrefix(s[i:], "*"):
			return e, fmt.Errorf(`** stands for folders, alone between slashes, as in data/**/*.parquet`)
		case c == "*" || c == "?":
			match.WriteString(c)
		case c == "[":
			class, rest, ok := classOf(s[i:])
			if !ok {
				literal(c)
				wild = false
				break
			}
			if _, err := path.Match(class, ""); err != nil {
				return e, fmt.Errorf("%s is not a class of characters", s[i-1:len(s)-len(rest)])
			}
			match.WriteString(class)
			i = len(s) - len(rest)
		case c == `\` && i < len(s):
			_, n := utf8.DecodeRuneInString(s[i:])
			literal(s[i : i+n])
			i += n
			wild = false
		default:
			literal(c)
			wild = false
		}
		e.plain = e.plain && !wild
		if first := name.String(); e.lead == 0 && match.Len() > 0 && first != "" && !wild && e.plain {
			e.lead = first[0]
		}
	}
	if e.pattern = match.String(); e.plain {
		e.pattern = name.String()
	}
	return e, nil
}

// classOf reads a class from after its "[" on, and returns it in the syntax of path.Match.
func classOf(s string) (class, rest string, ok bool) {
	var b strings.Builder
	b.WriteByte('[')
	i := 0
	if strings.HasPrefix(s, "!") || strings.HasPrefix(s, "^") {
		b.WriteByte('^')
		i++
	}
	for first := true; i < len(s); first = false {
		switch c := s[i]; {
		case c == ']' && !first:
			return b.String() + "]", s[i+1:], true
		case c == '\\' && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i += 2
			continue
		case c == ']' || c == '\\' || c == '[' || c == '-' && (first || strings.HasPrefix(s[i+1:], "]")):
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
		i++
	}
	return "", "", false
}

// Plain is the one name that a pattern without wildcards stands for; ok is false where there are some.
func (p *Pattern) Plain() (name string, ok bool) {
	base := p.Base()
	last := p.elements[len(p.elements)-1]
	if !last.plain || base != joined(p.elements[:len(p.elements)-1]) {
		return "", false
	}
	return joined(p.elements), true
}

// Base is the folder above the first wildcard, or above the file; "" where there is none.
func (p *Pattern) Base() string {
	n := 0
	for n < len(p.elements)-1 && p.elements[n].plain {
		n++
	}
	return joined(p.elements[:n])
}

func joined(list []element) string {
	var names []string
	for _, e := range list {
		names = append(names, e.pattern)
	}
	return strings.Join(names, "/")
}

// Match says what the pattern makes of a name with slashes.
func (p *Pattern) Match(name string) Verdict {
	m := p.Start()
	parts := strings.Split(name, "/")
	for _, part := range parts[:len(parts)-1] {
		m = m.Into(part)
	}
	return m.File(parts[len(parts)-1])
}

// Matching is a pattern on its way down folders: the elements that may come next, by how they were reached.
type Matching struct {
	p   *Pattern
	at  []Verdict // of each element, and after the last
	any bool
}

// Start is above the first folder.
func (p *Pattern) Start() Matching {
	m := Matching{p, make([]Verdict, len(p.elements)+1), false}
	m.reach(0, Yes)
	return m
}

// reach notes that an element may come next; folders may be none at all.
func (m *Matching) reach(i int, v Verdict) {
	for m.at[i] < v {
		m.at[i], m.any = v, true
		if i == len(m.p.elements) || !m.p.elements[i].folders {
			return
		}
		i++
	}
}

// Into goes down into a folder.
func (m Matching) Into(name string) Matching {
	next := Matching{m.p, make([]Verdict, len(m.at)), false}
	for i, e := range m.p.elements {
		if m.at[i] == No {
			continue
		}
		if e.folders {
			next.reach(i, min(m.at[i], shown(name)))
		} else if v := e.match(name); v != No {
			next.reach(i+1, min(m.at[i], v))
		}
	}
	return next
}

// Key is the same where the same files below match.
func (m Matching) Key() string {
	b := make([]byte, len(m.at))
	for i, v := range m.at {
		b[i] = '0' + byte(v)
	}
	return string(b)
}

// Leads reports whether files below may match.
func (m Matching) Leads() bool { return m.any }

// File says what the pattern makes of a file in this folder. Folders at the pattern's end stand for what is in them.
func (m Matching) File(name string) (best Verdict) {
	for i, e := range m.p.elements {
		switch last := i == len(m.p.elements)-1; {
		case m.at[i] == No || !last:
		case e.folders:
			best = max(best, min(m.at[i], shown(name)))
		default:
			best = max(best, min(m.at[i], e.match(name)))
		}
	}
	return best
}

func (e *element) match(name string) Verdict {
	if e.plain {
		if e.pattern == name {
			return Yes
		}
		return No
	}
	if e.folders {
		return No
	}
	if ok, _ := path.Match(e.pattern, name); !ok {
		return No
	}
	if name != "" && name[0] == e.lead {
		return Yes
	}
	return shown(name)
}

// shown is what a wildcard at its beginning makes of a name.
func shown(name string) Verdict {
	switch {
	case strings.HasPrefix(name, "."):
		return No
	case strings.HasPrefix(name, "_"):
		return Hidden
	}
	return Yes
}

// Loose reports whether the last element of the pattern is nothing but a wildcard, which says nothing about what files
// are named.
func (p *Pattern) Loose() bool {
	last := p.elements[len(p.elements)-1]
	return last.folders || last.pattern == "*" && !last.plain
}
