package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// tojson is json.dumps as transformers calls it in chat templates; with HTMLSafeJSON it is Jinja's own.
func tojson(r *run, v Value, a *args) Value {
	j := &jsonWriter{r: r, item: ", ", key: ": "}
	if r.options.HTMLSafeJSON {
		x := a.bind(r, "the filter tojson", "indent?")
		j.ascii, j.sort = true, true
		j.indents(x[0])
		j.write(v, 0)
		return strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`, "'", `\u0027`).Replace(j.b.String())
	}
	x := a.bind(r, "the filter tojson", "ensure_ascii? indent? separators? sort_keys?")
	j.ascii, j.sort = boolOr(r, x[0], false), boolOr(r, x[3], false)
	j.indents(x[1])
	if x[2] != (absent{}) && x[2] != nil {
		s := r.iterate(x[2])
		if len(s) != 2 {
			r.fail("tojson wants two separators")
		}
		j.item, j.key = textOf(r, s[0]), textOf(r, s[1])
	}
	j.write(v, 0)
	return j.b.String()
}

type jsonWriter struct {
	r           *run
	b           strings.Builder
	indent      string
	indented    bool
	item, key   string
	ascii, sort bool
}

func (j *jsonWriter) indents(v Value) {
	switch v := v.(type) {
	case absent, nil:
		return
	case string:
		j.indent = v
	default:
		n := max(0, intOr(j.r, v, 0))
		if n > 1000 {
			j.r.fail("tojson is asked to indent by %d", n)
		}
		j.indent = strings.Repeat(" ", int(n))
	}
	j.indented, j.item = true, ","
}

func (j *jsonWriter) put(s string) {
	if int64(j.b.Len()+len(s)) > j.r.options.Limits.Text {
		j.r.room(math.MaxInt)
	}
	j.r.room(len(s))
	j.b.WriteString(s)
}

func (j *jsonWriter) newline(depth int) {
	if j.indented {
		j.put("\n" + strings.Repeat(j.indent, depth))
	}
}

func (j *jsonWriter) write(v Value, depth int) {
	defer j.r.deeper()()
	j.r.work(1)
	switch v := v.(type) {
	case string:
		j.text(v)
	case *List:
		if len(v.Items) == 0 {
			j.put("[]")
			return
		}
		j.put("[")
		for i, x := range v.Items {
			if i > 0 {
				j.put(j.item)
			}
			j.newline(depth + 1)
			j.write(x, depth+1)
		}
		j.newline(depth)
		j.put("]")
	case *Dict:
		if v.Len() == 0 {
			j.put("{}")
			return
		}
		at := make([]int, v.Len())
		for i := range at {
			at[i] = i
		}
		if j.sort {
			slices.SortStableFunc(at, func(a, b int) int {
				switch {
				case j.r.less(v.keys[a], v.keys[b]):
					return -1
				case j.r.less(v.keys[b], v.keys[a]):
					return 1
				}
				return 0
			})
		}
		j.put("{")
		for n, i := range at {
			if n > 0 {
				j.put(j.item)
			}
			j.newline(depth + 1)
			if s, ok := v.keys[i].(string); ok {
				j.text(s)
			} else if _, ok := v.keys[i].(*List); ok {
				j.r.fail("tojson: a tuple is a key")
			} else {
				j.put(`"` + j.scalar(v.keys[i]) + `"`)
			}
			j.put(j.key)
			j.write(v.values[i], depth+1)
		}
		j.newline(depth)
		j.put("}")
	default:
		j.put(j.scalar(v))
	}
}

func (j *jsonWriter) scalar(v Value) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case large:
		return string(v)
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN"
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		}
		return reprFloat(v)
	case *undefined:
		j.r.use(v)
	}
	j.r.fail("tojson: a value of type %s has no JSON", pythonType(v))
	return ""
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`}

func (j *jsonWriter) text(s string) {
	j.r.room(len(s))
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		if e, ok := jsonEscapes[c]; ok {
			b.WriteString(e)
		} else if c < 0x20 || j.ascii && c > 0x7e && c < 0x10000 {
			escape(&b, 'u', 4, c)
		} else if j.ascii && c >= 0x10000 {
			hi, lo := utf16.EncodeRune(c)
			escape(&b, 'u', 4, hi)
			escape(&b, 'u', 4, lo)
		} else {
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	j.put(b.String())
}
