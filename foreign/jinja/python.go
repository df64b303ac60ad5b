package jinja

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func runes(s string) int { return utf8.RuneCountInString(s) }

// str is Python's str.
func (r *run) str(v Value) string {
	switch v := v.(type) {
	case string:
		return v
	case *undefined:
		r.lenient(v)
		return ""
	}
	var b strings.Builder
	r.repr(&b, v)
	return b.String()
}

// repr writes Python's repr.
func (r *run) repr(b *strings.Builder, v Value) {
	defer r.deeper()()
	r.work(1)
	put := func(s string) {
		r.room(len(s))
		b.WriteString(s)
	}
	all := func(open string, items []Value, closing string) {
		put(open)
		for i, x := range items {
			if i > 0 {
				put(", ")
			}
			r.repr(b, x)
		}
		put(closing)
	}
	switch v := v.(type) {
	case nil:
		put("None")
	case bool:
		if v {
			put("True")
		} else {
			put("False")
		}
	case int64:
		put(strconv.FormatInt(v, 10))
	case large:
		put(string(v))
	case float64:
		put(reprFloat(v))
	case string:
		put(reprString(v))
	case *List:
		switch {
		case !v.Tuple:
			all("[", v.Items, "]")
		case len(v.Items) == 1:
			all("(", v.Items, ",)")
		default:
			all("(", v.Items, ")")
		}
	case *Dict:
		put("{")
		for i, k := range v.keys {
			if i > 0 {
				put(", ")
			}
			r.repr(b, k)
			put(": ")
			r.repr(b, v.values[i])
		}
		put("}")
	case *view:
		all(v.name+"([", v.items, "])")
	case rangeOf:
		put(fmt.Sprintf("range(%d, %d", v.start, v.stop))
		if v.step != 1 {
			put(fmt.Sprintf(", %d", v.step))
		}
		put(")")
	case *undefined:
		put("Undefined")
	default:
		r.fail("a value of type %s has no text: printing it is not supported", pythonType(v))
	}
}

// reprFloat is the shortest text that reads back as the number, in the form that Python gives it.
func reprFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func reprString(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteByte(quote)
	for _, c := range s {
		switch {
		case c == rune(quote) || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		case c < 0x100:
			fmt.Fprintf(&b, `\x%02x`, c)
		case c < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	b.WriteByte(quote)
	return b.String()
}

// num is a number of a value: Python counts bools among the ints.
func num(v Value) (i int64, f float64, isInt, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			i = 1
		}
		return i, float64(i), true, true
	case int64:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	}
	return 0, 0, false, false
}

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
		r.work(min(len(a), len(s)) / 64)
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
		r.work(len(c) / 64)
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
				r.work(len(v) / 64)
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

// shown is a value in a message.
func (r *run) shown(v Value) string {
	switch v := v.(type) {
	case nil, bool, int64, float64, string, *List, *Dict:
		var b strings.Builder
		r.repr(&b, v)
		if b.Len() > 60 {
			return strings.ToValidUTF8(b.String()[:60], "") + "…"
		}
		return b.String()
	}
	return "of type " + pythonType(v)
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
