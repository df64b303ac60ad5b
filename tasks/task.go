// Package tasks measures language models on downstream tasks, with the prompts, the requests and the metrics of
// EleutherAI's lm-evaluation-harness 0.4, so that the numbers are those that it gives for the same model. A task is data:
// a YAML file with the keys that the harness has, or the same keys in a block of the pipeline. The package asks a model
// nothing: it makes requests of documents (Requests), and metrics of the answers (Task.Score).
package tasks

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"stepflow/fineweb"
	"stepflow/foreign"
)

// Output is what a task asks of a model.
type Output string

const (
	MultipleChoice Output = "multiple_choice"       // which of several continuations is likeliest
	Likelihood     Output = "loglikelihood"         // how likely the one right continuation is
	Rolling        Output = "loglikelihood_rolling" // how likely a whole text is
	Generate       Output = "generate_until"        // what it writes, up to a stop
)

// Task is how a model is asked, and how its answers are measured.
type Task struct {
	Name  string
	Alias string // a shorter name to show
	Tags  []string
	Where string // where it is described: file and line

	Output Output
	Data   Dataset

	// Splits of the data; "" for none. Documents to measure are those of the test split, or else of the validation split.
	Training, Validation, Test string

	Form    // of the document that is asked about
	Shots   // and of the examples before it
	Prefix  field
	Count   field // the text whose words and bytes a rolling likelihood is divided by; the target by default
	Initial field // "description": the text before all
	Query   field // "doc_to_decontamination_query": what is looked for in training data, instead of question and answer

	NumFewshot       int    // -1 where it is not said
	FewshotDelimiter string // what ends a text, where no example says otherwise
	Metrics          []Metric
	Writing          Writing
	Filters          []Filters
	Repeats          int

	keys fineweb.Object // as they are described
}

// Form is how a document becomes text.
type Form struct {
	Text, Choice, Target field
	TargetDelimiter      string
}

// Shots are the examples in a prompt.
type Shots struct {
	Split     string // of which they are; "" for the usual one, or Samples
	Samples   []fineweb.Object
	Indices   []int // the only rows of Split that serve
	FirstN    bool  // the first ones, instead of random ones
	Example   Form
	Delimiter string // after each
	prefix    field

	target, after *string // Example.TargetDelimiter and Delimiter, where fewshot_config has them
}

// Writing is how a model writes.
type Writing struct {
	Until       []string
	MaxTokens   int
	Temperature float64 // 0 for the likeliest token
	TopP        float64
	TopK        int
}

// Top is the probability of the likeliest tokens that are drawn from, all where none is given.
func (g *Writing) Top() float64 {
	if g.TopP == 0 {
		return 1
	}
	return g.TopP
}

// Eval is the split that is measured.
func (t *Task) Eval() string {
	if t.Test != "" {
		return t.Test
	}
	return t.Validation
}

// ExampleSplit is the split that examples come from; "" where the task itself holds them.
func (t *Task) ExampleSplit() string {
	switch {
	case t.Shots.Split != "":
		return t.Shots.Split
	case t.Samples != nil:
		return ""
	case t.Training != "":
		return t.Training
	case t.Validation != "":
		return t.Validation
	}
	return t.Test
}

// excludes reports whether the document that is asked about may not be among its examples.
func (t *Task) excludes() bool { return t.Shots.Split == t.Test }

// Identity writes what the numbers of the task depend on, apart from its documents.
func (t *Task) Identity(w io.Writer) {
	for _, f := range t.keys {
		if !slices.Contains(ignored, f.Name) && !slices.Contains([]string{"tag", "task_alias", "dataset_path", "dataset_name",
			"dataset_kwargs", "data_files"}, f.Name) {
			fmt.Fprintf(w, "%s %#v\n", f.Name, f.Value)
		}
	}
}

// With is the task with other files, by split, which start at dir.
func (t *Task) With(files map[string][]string, dir string) *Task {
	o := *t
	o.Data.Files, o.Data.Dir = files, dir
	return &o
}

// Shown is the name to show.
func (t *Task) Shown() string {
	if t.Alias != "" {
		return t.Alias
	}
	return t.Name
}

// Group is a task made of others.
type Group struct {
	Name, Alias string
	Where       string   // it is described: file and line
	Members     []string // names of tasks and groups, in order
	Metrics     []GroupMetric
}

// GroupMetric is a mean of a metric over the tasks of a group.
type GroupMetric struct {
	Metric       string
	Filters      []string // nil for those that the tasks have
	WeightBySize bool
}

// Collection is what is known by name: tasks, and groups of them.
type Collection struct {
	Tasks  map[string]*Task
	Groups map[string]*Group
	tags   map[string][]string  // names of tasks by tag
	keys   map[string]*settings // of each task
}

// Names are those of all tasks and groups, sorted.
func (c *Collection) Names() (list []string) {
	for name := range c.Tasks {
		list = append(list, name)
	}
	for name := range c.Groups {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// Leaves are the tasks that a name stands for: of a group or a tag all of them, in order.
func (c *Collection) Leaves(name string) ([]*Task, error) {
	list, err := c.leaves(name, nil)
	if g := c.Groups[name]; err == nil && g != nil {
		seen := map[*Task]bool{}
		for _, t := range list {
			if seen[t] {
				return nil, fmt.Errorf("%s: the task %s is in the group %s more than once, and would count as often", g.Where, t.Name, name)
			}
			seen[t] = true
		}
	}
	return list, err
}

// Unknown is the error of a name that no task, group or tag has.
type Unknown struct{ Name, where string }

func (e Unknown) Error() string {
	return fmt.Sprintf("%sthere is no task, group or tag %q", e.where, foreign.Shown(e.Name))
}

// Bounds of a group: how deep groups are in groups, and how many tasks there are in it.
const (
	maxGroupDeep  = 32
	maxGroupTasks = 1 << 14
)

func (c *Collection) leaves(name string, above []string) (list []*Task, err error) {
	if t := c.Tasks[name]; t != nil {
		return []*Task{t}, nil
	}
	members, where := c.tags[name], ""
	if g := c.Groups[name]; g != nil {
		members, where = g.Members, g.Where+": "
	}
	switch {
	case members == nil:
		return nil, Unknown{name, ""}
	case slices.Contains(above, name):
		return nil, fmt.Errorf("%sthe group %q holds itself", where, name)
	case len(above) > maxGroupDeep:
		return nil, fmt.Errorf("%sgroups hold groups more than %d deep", where, maxGroupDeep)
	}
	for _, m := range members {
		inside, err := c.leaves(m, append(slices.Clone(above), name))
		if unknown := (Unknown{}); errors.As(err, &unknown) && unknown.where == "" {
			err = Unknown{unknown.Name, where}
		}
		if err != nil {
			return nil, err
		}
		if list = append(list, inside...); len(list) > maxGroupTasks {
			return nil, fmt.Errorf("%sthe group %q has more than %d tasks", where, name, maxGroupTasks)
		}
	}
	return list, nil
}
