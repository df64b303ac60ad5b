package tasks

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode"

	"stepflow/fineweb"
	"stepflow/foreign"
	"stepflow/foreign/jinja"
)

// field says how a part of a prompt comes of a document: as the value of a column, where it is the name of one, else as
// a template, or as a value that is the same for all.
type field struct {
	value    any // a string, an int64, a List, or nil where it is not given
	template func() (*jinja.Template, error)
}

func (f *field) given() bool { return f.value != nil }

// set reads a field.
func (f *field) set(v any) error {
	switch x := v.(type) {
	case int64, fineweb.List:
		f.value = v
	case bool:
		return errors.New("it is a template, the name of a column, a whole number or a list, not true or false")
	case fineweb.Object: // of choices
		list := fineweb.List{}
		for _, field := range x {
			list = append(list, field.Value)
		}
		f.value = list
	case string:
		f.value = v
		f.template = sync.OnceValues(func() (*jinja.Template, error) {
			return jinja.Compile(x, jinja.Tasks("the template"))
		})
	default:
		return fmt.Errorf("it is a template, the name of a column, a whole number or a list, not %s", shownValue(v))
	}
	return nil
}

// Document is a row of the data.
type Document struct {
	Fields fineweb.Object
	Number int    // among those of its split, from 0
	Where  string // file and place

	columns map[string]bool // of all documents of the task
	vars    map[string]jinja.Value
}

// at adds where the document is.
func (d *Document) at(what string, err error) error {
	return fmt.Errorf("%s: %s: %w", d.Where, what, err)
}

// column is the value of a column of the data.
func (d *Document) column(name string) (v any, err error) {
	v, ok := d.Fields.Get(name)
	if !ok {
		return nil, fmt.Errorf("it has no column %q, which other documents have; it has %s", foreign.Shown(name),
			foreign.Shown(strings.Join(d.Fields.Names(), ", ")))
	}
	if t, ok := v.(fineweb.NotRead); ok {
		return nil, fmt.Errorf("column %q is of type %s, which is not read", name, string(t))
	}
	return v, nil
}

// of is what the field makes of a document: of a column its value, of a template a text.
func (f *field) of(d *Document) (v any, rendered bool, err error) {
	s, ok := f.value.(string)
	if !ok {
		return f.value, false, nil
	}
	if d.columns[s] {
		v, err = d.column(s)
		return v, false, err
	}
	t, err := f.template()
	if err != nil {
		return nil, false, err
	}
	if d.vars == nil {
		d.vars = map[string]jinja.Value{}
		for _, x := range d.Fields {
			d.vars[x.Name] = variable(x.Value)
		}
	}
	text, err := t.Render(d.vars)
	if err != nil {
		return nil, false, fmt.Errorf("%w; the columns are %s", err, foreign.Shown(strings.Join(d.Fields.Names(), ", ")))
	}
	return text, true, nil
}

// variable is a value as templates have it.
func variable(v any) jinja.Value {
	switch v := v.(type) {
	case fineweb.List:
		l := &jinja.List{Items: make([]jinja.Value, len(v))}
		for i, x := range v {
			l.Items[i] = variable(x)
		}
		return l
	case fineweb.Object:
		d := &jinja.Dict{}
		for _, x := range v {
			d.Set(x.Name, variable(x.Value))
		}
		return d
	case fineweb.NotRead:
		return nil
	}
	return jinja.From(v)
}

// optional makes a text of a document, which may be a column's; it is empty where the column holds null.
func (f *field) optional(d *Document) (string, error) {
	if v, _, err := f.of(d); err != nil || v == nil {
		return "", err
	}
	return f.text(d)
}

// text makes a text of a document, which may be a column's.
func (f *field) text(d *Document) (string, error) {
	v, _, err := f.of(d)
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("it makes %s, not a text", kindOf(v))
	}
	return s, nil
}

// question makes what the model is given: a text, or the number of the right one of several contexts.
func (f *field) question(d *Document, choices bool) (any, error) {
	v, rendered, err := f.of(d)
	if err != nil {
		return nil, err
	}
	if s, ok := v.(string); ok && rendered && choices && digits(s) {
		return literal(s)
	}
	if _, ok := v.(string); !ok {
		if n, ok := integer(v); ok {
			return n, nil
		}
		return nil, fmt.Errorf("it makes %s, not a text", kindOf(v))
	}
	return v, nil
}

// answer makes the right answer: a text, a number, or a list of them.
func (f *field) answer(d *Document, choices bool) (any, error) {
	v, rendered, err := f.of(d)
	s, ok := v.(string)
	switch {
	case err != nil || !ok || !rendered:
		return v, err
	case choices && digits(s):
		return literal(s)
	case len(s) >= 2 && s[0] == '[' && s[len(s)-1] == ']':
		if list, err := literal(s); err == nil {
			return list, nil
		}
	}
	return s, nil
}

// list makes the answers to choose from.
func (f *field) list(d *Document) ([]string, error) {
	v, rendered, err := f.of(d)
	if err != nil {
		return nil, err
	}
	if s, ok := v.(string); ok && rendered {
		if v, err = literal(s); err != nil {
			return nil, err
		}
	}
	list, ok := v.(fineweb.List)
	if !ok {
		return nil, fmt.Errorf("it makes %s, not a list of texts", kindOf(v))
	}
	choices := make([]string, len(list))
	for i, x := range list {
		if choices[i], ok = x.(string); !ok {
			return nil, fmt.Errorf("choice %d is %s, not a text", i, kindOf(x))
		}
	}
	return choices, nil
}

// integer is a whole number; Python counts its truth values among them.
func integer(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case int64:
		return int(v), true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// digits is Python's str.isdigit.
func digits(s string) bool {
	for _, r := range s {
		if !unicode.IsDigit(r) {
			return false
		}
	}
	return s != ""
}
