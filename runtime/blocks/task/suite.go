package task

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/runtime/blocks"
	"stepflow/tasks"
)

// Suite is what a model is asked: the tasks that the attributes tasks, data_files, num_fewshot, limit and fewshot_seed of a
// block name.
type Suite struct {
	Names []string // of tasks and groups, as they are asked for
	Limit int      // of documents a task; 0 for all
	Seed  uint64

	alone    bool // the documents that are measured, without examples
	all      *tasks.Collection
	leaves   []*leaf
	identity string
	asked    *Asked // once it is known in the model's tokens
}

// leaf is a task, with where its documents are.
type leaf struct {
	*tasks.Task
	shots           int
	eval, examples  fineweb.Source // examples is without patterns where there are none
	documents       int64          // of the split that is measured; JSON lines may be blank
	identity        string         // a hash of the task, its examples and its documents
	asked, requests int
}

// NewSuite finds the tasks that a block names, and their files. use gives the block of an address.
func NewSuite(ctx context.Context, w *blocks.World, d *dsl.Decoded, use func(addr.Addr) blocks.Block) (*Suite, hcl.Diagnostics) {
	return newSuite(ctx, w, d, use, &Suite{Limit: d.Int("limit"), Seed: uint64(d.Int("fewshot_seed"))})
}

// NewDocuments finds the documents of the tasks that a block names by tasks and data_files. No model is asked about them.
func NewDocuments(ctx context.Context, w *blocks.World, d *dsl.Decoded, use func(addr.Addr) blocks.Block) (*Suite, hcl.Diagnostics) {
	return newSuite(ctx, w, d, use, &Suite{alone: true})
}

func newSuite(ctx context.Context, w *blocks.World, d *dsl.Decoded, use func(addr.Addr) blocks.Block, s *Suite) (*Suite, hcl.Diagnostics) {
	s.all = tasks.Builtin()
	if diags := s.find(w, d, use); diags.HasErrors() {
		return nil, diags
	}
	if err := s.override(w, d); err != nil {
		return nil, blocks.Problem(d, "data_files", "Unusable files", err)
	}
	identity := sha256.New()
	for _, x := range s.leaves {
		own := sha256.New()
		if err := x.plan(ctx, w, d, s.alone, io.MultiWriter(identity, own)); err != nil {
			attr := "tasks"
			if d.Given("data_files") {
				attr = "data_files"
			}
			return nil, blocks.Problem(d, attr, "Unusable task", fmt.Errorf("%s: %w", x.Name, err))
		}
		x.identity = hex.EncodeToString(own.Sum(nil))
	}
	s.identity = hex.EncodeToString(identity.Sum(nil))
	return s, nil
}

// Identity is a hash of the tasks, their examples and their documents, apart from Names, Limit and Seed.
func (s *Suite) Identity() string { return s.identity }

// Of identifies what decides the numbers of one of Told.
func (s *Suite) Of(name string) string {
	text := fmt.Sprintf("%s limit %d seed %d", name, s.Limit, s.Seed)
	for _, x := range s.leavesOf(name) {
		text += " " + x.identity
	}
	return text
}

// leaf returns a task of the suite by its name; nil if it has none of that name.
func (s *Suite) leaf(name string) *leaf {
	if i := slices.IndexFunc(s.leaves, func(x *leaf) bool { return x.Name == name }); i >= 0 {
		return s.leaves[i]
	}
	return nil
}

// leavesOf lists the tasks of the suite that a name stands for, in the order of the suite.
func (s *Suite) leavesOf(name string) (list []*leaf) {
	named, _ := s.all.Leaves(name)
	for _, x := range s.leaves {
		if slices.ContainsFunc(named, func(t *tasks.Task) bool { return t.Name == x.Name }) {
			list = append(list, x)
		}
	}
	return list
}

// find reads which tasks are meant.
func (s *Suite) find(w *blocks.World, d *dsl.Decoded, use func(addr.Addr) blocks.Block) hcl.Diagnostics {
	wrong := func(format string, args ...any) hcl.Diagnostics {
		return hcl.Diagnostics{d.Error("tasks", "Unusable task", fmt.Sprintf(format, args...))}
	}
	v := d.Value("tasks")
	if !v.CanIterateElements() || v.Type().IsObjectType() {
		return wrong("tasks is a list of names, of files and of task blocks.")
	}
	for it := v.ElementIterator(); it.Next(); {
		_, x := it.Element()
		name, err := s.name(w, x, use)
		if err != nil {
			return blocks.Problem(d, "tasks", "Unusable task", err)
		}
		if slices.Contains(s.Names, name) {
			return wrong("%s stands twice in tasks.", name)
		}
		s.Names = append(s.Names, name)
	}
	for _, name := range s.Names {
		list, err := s.all.Leaves(name)
		if unknown := (tasks.Unknown{}); errors.As(err, &unknown) {
			return wrong("%v.%s There are %s.", err, dsl.Suggest(unknown.Name, s.all.Names()), strings.Join(s.shown(), ", "))
		}
		if err != nil {
			return wrong("%v.", err)
		}
		for _, t := range list {
			if s.leaf(t.Name) == nil {
				s.leaves = append(s.leaves, &leaf{Task: t})
			}
		}
	}
	return nil
}

// shown are the tasks to choose from, without the parts of groups.
func (s *Suite) shown() []string {
	return slices.DeleteFunc(s.all.Names(), func(name string) bool { return strings.HasPrefix(name, "mmlu_") })
}

// name returns the name of the task that an element of tasks stands for. A task of a file or a block is added to the
// collection first.
func (s *Suite) name(w *blocks.World, v cty.Value, use func(addr.Addr) blocks.Block) (string, error) {
	if v.Type() == cty.String && !v.IsNull() {
		name := v.AsString()
		if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" {
			return Load(w, s.all, name)
		}
		return name, nil
	}
	if t := v.Type(); t.IsObjectType() && t.HasAttribute("address") && t.AttributeType("address") == cty.String {
		at := v.GetAttr("address")
		if at.IsNull() {
			return "", errors.New("tasks holds an address that is null: refer to a block, as in tasks = [task.NAME]")
		}
		a, err := addr.Parse(at.AsString())
		if err == nil && w.Find(a) == nil {
			err = fmt.Errorf("%s is not a block that was planned before this one: refer to it, as in tasks = [task.NAME]", a)
		}
		if err != nil {
			return "", err
		}
		if t, ok := use(a).(*Task); ok {
			return t.Describe(s.all)
		}
		return "", fmt.Errorf("%s is not a task block", a)
	}
	return "", errors.New("tasks is a list of names, of files and of task blocks")
}

// override gives tasks other files.
func (s *Suite) override(w *blocks.World, d *dsl.Decoded) error {
	if !d.Given("data_files") {
		return nil
	}
	plain, err := Plain(d.Value("data_files"))
	if err != nil {
		return err
	}
	o, ok := plain.(fineweb.Object)
	if !ok {
		return errors.New("data_files is an object of globs by the name of a task or a group")
	}
	// Groups come first: what is said of a task itself counts more.
	slices.SortStableFunc(o, func(a, b fineweb.Field) int { return isTask(s.all, a.Name) - isTask(s.all, b.Name) })
	for _, f := range o {
		list, err := s.all.Leaves(f.Name)
		if err != nil {
			return err
		}
		for _, t := range list {
			x := s.leaf(t.Name)
			if x == nil {
				return fmt.Errorf("%q is not among the tasks", f.Name)
			}
			if x.Task, err = t.WithFiles(f.Value, w.Dir); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
		}
	}
	return nil
}

func isTask(c *tasks.Collection, name string) int {
	if c.Tasks[name] != nil {
		return 1
	}
	return 0
}

// plan finds the files of a task, and writes what its numbers depend on.
func (x *leaf) plan(ctx context.Context, w *blocks.World, d *dsl.Decoded, alone bool, identity io.Writer) error {
	switch x.shots = max(x.NumFewshot, 0); {
	case alone:
		x.shots = 0
	case d.Given("num_fewshot") && x.NumFewshot != 0:
		x.shots = d.Int("num_fewshot")
	}
	fmt.Fprintf(identity, "task %s, %d examples\n", x.Name, x.shots)
	x.Identity(identity)
	open := func(split string) (fineweb.Source, int64, error) {
		s, err := x.Data.Source(split)
		if err != nil {
			return s, 0, err
		}
		s.Hasty, s.Cache, s.Hashing = !w.Patient, w.Cache, w.Hashing
		docs, err := tasks.OpenDocuments(ctx, s)
		if errors.Is(err, fineweb.ErrUnreachable) {
			err = fmt.Errorf("%w; data_files names files that are here", err)
		}
		if err != nil {
			return s, 0, err
		}
		defer docs.Close()
		id, err := docs.Rows.Identity()
		fmt.Fprintf(identity, "%s %s\n", split, id)
		return docs.Rows.Source(), docs.Rows.Count, err
	}
	var err error
	if x.eval, x.documents, err = open(x.Eval()); err != nil || x.shots == 0 {
		return err
	}
	if split := x.ExampleSplit(); split != "" {
		x.examples, _, err = open(split)
		if err != nil && x.Data.Files != nil && x.Data.Files[split] == nil {
			err = fmt.Errorf("%w; its examples come from there: write {split} in the glob, or an object of globs by split", err)
		}
	}
	return err
}

// ask makes the requests of a task.
func (x *leaf) ask(ctx context.Context, limit int, seed uint64) (*tasks.Requests, error) {
	documents, err := read(ctx, x.eval, limit)
	if err != nil {
		return nil, err
	}
	examples := tasks.Given(x.Samples)
	if x.examples.Patterns != nil {
		if examples, err = read(ctx, x.examples, 0); err != nil {
			return nil, err
		}
	}
	return tasks.NewRequests(x.Task, x.shots, documents, examples, seed)
}

// read reads the first documents of a source, all where n is 0.
func read(ctx context.Context, s fineweb.Source, n int) ([]*tasks.Document, error) {
	docs, err := tasks.OpenDocuments(ctx, s)
	if err != nil {
		return nil, err
	}
	defer docs.Close()
	return docs.First(n)
}
