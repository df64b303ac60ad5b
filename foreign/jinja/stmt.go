package jinja

import "fmt"

// stmt is a statement of a template. exec says how it goes on after it.
type stmt interface {
	exec(r *run, s *scope, out *output) flow
}

type flow int

const (
	proceed flow = iota
	breaks
	continues
)

func (r *run) execute(body []stmt, s *scope, out *output) flow {
	for _, st := range body {
		r.work(1)
		if f := st.exec(r, s, out); f != proceed {
			return f
		}
	}
	return proceed
}

// render executes a body that has an output of its own.
func (r *run) render(body []stmt, s *scope) string {
	defer r.deeper()()
	out := &output{}
	if r.execute(body, s, out) != proceed {
		r.fail("break or continue stands outside of a loop")
	}
	return out.String()
}

type (
	textStmt  struct{ text string }
	printStmt struct{ value expr }
	branch    struct {
		test expr // nil: else
		body []stmt
	}
	ifStmt  struct{ branches []branch }
	forStmt struct {
		target          target
		iter, test      expr
		body, otherwise []stmt
		recursive       bool
		line            int
	}
	setStmt struct {
		target target
		value  expr
		line   int
	}
	setBlock struct {
		target  target
		filters expr
		body    []stmt
		line    int
	}
	withStmt struct {
		targets []target
		values  []expr
		body    []stmt
		line    int
	}
	filterBlock struct {
		filters expr
		body    []stmt
	}
	macroStmt struct{ macro *macro }
	callBlock struct {
		call  *call
		macro *macro // the caller
	}
	generation struct {
		body []stmt
		line int
	}
	leave struct{ flow flow }
)

// target is what is assigned to: a name, an attribute of a namespace, or several of these.
type target struct {
	name, attribute string
	parts           []target
	tuple           bool
}

func (r *run) assign(s *scope, t target, v Value) {
	if !t.tuple {
		if t.attribute == "" {
			s.vars[t.name] = v
			return
		}
		x, _ := s.find(t.name)
		ns, ok := x.(*namespace)
		if !ok {
			r.fail("an attribute of '%s' cannot be set, since it is not a namespace", t.name)
		}
		ns.attributes.Set(t.attribute, v)
		return
	}
	items := r.iterate(v)
	if len(items) != len(t.parts) {
		r.fail("%d values are wanted to unpack, and there are %d", len(t.parts), len(items))
	}
	for i, p := range t.parts {
		r.assign(s, p, items[i])
	}
}

func (st textStmt) exec(r *run, s *scope, out *output) flow {
	r.write(out, st.text)
	return proceed
}

func (st printStmt) exec(r *run, s *scope, out *output) flow {
	r.write(out, r.str(st.value.eval(r, s)))
	return proceed
}

func (st *ifStmt) exec(r *run, s *scope, out *output) flow {
	for _, b := range st.branches {
		if b.test == nil || r.truth(b.test.eval(r, s)) {
			return r.execute(b.body, s, out)
		}
	}
	return proceed
}

// loop is the variable of a for loop.
type loop struct {
	statement *forStmt
	around    *scope
	items     []Value
	at, depth int
	last      []Value // arguments of changed
	seen      bool
}

func (st *forStmt) exec(r *run, s *scope, out *output) flow {
	return st.over(r, s, st.iter.eval(r, s), 0, out)
}

func (st *forStmt) over(r *run, s *scope, v Value, depth int, out *output) flow {
	r.line = st.line
	items := r.iterate(v)
	if st.test != nil {
		var kept []Value
		for _, x := range items {
			r.work(1)
			in := s.inner()
			r.assign(in, st.target, x)
			if r.truth(st.test.eval(r, in)) {
				kept = append(kept, x)
			}
		}
		r.items(len(kept))
		items = kept
	}
	if len(items) == 0 {
		return r.execute(st.otherwise, s.inner(), out)
	}
	l := &loop{statement: st, around: s, items: items, depth: depth}
	for i, x := range items {
		r.work(1)
		l.at = i
		in := s.inner()
		in.vars["loop"] = l
		r.line = st.line
		r.assign(in, st.target, x)
		if r.execute(st.body, in, out) == breaks {
			break
		}
	}
	return proceed
}

// again is loop(items) in a recursive loop.
func (l *loop) again(r *run, a *args) Value {
	if !l.statement.recursive {
		r.fail("the loop is called, but is not marked recursive")
	}
	v := a.bind(r, "loop", "iterable")
	out := &output{}
	l.statement.over(r, l.around, v[0], l.depth+1, out)
	return out.String()
}

func (l *loop) attribute(r *run, name string) Value {
	n := len(l.items)
	neighbour := func(i int, which string) Value {
		if i < 0 || i >= n {
			return &undefined{why: "there is no " + which + " item"}
		}
		return l.items[i]
	}
	switch name {
	case "index":
		return int64(l.at + 1)
	case "index0":
		return int64(l.at)
	case "revindex":
		return int64(n - l.at)
	case "revindex0":
		return int64(n - l.at - 1)
	case "first":
		return l.at == 0
	case "last":
		return l.at == n-1
	case "length":
		return int64(n)
	case "depth":
		return int64(l.depth + 1)
	case "depth0":
		return int64(l.depth)
	case "previtem":
		return neighbour(l.at-1, "previous")
	case "nextitem":
		return neighbour(l.at+1, "next")
	case "cycle":
		return &Func{"loop.cycle", func(r *run, a *args) Value {
			if len(a.values) == 0 {
				r.fail("loop.cycle() has nothing to cycle through")
			}
			return a.values[l.at%len(a.values)]
		}}
	case "changed":
		return &Func{"loop.changed", func(r *run, a *args) Value {
			same := l.seen && r.equal(&List{Items: l.last}, &List{Items: a.values})
			l.seen, l.last = true, a.values
			return !same
		}}
	}
	return nil
}

func (st *setStmt) exec(r *run, s *scope, out *output) flow {
	v := st.value.eval(r, s)
	r.line = st.line
	r.assign(s, st.target, v)
	return proceed
}

func (st *setBlock) exec(r *run, s *scope, out *output) flow {
	v := r.filtered(st.filters, r.render(st.body, s.inner()), s)
	r.line = st.line
	r.assign(s, st.target, v)
	return proceed
}

// filtered applies the filters of a block.
func (r *run) filtered(chain expr, text string, s *scope) Value {
	f, ok := chain.(*filter)
	if !ok {
		return text
	}
	v := r.filtered(f.of, text, s)
	a := f.args.eval(r, s)
	r.line = f.line
	return r.filter(f.name, v, a)
}

func (st *filterBlock) exec(r *run, s *scope, out *output) flow {
	r.write(out, r.str(r.filtered(st.filters, r.render(st.body, s.inner()), s)))
	return proceed
}

func (st *withStmt) exec(r *run, s *scope, out *output) flow {
	in := s.inner()
	for i, t := range st.targets {
		v := st.values[i].eval(r, s)
		r.line = st.line
		r.assign(in, t, v)
	}
	return r.execute(st.body, in, out)
}

func (st *macroStmt) exec(r *run, s *scope, out *output) flow {
	s.vars[st.macro.name] = st.macro.in(s)
	return proceed
}

func (st *callBlock) exec(r *run, s *scope, out *output) flow {
	f := st.call.of.eval(r, s)
	a := st.call.args.eval(r, s)
	a.named.Set("caller", st.macro.in(s))
	r.line = st.call.line
	r.write(out, r.str(r.call(f, a)))
	return proceed
}

// exec renders what an assistant said, and remembers where. Python's Jinja renders it like a call block: what is set
// inside is not known outside.
func (st *generation) exec(r *run, s *scope, out *output) flow {
	r.line = st.line
	if !out.top {
		r.fail("{%% generation %%} stands in a macro or a block whose text is rendered elsewhere, so where it comes to stand is not known")
	}
	start := out.Len()
	if r.execute(st.body, s.inner(), out) != proceed {
		r.fail("break or continue leads out of {%% generation %%}")
	}
	out.spans = append(out.spans, Span{start, out.Len()})
	return proceed
}

func (st leave) exec(r *run, s *scope, out *output) flow { return st.flow }

// macro is a macro, or the body of a call block.
type macro struct {
	name       string
	parameters []string
	defaults   []expr // of the last parameters
	body       []stmt
	// what its body asks for
	caller, varargs, kwargs bool
}

// in is the function of the macro, defined in a scope.
func (m *macro) in(s *scope) *Func {
	return &Func{m.name, func(r *run, a *args) Value {
		in := s.inner()
		r.work(len(m.parameters) + a.named.Len())
		taken := map[string]bool{}
		take := func(name string) (Value, bool) {
			v, ok := a.named.Get(name)
			if ok = ok && !taken[name]; ok {
				taken[name] = true
			}
			return v, ok
		}
		var missing []int
		hasCaller := false
		for i, p := range m.parameters {
			hasCaller = hasCaller || p == "caller"
			if i < len(a.values) {
				in.vars[p] = a.values[i]
			} else if v, ok := take(p); ok {
				in.vars[p] = v
			} else {
				missing = append(missing, i)
			}
		}
		for _, i := range missing {
			p := m.parameters[i]
			if d := i - (len(m.parameters) - len(m.defaults)); d >= 0 {
				in.vars[p] = m.defaults[d].eval(r, in)
			} else {
				in.vars[p] = &undefined{why: fmt.Sprintf("parameter '%s' was not provided", p)}
			}
		}
		if m.caller && !hasCaller {
			if c, ok := take("caller"); ok {
				in.vars["caller"] = c
			} else {
				in.vars["caller"] = &undefined{why: "no caller defined"}
			}
		}
		rest := &Dict{} // named arguments that are no parameters
		for _, k := range a.named.Names() {
			if v, ok := take(k); ok {
				rest.Set(k, v)
			}
		}
		if m.kwargs {
			in.vars["kwargs"] = rest
		} else if rest.Len() > 0 {
			r.fail("the macro %s takes no argument %s", m.name, rest.Names()[0])
		}
		if m.varargs {
			more := []Value{}
			if len(a.values) > len(m.parameters) {
				more = a.values[len(m.parameters):]
			}
			in.vars["varargs"] = &List{Items: more, Tuple: true}
		} else if len(a.values) > len(m.parameters) {
			r.fail("the macro %s takes at most %d arguments", m.name, len(m.parameters))
		}
		return r.render(m.body, in)
	}}
}
