package tokenizer

import (
	"fmt"
	"strings"

	"stepflow/foreign"
)

// What a - means after what stands before it in a class.
const (
	classStart    = iota // nothing: the - stands for itself
	classValue           // a character: the - makes a range
	classComplete        // a range or a class: the - stands for itself
	classProperty        // a set: an error
)

// classParser is what was read of a class.
type classParser struct {
	all   *runeSet // what stands before the last &&; nil if there is none
	sets  []*runeSet
	chars []runeRange
	state int
}

// finish is the set that was read so far.
func (c *classParser) finish() *runeSet {
	now := union(append(c.sets, setOf(c.chars))...)
	c.sets, c.chars = nil, nil
	if c.all != nil {
		now = intersect(c.all, now)
	}
	return now
}

// class reads a class from after its [ on. The set is what it lists; negated says that all other characters are meant.
func (p *patternParser) class() (s *runeSet, negated bool, err error) {
	if p.depth++; p.depth > maxGroups {
		return nil, false, fmt.Errorf("classes nest more than %d deep", maxGroups)
	}
	defer func() { p.depth-- }()
	negated = p.take("^")
	if strings.HasPrefix(p.s, "]") {
		return nil, false, unsupported("a class that begins with ]")
	}
	c := &classParser{}
	for {
		switch {
		case p.s == "":
			return nil, false, fmt.Errorf("a [ without its ]")
		case p.take("]"):
			return c.finish(), negated, nil
		case p.take("&&"):
			c.all, c.state = c.finish(), classStart
		case strings.HasPrefix(p.s, "["):
			err = p.classInside(c)
		case p.s[0] == '-' && c.state != classStart:
			err = p.classRange(c)
		default:
			err = p.classMember(c)
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// classInside reads a class in a class, or a set of POSIX such as [:alpha:].
func (p *patternParser) classInside(c *classParser) error {
	if strings.HasPrefix(p.s, "[:") {
		if s, n := posix(p.s); s != nil {
			c.sets, c.state = append(c.sets, s), classProperty
			p.s = p.s[n:]
			return nil
		}
		if strings.Contains(p.s, ":]") {
			return unsupported("\"%s\"", foreign.ShownStart(p.s, 12))
		}
	}
	p.next()
	s, not, err := p.class()
	if err != nil {
		return err
	}
	if not {
		s = s.not()
	}
	c.sets, c.state = append(c.sets, s), classComplete
	return nil
}

// classRange reads a - that does not begin a class: it makes a range of the character before it, or stands for itself.
func (p *patternParser) classRange(c *classParser) error {
	last := strings.HasPrefix(p.s, "-]") || strings.HasPrefix(p.s, "-&&")
	switch {
	case last || c.state == classComplete:
		c.chars, c.state = append(c.chars, runeRange{'-', '-'}), classValue
		p.s = p.s[1:]
		return nil
	case c.state == classProperty:
		return unsupported(`a range from a set in a class`)
	}
	p.s = p.s[1:]
	if strings.HasPrefix(p.s, "[") {
		return unsupported("a range to a class")
	}
	s, r, err := p.classChar()
	if err != nil {
		return err
	}
	from := &c.chars[len(c.chars)-1]
	if s != nil || r < from.lo {
		return fmt.Errorf("a range in a class that has no end, or one before its start")
	}
	from.hi, c.state = r, classComplete
	return nil
}

// classMember reads a character or a set.
func (p *patternParser) classMember(c *classParser) error {
	s, r, err := p.classChar()
	if err != nil {
		return err
	}
	if s != nil {
		c.sets, c.state = append(c.sets, s), classProperty
	} else {
		c.chars, c.state = append(c.chars, runeRange{r, r}), classValue
	}
	return nil
}

func (p *patternParser) classChar() (*runeSet, rune, error) {
	if p.s == "" {
		return nil, 0, fmt.Errorf("a [ without its ]")
	}
	if !p.take(`\`) {
		return nil, p.next(), nil
	}
	if p.s == "" {
		return nil, 0, fmt.Errorf(`a \ at the end`)
	}
	if strings.IndexByte("RXNO", p.s[0]) >= 0 {
		return nil, 0, unsupported(`\%c in a class`, p.s[0])
	}
	return p.escape(true)
}
