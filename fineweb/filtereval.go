package fineweb

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// keeps reports whether a row stays. It is an error where values cannot be compared, which names the column's place.
func (f *filter) keeps(row []value) (bool, error) {
	v, err := f.root.eval(row)
	if err != nil {
		return false, err
	}
	if v.kind != truth && v.kind != null {
		return false, fmt.Errorf("the filter is %s, not a condition", kindNames[v.kind])
	}
	return v.kind == truth && v.i == 1, nil
}

func (n *node) eval(row []value) (value, error) {
	switch n.op {
	case "constant":
		return n.is, nil
	case "column":
		return row[n.at], nil
	case "&&", "||":
		return n.logic(row)
	}
	x, err := n.args[0].eval(row)
	if err != nil {
		return x, err
	}
	if len(n.args) == 2 && n.re == nil {
		y, err := n.args[1].eval(row)
		if err != nil {
			return y, err
		}
		if _, isFunction := filterFunctions[n.op]; !isFunction {
			return n.compares(x, y)
		}
	}
	if x.kind == null {
		return value{}, nil
	}
	switch n.op {
	case "!":
		if x.kind != truth {
			return x, fmt.Errorf("! stands before %s, which is %s", n.args[0].label(), kindNames[x.kind])
		}
		return truthOf(x.i == 0), nil
	case "in":
		found := false
		switch {
		case x.kind == words && len(n.nums) == 0:
			found = n.text[x.s]
		case x.number() && len(n.text) == 0:
			if _, ordered := order(x, x); ordered {
				_, found = slices.BinarySearchFunc(n.nums, x, func(a, b value) int { c, _ := order(a, b); return c })
			}
		default:
			return x, fmt.Errorf("%s is %s; the list after \"in\" holds other values",
				n.args[0].label(), kindNames[x.kind])
		}
		if !found && n.null { // as in SQL, where null may be any value
			return value{}, nil
		}
		return truthOf(found), nil
	}
	if x.kind != words {
		return x, fmt.Errorf("%s is %s; %s takes text", n.args[0].label(), kindNames[x.kind], n.op)
	}
	switch n.op {
	case "length":
		return value{kind: integer, i: int64(utf8.RuneCountInString(x.s))}, nil
	case "lower":
		return value{kind: words, s: strings.ToLower(x.s)}, nil
	case "startswith":
		return truthOf(strings.HasPrefix(x.s, n.args[1].is.s)), nil
	case "endswith":
		return truthOf(strings.HasSuffix(x.s, n.args[1].is.s)), nil
	case "strcontains":
		return truthOf(strings.Contains(x.s, n.args[1].is.s)), nil
	}
	return truthOf(n.re.MatchString(x.s)), nil
}

// logic is && and || of three values: null && false is false, null || true is true.
func (n *node) logic(row []value) (value, error) {
	ends, unknown := n.op == "||", false
	for _, a := range n.args {
		v, err := a.eval(row)
		switch {
		case err != nil:
			return v, err
		case v.kind == null:
			unknown = true
		case v.kind != truth:
			return v, fmt.Errorf("%s is %s; %s stands between conditions", a.label(), kindNames[v.kind], n.op)
		case (v.i == 1) == ends:
			return v, nil
		}
	}
	if unknown {
		return value{}, nil
	}
	return truthOf(!ends), nil
}

func (n *node) compares(x, y value) (value, error) {
	for _, a := range n.args {
		if a.isNull() {
			if n.op != "==" && n.op != "!=" {
				return value{}, nil
			}
			return truthOf((x.kind == y.kind) == (n.op == "==")), nil
		}
	}
	if x.kind == null || y.kind == null {
		return value{}, nil
	}
	var c int
	switch {
	case x.number() && y.number():
		var ok bool
		if c, ok = order(x, y); !ok { // NaN
			return truthOf(n.op == "!="), nil
		}
	case x.kind == words && y.kind == words:
		c = strings.Compare(x.s, y.s)
	case x.kind == truth && y.kind == truth && (n.op == "==" || n.op == "!="):
		c = compare(x.i, y.i)
	default:
		return x, fmt.Errorf("%s is %s; it is compared with %s",
			n.args[0].label(), kindNames[x.kind], kindNames[y.kind])
	}
	switch n.op {
	case "==":
		return truthOf(c == 0), nil
	case "!=":
		return truthOf(c != 0), nil
	case "<":
		return truthOf(c < 0), nil
	case "<=":
		return truthOf(c <= 0), nil
	case ">":
		return truthOf(c > 0), nil
	}
	return truthOf(c >= 0), nil
}

// extent is the least and the largest number of a column in some rows.
type extent struct{ least, most value }

// possible reports whether a row may be kept, by what is known of the columns; known gives no extent where nothing is.
func (n *node) possible(known func(column int) (extent, bool)) bool {
	switch n.op {
	case "&&":
		return !slices.ContainsFunc(n.args, func(a *node) bool { return !a.possible(known) })
	case "||":
		return slices.ContainsFunc(n.args, func(a *node) bool { return a.possible(known) })
	case "==", "<", "<=", ">", ">=":
	default:
		return true
	}
	column, constant, op := n.args[0], n.args[1], n.op
	if column.op == "constant" {
		column, constant = constant, column
		op = map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}[op]
	}
	if column.op != "column" || constant.op != "constant" || !constant.is.number() {
		return true
	}
	x, ok := known(column.at)
	if !ok {
		return true
	}
	low, ok1 := order(x.least, constant.is)
	high, ok2 := order(x.most, constant.is)
	if !ok1 || !ok2 {
		return true
	}
	switch op {
	case "==":
		return low <= 0 && high >= 0
	case "<":
		return low < 0
	case "<=":
		return low <= 0
	case ">":
		return high > 0
	}
	return high >= 0
}
