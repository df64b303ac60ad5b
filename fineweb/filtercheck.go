package fineweb

import (
	"errors"
	"fmt"
	"strconv"
)

// comparable reports why two kinds of values cannot be compared; null stands for what is not known yet.
func comparable(op string, a, b valueKind) error {
	switch {
	case a == nested || b == nested:
		return errors.New("what is neither a number, nor text, nor true or false cannot be compared")
	case a == null || b == null:
		return nil
	case a != b:
		return fmt.Errorf("%s cannot be compared with %s", kindNames[a], kindNames[b])
	case a == truth && op != "==" && op != "!=":
		return fmt.Errorf("%s does not order true and false", op)
	}
	return nil
}

// kind is that of a node's value: truth, words, fraction for any number; null where only the data say, or it is null.
func (n *node) kind() valueKind {
	switch n.op {
	case "constant":
		if n.is.number() {
			return fraction
		}
		return n.is.kind
	case "column":
		return null
	}
	if f, ok := filterFunctions[n.op]; ok {
		return f.kind
	}
	return truth
}

// typed checks a filter against the kinds of the columns, in the order of filter.columns. An error names the column's
// place, or -1.
func (f *filter) typed(kinds []valueKind) (column int, err error) {
	k, column, err := f.root.typed(kinds)
	if err == nil && k != null && k != truth {
		err = errors.New("the filter is not a condition: compare the column with something")
	}
	return column, err
}

func (n *node) typed(kinds []valueKind) (kind valueKind, column int, err error) {
	switch n.op {
	case "column":
		return kinds[n.at], n.at, nil
	case "constant":
		return n.kind(), -1, nil
	}
	column = -1
	ks := make([]valueKind, len(n.args))
	for i, x := range n.args {
		k, c, err := x.typed(kinds)
		if err != nil {
			return k, c, err
		}
		if ks[i] = k; column < 0 {
			column = c
		}
		if (n.op == "&&" || n.op == "||" || n.op == "!") && k != null && k != truth {
			return k, c, fmt.Errorf("%s stands between conditions, not beside %s", n.op, kindNames[k])
		}
	}
	if len(ks) == 2 && n.args[0].op == "column" && n.args[1].op == "column" && ks[0] != ks[1] {
		column = n.args[1].at
	}
	switch n.op {
	case "&&", "||", "!":
	case "in":
		if k := ks[0]; k == nested || k == truth || k == words && len(n.nums) > 0 || k == fraction && len(n.text) > 0 {
			err = fmt.Errorf("%s cannot be in a list of %s",
				kindNames[k], map[bool]string{true: "texts", false: "numbers"}[len(n.text) > 0])
		}
	case "==", "!=", "<", "<=", ">", ">=":
		if !(n.args[0].isNull() || n.args[1].isNull()) { // anything may be null
			err = comparable(n.op, ks[0], ks[1])
		}
	default:
		if ks[0] != null && ks[0] != words {
			err = fmt.Errorf("%s takes text, not %s", n.op, kindNames[ks[0]])
		}
	}
	return n.kind(), column, err
}

// label names what a node stands for.
func (n *node) label() string {
	if n.op == "column" {
		return strconv.Quote(n.name)
	}
	return "a part of the filter"
}

// isNull reports whether a node is the word null.
func (n *node) isNull() bool { return n.op == "constant" && n.is.kind == null }
