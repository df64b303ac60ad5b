package jinja

import (
	"strings"
)

// equal is Python's ==.
func (r *run) equal(a, b Value) bool {
	r.work(1)
	for _, v := range []Value{a, b} {
		if u, ok := v.(*undefined); ok {
			r.lenient(u)
		}
	}
	if ai, af, aInt, ok := num(a); ok {
		bi, bf, bInt, ok := num(b)
		if !ok {
			return false
		}
		if aInt && bInt {
			return ai == bi
		}
		return af == bf
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case string:
		s, ok := b.(string)
		r.scan(min(len(a), len(s)))
		return ok && a == s
	case *undefined:
		_, ok := b.(*undefined)
		return ok
	case *List:
		l, ok := b.(*List)
		if !ok || a.Tuple != l.Tuple || len(a.Items) != len(l.Items) {
			return false
		}
		defer r.deeper()()
		for i := range a.Items {
			if !r.equal(a.Items[i], l.Items[i]) {
				return false
			}
		}
		return true
	case *Dict:
		d, ok := b.(*Dict)
		if !ok || a.Len() != d.Len() {
			return false
		}
		defer r.deeper()()
		for i, k := range a.keys {
			x, ok := d.find(r, k)
			if !ok || !r.equal(a.values[i], x) {
				return false
			}
		}
		return true
	case rangeOf:
		g, ok := b.(rangeOf)
		return ok && a.n == g.n && (a.n == 0 || a.start == g.start && (a.n == 1 || a.step == g.step))
	}
	if _, ok := a.(*view); ok {
		r.fail("views of a dict are not compared: turn them into lists")
	}
	return a == b // of objects: the same one
}

// less is Python's <, of the types that have an order.
func (r *run) less(a, b Value) bool {
	r.work(1)
	for _, v := range []Value{a, b} {
		if u, ok := v.(*undefined); ok {
			r.use(u)
		}
	}
	if ai, af, aInt, ok := num(a); ok {
		if bi, bf, bInt, ok := num(b); ok {
			if aInt && bInt {
				return ai < bi
			}
			return af < bf
		}
	}
	switch a := a.(type) {
	case string:
		if s, ok := b.(string); ok {
			r.scan(min(len(a), len(s)))
			return a < s // UTF-8 has the order of code points
		}
	case *List:
		if l, ok := b.(*List); ok && a.Tuple == l.Tuple {
			defer r.deeper()()
			for i := range min(len(a.Items), len(l.Items)) {
				if !r.equal(a.Items[i], l.Items[i]) {
					return r.less(a.Items[i], l.Items[i])
				}
			}
			return len(a.Items) < len(l.Items)
		}
	}
	r.fail("a value of type %s has no order beside one of type %s", pythonType(a), pythonType(b))
	return false
}

// contains is Python's in.
func (r *run) contains(container, v Value) bool {
	switch c := container.(type) {
	case string:
		s, ok := v.(string)
		if !ok {
			r.fail("'in' a text wants a text, not a value of type %s", pythonType(v))
		}
		r.scan(len(c))
		return strings.Contains(c, s)
	case *Dict:
		_, ok := c.find(r, v)
		return ok
	case *iterator:
		for c.at < len(c.items) {
			c.at++
			if r.equal(c.items[c.at-1], v) {
				return true
			}
		}
		return false
	}
	for _, x := range r.iterate(container) {
		if r.equal(x, v) {
			return true
		}
	}
	return false
}
