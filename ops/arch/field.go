package arch

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Field is a field of a configuration, under the name it has in config.json and as an attribute of the model block. A
// field is spelled here alone: the block's schema, its exports, the check of a folder against the block, config.json
// and the reference page are made of these rows.
type Field struct {
	Name   string
	Doc    string // what it is, without its default and the full stop
	Needed bool   // has no default
	Free   bool   // may differ between models whose weights fit each other
	Counts bool   // decides how many parameters there are
	Export bool   // other blocks may read it

	// Min and Max are the range of a number, or of each in a list, in a pipeline, ends included. A whole number of a
	// config.json is held to it too.
	Min, Max *float64
	Above    *float64 // the same, without the end
	Even     bool     // of a whole number
	OneOf    []string // the texts it may be

	own         bool                // no key of transformers: config.json has it where it is not the default
	at          func(c *Config) any // pointer to it
	def         func(c *Config) any // default, which may follow from fields above; nil for the zero value
	defaultText string              // default in words, where it is not a constant

	// check says what is wrong with the field, which may depend on others, and what to do; empty if nothing is. Whole
	// numbers are in their range by then, but for even ones.
	check func(c Config) (what, do string)
}

// defaultTo is the field with a constant default.
func (f Field) defaultTo(v any) Field {
	f.def, f.defaultText = func(*Config) any { return v }, ""
	return f
}

// At is a pointer to the field in c: *int, *float64, *string, *bool, *[]int or **RopeScaling.
func (f Field) At(c *Config) any { return f.at(c) }

// Value is the field's value in c.
func (f Field) Value(c Config) any { return reflect.ValueOf(f.at(&c)).Elem().Interface() }

// Same reports whether b stays the same model when its field takes a's value, however that is written.
func (f Field) Same(a, b Config) bool {
	changed := b
	reflect.ValueOf(f.at(&changed)).Elem().Set(reflect.ValueOf(f.at(&a)).Elem())
	changed.plain()
	b.plain()
	return reflect.DeepEqual(f.Value(changed), f.Value(b))
}

// Show is the field's value in c for a message.
func (f Field) Show(c Config) string { return shown(f.Value(c)) }

// Silent reports whether the field is one of our own, and c has its default: then nothing is written of it.
func (f Field) Silent(c Config) bool { return f.own && reflect.ValueOf(f.at(&c)).Elem().IsZero() }

// usual is the field's default as the reference page shows it; empty for none.
func (f Field) usual() string {
	switch {
	case f.defaultText != "":
		return f.defaultText
	case f.def == nil:
		return ""
	}
	switch v := f.def(&Config{}).(type) {
	case float64:
		return strings.NewReplacer("e-0", "e-", "e+0", "e").Replace(strconv.FormatFloat(v, 'g', -1, 64))
	case string:
		return "`" + v + "`"
	default:
		return fmt.Sprint(v)
	}
}

// shown is a value as JSON, for a message.
func shown(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// checkRange says what is wrong with a whole number by itself, and what to do; empty if nothing is.
func (f Field) checkRange(c Config) (what, do string) {
	n, whole := f.at(&c).(*int)
	switch {
	case !whole || f.Even: // check says both
	case *n < int(*f.Min):
		what = fmt.Sprintf("%s is %d; the least is %.0f", f.Name, *n, *f.Min)
		do = fmt.Sprintf("Give a whole number of at least %.0f.", *f.Min)
	case *n > int(*f.Max):
		what = fmt.Sprintf("%s is %d; the most is %.0f", f.Name, *n, *f.Max)
		do = fmt.Sprintf("Give a whole number of at most %.0f.", *f.Max)
	}
	return what, do
}
