package report

import (
	"slices"
	"strings"

	"stepflow/foreign"
	"stepflow/runtime/blocks"
)

// asked is a task of the rows: in which evaluation of each.
type asked struct {
	name, task string
	of         map[*chain]*Block
	compared   map[[2]*chain][]*Pair // what pairs has returned
}

// tasks lists what the models at the ends were asked, groups without their parts. A task that a model was asked in several
// evaluations is told apart by these.
func tasks(all []*chain) (list []*asked) {
	type key struct{ evaluation, task string }
	twice := map[string]bool{}
	found := map[key]*asked{}
	each := func(do func(c *chain, b *Block, s *Score)) {
		for _, c := range all {
			for _, b := range c.run.Blocks {
				for _, s := range b.Scores {
					if b.Model == c.end.Address && s.Group == "" {
						do(c, b, s)
					}
				}
			}
		}
	}
	seen := map[*chain]map[string]bool{}
	each(func(c *chain, _ *Block, s *Score) {
		if seen[c] == nil {
			seen[c] = map[string]bool{}
		}
		twice[s.Task] = twice[s.Task] || seen[c][s.Task]
		seen[c][s.Task] = true
	})
	each(func(c *chain, b *Block, s *Score) {
		k := key{task: s.Task}
		if twice[s.Task] {
			k.evaluation = unkeyed(b.Address) + "."
		}
		if found[k] == nil {
			found[k] = &asked{k.evaluation + s.Task, s.Task, map[*chain]*Block{}, map[[2]*chain][]*Pair{}}
			list = append(list, found[k])
		}
		found[k].of[c] = b
	})
	return list
}

// tasks adds a column for each metric of the tasks, and those that stand beside it: its standard error, and the difference
// to the first row with the standard error of that.
func (t *Table) tasks(all []*chain) {
	for _, a := range tasks(all) {
		var names []string
		for _, c := range all {
			if b := a.of[c]; b != nil {
				for _, m := range b.score(a.task).Metrics {
					if !slices.Contains(names, m.Name) {
						names = append(names, m.Name)
					}
				}
			}
		}
		differences := a.differences(all, t)
		for _, n := range names {
			t.metric(a, n, all, differences)
		}
	}
}

// differences returns the pairs of each row with the first, and adds them to the table.
func (a *asked) differences(all []*chain, t *Table) map[*chain][]*Pair {
	of := map[*chain][]*Pair{}
	for _, c := range all[1:] {
		if len(t.Pairs) >= maxPairs {
			break
		}
		of[c] = a.pairs(all[0], c)
		t.Pairs = append(t.Pairs, of[c]...)
	}
	return of
}

// pairs compares two rows, on all metrics at once.
func (a *asked) pairs(from, to *chain) []*Pair {
	x, y := a.of[from], a.of[to]
	if x == nil || y == nil {
		return nil
	}
	rows := [2]*chain{from, to}
	list, known := a.compared[rows]
	if known {
		return list
	}
	list = pairs(x, y, a.task)
	for _, p := range list {
		p.From.Run, p.To.Run = from.run.Name, to.run.Name
	}
	a.compared[rows] = list
	return list
}

// metric adds the columns of a metric.
func (t *Table) metric(a *asked, metric string, all []*chain, differences map[*chain][]*Pair) {
	named := func(metric, of string) (name, path string) {
		name = foreign.Shown(a.name + "." + strings.ReplaceAll(metric, ",", ".") + of) // a comma stands between columns that are chosen
		path = "tasks." + name
		if slices.ContainsFunc(t.Columns, func(c *Column) bool { return c.Name == name }) {
			name = path
		}
		return name, path
	}
	add := func(name, of string, group Group, value func(*chain) *float64) *Column {
		c := &Column{Group: group, Unit: Share}
		if !isMean[unfiltered(metric)] {
			c.Unit = ""
		}
		c.Name, c.Path = named(name, of)
		t.add(c, all, func(x *chain) any {
			if v := value(x); v != nil {
				return *v
			}
			return nil
		})
		return c
	}
	of := func(c *chain) *Metric {
		if b := a.of[c]; b != nil {
			if m := b.score(a.task).metric(metric); m != nil {
				return m
			}
		}
		return &Metric{}
	}
	difference := func(c *chain) *Pair { return pairOf(differences[c], metric) }
	main := add(metric, "", Result, func(c *chain) *float64 { return of(c).Value })
	main.pair = func(from, to *chain) *Pair { return pairOf(a.pairs(from, to), metric) }
	main.Stderr = add(blocks.StderrName(metric), "", Beside, func(c *chain) *float64 { return of(c).Stderr }).Name
	add(metric, "_difference", Beside, func(c *chain) *float64 {
		if p := difference(c); p != nil {
			return &p.Difference
		}
		return nil
	})
	add(metric, "_difference_stderr", Beside, func(c *chain) *float64 {
		if p := difference(c); p != nil {
			return p.Stderr
		}
		return nil
	})
}

// pairOf finds the pair of a metric that has a difference.
func pairOf(list []*Pair, metric string) *Pair {
	for _, p := range list {
		if p.Metric == metric && p.Why == "" {
			return p
		}
	}
	return nil
}

// overSeeds returns the differences of rows to those of others with the same seeds, for a column of a task.
func (t *Table) overSeeds(c *Column, from, to []*Row) (values []float64) {
	seeds := func(r *Row) string {
		var list []*Column
		for _, c := range t.apart(true) {
			if strings.HasSuffix(c.Path, ".seed") {
				list = append(list, c)
			}
		}
		return (&Row{Values: r.Values}).key(list)
	}
	for _, y := range to {
		for _, x := range from {
			if seeds(x) != seeds(y) {
				continue
			}
			if p := c.pair(x.chain, y.chain); p != nil {
				values = append(values, p.Difference)
			}
			break
		}
	}
	return values
}
