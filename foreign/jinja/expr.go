package jinja

import (
	"strings"
)

// expr is an expression of a template.
type expr interface {
	eval(r *run, s *scope) Value
}

// scope holds variables. What a scope does not have, the one around it may.
type scope struct {
	vars   map[string]Value
	parent *scope
}

func (s *scope) inner() *scope { return &scope{vars: map[string]Value{}, parent: s} }

func (s *scope) find(name string) (Value, bool) {
	for ; s != nil; s = s.parent {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

type (
	constant struct{ value Value }
	variable struct {
		name string
		line int
	}
	getattr struct {
		of   expr
		name string
		line int
	}
	getitem struct {
		of, key expr
		line    int
	}
	sliceExpr struct{ start, stop, step expr }
	sequence  struct { // a list or a tuple
		items []expr
		tuple bool
	}
	mapping   struct{ keys, values []expr }
	condition struct{ test, then, otherwise expr }
	logic     struct {
		and         bool
		left, right expr
	}
	not      struct{ of expr }
	negative struct {
		of    expr
		minus bool
		line  int
	}
	comparison struct {
		first expr
		rest  []operand
		line  int
	}
	operand struct {
		op    string
		value expr
	}
	concat     struct{ parts []expr }
	arithmetic struct {
		op          string
		left, right expr
		line        int
	}
	call struct {
		of   expr
		args arguments
		line int
	}
	filter struct {
		of   expr // nil: what a filter or set block renders
		name string
		args arguments
		line int
	}
	test struct {
		of   expr
		name string
		args arguments
		line int
	}
)

func (e constant) eval(r *run, s *scope) Value { return e.value }

func (e *variable) eval(r *run, s *scope) Value {
	r.line = e.line
	r.work(1)
	if v, ok := s.find(e.name); ok {
		return v
	}
	return &undefined{why: "'" + e.name + "' is undefined"}
}

func (e *getattr) eval(r *run, s *scope) Value {
	v := e.of.eval(r, s)
	r.line = e.line
	r.work(1)
	return r.attr(v, e.name)
}

func (e *getitem) eval(r *run, s *scope) Value {
	v, k := e.of.eval(r, s), e.key.eval(r, s)
	r.line = e.line
	r.work(1)
	return r.item(v, k)
}

func (e *sliceExpr) eval(r *run, s *scope) Value {
	get := func(e expr) Value {
		if e == nil {
			return nil
		}
		return e.eval(r, s)
	}
	return slice{get(e.start), get(e.stop), get(e.step)}
}

func (e *sequence) eval(r *run, s *scope) Value {
	r.items(len(e.items))
	l := &List{Items: make([]Value, len(e.items)), Tuple: e.tuple}
	for i, x := range e.items {
		l.Items[i] = x.eval(r, s)
	}
	return l
}

func (e *mapping) eval(r *run, s *scope) Value {
	r.items(4 * len(e.keys))
	d := &Dict{}
	for i, k := range e.keys {
		key := k.eval(r, s)
		d.put(r.hash(key), key, e.values[i].eval(r, s))
	}
	return d
}

func (e *condition) eval(r *run, s *scope) Value {
	switch {
	case r.truth(e.test.eval(r, s)):
		return e.then.eval(r, s)
	case e.otherwise != nil:
		return e.otherwise.eval(r, s)
	}
	return &undefined{why: "the inline if-expression evaluated to false and no else section was defined", soft: true}
}

func (e *logic) eval(r *run, s *scope) Value {
	v := e.left.eval(r, s)
	if r.truth(v) == e.and {
		return e.right.eval(r, s)
	}
	return v
}

func (e *not) eval(r *run, s *scope) Value { return !r.truth(e.of.eval(r, s)) }

func (e *negative) eval(r *run, s *scope) Value {
	v := e.of.eval(r, s)
	r.line = e.line
	r.work(1)
	if u, ok := v.(*undefined); ok {
		r.use(u)
	}
	i, f, isInt, ok := num(v)
	switch {
	case !ok:
		r.fail("a value of type %s has no sign", pythonType(v))
	case isInt && e.minus:
		return r.whole("-", 0, i)
	case isInt:
		return i
	case e.minus:
		return -f
	}
	return f
}

func (e *comparison) eval(r *run, s *scope) Value {
	left := e.first.eval(r, s)
	for _, o := range e.rest {
		right := o.value.eval(r, s)
		r.line = e.line
		if !r.compare(o.op, left, right) {
			return false
		}
		left = right
	}
	return true
}

func (r *run) compare(op string, a, b Value) bool {
	switch op {
	case "==":
		return r.equal(a, b)
	case "!=":
		return !r.equal(a, b)
	case "<":
		return r.less(a, b)
	case ">":
		return r.less(b, a)
	case "<=":
		return r.less(a, b) || r.equal(a, b)
	case ">=":
		return r.less(b, a) || r.equal(a, b)
	case "in":
		return r.contains(b, a)
	}
	return !r.contains(b, a)
}

func (e *concat) eval(r *run, s *scope) Value {
	var b strings.Builder
	for _, p := range e.parts {
		t := r.str(p.eval(r, s))
		r.room(b.Len() + len(t))
		b.WriteString(t)
	}
	return b.String()
}

func (e *arithmetic) eval(r *run, s *scope) Value {
	a, b := e.left.eval(r, s), e.right.eval(r, s)
	r.line = e.line
	r.work(1)
	return r.arithmetic(e.op, a, b)
}

func (e *call) eval(r *run, s *scope) Value {
	f := e.of.eval(r, s)
	a := e.args.eval(r, s)
	r.line = e.line
	return r.call(f, a)
}

func (r *run) call(f Value, a *args) Value {
	r.work(1)
	defer r.deeper()()
	switch f := f.(type) {
	case *Func:
		line := r.line
		v := f.call(r, a)
		r.line = line
		return v
	case *loop:
		return f.again(r, a)
	case *undefined:
		r.use(f)
	}
	r.fail("a value of type %s cannot be called", pythonType(f))
	return nil
}

func (e *filter) eval(r *run, s *scope) Value {
	v := e.of.eval(r, s)
	a := e.args.eval(r, s)
	r.line = e.line
	return r.filter(e.name, v, a)
}

func (r *run) filter(name string, v Value, a *args) Value {
	r.work(1)
	r.reading(v)
	r.reading(a.values...)
	if f, ok := r.options.Filters[name]; ok {
		return f(&Call{r, "the filter " + name, append([]Value{v}, a.values...), a.named})
	}
	f, ok := filters[name]
	if !ok {
		if why, ok := unsupportedFilters[name]; ok {
			r.fail("the filter %s is not supported: %s", name, why)
		}
		r.fail("there is no filter named %s", name)
	}
	return f(r, v, a)
}

func (e *test) eval(r *run, s *scope) Value {
	v := e.of.eval(r, s)
	a := e.args.eval(r, s)
	r.line = e.line
	return r.test(e.name, v, a)
}

func (r *run) test(name string, v Value, a *args) bool {
	r.work(1)
	r.reading(v)
	r.reading(a.values...)
	f, ok := tests[name]
	if !ok {
		r.fail("there is no test named %s", name)
	}
	return f(r, v, a)
}
