package pyre

import (
	"fmt"
	"strconv"
	"strings"
)

// translator turns a pattern of Python into one of .NET, which the engine reads: they write the same things, apart from
// what is changed or refused here.
type translator struct {
	rest string
	out  strings.Builder
}

func (t *translator) take(n int) {
	t.out.WriteString(t.rest[:n])
	t.rest = t.rest[n:]
}

func (t *translator) put(n int, s string) {
	t.out.WriteString(s)
	t.rest = t.rest[n:]
}

func (t *translator) translate() error {
	for t.rest != "" {
		switch {
		case t.rest[0] == '\\':
			if err := t.escape(false); err != nil {
				return err
			}
		case t.rest[0] == '[':
			if err := t.class(); err != nil {
				return err
			}
		case strings.HasPrefix(t.rest, "(?"):
			if err := t.group(); err != nil {
				return err
			}
		case strings.HasPrefix(t.rest, "{,"):
			t.put(2, "{0,")
		default:
			t.take(1)
		}
	}
	return nil
}

// group reads what follows a bracket and a question mark.
func (t *translator) group() error {
	rest := t.rest[2:]
	switch {
	case strings.HasPrefix(rest, "P<"):
		t.put(4, "(?<")
	case strings.HasPrefix(rest, "P="):
		end := strings.IndexByte(rest, ')')
		if end < 0 {
			return fmt.Errorf("a (?P= has no end")
		}
		t.put(2+end+1, `\k<`+rest[2:end]+">")
	case strings.HasPrefix(rest, "<=") || strings.HasPrefix(rest, "<!"):
		t.take(4)
	case strings.HasPrefix(rest, "#"):
		end := strings.IndexByte(rest, ')')
		if end < 0 {
			return fmt.Errorf("a comment has no end")
		}
		t.rest = rest[end+1:]
	case rest != "" && strings.IndexByte(":=!>(", rest[0]) >= 0:
		t.take(3)
		if rest[0] == '(' {
			return fmt.Errorf("a conditional group is not supported")
		}
	default:
		end := strings.IndexAny(rest, ":)")
		if end <= 0 || strings.Trim(rest[:end], "imsx-") != "" {
			return fmt.Errorf("%q is not supported", "(?"+rest[:min(len(rest), 3)])
		}
		t.take(2 + end)
	}
	return nil
}

// class copies a set of characters. .NET would take a bracket in it for a set that is subtracted.
func (t *translator) class() error {
	t.take(1)
	if strings.HasPrefix(t.rest, "^") {
		t.take(1)
	}
	for first := true; t.rest != ""; first = false {
		switch {
		case t.rest[0] == ']' && first:
			t.put(1, `\]`)
		case t.rest[0] == ']':
			t.take(1)
			return nil
		case t.rest[0] == '[':
			t.put(1, `\[`)
		case t.rest[0] == '\\':
			if err := t.escape(true); err != nil {
				return err
			}
		default:
			t.take(1)
		}
	}
	return fmt.Errorf("a [ has no ]")
}

// escape reads a backslash and what follows it. Python refuses letters that mean nothing.
func (t *translator) escape(class bool) error {
	if len(t.rest) < 2 {
		return fmt.Errorf("it ends with a backslash")
	}
	switch c := t.rest[1]; {
	case c == 'U':
		if len(t.rest) >= 10 {
			if n, err := strconv.ParseUint(t.rest[2:10], 16, 32); err == nil && n <= 0x10ffff {
				t.put(10, string(rune(n)))
				return nil
			}
		}
		return fmt.Errorf(`\U needs eight digits`)
	case c == 'Z' && !class:
		t.put(2, `\z`)
	case c >= '0' && c <= '9':
		t.take(2)
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		known := "AbBdDsSwWafnrtvxu"
		if class {
			known = "bdDsSwWafnrtvxu"
		}
		if strings.IndexByte(known, c) < 0 {
			return fmt.Errorf(`\%c is not supported`, c)
		}
		t.take(2)
	default:
		t.take(2)
	}
	return nil
}
