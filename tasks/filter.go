package tasks

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"stepflow/fineweb"
	"stepflow/foreign/pyre"
)

// Filters turn what a model wrote into an answer. A task may have several, each with metrics of its own.
type Filters struct {
	Name string
	list []filter
}

// filter turns the texts that a model wrote for a document into others. With an error that is unmatched it returns them too.
type filter func(texts []string) ([]string, error)

// unmatched is the error of a filter that has searched in vain for a reason other than that there is nothing to find.
type unmatched struct{ error }

// apply returns the answer. unfound says why a text counts as if a pattern did not match it, though it may; it is nil if no
// text does.
func (f *Filters) apply(texts []string) (answer string, unfound, err error) {
	for _, g := range f.list {
		if texts, err = g(texts); errors.As(err, new(unmatched)) {
			unfound = cmp.Or(unfound, fmt.Errorf("filter %s: %w", f.Name, err))
		} else if err != nil {
			return "", nil, fmt.Errorf("filter %s: %w", f.Name, err)
		}
	}
	return texts[0], unfound, nil
}

// filters reads filter_list.
func (t *Task) filters(v any) error {
	l, ok := v.(fineweb.List)
	if !ok || len(l) == 0 {
		return errors.New("it is a list of filters")
	}
	for _, x := range l {
		f, first := Filters{}, false
		err := each(x, map[string]func(any) error{
			"name": func(v any) error { return label(&f.Name, v) },
			"filter": func(v any) error {
				steps, ok := v.(fineweb.List)
				if !ok {
					return errors.New("it is a list of functions")
				}
				for _, s := range steps {
					g, name, err := readFilter(s)
					if err != nil {
						return err
					}
					f.list, first = append(f.list, g), name == "take_first"
				}
				return nil
			},
		})
		switch {
		case err != nil:
			return err
		case f.Name == "" || strings.Contains(f.Name, ","):
			return errors.New("a filter needs a name without a comma")
		case !first:
			return fmt.Errorf("%s: it ends with the function take_first, which leaves one answer", f.Name)
		case slices.ContainsFunc(t.Filters, func(o Filters) bool { return o.Name == f.Name }):
			return fmt.Errorf("%s stands twice", f.Name)
		}
		t.Filters = append(t.Filters, f)
	}
	return nil
}

// filterKinds make a filter of its arguments.
var filterKinds = map[string]func(o fineweb.Object) (filter, error){
	"take_first":        func(o fineweb.Object) (filter, error) { return takeFirst, each(o, nil) },
	"remove_whitespace": everyText(func(s string) string { return strings.TrimFunc(s, isSpace) }),
	"lowercase":         everyText(strings.ToLower),
	"uppercase":         everyText(strings.ToUpper),
	"regex":             regexFilter,
	"map":               mapFilter,
	"take_first_k": func(o fineweb.Object) (filter, error) {
		k := 0
		err := each(o, map[string]func(any) error{"k": func(v any) error { return whole(&k, v, 1, 1000) }})
		return func(texts []string) ([]string, error) {
			if len(texts) < k {
				return nil, fmt.Errorf("take_first_k takes %d answers, and repeats gives %d", k, len(texts))
			}
			return texts[:k], nil
		}, err
	},
	"majority_vote": func(o fineweb.Object) (filter, error) { return majority, each(o, nil) },
}

// readFilter reads one function of a filter.
func readFilter(v any) (f filter, name string, err error) {
	o, ok := v.(fineweb.Object)
	if !ok {
		return nil, "", errors.New("a function is missing")
	}
	rest := fineweb.Object{}
	for _, x := range o {
		if x.Name == "function" {
			name, _ = x.Value.(string)
		} else {
			rest = append(rest, x)
		}
	}
	kind := filterKinds[name]
	if kind == nil {
		return nil, "", oneOf(name, slices.Sorted(maps.Keys(filterKinds))...)
	}
	if f, err = kind(rest); err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return f, name, err
}

func takeFirst(texts []string) ([]string, error) { return texts[:1], nil }

// majority is the most frequent answer, the first of those that are equally so.
func majority(texts []string) ([]string, error) {
	n := map[string]int{}
	best := texts[0]
	for _, s := range texts {
		n[s]++
	}
	for _, s := range texts {
		if n[s] > n[best] {
			best = s
		}
	}
	return []string{best}, nil
}

// everyText changes each text.
func everyText(change func(string) string) func(fineweb.Object) (filter, error) {
	return func(o fineweb.Object) (filter, error) {
		return func(texts []string) ([]string, error) {
			list := make([]string, len(texts))
			for i, s := range texts {
				list[i] = change(s)
			}
			return list, nil
		}, each(o, nil)
	}
}

// mapFilter looks texts up.
func mapFilter(o fineweb.Object) (filter, error) {
	table, usual := map[string]string{}, "None"
	err := each(o, map[string]func(any) error{
		"mapping_dict": func(v any) error {
			m, ok := v.(fineweb.Object)
			if !ok {
				return errors.New("it is a mapping of texts")
			}
			for _, f := range m {
				table[f.Name] = asText(f.Value)
			}
			return nil
		},
		"default_value": func(v any) error { usual = asText(v); return nil },
	})
	f, _ := everyText(func(s string) string {
		if to, ok := table[s]; ok {
			return to
		}
		return usual
	})(fineweb.Object{})
	return f, err
}

// regexFilter finds a part of each text.
func regexFilter(o fineweb.Object) (filter, error) {
	x := regexPart{fallback: "[invalid]"}
	pattern := `#### (\-?[0-9\.\,]+)`
	err := each(o, map[string]func(any) error{
		"regex_pattern": func(v any) error { return text(&pattern, v) },
		"fallback":      func(v any) error { return text(&x.fallback, v) },
		"group_select":  func(v any) error { return whole(&x.match, v, -1000, 1000) },
	})
	if err == nil {
		x.pattern, err = pyre.Compile(pattern)
	}
	return func(texts []string) ([]string, error) {
		list, unfound := make([]string, len(texts)), error(nil)
		for i, s := range texts {
			found, err := x.find(s)
			if list[i] = found; err != nil {
				list[i], unfound = x.fallback, unmatched{err}
			}
		}
		return list, unfound
	}, err
}

// regexPart finds a match of a pattern, by its number or from the end, and in it the first group that holds something.
type regexPart struct {
	pattern  *pyre.Pattern
	match    int
	fallback string
}

func (x *regexPart) find(s string) (string, error) {
	all, err := x.pattern.FindAll(s)
	if err != nil || len(all) == 0 {
		return x.fallback, err
	}
	n := x.match
	if n < 0 {
		n += len(all)
	}
	if n < 0 || n >= len(all) {
		return "", fmt.Errorf("group_select is %d, counted from 0, and the pattern has %d matches in %q", x.match, len(all), shownText(s))
	}
	found := all[n][0]
	if x.pattern.Groups() > 1 {
		found = x.fallback
		if i := slices.IndexFunc(all[n], func(s string) bool { return s != "" }); i >= 0 {
			found = all[n][i]
		}
	}
	return strings.TrimFunc(found, isSpace), nil
}
