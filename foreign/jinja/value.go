package jinja

import (
	"fmt"
	"math"
	"strings"
)

// Value is a value of a template: nil, bool, int64, float64, string, *List, *Dict, or something that a template makes,
// such as a function or the loop. Values that are given to a template may also be int, json.Number, []any and
// map[string]any; see From.
type Value = any

// List is a list, or a tuple.
type List struct {
	Items []Value
	Tuple bool
}

// Dict is a mapping that keeps the order of its keys.
type Dict struct {
	keys, values []Value
	index        map[any]int
}

// NewDict makes a mapping of names and values, in turn.
func NewDict(pairs ...Value) *Dict {
	d := &Dict{}
	for i := 0; i+1 < len(pairs); i += 2 {
		d.Set(pairs[i].(string), From(pairs[i+1]))
	}
	return d
}

// Set sets the value of a name.
func (d *Dict) Set(name string, v Value) { d.put(name, name, v) }

// Get finds the value of a name.
func (d *Dict) Get(name string) (Value, bool) {
	i, ok := d.index[name]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

// Len counts the keys.
func (d *Dict) Len() int { return len(d.keys) }

// Names are the keys that are strings, in order.
func (d *Dict) Names() []string {
	var names []string
	for _, k := range d.keys {
		if s, ok := k.(string); ok {
			names = append(names, s)
		}
	}
	return names
}

func (d *Dict) put(hash any, key, v Value) {
	if i, ok := d.index[hash]; ok {
		d.values[i] = v
		return
	}
	if d.index == nil {
		d.index = map[any]int{}
	}
	d.index[hash] = len(d.keys)
	d.keys, d.values = append(d.keys, key), append(d.values, v)
}

func (d *Dict) find(r *run, key Value) (Value, bool) {
	i, ok := d.index[r.hash(key)]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

// undefined is what a variable, attribute or item that is not there evaluates to.
type undefined struct {
	why  string
	soft bool // never an error by itself: an inline if without else
}

// iterator yields its items once, as Python's generators do: what filters such as map and select return. It is true
// even where it has no items.
type iterator struct {
	items []Value
	at    int
}

func (it *iterator) rest() []Value {
	items := it.items[it.at:]
	it.at = len(it.items)
	return items
}

// view is what keys, values and items of a dict return.
type view struct {
	name  string // dict_keys, …
	items []Value
}

// rangeOf is what range returns.
type rangeOf struct{ start, stop, step, n int64 }

func (g rangeOf) at(i int64) int64 { return g.start + i*g.step }

// namespace holds attributes that a template may set.
type namespace struct{ attributes *Dict }

// Func is a function, method or macro.
type Func struct {
	name string
	call func(r *run, a *args) Value
}

// method makes a method of a value.
func method(name, parameters string, f func(r *run, a []Value) Value) *Func {
	return &Func{name: name, call: func(r *run, a *args) Value { return f(r, a.bind(r, name+"()", parameters)) }}
}

// pythonType names a value's type as Python does.
func pythonType(v Value) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "bool"
	case int64, large:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case *List:
		if v.Tuple {
			return "tuple"
		}
		return "list"
	case *Dict:
		return "dict"
	case *undefined:
		return "undefined"
	case *iterator:
		return "generator"
	case *view:
		return v.name
	case rangeOf:
		return "range"
	case *namespace:
		return "namespace"
	case *Func:
		return "function"
	case *loop:
		return "loop"
	}
	return fmt.Sprintf("%T", v)
}

// use fails: a value that is not defined is used.
func (r *run) use(u *undefined) { r.fail("%s", u.why) }

// lenient fails if values that are not defined may not even be looked at.
func (r *run) lenient(u *undefined) {
	if r.options.Strict && !u.soft {
		r.use(u)
	}
}

// truth is Python's bool.
func (r *run) truth(v Value) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case *List:
		return len(v.Items) > 0
	case *Dict:
		return v.Len() > 0
	case *view:
		return len(v.items) > 0
	case rangeOf:
		return v.n > 0
	case *undefined:
		r.lenient(v)
		return false
	}
	return true
}

// length is Python's len; ok is false for what has none.
func (r *run) length(v Value) (n int, ok bool) {
	switch v := v.(type) {
	case string:
		r.scan(len(v))
		return runes(v), true
	case *List:
		return len(v.Items), true
	case *Dict:
		return v.Len(), true
	case *view:
		return len(v.items), true
	case rangeOf:
		return int(v.n), true
	case *undefined:
		r.lenient(v)
		return 0, true
	}
	return 0, false
}

// iterate returns the items of a value that can be iterated over.
func (r *run) iterate(v Value) []Value {
	switch v := v.(type) {
	case string:
		r.items(len(v))
		items := make([]Value, 0, len(v))
		for _, c := range v {
			items = append(items, string(c))
		}
		return items
	case *List:
		return v.Items
	case *Dict:
		return v.keys
	case *view:
		return v.items
	case *iterator:
		return v.rest()
	case rangeOf:
		r.items(int(v.n))
		items := make([]Value, v.n)
		for i := range items {
			items[i] = v.at(int64(i))
		}
		return items
	case *undefined:
		r.lenient(v)
		return nil
	}
	r.fail("a value of type %s cannot be iterated over", pythonType(v))
	return nil
}

func iterable(v Value) bool {
	switch v.(type) {
	case string, *List, *Dict, *view, *iterator, rangeOf, *undefined, *loop:
		return true
	}
	return false
}

// hash makes a key of a map of a value that Python can hash. Equal values have equal keys.
func (r *run) hash(v Value) any {
	switch v := v.(type) {
	case nil:
		return none{}
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
		return v
	case string:
		r.reading(v)
		return v
	case int64, large:
		return v
	case *List:
		if v.Tuple {
			defer r.deeper()()
			var b strings.Builder
			for _, x := range v.Items {
				key := r.hash(x)
				h := fmt.Sprintf("%T %v", key, key)
				r.room(len(h))
				fmt.Fprintf(&b, "%d %s", len(h), h)
			}
			return tuple(b.String())
		}
	case *undefined:
		r.lenient(v)
	}
	r.fail("a value of type %s cannot be a key", pythonType(v))
	return nil
}

type (
	none  struct{}
	tuple string
)
