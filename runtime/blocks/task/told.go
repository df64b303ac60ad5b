package task

import (
	"fmt"
	"strings"

	"stepflow/runtime/blocks"
	"stepflow/runtime/words"
	"stepflow/tasks"
)

// Group reports whether a name stands for a group, whose documents are those of its tasks.
func (s *Suite) Group(name string) bool { return s.all.Groups[name] != nil }

// Told are the tasks and groups whose results are told: the names asked for, and instead of a tag its tasks.
func (s *Suite) Told() (list []string) {
	for _, name := range s.Names {
		if s.all.Tasks[name] != nil || s.Group(name) {
			list = append(list, name)
			continue
		}
		leaves, _ := s.all.Leaves(name)
		for _, t := range leaves {
			list = append(list, t.Name)
		}
	}
	return list
}

// Value is a number among the results of a suite.
type Value struct {
	Task string // or group
	tasks.Key
}

func (v Value) String() string { return v.Task + "." + v.Name }

// Values are the metrics of those that are told.
func (s *Suite) Values() (list []Value) {
	for _, name := range s.Told() {
		for _, k := range s.all.Keys(name) {
			list = append(list, Value{name, k})
		}
	}
	return list
}

// Numbers are the metrics of those that are told, with their standard errors, as "hellaswag.acc" and
// "hellaswag.acc_stderr".
func (s *Suite) Numbers(results map[string]*tasks.Result) map[string]float64 {
	list := map[string]float64{}
	for _, name := range s.Told() {
		r := results[name]
		for key, x := range r.Metrics {
			list[name+"."+key] = x
		}
		for key, x := range r.Stderr {
			list[name+"."+blocks.StderrName(key)] = x
		}
	}
	return list
}

// Summary says how much is asked, once that is known.
func (s *Suite) Summary() string {
	return strings.Join(s.Names, ", ") + ", " + amount(s.leaves)
}

// amount says how much is asked of some tasks.
func amount(leaves []*leaf) string {
	documents, requests := 0, 0
	for _, x := range leaves {
		documents, requests = documents+x.asked, requests+x.requests
	}
	return fmt.Sprintf("%s, %s", words.Plural(documents, "document"), words.Plural(requests, "request"))
}

// Lines say how much is asked, once that is known.
func (s *Suite) Lines() (list []blocks.Line) {
	for _, name := range s.Names {
		leaves := s.leavesOf(name)
		shots := 0
		for _, x := range leaves {
			shots = max(shots, x.shots)
		}
		text := amount(leaves)
		if len(leaves) > 1 {
			text = words.Plural(len(leaves), "task") + ", " + text
		}
		if shots > 0 {
			text += ", " + words.Plural(shots, "example") + " in each prompt"
		}
		list = append(list, blocks.Line{About: name, Text: text})
	}
	return list
}
