package jinja

// Literal reads a literal of Python, such as what a template prints for a list of choices: ast.literal_eval.
func Literal(source string) (v Value, err error) {
	o := Options{Name: "the literal", Limits: DefaultLimits}
	r := &run{options: &o, steps: o.Limits.Steps, bytes: o.Limits.Bytes}
	p := &parser{options: &o}
	defer func() {
		if err = failed(recover(), o.Name, 0, err); err != nil {
			v = nil
		}
	}()
	if len(source) > maxSource {
		r.fail("it has %d bytes, and may have %d", len(source), maxSource)
	}
	x := &lexer{options: &o, source: source + "}}", line: 1}
	x.inside(variableEnd, "}}")
	if x.at != len(x.source) {
		r.fail("more follows after it")
	}
	x.add(token{kind: end})
	p.tokens = x.tokens
	e := p.tuple(true)
	p.expect(variableEnd)
	return r.literal(e), nil
}

func (r *run) literal(e expr) Value {
	switch e := e.(type) {
	case constant:
		return e.value
	case *negative:
		if _, ok := e.of.(constant); ok {
			return e.eval(r, nil)
		}
	case *sequence:
		l := &List{Items: []Value{}, Tuple: e.tuple}
		for _, x := range e.items {
			l.Items = append(l.Items, r.literal(x))
		}
		return l
	case *mapping:
		d := &Dict{}
		for i, k := range e.keys {
			key := r.literal(k)
			d.put(r.hash(key), key, r.literal(e.values[i]))
		}
		return d
	}
	r.fail("it is not a list, a text or a number")
	return nil
}
