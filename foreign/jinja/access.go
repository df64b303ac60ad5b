package jinja

import (
	"fmt"
)

// index turns a Python index into one from 0.
func index(i int64, n int) (int, bool) {
	if i < 0 {
		i += int64(n)
	}
	return int(i), i >= 0 && i < int64(n)
}

// item is container[key] as jinja2 evaluates it: what is not there is undefined.
func (r *run) item(v, key Value) Value {
	if u, ok := v.(*undefined); ok {
		r.use(u)
	}
	if g, ok := key.(slice); ok {
		return r.slice(v, g)
	}
	if i, _, isInt, ok := num(key); ok && isInt {
		switch v := v.(type) {
		case string:
			if len(v) > 0 {
				r.scan(len(v))
				if n := len(v); n == runes(v) {
					if j, ok := index(i, n); ok {
						return v[j : j+1]
					}
				} else if j, ok := index(i, runes(v)); ok {
					return string([]rune(v)[j])
				}
			}
		case *List:
			if j, ok := index(i, len(v.Items)); ok {
				return v.Items[j]
			}
		case rangeOf:
			if j, ok := index(i, int(v.n)); ok {
				return v.at(int64(j))
			}
		}
	}
	if d, ok := v.(*Dict); ok {
		switch k := key.(type) {
		case *undefined:
			r.lenient(k)
		case nil, bool, int64, float64, string, *List:
			if l, ok := k.(*List); ok && !l.Tuple {
				break
			}
			if x, ok := d.find(r, k); ok {
				return x
			}
		}
	}
	if s, ok := key.(string); ok {
		if f := r.attribute(v, s); f != nil {
			return f
		}
	}
	if s, ok := key.(string); ok {
		return &undefined{why: fmt.Sprintf("'%s' has no attribute '%s'", object(v), s)}
	}
	return &undefined{why: fmt.Sprintf("'%s' has no element %s", object(v), r.shown(key))}
}

// object describes a value as jinja2's messages do.
func object(v Value) string {
	if v == nil {
		return "None"
	}
	return pythonType(v) + " object"
}

// attr is value.name as jinja2 evaluates it: methods come before keys.
func (r *run) attr(v Value, name string) Value {
	if u, ok := v.(*undefined); ok {
		r.use(u)
	}
	if f := r.attribute(v, name); f != nil {
		return f
	}
	switch v := v.(type) {
	case *Dict:
		if x, ok := v.Get(name); ok {
			return x
		}
	case *namespace:
		if x, ok := v.attributes.Get(name); ok {
			return x
		}
	}
	return &undefined{why: fmt.Sprintf("'%s' has no attribute '%s'", object(v), name)}
}

// slice is the index a:b:c.
type slice struct{ start, stop, step Value }

// bounds are the first index, the step and the number of items, as Python's slice.indices gives them.
func (g slice) bounds(r *run, n int) (start, step, count int) {
	get := func(v Value, otherwise int64) int64 {
		if v == nil {
			return otherwise
		}
		i, _, isInt, ok := num(v)
		if !ok || !isInt {
			r.fail("a slice wants whole numbers, not %s", r.shown(v))
		}
		return i
	}
	k := get(g.step, 1)
	if k == 0 {
		r.fail("the step of a slice is 0")
	}
	if k > int64(n) { // further than all items
		k = int64(n) + 1
	} else if k < -int64(n) {
		k = -int64(n) - 1
	}
	low, high := int64(0), int64(n)
	if k < 0 {
		low, high = -1, int64(n)-1
	}
	clamp := func(i int64) int64 {
		if i < 0 {
			i += int64(n)
		}
		return max(low, min(high, i))
	}
	var a, b int64
	if k > 0 {
		a, b = low, high
	} else {
		a, b = high, low
	}
	if g.start != nil {
		a = clamp(get(g.start, 0))
	}
	if g.stop != nil {
		b = clamp(get(g.stop, 0))
	}
	if k > 0 && b > a {
		count = int((b - a + k - 1) / k)
	} else if k < 0 && b < a {
		count = int((a - b - k - 1) / -k)
	}
	return int(a), int(k), count
}

func (r *run) slice(v Value, g slice) Value {
	switch v := v.(type) {
	case string:
		r.room(len(v))
		cs := []rune(v)
		i, step, n := g.bounds(r, len(cs))
		out := make([]rune, n)
		for j := range out {
			out[j] = cs[i+j*step]
		}
		return string(out)
	case *List:
		i, step, n := g.bounds(r, len(v.Items))
		r.items(n)
		out := make([]Value, n)
		for j := range out {
			out[j] = v.Items[i+j*step]
		}
		return &List{Items: out, Tuple: v.Tuple}
	case rangeOf:
		i, step, n := g.bounds(r, int(v.n))
		start := v.at(int64(i))
		by := v.step * int64(step)
		return rangeOf{start, start + by*int64(n), by, int64(n)}
	}
	r.fail("a value of type %s cannot be sliced", pythonType(v))
	return nil
}
