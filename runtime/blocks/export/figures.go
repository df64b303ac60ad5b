package export

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"stepflow/runtime/blocks"
	"stepflow/runtime/modelcard"
	"stepflow/runtime/state"
)

// evaluationTitle is the heading of the evaluations.
const evaluationTitle = "Evaluation"

// figure is a number that an evaluation gives.
type figure struct {
	task                  string // "" unless the evaluation is of tasks
	name                  string
	value, stderr, chance float64 // chance is the value of guessing; it and stderr are NaN for none
	clean                 bool    // over the documents of which nothing was found in the training data
}

// figures lists the numbers of an evaluation that has run, without counts and numbers that others are computed from.
func figures(b *state.Block) (list []figure) {
	if b == nil {
		return nil
	}
	if results, ok := b.Values["results"].(map[string]any); ok { // of evaluate "tasks"
		for _, task := range slices.Sorted(maps.Keys(results)) {
			values, _ := results[task].(map[string]any)
			list = append(list, numbers(task, values)...)
			if clean, ok := values[blocks.CleanScores].(map[string]any); ok && dirty(values) {
				for _, f := range numbers(task, clean) {
					f.name, f.clean = f.name+" of clean documents", true
					list = append(list, f)
				}
			}
		}
		return list
	}
	return numbers("", b.Values)
}

// dirty reports whether documents of a task were trained on.
func dirty(values map[string]any) bool {
	x, _ := values["contamination"].(float64)
	return x > 0
}

// numbers lists the numbers among the values of an evaluation, or of one of its tasks.
func numbers(task string, values map[string]any) (list []figure) {
	number := func(key string) float64 {
		if x, ok := values[key].(float64); ok {
			return x
		}
		return math.NaN()
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		metric, _, _ := strings.Cut(name, ",") // such as exact_match,strict-match
		v := number(name)
		if math.IsNaN(v) || counts[name] || strings.HasSuffix(metric, "stderr") || task != "" && name == "chance" {
			continue
		}
		f := figure{task: task, name: name, value: v, chance: math.NaN()}
		if f.stderr = number(blocks.StderrName(name)); name == "loss" && math.IsNaN(f.stderr) {
			f.stderr = number("stderr")
		}
		if task != "" && strings.HasPrefix(metric, "acc") {
			f.chance = number("chance")
		}
		list = append(list, f)
	}
	return list
}

// counts are numbers that an evaluation gives besides its results.
var counts = map[string]bool{"bytes": true, "documents": true, "random_guess": true, "tokens": true,
	"unchecked_documents": true, "unigram_entropy": true, "words": true}

func (c *card) resultSection(st map[string]*state.Block) modelcard.Section {
	s := modelcard.Section{Title: evaluationTitle,
		Table: &modelcard.Table{Head: []string{"evaluation", "model", "on", "metric", "value", "standard error"}}}
	var all [][]figure
	tasks := false
	for _, x := range c.results {
		list := figures(st[x.Addr.String()])
		all = append(all, list)
		tasks = tasks || slices.ContainsFunc(list, func(f figure) bool { return f.task != "" })
	}
	if tasks {
		s.Table.Head = append(s.Table.Head, "chance")
	}
	show := func(format string, x float64) string {
		if math.IsNaN(x) {
			return ""
		}
		return fmt.Sprintf(format, x)
	}
	for i, x := range c.results {
		for _, f := range all[i] {
			row := []string{modelcard.Code(x.Addr.String()), modelcard.Code(x.of.Addr.String()), modelcard.Escape(cmp.Or(f.task, x.on())),
				modelcard.Escape(f.name), show("%.5g", f.value), show("%.2g", f.stderr)}
			if tasks {
				row = append(row, show("%.4g", f.chance))
			}
			s.Table.Rows = append(s.Table.Rows, row)
		}
	}
	return s
}
