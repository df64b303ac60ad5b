package jinja

import (
	"slices"
	"strings"
)

// tests are those of Jinja: https://jinja.palletsprojects.com/en/stable/templates/#builtin-tests
var tests map[string]func(r *run, v Value, a *args) bool

func init() {
	alone := func(f func(r *run, v Value) bool) func(r *run, v Value, a *args) bool {
		return func(r *run, v Value, a *args) bool {
			a.bind(r, "the test", "")
			return f(r, v)
		}
	}
	with := func(f func(r *run, v, other Value) bool) func(r *run, v Value, a *args) bool {
		return func(r *run, v Value, a *args) bool { return f(r, v, a.bind(r, "the test", "other")[0]) }
	}
	op := func(op string) func(r *run, v Value, a *args) bool {
		return with(func(r *run, v, other Value) bool { return r.compare(op, v, other) })
	}
	type_ := func(names ...string) func(r *run, v Value, a *args) bool {
		return alone(func(r *run, v Value) bool { return slices.Contains(names, pythonType(v)) })
	}
	cased := func(name string) func(r *run, v Value, a *args) bool {
		return alone(func(r *run, v Value) bool { return stringMethods[name].call(r, r.str(v), nil).(bool) })
	}
	divisible := func(r *run, v, by Value) bool { return r.equal(r.arithmetic("%", v, by), int64(0)) }
	tests = map[string]func(r *run, v Value, a *args) bool{
		"boolean": type_("bool"),
		"callable": alone(func(r *run, v Value) bool {
			switch v.(type) {
			case *Func, *loop, *undefined:
				return true
			}
			return false
		}),
		"defined":     alone(func(r *run, v Value) bool { _, ok := v.(*undefined); return !ok }),
		"divisibleby": with(divisible),
		"even":        alone(func(r *run, v Value) bool { return divisible(r, v, int64(2)) }),
		"odd":         alone(func(r *run, v Value) bool { return r.equal(r.arithmetic("%", v, int64(2)), int64(1)) }),
		"false":       alone(func(r *run, v Value) bool { return v == false }),
		"true":        alone(func(r *run, v Value) bool { return v == true }),
		"filter": alone(func(r *run, v Value) bool {
			s, _ := v.(string)
			return filters[s] != nil || r.options.Filters[s] != nil
		}),
		"test":    alone(func(r *run, v Value) bool { s, _ := v.(string); return tests[s] != nil }),
		"float":   type_("float"),
		"integer": type_("int"),
		"in":      with(func(r *run, v, other Value) bool { return r.contains(other, v) }),
		"iterable": alone(func(r *run, v Value) bool {
			if u, ok := v.(*undefined); ok {
				r.lenient(u)
			}
			return iterable(v)
		}),
		"lower":   cased("islower"),
		"upper":   cased("isupper"),
		"mapping": type_("dict"),
		"none":    alone(func(r *run, v Value) bool { return v == nil }),
		"number":  type_("int", "float", "bool"),
		"sameas": with(func(r *run, v, other Value) bool {
			switch v.(type) {
			case nil, bool, *Dict, *List, *namespace, *Func:
				return v == other
			}
			if other == nil || other == true || other == false {
				return false
			}
			r.fail("sameas asks whether texts or numbers are one object in memory, which has no meaning: write ==")
			return false
		}),
		"sequence": alone(func(r *run, v Value) bool {
			if u, ok := v.(*undefined); ok && r.options.Strict && !u.soft {
				return false
			}
			switch v.(type) {
			case string, *List, *Dict, rangeOf, *undefined:
				return true
			}
			return false
		}),
		"string":    type_("str"),
		"undefined": alone(func(r *run, v Value) bool { _, ok := v.(*undefined); return ok }),
	}
	for names, o := range map[string]string{"== eq equalto": "==", "!= ne": "!=", "> gt greaterthan": ">", ">= ge": ">=", "< lt lessthan": "<", "<= le": "<="} {
		for _, n := range strings.Fields(names) {
			tests[n] = op(o)
		}
	}
}
