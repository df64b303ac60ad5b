package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"stepflow/dsl"
	"stepflow/runtime/words"
)

// Table is runs side by side, each a row: in what they differ, and what came of them.
type Table struct {
	Columns []*Column `json:"columns"`
	Rows    []*Row    `json:"rows"`
	Means   []*Mean   `json:"means,omitempty"` // over rows that differ in seeds alone
	Pairs   []*Pair   `json:"pairs,omitempty"` // of rows with the first that was named, on the documents of tasks
}

// Column is one property of the rows.
type Column struct {
	Name  string `json:"name"` // as short as tells it from the others
	Path  string `json:"path"` // of a setting: the attribute, with the references that lead to its block
	Unit  Unit   `json:"unit,omitempty"`
	Group Group  `json:"group"`
	// Stderr names the column of the standard errors.
	Stderr string `json:"stderr,omitempty"`

	differs bool                        // in some row
	pair    func(from, to *chain) *Pair // of a task; nil elsewhere
}

// Unit is what a column counts.
type Unit string

// The units.
const (
	Tokens  Unit = "tokens"
	FLOPs   Unit = "FLOP"
	Bytes   Unit = "bytes"
	Seconds Unit = "seconds"
	Nats    Unit = "nats"  // a token
	Share   Unit = "share" // of documents
)

// Text writes a value of a column; nothing for one that is missing.
func (c *Column) Text(v any) string {
	x, ok := v.(float64)
	switch {
	case v == nil:
		return ""
	case !ok:
		return fmt.Sprint(v)
	}
	switch c.Unit {
	case Tokens, FLOPs:
		return words.Count(x)
	case Bytes:
		return dsl.FormatBytes(int64(x))
	case Seconds:
		return words.Duration(x)
	case Nats, Share:
		return strconv.FormatFloat(x, 'f', 4, 64)
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}

// Group is the sort of a column.
type Group string

// The groups, in their order.
const (
	Setting Group = "setting" // an attribute
	Figure  Group = "figure"  // what training took
	Result  Group = "result"  // a loss, or a number of a task
	Beside  Group = "beside"  // what belongs to a result: its standard error, its difference to the first row
)

// Row is one run: a stage with those before it.
type Row struct {
	Run     string         `json:"run,omitempty"` // its name, where there are several
	Address string         `json:"address"`
	Status  string         `json:"status"`
	Best    bool           `json:"best,omitempty"` // it has the lowest loss
	Values  map[string]any `json:"values"`         // by name of the column: numbers and texts

	chain *chain
	made  string // of what it is made besides the values of the settings
}

// Show chooses columns, in this order; without names those that differ, or all. Sort names the column to sort by, with
// a minus before it for the largest first; "" for the loss.
func (t *Table) Show(names []string, all bool, sort string) error {
	if err := t.sort(sort); err != nil {
		return err
	}
	list := slices.DeleteFunc(slices.Clone(t.Columns), func(c *Column) bool {
		return len(names) > 0 || !all && c.Group == Setting && !c.differs
	})
	for _, n := range names {
		c, err := t.column(strings.TrimSpace(n))
		if err != nil {
			return err
		}
		list = append(list, c)
	}
	t.Columns = list
	for _, r := range t.Rows {
		maps.DeleteFunc(r.Values, func(name string, _ any) bool {
			return !slices.ContainsFunc(list, func(c *Column) bool { return c.Name == name })
		})
	}
	return nil
}

// column finds a column by its name or path.
func (t *Table) column(name string) (*Column, error) {
	var names []string
	for _, c := range t.Columns {
		if c.Name == name || c.Path == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return nil, fmt.Errorf("there is no column %q.%s The columns are %s", name, dsl.Suggest(name, names),
		strings.Join(names, ", "))
}

// measure is the column by which runs are judged: the loss of the first evaluation, else that of training; nil for
// neither. Tasks have too few documents to name a best run without a test.
func (t *Table) measure() (m *Column) {
	for _, c := range t.Columns {
		if c.Group == Result && c.Unit == Nats && (m == nil || m.Path == trainingLoss && c.Path != trainingLoss) {
			m = c
		}
	}
	return m
}

// sort sorts the rows, and marks the best.
func (t *Table) sort(by string) error {
	if best := t.measure(); best != nil {
		slices.SortStableFunc(t.Rows, best.order(false))
		t.Rows[0].Best = t.Rows[0].Values[best.Name] != nil
	}
	if by == "" {
		return nil
	}
	name, down := strings.CutPrefix(by, "-")
	c, err := t.column(name)
	if err == nil {
		slices.SortStableFunc(t.Rows, c.order(down))
	}
	return err
}

// order orders rows by a column, up or down; those without a value come last.
func (c *Column) order(down bool) func(a, b *Row) int {
	return func(a, b *Row) int {
		x, y := a.Values[c.Name], b.Values[c.Name]
		switch {
		case x == nil || y == nil:
			return order(x == nil) - order(y == nil)
		case down:
			x, y = y, x
		}
		return compare(x, y)
	}
}

// compare orders values: numbers as such, before texts.
func compare(x, y any) int {
	a, isA := x.(float64)
	b, isB := y.(float64)
	switch {
	case isA && isB:
		return cmp.Compare(a, b)
	case isA != isB:
		return order(isB) - order(isA)
	}
	return cmp.Compare(fmt.Sprint(x), fmt.Sprint(y))
}
