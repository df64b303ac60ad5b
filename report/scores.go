package report

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"stepflow/runtime/blocks"
	"stepflow/runtime/metrics"
)

// Score is what an evaluation made of a task, or of a group of tasks.
type Score struct {
	Task      string   `json:"task"`
	Group     string   `json:"group,omitempty"` // that it is a part of
	Documents float64  `json:"documents,omitempty"`
	Chance    *float64 `json:"chance,omitempty"` // the accuracy of guessing
	Metrics   []Metric `json:"metrics"`

	Contamination *float64 `json:"contamination,omitempty"` // the share of the documents that share 13 words with what was trained on
	Clean         *Score   `json:"clean,omitempty"`         // on the others, where there are some of both
}

// Metric is a number of a task, with its standard error.
type Metric struct {
	Name   string   `json:"name"`
	Value  *float64 `json:"value"` // nil where it is not finite
	Stderr *float64 `json:"stderr,omitempty"`
	// Guess says that the number is within two standard errors of chance.
	Guess bool `json:"guess,omitempty"`
}

// guessed are the metrics that guessing gives its chance of.
var guessed = map[string]bool{"acc": true, "acc_norm": true, "acc_bytes": true, "acc_mutual_info": true}

// scores reads the results of an evaluation's values. Which of them are groups its samples say: a group has none of its
// own.
func scores(values map[string]any, x *sampled) (list []*Score) {
	results, _ := values["results"].(map[string]any)
	for _, task := range slices.Sorted(maps.Keys(results)) {
		numbers, _ := results[task].(map[string]any)
		s := scoreOf(task, numbers)
		if s.Contamination = number(numbers["contamination"]); s.Contamination != nil && *s.Contamination > 0 {
			if clean, ok := numbers[blocks.CleanScores].(map[string]any); ok {
				s.Clean = scoreOf(task, clean)
			}
		}
		list = append(list, s)
	}
	for _, g := range list {
		for _, p := range list {
			if x.isGroup(g) && p.Group == "" && g.Group == "" && isPart(p, g) {
				p.Group = g.Task
			}
		}
	}
	return list
}

// scoreOf reads the numbers of a task.
func scoreOf(task string, numbers map[string]any) *Score {
	s := &Score{Task: task, Chance: number(numbers["chance"])}
	if n := number(numbers["documents"]); n != nil {
		s.Documents = *n
	}
	for name, v := range numbers {
		if name == "documents" || name == "chance" || name == blocks.CleanScores || slices.Contains(blocks.OfContamination, name) ||
			isStderr(name) {
			continue
		}
		m := Metric{Name: name, Value: number(v), Stderr: number(numbers[blocks.StderrName(name)])}
		m.Guess = guessed[name] && m.guess(s)
		s.Metrics = append(s.Metrics, m)
	}
	slices.SortFunc(s.Metrics, func(a, b Metric) int {
		return cmp.Or(order(a.Name != "acc")-order(b.Name != "acc"), order(a.Name != "acc_norm")-order(b.Name != "acc_norm"),
			cmp.Compare(a.Name, b.Name))
	})
	return s
}

// number returns a finite number; nil for what is none.
func number(v any) *float64 {
	if x, ok := v.(float64); ok && metrics.Finite(x) {
		return &x
	}
	return nil
}

func isStderr(name string) bool { return strings.HasSuffix(unfiltered(name), "_stderr") }

// unfiltered is the name of a metric without that of a filter.
func unfiltered(metric string) string {
	name, _, _ := strings.Cut(metric, ",")
	return name
}

// guess reports whether a share of right answers is within two standard errors of chance: its own, or that of guessing
// so many documents, whichever is larger. Of a few documents that were all answered right its own is zero.
func (m *Metric) guess(s *Score) bool {
	if m.Value == nil || s.Chance == nil || !(s.Documents > 0) {
		return false
	}
	c := *s.Chance
	wide := math.Sqrt(max(c*(1-c), 0) / s.Documents)
	if m.Stderr != nil {
		wide = max(wide, *m.Stderr)
	}
	return math.Abs(*m.Value-c) <= 2*wide
}

// isGroup reports whether a result is that of a group of tasks.
func (x *sampled) isGroup(s *Score) bool { return x != nil && x.tasks[s.Task] == nil && x.lost == "" }

// isPart reports whether a task is in a group, by its name: mmlu_anatomy is in mmlu.
func isPart(s, g *Score) bool { return strings.HasPrefix(s.Task, g.Task+"_") }

// metric finds a metric of a task.
func (s *Score) metric(name string) *Metric {
	for i := range s.Metrics {
		if s.Metrics[i].Name == name {
			return &s.Metrics[i]
		}
	}
	return nil
}

// score finds what an evaluation made of a task.
func (b *Block) score(task string) *Score {
	for _, s := range b.Scores {
		if s.Task == task {
			return s
		}
	}
	return nil
}
