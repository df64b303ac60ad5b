package jinja

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// From makes a template's value of a Go value as encoding/json has them. The keys of a map are sorted, since Go keeps no
// order: FromJSON keeps it. What cannot be a value becomes its text.
func From(v any) Value {
	switch v := v.(type) {
	case int:
		return int64(v)
	case json.Number:
		return number(string(v))
	case []any:
		l := &List{Items: make([]Value, len(v))}
		for i, x := range v {
			l.Items[i] = From(x)
		}
		return l
	case []string:
		l := &List{Items: make([]Value, len(v))}
		for i, x := range v {
			l.Items[i] = x
		}
		return l
	case map[string]any:
		d := &Dict{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			d.Set(k, From(v[k]))
		}
		return d
	case nil, bool, int64, float64, string, large, *List, *Dict, *Func, *undefined:
		return v
	}
	return fmt.Sprint(v)
}

// number is the value of a JSON number: an int if it has no fraction and no exponent, as in Python.
func number(s string) Value {
	if !strings.ContainsAny(s, ".eE") {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
		return large(s)
	}
	f, _ := strconv.ParseFloat(s, 64)
	return f
}

// large is an int that does not fit in 64 bits. It can be written, and compared with its like; counting with it is not
// supported.
type large string

// maxNesting is how deep JSON may be nested.
const maxNesting = 100

// FromJSON reads JSON and keeps the order of keys. Of a key that stands twice, the last value counts, as in Python.
func FromJSON(b []byte) (Value, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := fromJSON(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more follows after the JSON value")
	}
	return v, nil
}

func fromJSON(d *json.Decoder, depth int) (Value, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("JSON is nested more than %d deep", maxNesting)
	}
	t, err := d.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('['):
		l := &List{Items: []Value{}}
		for d.More() {
			v, err := fromJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			l.Items = append(l.Items, v)
		}
		_, err = d.Token()
		return l, err
	case json.Delim('{'):
		o := &Dict{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := fromJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			o.Set(k.(string), v)
		}
		_, err = d.Token()
		return o, err
	}
	return From(t), nil
}
