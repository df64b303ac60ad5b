package jinja

import (
	"fmt"
	"strings"
)

// maxRange is the longest range, as in Jinja's sandbox.
const maxRange = 100_000

// globals are the functions that templates call: those of Jinja, and raise_exception of transformers.
var globals map[string]Value

func init() {
	globals = map[string]Value{
		"range": &Func{"range", func(r *run, a *args) Value {
			if a.named.Len() > 0 || len(a.values) == 0 || len(a.values) > 3 {
				r.fail("range takes one to three numbers")
			}
			var ns []int64
			for _, v := range a.values {
				ns = append(ns, intOr(r, v, 0))
			}
			g := rangeOf{stop: ns[0], step: 1}
			if len(ns) > 1 {
				g.start, g.stop = ns[0], ns[1]
			}
			if len(ns) > 2 {
				g.step = ns[2]
			}
			if g.step == 0 {
				r.fail("the step of range is 0")
			}
			if g.step > 0 && g.stop > g.start {
				g.n = int64((uint64(g.stop) - uint64(g.start) - 1) / uint64(g.step))
			} else if g.step < 0 && g.stop < g.start {
				g.n = int64((uint64(g.start) - uint64(g.stop) - 1) / -uint64(g.step))
			} else {
				return g
			}
			if g.n++; g.n > maxRange || g.n <= 0 {
				r.fail("a range of more than %d numbers is not supported", maxRange)
			}
			return g
		}},
		"dict":      &Func{"dict", makeDict},
		"namespace": &Func{"namespace", func(r *run, a *args) Value { return &namespace{makeDict(r, a).(*Dict)} }},
		"cycler": &Func{"cycler", func(r *run, a *args) Value {
			if len(a.values) == 0 || a.named.Len() > 0 {
				r.fail("cycler wants the values to cycle through")
			}
			return &cycler{items: a.values}
		}},
		"joiner": &Func{"joiner", func(r *run, a *args) Value {
			sep := a.bind(r, "joiner", "sep?")[0]
			if sep == (absent{}) {
				sep = ", "
			}
			used := false
			return &Func{"joiner", func(r *run, a *args) Value {
				if !used {
					used = true
					return ""
				}
				return sep
			}}
		}},
		"lipsum": &Func{"lipsum", func(r *run, a *args) Value {
			r.fail("lipsum is not supported: it writes at random")
			return nil
		}},
		"raise_exception": &Func{"raise_exception", func(r *run, a *args) Value {
			m := r.str(a.bind(r, "raise_exception", "message")[0])
			panic(failure{&Error{Line: r.line, Message: "the template refuses: " + m, Raised: true}})
		}},
	}
}

func makeDict(r *run, a *args) Value {
	d := &Dict{}
	if len(a.values) > 1 {
		r.fail("a mapping is made of at most one mapping, and names")
	}
	if len(a.values) == 1 {
		if of, ok := a.values[0].(*Dict); ok {
			r.items(4 * of.Len())
			for i, k := range of.keys {
				d.put(r.hash(k), k, of.values[i])
			}
		} else {
			for _, p := range r.iterate(a.values[0]) {
				kv := r.iterate(p)
				if len(kv) != 2 {
					r.fail("a mapping is made of pairs, not of %s", r.shown(p))
				}
				r.items(4)
				d.put(r.hash(kv[0]), kv[0], kv[1])
			}
		}
	}
	for _, n := range a.named.Names() {
		v, _ := a.named.Get(n)
		d.Set(n, v)
	}
	return d
}

// cycler gives its items in turn.
type cycler struct {
	items []Value
	at    int
}

func (c *cycler) attribute(name string) Value {
	switch name {
	case "current":
		return c.items[c.at]
	case "next":
		return method("cycler.next", "", func(r *run, a []Value) Value {
			v := c.items[c.at]
			c.at = (c.at + 1) % len(c.items)
			return v
		})
	case "reset":
		return method("cycler.reset", "", func(r *run, a []Value) Value {
			c.at = 0
			return nil
		})
	}
	return nil
}

var strftimeNow = &Func{"strftime_now", func(r *run, a *args) Value {
	format := textOf(r, a.bind(r, "strftime_now", "format")[0])
	now := r.options.Now
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		d := format[i : i+1]
		if d == "-" && i+1 < len(format) { // as glibc: without the leading zero
			i++
			d = format[i-1 : i+1]
		}
		layout, ok := layouts[d]
		switch {
		case ok:
			b.WriteString(now.Format(layout))
		case d == "%":
			b.WriteByte('%')
		case d == "e":
			fmt.Fprintf(&b, "%2d", now.Day())
		case d == "-H":
			fmt.Fprint(&b, now.Hour())
		case d == "w":
			fmt.Fprint(&b, int(now.Weekday()))
		case d == "f":
			fmt.Fprintf(&b, "%06d", now.Nanosecond()/1000)
		default:
			r.fail("strftime_now does not know %%%s", d)
		}
	}
	return b.String()
}}

// layouts are Go's for the directives of strftime.
var layouts = map[string]string{
	"Y": "2006", "y": "06", "m": "01", "d": "02", "H": "15", "I": "03", "M": "04", "S": "05", "p": "PM", "j": "002",
	"B": "January", "b": "Jan", "h": "Jan", "A": "Monday", "a": "Mon", "F": "2006-01-02", "T": "15:04:05", "R": "15:04",
	"D": "01/02/06", "x": "01/02/06", "X": "15:04:05", "c": "Mon Jan _2 15:04:05 2006",
	"-d": "2", "-m": "1", "-I": "3", "-M": "4", "-S": "5",
}
