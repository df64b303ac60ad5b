package jinja

import (
	"math"
	"strconv"
	"strings"
)

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
