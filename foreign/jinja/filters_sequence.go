package jinja

import (
	"math"
	"slices"
	"strings"
)

func batch(r *run, a []Value) Value {
	n := intOr(r, a[1], 0)
	items := r.iterate(a[0])
	if n <= 0 {
		n = int64(len(items)) + 1 // Jinja never begins a new batch then
		if len(items) > 0 {
			r.fail("batch wants at least one item in each")
		}
	}
	r.items(2 * len(items))
	it := &iterator{}
	for c := range slices.Chunk(items, int(n)) {
		l := &List{Items: append([]Value{}, c...)}
		if a[2] != (absent{}) && a[2] != nil {
			r.items(int(n))
			for int64(len(l.Items)) < n {
				l.Items = append(l.Items, a[2])
			}
		}
		it.items = append(it.items, l)
	}
	return it
}

func sliced(r *run, a []Value) Value {
	items, n := r.iterate(a[0]), int(min(1<<31, intOr(r, a[1], 0)))
	if n <= 0 {
		r.fail("slice wants at least one slice")
	}
	r.items(2*n + len(items))
	it := &iterator{}
	each, more, at := len(items)/n, len(items)%n, 0
	for i := range n {
		k := each
		if i < more {
			k++
		}
		l := &List{Items: append([]Value{}, items[at:at+k]...)}
		at += k
		if a[2] != (absent{}) && a[2] != nil && i >= more {
			l.Items = append(l.Items, a[2])
		}
		it.items = append(it.items, l)
	}
	return it
}

// pairs are the items of a mapping.
func pairs(r *run, d *Dict) []Value {
	r.items(4 * d.Len())
	out := make([]Value, d.Len())
	for i, k := range d.keys {
		out[i] = &List{Items: []Value{k, d.values[i]}, Tuple: true}
	}
	return out
}

// order sorts items by keys, stably, as Python's sorted does.
func order(r *run, items []Value, backwards bool, key func(v Value) Value) []Value {
	r.items(3 * len(items))
	type keyed struct{ key, item Value }
	ks := make([]keyed, len(items))
	for i, x := range items {
		ks[i] = keyed{key(x), x}
	}
	slices.SortStableFunc(ks, func(a, b keyed) int {
		switch {
		case r.less(a.key, b.key):
			if backwards {
				return 1
			}
			return -1
		case r.less(b.key, a.key):
			if backwards {
				return -1
			}
			return 1
		}
		return 0
	})
	out := make([]Value, len(ks))
	for i, k := range ks {
		out[i] = k.item
	}
	return out
}

func dictsort(r *run, a []Value) Value {
	d, ok := a[0].(*Dict)
	if !ok {
		r.fail("dictsort wants a mapping, not %s", r.shown(a[0]))
	}
	pos := 0
	if a[2] != (absent{}) {
		switch textOf(r, a[2]) {
		case "key":
		case "value":
			pos = 1
		default:
			r.fail(`dictsort sorts by "key" or "value"`)
		}
	}
	return &List{Items: order(r, pairs(r, d), boolOr(r, a[3], false), func(v Value) Value {
		return folded(r, v.(*List).Items[pos], a[1])
	})}
}

func sorted(r *run, a []Value) Value {
	var attributes []Value
	switch at := a[3].(type) {
	case absent, nil:
		attributes = []Value{nil}
	case string:
		for _, s := range strings.Split(at, ",") {
			attributes = append(attributes, s)
		}
	default:
		attributes = []Value{at}
	}
	return &List{Items: order(r, r.iterate(a[0]), boolOr(r, a[1], false), func(v Value) Value {
		key := &List{}
		for _, at := range attributes {
			key.Items = append(key.Items, folded(r, path(r, v, at), a[2]))
		}
		return key
	})}
}

func unique(r *run, a []Value) Value {
	seen := map[any]bool{}
	it := &iterator{}
	items := r.iterate(a[0])
	r.items(2 * len(items))
	for _, v := range items {
		if k := r.hash(folded(r, path(r, v, a[2]), a[1])); !seen[k] {
			seen[k] = true
			it.items = append(it.items, v)
		}
	}
	return it
}

func extreme(r *run, a []Value, most bool) Value {
	items := r.iterate(a[0])
	if len(items) == 0 {
		return &undefined{why: "no aggregated item, sequence was empty"}
	}
	best := items[0]
	bestKey := folded(r, path(r, best, a[2]), a[1])
	for _, v := range items[1:] {
		k := folded(r, path(r, v, a[2]), a[1])
		if most && r.less(bestKey, k) || !most && r.less(k, bestKey) {
			best, bestKey = v, k
		}
	}
	return best
}

func first(r *run, a []Value) Value {
	if it, ok := a[0].(*iterator); ok && it.at < len(it.items) {
		it.at++
		return it.items[it.at-1]
	}
	if items := r.iterate(a[0]); len(items) > 0 {
		return items[0]
	}
	return &undefined{why: "no first item, sequence was empty"}
}

func last(r *run, a []Value) Value {
	if _, ok := a[0].(*iterator); ok {
		r.fail("last does not take what a filter such as select returns: put |list before it")
	}
	if u, ok := a[0].(*undefined); ok {
		r.use(u) // Python cannot reverse it
	}
	if items := r.iterate(a[0]); len(items) > 0 {
		return items[len(items)-1]
	}
	return &undefined{why: "no last item, sequence was empty"}
}

func reverse(r *run, a []Value) Value {
	if s, ok := a[0].(string); ok {
		return r.slice(s, slice{step: int64(-1)})
	}
	if u, ok := a[0].(*undefined); ok {
		r.use(u)
	}
	items := append([]Value{}, r.iterate(a[0])...)
	r.items(len(items))
	slices.Reverse(items)
	return &iterator{items: items}
}

func join(r *run, a []Value) Value {
	sep := ""
	if a[1] != (absent{}) {
		sep = r.str(a[1])
	}
	return joined(r, sep, r.iterate(a[0]), func(v Value) string { return r.str(path(r, v, a[2])) })
}

func joined(r *run, sep string, items []Value, text func(v Value) string) string {
	var b strings.Builder
	for i, v := range items {
		r.work(1)
		s := text(v)
		r.room(len(s) + len(sep))
		if int64(b.Len()+len(s)) > r.options.Limits.Text {
			r.room(math.MaxInt)
		}
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(s)
	}
	return b.String()
}

func mapped(r *run, v Value, a *args) Value {
	items := r.iterate(v)
	r.items(len(items))
	it := &iterator{items: make([]Value, len(items))}
	if len(a.values) == 0 {
		x := a.bind(r, "the filter map", "attribute default?")
		for i, v := range items {
			it.items[i] = path(r, v, x[0])
			if _, missing := it.items[i].(*undefined); missing && x[1] != (absent{}) && x[1] != nil {
				it.items[i] = x[1]
			}
		}
		return it
	}
	name := textOf(r, a.values[0])
	rest := &args{a.values[1:], a.named}
	for i, v := range items {
		it.items[i] = r.filter(name, v, rest)
	}
	return it
}

// selected keeps the items that pass a test, or do not.
func selected(r *run, v Value, a *args, byAttribute, keep bool) Value {
	values := a.values
	var attribute Value
	if byAttribute {
		if len(values) == 0 {
			r.fail("an attribute to select by is missing")
		}
		attribute, values = values[0], values[1:]
	}
	name := ""
	rest := &args{nil, a.named}
	if len(values) > 0 {
		name, rest.values = textOf(r, values[0]), values[1:]
	}
	it := &iterator{}
	for _, v := range r.iterate(v) {
		x := path(r, v, attribute)
		var passes bool
		if name == "" {
			passes = r.truth(x)
		} else {
			passes = r.test(name, x, rest)
		}
		if passes == keep {
			r.items(1)
			it.items = append(it.items, v)
		}
	}
	return it
}
