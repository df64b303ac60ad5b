package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// filters are those of Jinja: https://jinja.palletsprojects.com/en/stable/templates/#builtin-filters
var filters map[string]func(r *run, v Value, a *args) Value

// unsupportedFilters say why.
var unsupportedFilters = map[string]string{
	"attr": "write value.name", "escape": html, "e": html, "forceescape": html, "striptags": html, "urlize": html, "xmlattr": html,
	"filesizeformat": "it is for web pages", "pprint": "it writes Python", "random": "what is rendered must not change from run to run",
	"truncate": rare, "urlencode": rare, "wordwrap": rare, "groupby": rare,
}

const (
	html = "it is for HTML, and a model is given plain text"
	rare = "no published chat template or task needs it"
)

func init() {
	simple := func(parameters string, f func(r *run, a []Value) Value) func(r *run, v Value, a *args) Value {
		return func(r *run, v Value, a *args) Value {
			return f(r, (&args{append([]Value{v}, a.values...), a.named}).bind(r, "the filter", parameters))
		}
	}
	text := func(f func(s string) string) func(r *run, v Value, a *args) Value {
		return simple("s", func(r *run, a []Value) Value {
			s := r.str(a[0])
			r.room(2 * len(s))
			return f(s)
		})
	}
	filters = map[string]func(r *run, v Value, a *args) Value{
		"abs":        simple("x", absolute),
		"batch":      simple("value linecount fill_with?", batch),
		"capitalize": text(capitalize),
		"center":     simple("value width?", func(r *run, a []Value) Value { return pad(r, r.str(a[0]), intOr(r, a[1], 80), " ", "center") }),
		"default":    simple("value default_value? boolean?", byDefault),
		"dictsort":   simple("value case_sensitive? by? reverse?", dictsort),
		"first":      simple("seq", first),
		"float":      simple("value default?", toFloat),
		"format": func(r *run, v Value, a *args) Value {
			if len(a.values) > 0 && a.named.Len() > 0 {
				r.fail("the filter format takes values or names, not both")
			}
			if a.named.Len() > 0 {
				return r.percent(r.str(v), a.named)
			}
			return r.percent(r.str(v), &List{Items: a.values, Tuple: true})
		},
		"indent": simple("s width? first? blank?", indent),
		"int":    simple("value default? base?", toInt),
		"items": simple("value", func(r *run, a []Value) Value {
			switch d := a[0].(type) {
			case *Dict:
				return &iterator{items: pairs(r, d)}
			case *undefined:
				return &iterator{}
			}
			r.fail("items wants a mapping, not %s", r.shown(a[0]))
			return nil
		}),
		"join": simple("value d? attribute?", join),
		"last": simple("seq", last),
		"length": simple("obj", func(r *run, a []Value) Value {
			n, ok := r.length(a[0])
			if !ok {
				r.fail("a value of type %s has no length", pythonType(a[0]))
			}
			return int64(n)
		}),
		"list": simple("value", func(r *run, a []Value) Value {
			items := r.iterate(a[0])
			r.items(len(items))
			return &List{Items: append([]Value{}, items...)}
		}),
		"lower":      text(lower),
		"map":        mapped,
		"max":        simple("value case_sensitive? attribute?", func(r *run, a []Value) Value { return extreme(r, a, true) }),
		"min":        simple("value case_sensitive? attribute?", func(r *run, a []Value) Value { return extreme(r, a, false) }),
		"reject":     func(r *run, v Value, a *args) Value { return selected(r, v, a, false, false) },
		"select":     func(r *run, v Value, a *args) Value { return selected(r, v, a, false, true) },
		"rejectattr": func(r *run, v Value, a *args) Value { return selected(r, v, a, true, false) },
		"selectattr": func(r *run, v Value, a *args) Value { return selected(r, v, a, true, true) },
		"replace": simple("s old new count?", func(r *run, a []Value) Value {
			n := int64(-1)
			if a[3] != nil {
				n = intOr(r, a[3], -1)
			}
			return replace(r, r.str(a[0]), r.str(a[1]), r.str(a[2]), n)
		}),
		"reverse": simple("value", reverse),
		"round":   simple("value precision? method?", round),
		"safe":    simple("value", func(r *run, a []Value) Value { return r.str(a[0]) }),
		"slice":   simple("value slices fill_with?", sliced),
		"sort":    simple("value reverse? case_sensitive? attribute?", sorted),
		"string":  text(func(s string) string { return s }),
		"sum":     simple("iterable attribute? start?", sum),
		"title":   text(title),
		"tojson":  tojson,
		"trim": simple("value chars?", func(r *run, a []Value) Value {
			return strip(r, r.str(a[0]), a[1], true, true)
		}),
		"unique":    simple("value case_sensitive? attribute?", unique),
		"upper":     text(upper),
		"wordcount": simple("s", func(r *run, a []Value) Value { return wordcount(r, r.str(a[0])) }),
	}
	filters["d"], filters["count"] = filters["default"], filters["length"]
}

// path reads an attribute such as "function.name" or 0 of a value.
func path(r *run, v Value, attribute Value) Value {
	switch a := attribute.(type) {
	case absent, nil:
		return v
	case int64:
		return r.item(v, a)
	case string:
		for _, part := range strings.Split(a, ".") {
			r.work(1)
			if n, err := strconv.ParseInt(part, 10, 64); err == nil && part[0] != '-' && part[0] != '+' {
				v = r.item(v, n)
			} else {
				v = r.item(v, part)
			}
		}
		return v
	}
	r.fail("an attribute is a name or a number, not %s", r.shown(attribute))
	return nil
}

// folded is a value as it is compared where case does not count.
func folded(r *run, v Value, caseSensitive Value) Value {
	if s, ok := v.(string); ok && !boolOr(r, caseSensitive, false) {
		r.room(len(s))
		return lower(s)
	}
	return v
}

func absolute(r *run, a []Value) Value {
	i, f, isInt, ok := num(a[0])
	switch {
	case !ok:
		r.fail("abs wants a number, not %s", r.shown(a[0]))
	case !isInt:
		return math.Abs(f)
	case i < 0:
		return r.whole("-", 0, i)
	}
	return i
}

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
	items, n := r.iterate(a[0]), int(min(1<<20, intOr(r, a[1], 0)))
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

func byDefault(r *run, a []Value) Value {
	_, missing := a[0].(*undefined)
	if missing || boolOr(r, a[2], false) && !r.truth(a[0]) {
		if a[1] == (absent{}) {
			return ""
		}
		return a[1]
	}
	return a[0]
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

func toFloat(r *run, a []Value) Value {
	if u, ok := a[0].(*undefined); ok {
		r.use(u)
	}
	if _, f, _, ok := num(a[0]); ok {
		return f
	}
	if s, ok := a[0].(string); ok {
		if f, ok := parseFloat(s); ok {
			return f
		}
	}
	if a[1] != (absent{}) {
		return a[1]
	}
	return 0.0
}

// parseFloat is Python's float of a text.
func parseFloat(s string) (float64, bool) {
	s = strings.TrimFunc(s, isSpace)
	if strings.ContainsAny(s, "xXpP") || strings.HasPrefix(s, "_") || strings.HasSuffix(s, "_") || strings.Contains(s, "__") {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	return f, err == nil || f != 0 && math.IsInf(f, 0)
}

func toInt(r *run, a []Value) Value {
	if u, ok := a[0].(*undefined); ok {
		r.use(u)
	}
	i, f, isInt, ok := num(a[0])
	if ok && isInt {
		return i
	}
	if s, isText := a[0].(string); isText {
		s = strings.TrimFunc(s, isSpace)
		base := intOr(r, a[2], 10)
		if base != 0 && (base < 2 || base > 36) {
			r.fail("int wants a base from 2 to 36")
		}
		digits := s
		if p := map[int64]string{2: "0b", 8: "0o", 16: "0x"}[base]; p != "" {
			digits = strings.TrimPrefix(strings.ToLower(s), p)
		}
		if base == 10 && !strings.HasPrefix(s, "_") && !strings.HasSuffix(s, "_") && !strings.Contains(s, "__") {
			digits = strings.ReplaceAll(s, "_", "")
		}
		n, err := strconv.ParseInt(digits, int(base), 64)
		if err == nil {
			return n
		}
		if e, isRange := err.(*strconv.NumError); isRange && e.Err == strconv.ErrRange {
			r.fail("the number %s does not fit in 64 bits", s)
		}
		f, ok = parseFloat(s)
	}
	if ok && !math.IsNaN(f) && !math.IsInf(f, 0) {
		if math.Abs(f) >= 1<<63 {
			r.fail("the number %s does not fit in 64 bits", reprFloat(f))
		}
		return int64(f)
	}
	if a[1] != (absent{}) {
		return a[1]
	}
	return int64(0)
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

func round(r *run, a []Value) Value {
	_, f, _, ok := num(a[0])
	if !ok {
		r.fail("round wants a number, not %s", r.shown(a[0]))
	}
	method := "common"
	if a[2] != (absent{}) {
		method = textOf(r, a[2])
	}
	n := intOr(r, a[1], 0)
	if n > 20 || n < -20 {
		r.fail("round wants from -20 to 20 digits")
	}
	pow := math.Pow(10, float64(n))
	switch method {
	case "common":
		if i, _, isInt, _ := num(a[0]); isInt && n >= 0 {
			return i
		}
		if n >= 0 { // as Python, to the nearest decimal, and to even where two are as near
			f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(n), 64), 64)
			return f
		}
		f = math.RoundToEven(f*pow) / pow
		if _, _, isInt, _ := num(a[0]); isInt {
			return int64(f)
		}
		return f
	case "ceil":
		return math.Ceil(f*pow) / pow
	case "floor":
		return math.Floor(f*pow) / pow
	}
	r.fail(`round knows the methods "common", "ceil" and "floor"`)
	return nil
}

func sum(r *run, a []Value) Value {
	total := a[2]
	if total == (absent{}) {
		total = int64(0)
	}
	for _, v := range r.iterate(a[0]) {
		r.work(1)
		total = r.arithmetic("+", total, path(r, v, a[1]))
	}
	return total
}

func indent(r *run, a []Value) Value {
	var by string
	if s, ok := a[1].(string); ok {
		by = s
	} else if n := intOr(r, a[1], 4); n >= 0 {
		r.room(int(min(n, 1<<31)))
		by = strings.Repeat(" ", int(n))
	}
	s := textOf(r, a[0])
	ls := splitlines(s+"\n", false)
	r.room(len(s) + len(by)*(len(ls)+1))
	for i, l := range ls {
		if i > 0 && (l != "" || boolOr(r, a[3], false)) {
			ls[i] = by + l
		}
	}
	out := strings.Join(ls, "\n")
	if boolOr(r, a[2], false) {
		out = by + out
	}
	return out
}

// wordcount counts runs of what Python's \w matches.
func wordcount(r *run, s string) Value {
	r.work(len(s) / 16)
	n, in := int64(0), false
	for _, c := range s {
		w := c == '_' || unicode.IsLetter(c) || unicode.IsNumber(c)
		if w && !in {
			n++
		}
		in = w
	}
	return n
}
