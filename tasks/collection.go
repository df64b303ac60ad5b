package tasks

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"stepflow/fineweb"
	"stepflow/foreign"
)

//go:embed builtin/*.yaml
var builtin embed.FS

// builtins are the tasks that need no description.
var builtins = sync.OnceValues(func() (*Collection, error) {
	c := &Collection{Tasks: map[string]*Task{}, Groups: map[string]*Group{}, tags: map[string][]string{}, keys: map[string]*settings{}}
	files, err := fs.Glob(builtin, "builtin/*.yaml")
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, f := range files {
		if !strings.HasPrefix(path.Base(f), "_") {
			_, err := c.Load(builtin.ReadFile, f, "")
			errs = append(errs, err)
		}
	}
	return c, errors.Join(errs...)
})

// Builtin returns the tasks that stepflow has, to which others can be added.
func Builtin() *Collection {
	b, err := builtins()
	if err != nil {
		panic(err) // they are part of the program, and a test reads them
	}
	c := &Collection{Tasks: maps.Clone(b.Tasks), Groups: maps.Clone(b.Groups), tags: map[string][]string{},
		keys: maps.Clone(b.keys)}
	for tag, names := range b.tags {
		c.tags[tag] = slices.Clone(names)
	}
	return c
}

// Load adds the task or the group of a YAML file, and returns its name. read gives the file, and those it includes; files
// of documents start at dir.
func (c *Collection) Load(read func(name string) ([]byte, error), name, dir string) (string, error) {
	s, err := load(read, name)
	if err != nil {
		return "", err
	}
	s.dir = dir
	return c.add(s)
}

// Describe adds the task or the group that keys describe; where says where they stand, together and each.
func (c *Collection) Describe(keys fineweb.Object, where string, at map[string]string, dir string) (string, error) {
	return c.add(&settings{object: keys, where: where, at: at, dir: dir})
}

func (c *Collection) add(s *settings) (string, error) {
	if _, is := s.object.Get("group"); is {
		return c.addGroup(s)
	}
	t, err := readTask(s)
	if err != nil {
		return "", err
	}
	c.keys[t.Name] = s
	return t.Name, c.addTask(t)
}

// addTask adds a task, which may take the place of a built-in one.
func (c *Collection) addTask(t *Task) error {
	if other := c.Tasks[t.Name]; other != nil && !strings.HasPrefix(other.Where, "builtin/") {
		return fmt.Errorf("%s: the task %q is described in %s too", t.Where, foreign.Shown(t.Name), other.Where)
	}
	if c.Groups[t.Name] != nil {
		return fmt.Errorf("%s: there is a group %q: give the task another name", t.Where, foreign.Shown(t.Name))
	}
	c.Tasks[t.Name] = t
	for _, tag := range t.Tags {
		if !slices.Contains(c.tags[tag], t.Name) {
			c.tags[tag] = append(c.tags[tag], t.Name)
			slices.Sort(c.tags[tag])
		}
	}
	return nil
}

// addGroup adds a group, and the tasks that are described in it: each has the keys of the task of its name, if there is
// one, the group's other keys, and its own.
func (c *Collection) addGroup(s *settings) (string, error) {
	g := &Group{Where: s.place("task")}
	shared := &settings{where: s.where, at: s.at, dir: s.dir}
	var members fineweb.List
	for _, f := range s.object {
		var err error
		switch f.Name {
		case "group":
			err = label(&g.Name, f.Value)
		case "group_alias":
			err = label(&g.Alias, f.Value)
		case "task":
			members, _ = f.Value.(fineweb.List)
			if members == nil {
				err = errors.New("it is a list of tasks")
			}
		case "aggregate_metric_list":
			g.Metrics, err = groupMetrics(f.Value)
		case "tag", "metadata":
		default:
			shared.object = append(shared.object, f)
		}
		if err != nil {
			return "", s.wrong(f.Name, err)
		}
	}
	for _, m := range members {
		name, err := c.member(shared, m)
		if err == nil && slices.Contains(g.Members, name) {
			err = fmt.Errorf("%s stands twice", name)
		}
		if err != nil {
			return "", s.wrong("task", err)
		}
		g.Members = append(g.Members, name)
	}
	if g.Name == "" || len(g.Members) == 0 {
		return "", fmt.Errorf("%s: a group needs a name and tasks", s.where)
	}
	if c.Tasks[g.Name] != nil {
		return "", fmt.Errorf("%s: there is a task %q: give the group another name", s.where, foreign.Shown(g.Name))
	}
	c.Groups[g.Name] = g
	return g.Name, nil
}

// member is the name of a member of a group, which may be described there.
func (c *Collection) member(shared *settings, m any) (string, error) {
	switch m := m.(type) {
	case string:
		if len(shared.object) > 0 {
			return "", fmt.Errorf("the group has %s, which a task of its own file does not take over: describe the tasks in "+
				"the group, or leave it out", foreign.Shown(strings.Join(shared.object.Names(), ", ")))
		}
		return m, nil
	case fineweb.Object:
		own := &settings{at: map[string]string{}, where: shared.where, dir: shared.dir}
		name, _ := m.Get("task")
		if s, _ := name.(string); c.keys[s] != nil {
			own.merge(c.keys[s])
		}
		own.merge(shared)
		own.merge(&settings{object: m})
		return c.add(own)
	}
	return "", fmt.Errorf("it is a list of names and of mappings, and one is %s", kindOf(m))
}

// groupMetrics reads aggregate_metric_list.
func groupMetrics(v any) (list []GroupMetric, err error) {
	if o, ok := v.(fineweb.Object); ok {
		v = fineweb.List{o}
	}
	l, ok := v.(fineweb.List)
	if !ok {
		return nil, errors.New("it is a list of mappings")
	}
	for _, x := range l {
		m := GroupMetric{WeightBySize: true}
		err := each(x, map[string]func(any) error{
			"metric":         func(v any) error { return text(&m.Metric, v) },
			"filter_list":    func(v any) error { return texts(&m.Filters, v) },
			"weight_by_size": func(v any) error { return truth(&m.WeightBySize, v) },
			"aggregation": func(v any) error {
				var name string
				return errors.Join(text(&name, v), oneOf(name, "mean"))
			},
		})
		if err != nil {
			return nil, err
		}
		if m.Metric == "" {
			return nil, errors.New("a metric is missing")
		}
		list = append(list, m)
	}
	return list, nil
}
