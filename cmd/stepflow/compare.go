package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/report"
)

// tableFlags choose what report -compare shows.
type tableFlags struct {
	sort, columns string
	all, csv      bool
}

func (t *tableFlags) flags(f *flag.FlagSet) {
	f.StringVar(&t.sort, "sort", "", "with -compare: sort by this column, or by -COLUMN with the largest first "+
		"(default: the loss of the first evaluation, or the training loss if there is none)")
	f.StringVar(&t.columns, "columns", "", "with -compare: show these columns, as learning_rate,seed,loss "+
		"(default: the settings that differ, and all that came of them)")
	f.BoolVar(&t.all, "all", false, "with -compare: show also settings that do not differ")
	f.BoolVar(&t.csv, "csv", false, "with -compare: write the table as CSV")
}

// given reports whether one of the flags is.
func (t *tableFlags) given() bool { return *t != tableFlags{} }

// compare puts runs side by side: as a table, and as a page, which -csv and -json write only where -o names its file.
func (a *app) compare(args []string, out string, o tableFlags) int {
	if o.csv && a.json {
		return a.fail(errors.New("-csv and -json exclude each other: each is the table in another form"))
	}
	var dirs, addresses []string
	for _, x := range args {
		if at, err := addr.ParseAny(x); err == nil && (at.Kind == "stage" || at.IsModule()) && !exists(x) {
			addresses = append(addresses, x)
		} else {
			dirs = append(dirs, x)
		}
	}
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	runs, err := readRuns(dirs)
	if err != nil {
		return a.fail(err)
	}
	t, err := report.Compare(runs, addresses)
	if err != nil {
		return a.fail(err)
	}
	var columns []string
	if o.columns != "" {
		columns = strings.Split(o.columns, ",")
	}
	if err := t.Show(columns, o.all, o.sort); err != nil {
		return a.fail(err)
	}
	page := report.NewPage("Comparison", runs...)
	page.Table = t
	switch {
	case o.csv:
		err = csv.NewWriter(a.stdout).WriteAll(csvOf(t))
	case a.json:
		a.line(map[string]any{"format_version": "1.0", "type": "comparison", "columns": t.Columns, "rows": t.Rows,
			"means": t.Means, "pairs": t.Pairs})
	default:
		fmt.Fprintln(a.stdout, a.runsGrid(t, columns != nil).text(a.columns()))
		if len(t.Pairs) > 0 {
			fmt.Fprintf(a.stdout, "Differences on the same documents, with the interval of 95 %% confidence\n%s\n",
				pairsGrid(t).text(a.columns()))
		}
		if len(t.Means) > 0 {
			fmt.Fprintf(a.stdout, "Means over seeds, with the interval of 95 %% confidence\n%s\n",
				meansGrid(t).text(a.columns()))
			if slices.ContainsFunc(t.Means, func(m *report.Mean) bool { return m.Runs == 1 }) {
				fmt.Fprintf(a.stdout, "One run has no interval: train it with more seeds.\n\n")
			}
			if g := seedsGrid(t); g.rows > 0 {
				fmt.Fprintf(a.stdout, "Differences on the same documents, of runs with the same seed\n%s\n", g.text(a.columns()))
			}
		}
	}
	if err != nil {
		return a.fail(err)
	}
	if (o.csv || a.json) && out == "" {
		return exitOK
	}
	return a.writePage(page, cmp.Or(out, "report.html"), writeReport)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// csvOf is a table with the numbers as they are.
func csvOf(t *report.Table) [][]string {
	heads := []string{"run", "address", "status"}
	for _, c := range t.Columns {
		heads = append(heads, c.Name)
	}
	list := [][]string{heads}
	for _, r := range t.Rows {
		row := []string{r.Run, r.Address, r.Status}
		for _, c := range t.Columns {
			switch v := r.Values[c.Name].(type) {
			case nil:
				row = append(row, "")
			case float64:
				row = append(row, strconv.FormatFloat(v, 'g', -1, 64))
			default:
				row = append(row, fmt.Sprint(v))
			}
		}
		list = append(list, row)
	}
	return list
}

// runsGrid is a table for people, of all columns or of chosen ones. An asterisk marks the row with the lowest loss.
func (a *app) runsGrid(t *report.Table, chosen bool) *grid {
	g := &grid{rows: len(t.Rows)}
	g.column("", false, func(i int) string {
		name := t.Rows[i].Address
		if t.Rows[i].Run != "" {
			name = t.Rows[i].Run + ": " + name
		}
		if t.Rows[i].Best {
			return "* " + name
		}
		return "  " + name
	})
	status := func(i int) string { return t.Rows[i].Status }
	for i := range t.Rows {
		if status(i) != status(0) {
			g.column("status", false, status)
			break
		}
	}
	for _, c := range t.Columns {
		if c.Group == report.Beside && !chosen {
			continue // for machines, and for those who ask
		}
		g.column(c.Name, true, func(i int) string {
			text := c.Text(t.Rows[i].Values[c.Name])
			if e := t.Rows[i].Values[c.Stderr]; e != nil {
				text += " ± " + c.Text(e)
			}
			return text
		})
	}
	return g
}

// meansGrid is the means over seeds for people.
func meansGrid(t *report.Table) *grid {
	g := &grid{rows: len(t.Means)}
	counted := false
	for _, c := range t.Columns {
		switch _, setting := t.Means[0].Settings[c.Name]; {
		case setting:
			g.column(c.Name, true, func(i int) string { return c.Text(t.Means[i].Settings[c.Name]) })
		case c.Group == report.Result:
			if !counted {
				counted = true
				g.column("runs", true, func(i int) string { return strconv.Itoa(t.Means[i].Runs) })
			}
			g.column(c.Name, true, func(i int) string {
				x, ok := t.Means[i].Results[c.Name]
				switch {
				case !ok:
					return ""
				case x.Half == nil:
					return c.Text(x.Mean) + " (one run)"
				}
				return c.Text(x.Mean) + " ± " + c.Text(*x.Half)
			})
		}
	}
	return g
}
