package task

import (
	"context"
	"fmt"
	"io"

	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
	"stepflow/tasks"
)

// MostTexts is how many prompts are continued at once.
const MostTexts = 16

// Asked is what the tasks of a suite ask of a model, in its tokens.
type Asked struct {
	Requests []forward.Request // to be scored
	Prompts  []forward.Prompt  // to be continued

	suite     *Suite
	questions *tasks.Questions
	before    int // prompts of the questions before the first of Prompts
}

// Part returns a part of what is asked: the requests and the prompts of two ranges [lo, hi).
func (a *Asked) Part(requests, prompts [2]int) *Asked {
	b := *a
	b.Requests, b.Prompts = a.Requests[requests[0]:requests[1]], a.Prompts[prompts[0]:prompts[1]]
	b.before += prompts[0]
	return &b
}

// Ask reads the documents and makes what is asked of a model with so many positions, once. Without a tokenizer it makes
// stand-ins, which are at least as long.
func (s *Suite) Ask(ctx context.Context, tok *tokenizer.Tokenizer, positions int) (*Asked, error) {
	if s.asked != nil {
		return s.asked, nil
	}
	var list []*tasks.Requests
	for _, x := range s.leaves {
		r, err := x.ask(ctx, s.Limit, s.Seed)
		if err == nil {
			err = r.Unanswered()
		}
		if err != nil {
			return nil, err
		}
		x.asked, x.requests = len(r.Items), len(r.List)
		list = append(list, r)
	}
	if tok == nil {
		return s.asking(tasks.Unencoded(list, positions)), nil
	}
	q, err := tasks.NewEncoder(tok, positions).Encode(list)
	if err != nil {
		return nil, err
	}
	s.asked = s.asking(q)
	return s.asked, nil
}

// asking makes what questions ask.
func (s *Suite) asking(q *tasks.Questions) *Asked {
	a := &Asked{suite: s, questions: q}
	for _, p := range q.Pairs {
		a.Requests = append(a.Requests, forward.Request{Context: p.Context, Continuation: p.Continuation})
	}
	for _, p := range q.Prompts {
		a.Prompts = append(a.Prompts, forward.Prompt{IDs: p.IDs, NewTokens: p.Writing.MaxTokens, Draw: p.Draw,
			Sampling: forward.Sampling{Temperature: p.Writing.Temperature, TopK: p.Writing.TopK, TopP: p.Writing.Top(),
				Seed: s.Seed}})
	}
	return a
}

// Inference describes the program that answers. The caller adds its model.
func (a *Asked) Inference() (x program.Inference) {
	x.Context, x.Continuation = forward.LongestRequest(a.Requests)
	for _, p := range a.Prompts {
		x.Context = max(x.Context, len(p.IDs)+p.NewTokens)
	}
	x.Texts = min(len(a.Prompts), MostTexts)
	return x
}

// FLOPs is the operations of the answers, by the program p of x.
func (a *Asked) FLOPs(p *gpu.Program, x program.Inference) float64 {
	flops := forward.ScoringFLOPs(p, x, a.Requests)
	if len(a.Prompts) > 0 {
		flops += forward.GeneratingFLOPs(p, x, a.Prompts)
	}
	return flops
}

// Tokens is how many are scored.
func (a *Asked) Tokens() (n int64) {
	for _, r := range a.Requests {
		n += int64(len(r.Continuation))
	}
	return n
}

// Score has requests scored. done, where it is not nil, is told how many more are.
func (a *Asked) Score(ctx context.Context, m *forward.Scorer, done func(n int)) (scores []tasks.Answer, err error) {
	list, err := m.Score(ctx, a.Requests, done)
	for _, s := range list {
		scores = append(scores, tasks.Answer{LogLikelihood: s.Sum, Greedy: s.Greedy})
	}
	return scores, err
}

// Write has prompts continued, by n tokens in all. flaw says why a text was not.
func (a *Asked) Write(ctx context.Context, m *forward.Generator) (written []string, n int64, flaw string, err error) {
	ids := make([][]int32, len(a.Prompts))
	list, err := m.Generate(ctx, a.Prompts, func(p int, id int32) bool {
		ids[p] = append(ids[p], id)
		return !a.questions.Ends(a.before+p, ids[p])
	})
	for p, g := range list {
		written, n = append(written, a.questions.Text(a.before+p, g.IDs)), n+int64(len(g.IDs))
		if flaw == "" {
			flaw = g.Diagnosis
		}
	}
	return written, n, flaw, err
}

// Judge measures the answers about each document. A line of JSON about it is written to samples.
func (a *Asked) Judge(scores []tasks.Answer, written []string, samples io.Writer) (tasks.Judged, error) {
	return a.questions.Judge(scores, written, samples)
}

// Total returns the results over the documents that count.
func (a *Asked) Total(judged tasks.Judged, counts func(*tasks.Item) bool) (map[string]*tasks.Result, []string, error) {
	return a.questions.Score(a.suite.all, a.suite.Names, judged, counts)
}

// Results are what came of the tasks, and of the groups that were asked for, by name. A line of JSON about each document is
// written to samples, unless that is nil.
func (a *Asked) Results(scores []tasks.Answer, written []string, samples io.Writer) (map[string]*tasks.Result, []string, error) {
	return a.questions.Results(a.suite.all, a.suite.Names, scores, written, samples)
}

// Odd lists what is odd about documents that were measured all the same, by a model with so many positions.
func (a *Asked) Odd(positions int) (list []string) {
	for _, r := range a.questions.Tasks {
		n := r.Notes
		for _, x := range []struct {
			n          int
			of, reason string
		}{
			{n.Cut, "request", fmt.Sprintf("cut at the beginning: the model takes %d tokens", positions)},
			{n.NoGold, "document", "without a right answer, or with one that is not among the choices, counted as answered wrong. " +
				"The first: " + n.FirstNoGold},
			{n.EmptyChoice, "document", "with an empty choice"},
			{n.EqualChoice, "document", "with two equal choices, of which only the first can be chosen"},
		} {
			if x.n > 0 {
				list = append(list, fmt.Sprintf("%s: %s %s", r.Task.Name, words.Plural(x.n, x.of), x.reason))
			}
		}
	}
	return list
}
