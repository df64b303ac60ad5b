package tasks

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"stepflow/fineweb"
	"stepflow/foreign"
)

// settings are the keys of a description, with where each stands.
type settings struct {
	object fineweb.Object
	at     map[string]string // "FILE, line 3"
	where  string            // the whole
	dir    string            // where files of documents start
}

// place is where a key stands.
func (s *settings) place(key string) string {
	if at := s.at[key]; at != "" {
		return at
	}
	return s.where
}

// wrong is an error of a key.
func (s *settings) wrong(key string, err error) error {
	return fmt.Errorf("%s: %s: %w", s.place(key), key, err)
}

// function stands for the !function of YAML: Python code, which is not run.
type function string

// keys are those of a task that are read.
var keys = map[string]func(t *Task, v any) error{
	"task": func(t *Task, v any) error { return label(&t.Name, v) }, "task_alias": func(t *Task, v any) error { return label(&t.Alias, v) },
	"tag":              func(t *Task, v any) error { return labels(&t.Tags, v) },
	"dataset_path":     func(t *Task, v any) error { return text(&t.Data.Path, v) },
	"dataset_name":     func(t *Task, v any) error { return text(&t.Data.Name, v) },
	"dataset_kwargs":   func(t *Task, v any) error { return t.Data.arguments(v) },
	"data_files":       func(t *Task, v any) error { return t.Data.files(v) },
	"training_split":   func(t *Task, v any) error { return text(&t.Training, v) },
	"validation_split": func(t *Task, v any) error { return text(&t.Validation, v) },
	"test_split":       func(t *Task, v any) error { return text(&t.Test, v) },
	"fewshot_split":    func(t *Task, v any) error { return text(&t.Shots.Split, v) },
	"output_type": func(t *Task, v any) error {
		if err := text((*string)(&t.Output), v); err != nil {
			return err
		}
		return oneOf(string(t.Output), string(MultipleChoice), string(Likelihood), string(Rolling), string(Generate))
	},
	"doc_to_text":   func(t *Task, v any) error { return t.Text.set(v) },
	"doc_to_choice": func(t *Task, v any) error { return t.Choice.set(v) },
	"doc_to_target": func(t *Task, v any) error { return t.Target.set(v) },
	"doc_to_count":  func(t *Task, v any) error { return t.Count.set(v) },
	"gen_prefix":    func(t *Task, v any) error { return t.Prefix.set(v) },
	"description":   func(t *Task, v any) error { return t.Initial.set(v) },

	"doc_to_decontamination_query": func(t *Task, v any) error { return t.Query.set(v) },

	"target_delimiter":  func(t *Task, v any) error { return text(&t.TargetDelimiter, v) },
	"fewshot_delimiter": func(t *Task, v any) error { return text(&t.FewshotDelimiter, v) },
	"fewshot_config":    func(t *Task, v any) error { return t.examples(v) },
	"num_fewshot":       func(t *Task, v any) error { return whole(&t.NumFewshot, v, 0, 1000) },
	"metric_list":       func(t *Task, v any) error { return t.metrics(v) },
	"generation_kwargs": func(t *Task, v any) error { return t.Writing.set(v) },
	"filter_list":       func(t *Task, v any) error { return t.filters(v) },
	"repeats":           func(t *Task, v any) error { return whole(&t.Repeats, v, 1, 1000) },
}

// ignored are keys that change no number: what others are told, and what the harness itself does not use.
var ignored = []string{"metadata", "version", "should_decontaminate", "group_alias"}

// refused are keys that stepflow does not have, with the reason.
var refused = map[string]string{
	"process_docs":    "it is Python; say it in doc_to_text, doc_to_choice and doc_to_target",
	"process_results": "it is Python; metric_list and filter_list say what is measured",
	"custom_dataset":  "it is Python; name files with data_files",
	"use_prompt":      "prompts of promptsource are not read; write them in doc_to_text",
	"doc_to_image":    "models here read text alone", "doc_to_audio": "models here read text alone",
	"unsafe_code": "code that a model writes is not run", "class": "it is Python", "task_list": "write a file for each task",
}

// maxProblems is how many problems of a description are told.
const maxProblems = 10

// readTask makes a task of its keys.
func readTask(s *settings) (*Task, error) {
	t := &Task{Where: s.where, NumFewshot: -1, Repeats: 1, Output: Generate}
	t.TargetDelimiter, t.FewshotDelimiter = " ", "\n\n"
	t.Data.Where, t.Data.Dir, t.keys = s.where, s.dir, s.object
	var errs []error
	for _, f := range s.object {
		if at := s.place("task"); f.Name == "task" {
			t.Where = at
		}
		if err := readKey(t, f); err != nil {
			errs = append(errs, s.wrong(f.Name, err))
		}
	}
	if more := len(errs) - maxProblems; more > 0 {
		errs = append(errs[:maxProblems], fmt.Errorf("%s: and %d more", s.where, more))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := t.complete(s); err != nil {
		return nil, err
	}
	return t, nil
}

// readKey reads one key. A null is as if it were not there.
func readKey(t *Task, f fineweb.Field) error {
	if why, ok := refused[f.Name]; ok && f.Value != nil && f.Value != false {
		return fmt.Errorf("is not supported: %s", why)
	}
	if fn, ok := holdsFunction(f.Value); ok && !slices.Contains(ignored, f.Name) {
		return fmt.Errorf("!function %s is Python, which is not run: say it as a template, the name of a column or a list",
			foreign.Shown(string(fn)))
	}
	set := keys[f.Name]
	switch {
	case f.Value == nil || slices.Contains(ignored, f.Name) || refused[f.Name] != "":
		return nil
	case set == nil:
		return fmt.Errorf("there is no such key; those that are read are %s", strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
	}
	return set(t, f.Value)
}

// holdsFunction finds Python code in a value.
func holdsFunction(v any) (function, bool) {
	switch v := v.(type) {
	case function:
		return v, true
	case fineweb.List:
		for _, x := range v {
			if f, ok := holdsFunction(x); ok {
				return f, true
			}
		}
	case fineweb.Object:
		for _, x := range v {
			if f, ok := holdsFunction(x.Value); ok {
				return f, true
			}
		}
	}
	return "", false
}

// complete fills in what follows from the rest, and checks what must be there together.
func (t *Task) complete(s *settings) error {
	missing := func(key, why string) error { return fmt.Errorf("%s: the task needs %s: %s", s.where, key, why) }
	switch {
	case t.Name == "":
		return missing("task", "its name")
	case t.Eval() == "":
		return missing("test_split or validation_split", "the documents that are measured")
	case t.Data.Path == "" && t.Data.Files == nil:
		return missing("dataset_path or data_files", "where its documents are")
	case !t.Target.given():
		return missing("doc_to_target", "the right answer")
	case !t.Text.given() && t.Output != Rolling:
		return missing("doc_to_text", "what the model is given")
	case t.Output == MultipleChoice && !t.Choice.given():
		return missing("doc_to_choice", "the answers to choose from")
	}
	if t.Metrics == nil {
		for _, name := range defaultMetrics[t.Output] {
			t.Metrics = append(t.Metrics, Metric{Name: name})
		}
	}
	for i := range t.Metrics {
		if err := t.Metrics[i].complete(t.Output); err != nil {
			return s.wrong("metric_list", err)
		}
	}
	if t.Filters == nil {
		t.Filters = []Filters{{Name: "none", list: []filter{takeFirst}}}
	}
	if t.Writing.MaxTokens == 0 {
		t.Writing.MaxTokens = 256
	}
	if t.Writing.Until == nil {
		t.Writing.Until = []string{t.FewshotDelimiter}
	}
	e := &t.Example
	for own, of := range map[*field]*field{&e.Text: &t.Text, &e.Choice: &t.Choice, &e.Target: &t.Target, &t.Shots.prefix: &t.Prefix} {
		if !own.given() {
			*own = *of
		}
	}
	e.TargetDelimiter, t.Delimiter = t.TargetDelimiter, t.FewshotDelimiter
	if t.target != nil {
		e.TargetDelimiter = *t.target
	}
	if t.after != nil {
		t.Delimiter = *t.after
	}
	return nil
}

// examples reads fewshot_config.
func (t *Task) examples(v any) error {
	return each(v, map[string]func(any) error{
		"sampler": func(v any) error {
			var name string
			if err := text(&name, v); err != nil {
				return err
			}
			t.FirstN = name == "first_n"
			return oneOf(name, "default", "first_n")
		},
		"split":   func(v any) error { return text(&t.Shots.Split, v) },
		"samples": func(v any) error { return objects(&t.Samples, v) },
		"fewshot_indices": func(v any) error {
			list, ok := v.(fineweb.List)
			if !ok {
				return errors.New("it is a list of numbers")
			}
			for _, x := range list {
				var n int
				if err := whole(&n, x, 0, math.MaxInt32); err != nil {
					return err
				}
				t.Indices = append(t.Indices, n)
			}
			return nil
		},
		"doc_to_text":       func(v any) error { return t.Example.Text.set(v) },
		"doc_to_choice":     func(v any) error { return t.Example.Choice.set(v) },
		"doc_to_target":     func(v any) error { return t.Example.Target.set(v) },
		"gen_prefix":        func(v any) error { return t.Shots.prefix.set(v) },
		"fewshot_delimiter": func(v any) error { t.after = new(string); return text(t.after, v) },
		"target_delimiter":  func(v any) error { t.target = new(string); return text(t.target, v) },
	})
}

// set reads generation_kwargs.
func (g *Writing) set(v any) error {
	sample, sampled := false, false
	err := each(v, map[string]func(any) error{
		"until": func(v any) error {
			err := texts(&g.Until, v)
			if err == nil && slices.Contains(g.Until, "") {
				err = errors.New("an empty text ends every text before it begins: leave it out")
			}
			return err
		},
		"max_gen_toks":   func(v any) error { return whole(&g.MaxTokens, v, 1, 1<<24) },
		"max_new_tokens": func(v any) error { return whole(&g.MaxTokens, v, 1, 1<<24) },
		"max_tokens":     func(v any) error { return whole(&g.MaxTokens, v, 1, 1<<24) },
		"temperature":    func(v any) error { return number(&g.Temperature, v, 0, 1000) },
		"top_p":          func(v any) error { return number(&g.TopP, v, 0, 1) },
		"top_k":          func(v any) error { return whole(&g.TopK, v, 0, 1<<24) },
		"do_sample": func(v any) error {
			sampled = true
			return truth(&sample, v)
		},
	})
	switch {
	case sampled && !sample:
		g.Temperature = 0
	case err == nil && sample && g.Temperature == 0:
		err = errors.New("do_sample needs a temperature above 0")
	}
	return err
}
