package tasks

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Key is the name of a number among a result's metrics.
type Key struct {
	Name   string
	Higher bool // whether a higher one is better
}

// Keys are the metrics that the result of a task or a group has, by name.
func (c *Collection) Keys(name string) (list []Key) {
	if t := c.Tasks[name]; t != nil {
		for _, m := range t.Metrics {
			list = append(list, t.keysOf(m)...)
		}
		return list
	}
	g := c.Groups[name]
	leaves, _ := c.Leaves(name)
	for _, m := range g.Metrics {
		for _, key := range m.keys(leaves) {
			if k, ok := firstKey(leaves, key); ok {
				list = append(list, k)
			}
		}
	}
	return list
}

// keysOf are the names of a metric under each filter.
func (t *Task) keysOf(m Metric) (list []Key) {
	for i := range t.Filters {
		list = append(list, Key{strings.TrimSuffix(m.Name+","+t.Filters[i].Name, ",none"), m.HigherIsBetter})
	}
	return list
}

// firstKey finds a metric by its name, at the first task that has it.
func firstKey(leaves []*Task, name string) (Key, bool) {
	for _, t := range leaves {
		for _, m := range t.Metrics {
			for _, k := range t.keysOf(m) {
				if k.Name == name {
					return k, true
				}
			}
		}
	}
	return Key{}, false
}

// Pool makes the result of a group from those results that its tasks have, nil if they have none. notes say which metrics
// some of the tasks lack.
func (c *Collection) Pool(g *Group, results map[string]*Result) (s *Result, notes []string, err error) {
	leaves, err := c.Leaves(g.Name)
	if err != nil {
		return nil, nil, err
	}
	leaves = slices.DeleteFunc(slices.Clone(leaves), func(t *Task) bool { return results[t.Name] == nil })
	if len(leaves) == 0 {
		return nil, nil, nil
	}
	s = &Result{Name: g.Name, Metrics: map[string]float64{}, Stderr: map[string]float64{}}
	chance := 0.0
	for _, t := range leaves {
		r := results[t.Name]
		s.Documents += r.Documents
		chance += r.Chance * float64(r.Documents)
	}
	s.Chance = chance / float64(s.Documents)
	for _, m := range g.Metrics {
		for _, key := range m.keys(leaves) {
			if note := s.pool(key, m.WeightBySize, leaves, results); note != "" {
				notes = append(notes, note)
			}
		}
	}
	return s, notes, nil
}

// keys are the metrics of tasks that a group has a mean of.
func (m *GroupMetric) keys(leaves []*Task) (list []string) {
	filters := m.Filters
	if filters == nil {
		for _, t := range leaves {
			for i := range t.Filters {
				if !slices.Contains(filters, t.Filters[i].Name) {
					filters = append(filters, t.Filters[i].Name)
				}
			}
		}
		slices.Sort(filters)
	}
	for _, f := range filters {
		list = append(list, strings.TrimSuffix(m.Metric+","+f, ",none"))
	}
	return list
}

// pool adds the mean of a metric over tasks, weighted by their documents or not, and its standard error: of a weighted
// mean the pooled one, which is about that of all documents together.
func (s *Result) pool(key string, weighted bool, leaves []*Task, results map[string]*Result) (note string) {
	var values, errors, sizes []float64
	for _, t := range leaves {
		r := results[t.Name]
		v, ok := r.Metrics[key]
		if !ok {
			continue
		}
		values, sizes = append(values, v), append(sizes, float64(r.Documents))
		if e, ok := r.Stderr[key]; ok {
			errors = append(errors, e)
		}
	}
	n := len(values)
	switch {
	case n == 0:
		return fmt.Sprintf("no task of the group %s has the metric %s", s.Name, key)
	case n < len(leaves):
		note = fmt.Sprintf("%d of the %d tasks of the group %s have the metric %s: its mean is over those", n, len(leaves), s.Name, key)
	}
	weight := func(i int) float64 {
		if weighted {
			return sizes[i]
		}
		return 1
	}
	s.Metrics[key] = sum(n, func(i int) float64 { return values[i] * weight(i) }) / sum(n, weight)
	square := func(i int) float64 { return errors[i] * errors[i] }
	switch {
	case len(errors) < n:
	case weighted:
		all := sum(n, weight)
		s.Stderr[key] = math.Sqrt(sum(n, func(i int) float64 { return (sizes[i] - 1) * square(i) * sizes[i] }) / (all - float64(n)) / all)
	default:
		s.Stderr[key] = math.Sqrt(sum(n, square)) / float64(n)
	}
	return note
}
