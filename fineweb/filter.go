package fineweb

import (
	"regexp"
	"strconv"
	"strings"

	"stepflow/foreign"
)

// A filter is an expression over the columns of a row, such as
//
//	language == 'en' && (int_score >= 3 || token_count < 1000)
//
// It is parsed once and costs, for each row, a step for each of its operators and what its functions read of a text. A
// row stays where it is true. A comparison with null is null, as in SQL, but for == null and != null; so is what
// depends on it.
type filter struct {
	root    *node
	columns []string // that it reads, each once
}

// node is an operator, a function, a column or a constant.
type node struct {
	op   string // of an operator or a function; "column", "constant" or "in"
	args []*node
	at   int             // column: its place in filter.columns
	name string          // column
	is   value           // constant
	text map[string]bool // in: the texts
	nums []value         // in: the numbers, in their order
	null bool            // in: null is among them, which makes null of what is not found
	re   *regexp.Regexp  // matches
}

// CheckFilter reports what is wrong with a filter's text, as far as that can be said without the data.
func CheckFilter(text string) error {
	_, err := parseFilter(text)
	return err
}

// quoteFilter writes a text as a filter has it.
func quoteFilter(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// conditions is the filter of a source: what its attributes ask for, and its own expression.
func (s *Source) conditions() string {
	var all []string
	number := func(column, op string, x *float64) {
		if x != nil {
			all = append(all, column+" "+op+" "+strconv.FormatFloat(*x, 'g', -1, 64))
		}
	}
	whole := func(column, op string, x *int64) {
		if x != nil {
			all = append(all, column+" "+op+" "+strconv.FormatInt(*x, 10))
		}
	}
	among := func(column string, list []string) {
		if len(list) > 0 {
			quoted := make([]string, len(list))
			for i, l := range list {
				quoted[i] = quoteFilter(l)
			}
			all = append(all, column+" in ["+strings.Join(quoted, ", ")+"]")
		}
	}
	whole("int_score", ">=", s.MinIntScore)
	number("score", ">=", s.MinScore)
	number("language_score", ">=", s.MinLanguageScore)
	whole("token_count", ">=", s.MinTokenCount)
	whole("token_count", "<=", s.MaxTokenCount)
	among("language", s.Languages)
	among("dump", s.Dumps)
	if f := strings.TrimSpace(s.Filter); f != "" {
		all = append(all, "("+f+")")
	}
	return strings.Join(all, " && ")
}

// quotedConditions shows the filter of a source, if it is short, after a colon.
func (s *Source) quotedConditions() string {
	if all := s.conditions(); all != "" && len(all) <= 200 {
		return ": " + foreign.Shown(all)
	}
	return ""
}
