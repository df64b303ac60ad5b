package main

import (
	"fmt"
	"slices"
	"strconv"

	"stepflow/foreign"
	"stepflow/report"
)

// pairsGrid shows people how the rows differ from the first one that was named.
func pairsGrid(t *report.Table) *grid {
	g := &grid{rows: len(t.Pairs)}
	who := func(m report.Measured) string {
		if m.Run != "" && t.Rows[0].Run != "" {
			return m.Run + ": " + m.Model
		}
		return m.Model
	}
	column := func(name string, right bool, text func(p *report.Pair) string) {
		g.column(name, right, func(i int) string { return text(t.Pairs[i]) })
	}
	told := func(text func(p *report.Pair) string) func(p *report.Pair) string {
		return func(p *report.Pair) string {
			if p.Why != "" {
				return ""
			}
			return text(p)
		}
	}
	column("", false, func(p *report.Pair) string { return who(p.To) })
	column("less", false, func(p *report.Pair) string { return who(p.From) })
	column("task", false, func(p *report.Pair) string { return foreign.Shown(p.Task) })
	column("metric", false, func(p *report.Pair) string { return foreign.Shown(p.Metric) })
	column("documents", true, told(func(p *report.Pair) string { return strconv.Itoa(p.Documents) }))
	column("difference", true, told(func(p *report.Pair) string { return differenceText(p.Difference, p.Half) }))
	column("right alone", true, told(func(p *report.Pair) string {
		if p.Only == nil {
			return ""
		}
		return fmt.Sprintf("%d, %d", p.Only[1], p.Only[0])
	}))
	column("p", true, told(func(p *report.Pair) string {
		if p.P == nil {
			return ""
		}
		return strconv.FormatFloat(*p.P, 'g', 2, 64)
	}))
	if slices.ContainsFunc(t.Pairs, func(p *report.Pair) bool { return p.Why != "" }) {
		column("not compared", false, func(p *report.Pair) string { return foreign.Shown(p.Why) })
	}
	return g
}

func differenceText(d float64, half *float64) string {
	text := fmt.Sprintf("%+.4f", d)
	if half != nil {
		text += fmt.Sprintf(" ± %.4f", *half)
	}
	return text
}

// seedsGrid shows people how the means over seeds differ from the first of them.
func seedsGrid(t *report.Table) *grid {
	type row struct {
		mean *report.Mean
		name string
	}
	var rows []row
	for _, m := range t.Means {
		for _, c := range t.Columns {
			if _, ok := m.Differences[c.Name]; ok {
				rows = append(rows, row{m, c.Name})
			}
		}
	}
	g := &grid{rows: len(rows)}
	for _, c := range t.Columns {
		if _, setting := t.Means[0].Settings[c.Name]; setting {
			g.column(c.Name, true, func(i int) string {
				return fmt.Sprintf("%s, not %s", c.Text(rows[i].mean.Settings[c.Name]), c.Text(t.Means[0].Settings[c.Name]))
			})
		}
	}
	g.column("task", false, func(i int) string { return rows[i].name })
	g.column("runs", true, func(i int) string { return strconv.Itoa(len(rows[i].mean.Differences[rows[i].name].Values)) })
	g.column("difference", true, func(i int) string {
		x := rows[i].mean.Differences[rows[i].name]
		return differenceText(x.Mean, x.Half)
	})
	return g
}
