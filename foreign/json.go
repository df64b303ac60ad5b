package foreign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Field is one member of a JSON object.
type Field struct {
	Name  string
	Value json.RawMessage
}

// Object reads a JSON object member by member, in order. Names that stand twice, text that is not UTF-8 and anything
// behind the object are errors: readers of JSON differ in what they make of them.
func Object(b []byte) ([]Field, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("it is not UTF-8")
	}
	if !json.Valid(b) { // the reasons of a syntax error are better told by the decoder
		var x any
		return nil, fmt.Errorf("it is not JSON: %w", json.Unmarshal(b, &x))
	}
	if at := bytes.TrimLeft(b, " \t\r\n"); at[0] != '{' {
		return nil, errors.New("it is not a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var fields []Field
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := Field{Name: name.(string)}
		if seen[f.Name] {
			return nil, fmt.Errorf("%q stands there twice", Shown(f.Name))
		}
		seen[f.Name] = true
		if err := d.Decode(&f.Value); err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// Unmarshal is json.Unmarshal for files that people may have written: what its error says is in the words of JSON, and
// does not name the types of the program.
func Unmarshal(b []byte, into any) error {
	if !utf8.Valid(b) { // the decoder would put other characters in their place
		return errors.New("it is not UTF-8")
	}
	err := json.Unmarshal(b, into)
	var other *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &other):
		what := "it"
		if other.Field != "" {
			what = Shown(other.Field)
		}
		return fmt.Errorf("%s is %s, and takes %s", what, jsonValue(other.Value), jsonType(other.Type))
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		return errors.New("it begins with a byte order mark, which JSON does not have: save it as UTF-8 without one")
	case errors.As(err, &syntax):
		return fmt.Errorf("it is not JSON: %w after %d bytes", err, syntax.Offset)
	}
	return err
}

// jsonValue is what encoding/json calls a value, as people do.
func jsonValue(value string) string {
	kind, number, _ := strings.Cut(value, " ")
	switch {
	case number != "":
		return Shown(number)
	case kind == "string":
		return "a text"
	case kind == "bool":
		return "true or false"
	case kind == "array":
		return "a list"
	case kind == "object":
		return "an object"
	}
	return "a " + kind
}

// jsonType is the JSON that a type of Go takes.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float32, reflect.Float64:
		return "a number that is not too large"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.Int, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("a whole number of up to %d bits", t.Bits())
	}
	return "another kind of value"
}
