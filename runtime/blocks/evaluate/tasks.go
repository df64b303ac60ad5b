package evaluate

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
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/task"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
	"stepflow/tasks"
)

// scoring is the work of Tasks.
const scoring blocks.Work = "tasks"

// Tasks measures a model on downstream tasks.
type Tasks struct {
	*Subject
	Names []string // of tasks and groups, as they are asked for
	Limit int      // of documents a task; 0 for all
	Seed  uint64

	all    *tasks.Collection
	leaves []*leaf
	asked  *tasks.Questions  // once they are made
	beside []checkpoint.Part // what is kept beside the values, once it has run
}

// leaf is a task, with where its documents are.
type leaf struct {
	*tasks.Task
	shots           int
	eval, examples  fineweb.Source // examples is without patterns where there are none
	documents       int64          // of the split that is measured; JSON lines may be blank
	asked, requests int
}

// Plan finds the tasks and their files.
func (e *Tasks) Plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded, _ int) hcl.Diagnostics {
	e.Limit, e.Seed = d.Int("limit"), uint64(d.Int("fewshot_seed"))
	if diags := e.find(p, d); diags.HasErrors() {
		return diags
	}
	if err := e.override(p, d); err != nil {
		return blocks.Problem(d, "data_files", "Unusable files", err)
	}
	identity := sha256.New()
	for _, x := range e.leaves {
		if err := x.plan(ctx, p.World, d, identity); err != nil {
			attr := "tasks"
			if d.Given("data_files") {
				attr = "data_files"
			}
			return blocks.Problem(d, attr, "Unusable task", fmt.Errorf("%s: %w", x.Name, err))
		}
	}
	delete(p.Hashed, "data_files") // their content is hashed
	p.Hashed["num_fewshot"] = ""
	p.Hashed["documents"] = hex.EncodeToString(identity.Sum(nil))
	return nil
}

// find reads which tasks are meant.
func (e *Tasks) find(p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	wrong := func(format string, args ...any) hcl.Diagnostics {
		return hcl.Diagnostics{d.Error("tasks", "Unusable task", fmt.Sprintf(format, args...))}
	}
	e.all = tasks.Builtin()
	v := d.Value("tasks")
	if !v.CanIterateElements() || v.Type().IsObjectType() {
		return wrong("tasks is a list of names, of files and of task blocks.")
	}
	for it := v.ElementIterator(); it.Next(); {
		_, x := it.Element()
		name, err := e.name(p, x)
		if err != nil {
			return blocks.Problem(d, "tasks", "Unusable task", err)
		}
		if slices.Contains(e.Names, name) {
			return wrong("%s stands twice in tasks.", name)
		}
		e.Names = append(e.Names, name)
	}
	for _, name := range e.Names {
		list, err := e.all.Leaves(name)
		if unknown := (tasks.Unknown{}); errors.As(err, &unknown) {
			return wrong("%v.%s There are %s.", err, dsl.Suggest(unknown.Name, e.all.Names()), strings.Join(e.shown(), ", "))
		}
		if err != nil {
			return wrong("%v.", err)
		}
		for _, t := range list {
			if !slices.ContainsFunc(e.leaves, func(x *leaf) bool { return x.Name == t.Name }) {
				e.leaves = append(e.leaves, &leaf{Task: t})
			}
		}
	}
	return nil
}

// shown are the tasks to choose from, without the parts of groups.
func (e *Tasks) shown() []string {
	return slices.DeleteFunc(e.all.Names(), func(name string) bool { return strings.HasPrefix(name, "mmlu_") })
}

// name is that of a task in the collection, to which a file or a block adds one.
func (e *Tasks) name(p *blocks.Planned, v cty.Value) (string, error) {
	if v.Type() == cty.String && !v.IsNull() {
		name := v.AsString()
		if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" {
			return task.Load(p.World, e.all, name)
		}
		return name, nil
	}
	if t := v.Type(); t.IsObjectType() && t.HasAttribute("address") && t.AttributeType("address") == cty.String {
		at := v.GetAttr("address")
		if at.IsNull() {
			return "", errors.New("tasks holds an address that is null: refer to a block, as in tasks = [task.NAME]")
		}
		a, err := addr.Parse(at.AsString())
		if err == nil && p.World.Find(a) == nil {
			err = fmt.Errorf("%s is not a block that was planned before this one: refer to it, as in tasks = [task.NAME]", a)
		}
		if err != nil {
			return "", err
		}
		if t, ok := p.Use(a).(*task.Task); ok {
			return t.Describe(e.all)
		}
		return "", fmt.Errorf("%s is not a task block", a)
	}
	return "", errors.New("tasks is a list of names, of files and of task blocks")
}

// override gives tasks other files.
func (e *Tasks) override(p *blocks.Planned, d *dsl.Decoded) error {
	if !d.Given("data_files") {
		return nil
	}
	plain, err := task.Plain(d.Value("data_files"))
	if err != nil {
		return err
	}
	o, ok := plain.(fineweb.Object)
	if !ok {
		return errors.New("data_files is an object of globs by the name of a task or a group")
	}
	// Groups come first: what is said of a task itself counts more.
	slices.SortStableFunc(o, func(a, b fineweb.Field) int { return isTask(e.all, a.Name) - isTask(e.all, b.Name) })
	for _, f := range o {
		list, err := e.all.Leaves(f.Name)
		if err != nil {
			return err
		}
		for _, t := range list {
			i := slices.IndexFunc(e.leaves, func(x *leaf) bool { return x.Name == t.Name })
			if i < 0 {
				return fmt.Errorf("%q is not among the tasks", f.Name)
			}
			if e.leaves[i].Task, err = t.WithFiles(f.Value, p.World.Dir); err != nil {
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
func (x *leaf) plan(ctx context.Context, w *blocks.World, d *dsl.Decoded, identity io.Writer) error {
	if x.shots = max(x.NumFewshot, 0); d.Given("num_fewshot") && x.NumFewshot != 0 {
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
	read := func(s fineweb.Source, n int) ([]*tasks.Document, error) {
		docs, err := tasks.OpenDocuments(ctx, s)
		if err != nil {
			return nil, err
		}
		defer docs.Close()
		return docs.First(n)
	}
	documents, err := read(x.eval, limit)
	if err != nil {
		return nil, err
	}
	examples := tasks.Given(x.Samples)
	if x.examples.Patterns != nil {
		if examples, err = read(x.examples, 0); err != nil {
			return nil, err
		}
	}
	return tasks.NewRequests(x.Task, x.shots, documents, examples, seed)
}

// question makes all requests, once.
func (e *Tasks) question(ctx context.Context, tok *bpe.Tokenizer) (*tasks.Questions, error) {
	if e.asked != nil {
		return e.asked, nil
	}
	var list []*tasks.Requests
	for _, x := range e.leaves {
		r, err := x.ask(ctx, e.Limit, e.Seed)
		if err != nil {
			return nil, err
		}
		x.asked, x.requests = len(r.Items), len(r.List)
		list = append(list, r)
	}
	if tok == nil {
		return tasks.Unencoded(list, e.Model.MaxPositionEmbeddings), nil
	}
	var err error
	e.asked, err = tasks.NewEncoder(tok, e.Model.MaxPositionEmbeddings).Encode(list)
	return e.asked, err
}

// inference is the program for questions, with its requests.
func (e *Tasks) inference(q *tasks.Questions) (x program.Inference, requests []forward.Request, prompts []forward.Prompt) {
	for _, p := range q.Pairs {
		requests = append(requests, forward.Request{Context: p.Context, Continuation: p.Continuation})
	}
	x = program.Inference{Model: e.Model, Params: e.Params, DType: e.DType}
	x.Context, x.Continuation = forward.LongestRequest(requests)
	for _, p := range q.Prompts {
		x.Context = max(x.Context, len(p.IDs)+p.Writing.MaxTokens)
		prompts = append(prompts, forward.Prompt{IDs: p.IDs, NewTokens: p.Writing.MaxTokens, Draw: p.Draw,
			Sampling: forward.Sampling{Temperature: p.Writing.Temperature, TopK: p.Writing.TopK, TopP: p.Writing.Top(),
				Seed: e.Seed}})
	}
	x.Texts = min(len(prompts), mostTexts)
	return x, requests, prompts
}

// Forecast makes the requests, and predicts what they take.
func (e *Tasks) Forecast(ctx context.Context, p *blocks.Planned, d *dsl.Decoded, f *blocks.Forecast) hcl.Diagnostics {
	q, err := e.question(ctx, e.Tokenizer.Ready())
	if err != nil {
		return blocks.Problem(d, "tasks", "Unusable task", err)
	}
	x, requests, prompts := e.inference(q)
	compiled, err := p.World.Programs.Inference(&x)
	if err != nil {
		return blocks.Problem(d, "tasks", "Evaluation cannot be compiled", err)
	}
	f.Program(compiled)
	for _, r := range requests {
		f.Tokens += int64(len(r.Continuation))
	}
	f.How = fineweb.Exact
	f.FLOPs = forward.ScoringFLOPs(compiled, x, requests)
	if len(prompts) > 0 {
		f.FLOPs += forward.GeneratingFLOPs(compiled, x, prompts)
	}
	f.Predict(p.World, scoring, e.DType, compiled, e.segment(x, requests))
	p.CheckFits(f.Peak, "the evaluation", "Lower num_fewshot, or leave the task with the longest documents out")
	return nil
}

// segment is the one that most of the work is of: the longest context, or a token of a text.
func (e *Tasks) segment(x program.Inference, requests []forward.Request) string {
	if len(requests) == 0 {
		return program.SegDecode
	}
	lengths := x.ContextLengths()
	return program.SegContext(lengths[len(lengths)-1])
}

// Documents returns nil: tasks are no documents of the pipeline.
func (*Tasks) Documents() (*data.Data, fineweb.Windows) { return nil, fineweb.Windows{} }

// Details returns what is asked, and what it takes.
func (e *Tasks) Details(f *blocks.Forecast) (list []blocks.Line) {
	for _, name := range e.Names {
		leaves, _ := e.all.Leaves(name)
		documents, requests, shots, parts := 0, 0, 0, 0
		for _, x := range e.leaves {
			if slices.ContainsFunc(leaves, func(t *tasks.Task) bool { return t.Name == x.Name }) {
				documents, requests, shots, parts = documents+x.asked, requests+x.requests, max(shots, x.shots), parts+1
			}
		}
		text := fmt.Sprintf("%s, %s", words.Plural(documents, "document"), words.Plural(requests, "request"))
		if parts > 1 {
			text = words.Plural(parts, "task") + ", " + text
		}
		if shots > 0 {
			text += ", " + words.Plural(shots, "example") + " in each prompt"
		}
		list = append(list, blocks.Line{About: name, Text: text})
	}
	return append(list, blocks.Line{About: "takes", Text: fmt.Sprintf("%s tokens to score; %sFLOP%s", words.Count(f.Tokens),
		words.Count(f.FLOPs), f.Time("FLOP/s", "the last one like it"))})
}
