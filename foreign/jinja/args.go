package jinja

import "strings"

// arguments are those of a call in a template.
type arguments struct {
	values []expr
	names  []string // of the named ones
	named  []expr
	list   expr // *list
	dict   expr // **dict
}

// args are evaluated arguments.
type args struct {
	values []Value
	named  *Dict
}

func (a *arguments) eval(r *run, s *scope) *args {
	out := &args{named: &Dict{}}
	for _, e := range a.values {
		out.values = append(out.values, e.eval(r, s))
	}
	if a.list != nil {
		out.values = append(out.values, r.iterate(a.list.eval(r, s))...)
		r.items(len(out.values))
	}
	for i, n := range a.names {
		if _, twice := out.named.Get(n); twice {
			r.fail("the argument %s is given twice", n)
		}
		out.named.Set(n, a.named[i].eval(r, s))
	}
	if a.dict != nil {
		d, ok := a.dict.eval(r, s).(*Dict)
		if !ok {
			r.fail("after ** a mapping must follow")
		}
		for i, k := range d.keys {
			n, ok := k.(string)
			if _, twice := out.named.Get(n); twice || !ok {
				r.fail("the mapping after ** has the key %s, which is not the name of an argument, or is given already", r.shown(k))
			}
			out.named.Set(n, d.values[i])
		}
	}
	return out
}

// absent is the value of a parameter that has no argument.
type absent struct{}

// bind puts arguments in the order of parameters. Those marked with ? may be absent.
func (a *args) bind(r *run, what, parameters string) []Value {
	names := strings.Fields(parameters)
	if len(a.values) > len(names) {
		r.fail("%s takes at most %d arguments, not %d", what, len(names), len(a.values))
	}
	out := make([]Value, len(names))
	used := 0
	for i, n := range names {
		n, optional := strings.CutSuffix(n, "?")
		v, ok := a.named.Get(n)
		switch {
		case i < len(a.values) && ok:
			r.fail("%s has two values for %s", what, n)
		case i < len(a.values):
			out[i] = a.values[i]
		case ok:
			out[i] = v
			used++
		case optional:
			out[i] = absent{}
		default:
			r.fail("%s lacks its argument %s", what, n)
		}
	}
	if used < a.named.Len() {
		for _, k := range a.named.Names() {
			if !strings.Contains(" "+strings.ReplaceAll(parameters, "?", "")+" ", " "+k+" ") {
				r.fail("%s has no argument %s", what, k)
			}
		}
	}
	return out
}

// Filter is a filter that the user of the package adds.
type Filter func(c *Call) Value

// Call is a call of such a filter.
type Call struct {
	r      *run
	what   string
	values []Value
	named  *Dict
}

// Args puts the arguments, of which the first is what is filtered, in the order of parameters. Those marked with ? may be
// absent, and are nil then.
func (c *Call) Args(parameters string) []Value {
	out := (&args{c.values, c.named}).bind(c.r, c.what, parameters)
	for i, v := range out {
		if v == (absent{}) {
			out[i] = nil
		}
	}
	return out
}

// Text is Python's str of a value.
func (c *Call) Text(v Value) string { return c.r.str(v) }

// Room must be asked for before a filter allocates so many bytes.
func (c *Call) Room(n int) { c.r.room(n) }

// Fail ends the rendering with an error.
func (c *Call) Fail(format string, args ...any) { c.r.fail(c.what+": "+format, args...) }

func boolOr(r *run, v Value, otherwise bool) bool {
	if v == (absent{}) {
		return otherwise
	}
	return r.truth(v)
}

func intOr(r *run, v Value, otherwise int64) int64 {
	if v == (absent{}) {
		return otherwise
	}
	i, _, isInt, ok := num(v)
	if !ok || !isInt {
		r.fail("a whole number is wanted, not %s", r.shown(v))
	}
	return i
}

// textOf returns a value that must be a text.
func textOf(r *run, v Value) string {
	s, ok := v.(string)
	if !ok {
		if u, ok := v.(*undefined); ok {
			r.use(u)
		}
		r.fail("a text is wanted, not %s", r.shown(v))
	}
	return s
}
