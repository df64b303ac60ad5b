package jinja

import (
	"strconv"
	"strings"
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
		r.items(strings.Count(a, "."))
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
