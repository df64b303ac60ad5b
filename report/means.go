package report

import (
	"fmt"
	"math"
	"strings"
)

// Mean is the mean of rows that differ in seeds alone.
type Mean struct {
	Settings map[string]any      `json:"settings"` // what they have in common, and others have not
	Runs     int                 `json:"runs"`
	Student  float64             `json:"student,omitempty"` // the quantile for so many runs; 0 of one
	Members  []Member            `json:"members"`
	Results  map[string]Interval `json:"results"` // by name of the column
	// Differences are those to the first mean on the documents of tasks, each of rows with the same seeds.
	Differences map[string]Interval `json:"differences,omitempty"`
}

// Member is a row that a mean is of.
type Member struct {
	Run     string `json:"run,omitempty"`
	Address string `json:"address"`
}

// Interval is a mean and half the width of the interval that holds the true one with a confidence of 95 %.
type Interval struct {
	Mean float64  `json:"mean"`
	Half *float64 `json:"half,omitempty"` // nil of one run
	// Values are those that the mean is of.
	Values []float64 `json:"values"`
}

// means adds the means over seeds, where there are several seeds.
func (t *Table) means() {
	groups, counted := map[string][]*Row{}, map[string]bool{}
	var order []string
	for _, r := range t.Rows {
		key := r.key(t.apart(false))
		if groups[key] == nil {
			order = append(order, key)
		}
		if all := r.key(t.apart(true)); !counted[all] { // else they are one training
			counted[all] = true
			groups[key] = append(groups[key], r)
		}
	}
	if len(order) == len(counted) {
		return
	}
	for _, key := range order {
		m := &Mean{Settings: map[string]any{}, Results: map[string]Interval{}}
		for _, c := range t.apart(false) {
			m.Settings[c.Name] = groups[key][0].Values[c.Name]
		}
		for _, c := range t.Columns {
			if c.Group != Result {
				continue
			}
			var values []float64
			for _, r := range groups[key] {
				if v, ok := r.Values[c.Name].(float64); ok && math.Abs(v) < math.MaxFloat32 { // of others a sum is not finite
					values = append(values, v)
				}
			}
			if len(values) > 0 {
				m.Results[c.Name], m.Runs = interval(values), max(m.Runs, len(values))
			}
		}
		if key != order[0] {
			for _, c := range t.Columns {
				if c.pair == nil {
					continue
				}
				if values := t.overSeeds(c, groups[order[0]], groups[key]); len(values) > 0 {
					if m.Differences == nil {
						m.Differences = map[string]Interval{}
					}
					m.Differences[c.Name] = interval(values)
				}
			}
		}
		for _, r := range groups[key] {
			m.Members = append(m.Members, Member{r.Run, r.Address})
		}
		if m.Runs > 1 {
			m.Student = student(m.Runs - 1)
		}
		if m.Runs > 0 {
			t.Means = append(t.Means, m)
		}
	}
}

// key is what tells a row from others by these columns.
func (r *Row) key(columns []*Column) string {
	key := r.made
	for _, c := range columns {
		key += fmt.Sprintf("\x00%v", r.Values[c.Name])
	}
	return key
}

// apart lists the columns of settings in which rows differ, with or without seeds.
func (t *Table) apart(seeds bool) (list []*Column) {
	for _, c := range t.Columns {
		if c.Group == Setting && c.differs && (seeds || !strings.HasSuffix(c.Path, ".seed")) {
			list = append(list, c)
		}
	}
	return list
}

// interval returns the mean of some values with its interval.
func interval(values []float64) Interval {
	x := Interval{Mean: mean(values), Values: values}
	if len(values) > 1 {
		half := student(len(values)-1) * standardError(values)
		x.Half = &half
	}
	return x
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, v := range list {
		sum += v
	}
	return sum / float64(len(list))
}

// standardError is the standard error of the mean of two or more values.
func standardError(list []float64) float64 {
	m, n, squares := mean(list), float64(len(list)), 0.0
	for _, v := range list {
		squares += (v - m) * (v - m)
	}
	return math.Sqrt(squares / (n - 1) / n)
}

// student returns the 0.975 quantile of Student's t distribution with so many degrees of freedom: for the few that
// seeds give from a table, else by the first terms of its expansion around the normal distribution.
func student(df int) float64 {
	table := []float64{12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281}
	if df <= len(table) {
		return table[df-1]
	}
	const z = 1.959964
	n := float64(df)
	z3, z5, z7 := math.Pow(z, 3), math.Pow(z, 5), math.Pow(z, 7)
	return z + (z3+z)/(4*n) + (5*z5+16*z3+3*z)/(96*n*n) + (3*z7+19*z5+17*z3-15*z)/(384*n*n*n)
}
