package foreign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
