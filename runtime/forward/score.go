package forward

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/runtime/metrics"
	"stepflow/runtime/program"
)

// Request asks how likely a continuation is after a context. Both have a token at least, and together one more at most
// than the model has positions: the last token is predicted, and never read.
type Request struct{ Context, Continuation []int32 }

// Likelihood is what a model makes of a request.
type Likelihood struct {
	Sum    float64 // log-likelihood of the continuation in nats, of its tokens in order; NaN where the model gives no number
	Greedy bool    // whether each token of the continuation is the likeliest, the first of those that are equally likely
}

// Scorer scores continuations of contexts.
type Scorer struct {
	Flaw      Flaw   // of the weights
	Diagnosis string // why a likelihood is not finite, of the first such; "" if all are

	*inference
}

// LongestRequest returns the tokens of the longest context and of the longest continuation.
func LongestRequest(requests []Request) (context, continuation int) {
	for _, r := range requests {
		context, continuation = max(context, len(r.Context)), max(continuation, len(r.Continuation))
	}
	return context, continuation
}

// ScoringFLOPs returns the operations of scoring requests with the program p of x.
func ScoringFLOPs(p *gpu.Program, x program.Inference, requests []Request) float64 {
	runs := map[string]int{}
	for _, b := range schedule(&x, requests) {
		runs[b.segment()]++
	}
	return runsFLOPs(p, x, runs)
}

// runsFLOPs returns the operations of runs of segments.
func runsFLOPs(p *gpu.Program, x program.Inference, runs map[string]int) (sum float64) {
	flops := x.FLOPs(p)
	for _, name := range slices.Sorted(maps.Keys(runs)) {
		sum += float64(flops(name)) * float64(runs[name])
	}
	return sum
}

// LoadScorer loads the program p of x with the weights in folder. It ends with ctx, and so does all that it runs, in the
// middle of a launch.
func LoadScorer(ctx context.Context, d gpu.Device, p *gpu.Program, x program.Inference, folder string) (*Scorer, error) {
	i, err := loadInference(ctx, d, p, x, folder)
	if err != nil {
		return nil, err
	}
	return &Scorer{Flaw: i.flaw, inference: i}, nil
}

// NewScorer scores with a program that is loaded and has its weights: that of a stage, between its steps, whose Inference
// is x. It is not to be closed.
func NewScorer(l gpu.Loaded, p *gpu.Program, x program.Inference) (*Scorer, error) {
	i, err := between(l, p, x)
	if err != nil {
		return nil, err
	}
	return &Scorer{inference: i}, nil
}

// Close frees the device's memory.
func (s *Scorer) Close() error { return s.loaded.Close() }

// Score scores requests, and returns what it found in their order. It computes equal contexts once, and batches what is
// of like length; no likelihood depends on the other requests. done, where it is not nil, is told how many more requests
// are scored.
func (s *Scorer) Score(ctx context.Context, requests []Request, done func(n int)) ([]Likelihood, error) {
	for i, r := range requests {
		if err := s.check(r); err != nil {
			return nil, fmt.Errorf("request %d: %w", i, err)
		}
	}
	list, bad := make([]Likelihood, len(requests)), len(requests)
	for _, b := range schedule(&s.Inference, requests) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if b.requests == nil {
			if err := s.keep(b.rows, b.n); err != nil {
				return nil, err
			}
			continue
		}
		if err := s.run(b.segment(), b.rows, s.ScoreRows(b.n), b.n); err != nil {
			return nil, err
		}
		nll, err := s.read(program.BufScoreNLL(b.n))
		if err != nil {
			return nil, err
		}
		greedy, err := s.read(program.BufScoreGreedy(b.n))
		if err != nil {
			return nil, err
		}
		for r, i := range b.requests {
			x := &list[i]
			*x = Likelihood{Greedy: true}
			for t := range b.rows[r].targets {
				x.Sum -= float64(nll[r*b.n+t])
				x.Greedy = x.Greedy && greedy[r*b.n+t] == 1
			}
			if !metrics.Finite(x.Sum) {
				bad = min(bad, i)
			}
		}
		if done != nil {
			done(len(b.requests))
		}
	}
	if bad < len(requests) && s.Diagnosis == "" {
		r := requests[bad]
		n := program.Fitting(s.ScoreLengths(), len(r.Continuation))
		var err error
		s.Diagnosis, err = s.diagnose("a log-likelihood is "+metrics.Text(list[bad].Sum), r.Context[:len(r.Context)-1],
			program.SegScore(n), scoredRow(r, 0), s.ScoreRows(n), n)
		return list, err
	}
	return list, nil
}

// check returns why a request cannot be scored; nil if it can.
func (s *Scorer) check(r Request) error {
	x := &s.Inference
	switch most := x.Model.MaxPositionEmbeddings + 1; {
	case len(r.Context) == 0 || len(r.Continuation) == 0:
		return fmt.Errorf("a context of %d tokens and a continuation of %d: both have one at least", len(r.Context),
			len(r.Continuation))
	case len(r.Context) > x.Context || len(r.Continuation) > x.Continuation || len(r.Context)+len(r.Continuation) > most:
		return fmt.Errorf("a context of %d tokens and a continuation of %d: the program takes %d and %d, and no more than %d "+
			"together", len(r.Context), len(r.Continuation), x.Context, x.Continuation, most)
	}
	return errors.Join(inVocabulary(x.Model, r.Context), inVocabulary(x.Model, r.Continuation))
}

// inVocabulary returns why ids cannot be read; nil if they can.
func inVocabulary(m arch.Model, ids []int32) error {
	for _, id := range ids {
		if id < 0 || int(id) >= m.VocabSize {
			return fmt.Errorf("token %d is not in the model's vocabulary of %d", id, m.VocabSize)
		}
	}
	return nil
}
