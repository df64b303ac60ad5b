package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/task"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
	"stepflow/runtime/train"
	"stepflow/tasks"
)

// tasks finds what evaluations between steps ask, and what the stage's program needs to answer.
func (s *Stage) tasks(ctx context.Context, p *blocks.Planned, t *dsl.Decoded) (diags hcl.Diagnostics) {
	for i, d := range t.List("evaluate") {
		if !d.Has("tasks") {
			continue
		}
		e := s.Evaluations[i]
		if e.Tasks, diags = task.NewSuite(ctx, p.World, d, p.See); diags.HasErrors() {
			return diags
		}
		var err error
		if e.asked, err = e.Tasks.Ask(ctx, s.Tokenizer.Ready(), s.Model.MaxPositionEmbeddings); err != nil {
			return blocks.Problem(d, "tasks", "Unusable task", err)
		}
		if s.Inference == nil {
			s.Inference = &program.Inference{}
		}
		s.Inference.Widen(e.asked.Inference())
	}
	if s.Inference != nil {
		s.Inference.Widen(p.World.Bounds[p.Addr])
		if s.Tokenizer.Ready() == nil {
			p.World.Bounds[p.Addr] = *s.Inference
		}
	}
	return s.settle(t)
}

// uncompiled returns the errors of a program that cannot be compiled.
func (s *Stage) uncompiled(t *dsl.Decoded, err error) hcl.Diagnostics {
	if !errors.Is(err, program.ErrHeadAdapter) {
		return blocks.Uncompiled(t, "sequence_length", "Stage cannot be compiled", s.Micro, s.Seq, err)
	}
	list := t.List("evaluate")
	d := list[slices.IndexFunc(s.Evaluations, func(e *Evaluation) bool { return e.asked != nil && len(e.asked.Requests) > 0 })]
	return hcl.Diagnostics{d.Error("tasks", "Adapter on the head", fmt.Sprintf("The stage has an adapter on its head, and the "+
		"likelihood of a continuation cannot be computed with that between steps. Leave lm_head out of the target_modules of the "+
		"adapter, or measure the tasks after the stage: evaluate \"tasks\" %q sees the adapters merged.", d.Label))}
}

// settle finds among the values of tasks those that decide something.
func (s *Stage) settle(t *dsl.Decoded) (diags hcl.Diagnostics) {
	if s.Best != nil {
		diags = s.settleValue(t, "keep_best", s.Best)
	}
	if s.Ending != nil {
		diags = append(diags, s.settleValue(t.Block("stop_when"), "value", &s.Ending.Value)...)
	}
	return diags
}

// settleValue finds a value that an attribute names. Of an evaluation with one task the task's name may be left out.
func (s *Stage) settleValue(d *dsl.Decoded, attr string, v *train.Value) hcl.Diagnostics {
	e := s.evaluation(v.Evaluation)
	if e.Tasks == nil {
		return nil
	}
	var names []string
	for _, x := range e.Tasks.Values() {
		if v.Name == x.String() || len(e.Tasks.Told()) == 1 && v.Name == x.Name {
			v.Name, v.Higher = x.String(), x.Higher
			return nil
		}
		names = append(names, e.Name+"."+x.String())
	}
	return unknownValue(d, attr, fmt.Sprintf("evaluate %q does not give", e.Name), names)
}

// taskOf is the task whose result holds a value of an evaluation.
func (e *Evaluation) taskOf(v train.Value) string {
	for _, x := range e.Tasks.Values() {
		if x.String() == v.Name {
			return x.Task
		}
	}
	return ""
}

// answers measures what a model makes of tasks.
type answers struct {
	suite     *task.Suite
	tok       *bpe.Tokenizer
	positions int
	asked     *task.Asked
}

// Prepare reads the documents, if the plan has not.
func (a *answers) Prepare(ctx context.Context) (err error) {
	a.asked, err = a.suite.Ask(ctx, a.tok, a.positions)
	return err
}

// Close does nothing.
func (*answers) Close() error { return nil }

// Measure has the model answer.
func (a *answers) Measure(ctx context.Context, m *train.Model) (*train.Measured, error) {
	scores, flaw, err := a.score(ctx, m)
	var written []string
	var n int64
	var flawed string
	if err == nil {
		written, n, flawed, err = a.write(ctx, m)
	}
	if ctx.Err() != nil {
		err = observe.ErrInterrupted
	}
	if err != nil {
		return nil, err
	}
	results, notes, err := a.asked.Results(scores, written, nil)
	if err != nil {
		return nil, err
	}
	var higher []string
	for _, v := range a.suite.Values() {
		if v.Higher {
			higher = append(higher, v.String())
		}
	}
	slices.Sort(higher)
	return &train.Measured{Values: a.suite.Numbers(results), Higher: higher, Tokens: a.asked.Tokens() + n,
		Notes: append(notes, a.asked.Odd(a.positions)...),
		Flaw: func() (string, error) {
			return cmp.Or(flaw, flawed, "what the model gave is finite, but not what is made of it"), nil
		}}, nil
}

// score has continuations scored; flaw says why a likelihood is not a number.
func (a *answers) score(ctx context.Context, m *train.Model) (scores []tasks.Answer, flaw string, err error) {
	if len(a.asked.Requests) == 0 {
		return nil, "", nil
	}
	model, err := m.Scorer()
	if err != nil {
		return nil, "", err
	}
	scores, err = a.asked.Score(ctx, model, nil)
	return scores, model.Diagnosis, err
}

// write has prompts continued, by n tokens in all; flaw says why one was not.
func (a *answers) write(ctx context.Context, m *train.Model) (written []string, n int64, flaw string, err error) {
	if len(a.asked.Prompts) == 0 {
		return nil, 0, "", nil
	}
	model, err := m.Generator()
	if err != nil {
		return nil, 0, "", err
	}
	return a.asked.Write(ctx, model)
}
