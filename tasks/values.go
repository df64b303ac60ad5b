package tasks

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"stepflow/fineweb"
	"stepflow/foreign"
)

// each reads the keys of an object.
func each(v any, keys map[string]func(any) error) error {
	o, ok := v.(fineweb.Object)
	if !ok {
		return fmt.Errorf("it is a mapping of %s", strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
	}
	for _, f := range o {
		set := keys[f.Name]
		switch {
		case set == nil:
			return fmt.Errorf("%s is not supported; it has %s", foreign.Shown(f.Name), strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
		case f.Value == nil:
			continue
		}
		if err := set(f.Value); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

func text(to *string, v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("it is a text, not %s", kindOf(v))
	}
	*to = s
	return nil
}

// label reads a name, which is shown as it is.
func label(to *string, v any) error {
	if err := text(to, v); err != nil {
		return err
	}
	if shown := foreign.Shown(*to); shown != *to {
		return fmt.Errorf("%q holds characters that a terminal may obey instead of showing them", foreign.ShownStart(*to, 60))
	}
	return nil
}

// labels reads a list of names, or one.
func labels(to *[]string, v any) error {
	if err := texts(to, v); err != nil {
		return err
	}
	for _, s := range *to {
		if err := label(new(string), s); err != nil {
			return err
		}
	}
	return nil
}

// texts reads a list of texts, or one.
func texts(to *[]string, v any) error {
	*to = []string{}
	if s, ok := v.(string); ok {
		*to = []string{s}
		return nil
	}
	list, ok := v.(fineweb.List)
	if !ok {
		return fmt.Errorf("it is a text or a list of texts, not %s", kindOf(v))
	}
	for _, x := range list {
		s, ok := x.(string)
		if !ok {
			return fmt.Errorf("it is a list of texts, and one is %s", kindOf(x))
		}
		*to = append(*to, s)
	}
	return nil
}

// objects reads a list of objects.
func objects(to *[]fineweb.Object, v any) error {
	list, ok := v.(fineweb.List)
	if !ok || len(list) == 0 {
		return errors.New("it is a list of documents")
	}
	for _, x := range list {
		o, ok := x.(fineweb.Object)
		if !ok {
			return fmt.Errorf("it is a list of documents, and one is %s", kindOf(x))
		}
		*to = append(*to, o)
	}
	return nil
}

func number(to *float64, v any, least, most float64) error {
	f, ok := v.(float64)
	if n, is := v.(int64); is {
		f, ok = float64(n), true
	}
	if !ok || !(f >= least && f <= most) {
		return fmt.Errorf("it is a number from %g to %g", least, most)
	}
	*to = f
	return nil
}

func whole(to *int, v any, least, most int) error {
	n, ok := v.(int64)
	if !ok || n < int64(least) || n > int64(most) {
		return fmt.Errorf("it is a whole number from %d to %d", least, most)
	}
	*to = int(n)
	return nil
}

func truth(to *bool, v any) error {
	b, ok := v.(bool)
	if !ok {
		return fmt.Errorf("it is true or false, not %s", kindOf(v))
	}
	*to = b
	return nil
}

func oneOf(s string, words ...string) error {
	if slices.Contains(words, s) {
		return nil
	}
	return fmt.Errorf("%q is not supported; it may be %s", foreign.Shown(s), strings.Join(words, ", "))
}

// shownValue is a number, or what else a value is.
func shownValue(v any) string {
	if kind := kindOf(v); kind != "a number" {
		return kind
	}
	return "the number " + asText(v)
}

// kindOf says what a value is.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "true or false"
	case string:
		return "a text"
	case fineweb.List:
		return "a list"
	case fineweb.Object:
		return "a mapping"
	case fineweb.NotRead:
		return "of type " + string(v)
	case function:
		return "Python code"
	}
	return "a number"
}
