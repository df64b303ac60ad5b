package lsp

import (
	"bytes"
	"fmt"
	"strings"

	"stepflow/dsl"
)

// rest returns what follows on the line of the cursor.
func (c *completer) rest() string {
	line, _, _ := bytes.Cut(c.part.src[c.at:], []byte("\n"))
	return strings.TrimSpace(string(line))
}

// follow returns a name with what follows it, unless the line goes on with one of some characters already.
func (c *completer) follow(name, with, starts string) string {
	if rest := c.rest(); rest != "" && strings.Contains(starts, rest[:1]) {
		return name
	}
	return name + with
}

// attribute returns an attribute to insert.
func (c *completer) attribute(a dsl.Attr) string {
	if !c.snippets {
		return c.follow(a.Name, " = ", "=")
	}
	return c.follow(a.Name, " = "+placeholder(a, 1)+"$0", "=")
}

// isWord reports whether an attribute takes words without quotes, as the command of a test's run does.
func isWord(a dsl.Attr) bool { return a.OneOf != nil && a.Name == "command" }

// placeholder returns the place of an attribute's value in a snippet, its n-th.
func placeholder(a dsl.Attr, n int) string {
	switch {
	case isWord(a):
		return fmt.Sprintf("${%d|%s|}", n, strings.Join(a.OneOf, ","))
	case a.OneOf != nil:
		return fmt.Sprintf(`"${%d|%s|}"`, n, strings.Join(a.OneOf, ","))
	case a.IsBool():
		return fmt.Sprintf("${%d|true,false|}", n)
	case a.IsText() && !a.Address:
		return fmt.Sprintf(`"$%d"`, n)
	}
	return fmt.Sprintf("$%d", n)
}

// block returns a block to insert, with the attributes that it needs. labels is what its first label may be. If it has
// types, attributes that only some of them have are left out.
func (c *completer) block(name string, labels []string, named bool, attrs []dsl.Attr, types []string) string {
	if !c.snippets || c.rest() != "" {
		return c.follow(name, " ", `{"`)
	}
	b, n := strings.Builder{}, 0
	b.WriteString(name)
	if labels != nil {
		n++
		fmt.Fprintf(&b, ` "${%d|%s|}"`, n, strings.Join(labels, ","))
	}
	if named {
		n++
		fmt.Fprintf(&b, ` "${%d:name}"`, n)
	}
	b.WriteString(" {\n")
	var required []dsl.Attr
	width := 0
	for _, a := range attrs {
		if a.Required && (types == nil || len(a.Only) == 0) {
			required = append(required, a)
			width = max(width, len(a.Name))
		}
	}
	for _, a := range required {
		n++
		fmt.Fprintf(&b, "  %-*s = %s\n", width, a.Name, placeholder(a, n))
	}
	b.WriteString("  $0\n}")
	return b.String()
}
