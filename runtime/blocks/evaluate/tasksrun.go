package evaluate

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	bpe "stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
	"stepflow/tasks"
	"stepflow/tracing"
)

// Run asks the model.
func (e *Tasks) Run(ctx context.Context, r *blocks.Run, tok *bpe.Tokenizer) (map[string]any, error) {
	q, err := e.question(ctx, tok)
	if err != nil {
		return nil, err
	}
	weights, err := e.weights(r)
	if err != nil {
		return nil, err
	}
	x, requests, prompts := e.inference(q)
	p, err := r.World.Programs.Inference(&x)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	scores, flaw, err := e.score(ctx, r, p, x, weights, requests)
	if err != nil {
		return nil, err
	}
	written, flawed, err := e.write(ctx, r, p, x, weights, q, prompts)
	if err != nil {
		return nil, err
	}
	flops := forward.ScoringFLOPs(p, x, requests)
	if len(prompts) > 0 {
		flops += forward.GeneratingFLOPs(p, x, prompts)
	}
	r.Took(scoring.Rate(r.World.Caps, e.DType, p, e.segment(x, requests), 0), flops, time.Since(began))
	var samples bytes.Buffer
	results, notes, err := q.Results(e.all, e.Names, scores, written, &samples)
	if err != nil {
		return nil, err
	}
	e.beside = []checkpoint.Part{checkpoint.Bytes(blocks.SamplesFile, samples.Bytes())}
	for _, n := range append(notes, e.odd(q)...) {
		r.Observe.Warn(ctx, "%s", n)
	}
	for _, name := range e.Names {
		for _, s := range e.asTold(name, results) {
			r.Observe.Notice(ctx, "%s", told(s))
		}
	}
	values := e.values(results)
	if flaw == "" {
		flaw = flawed
	}
	if flaw != "" {
		values[blocks.Flaw] = flaw
	}
	return values, metrics.WriteScores(r.Folder(), e.step(weights), scalars(results))
}

// score scores requests; flaw says why a likelihood is not a number.
func (e *Tasks) score(ctx context.Context, r *blocks.Run, p *gpu.Program, x program.Inference, weights string,
	requests []forward.Request) (scores []tasks.Answer, flaw string, err error) {
	if len(requests) == 0 {
		return nil, "", nil
	}
	var model *forward.Scorer
	err = r.Observe.Inside(ctx, tracing.SpanWeights, func(context.Context) error {
		model, err = forward.LoadScorer(ctx, r.Device, p, x, weights)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	defer model.Close()
	batches := r.Observe.Batches(ctx, tracing.SpanBatch, tracing.Requests)
	list, err := model.Score(ctx, requests, func(n int) { batches.Done(int64(n)) })
	batches.End()
	if ctx.Err() != nil {
		err = observe.ErrInterrupted
	}
	if err != nil {
		return nil, "", err
	}
	if model.Diagnosis == "" && model.Flaw.Found() {
		r.Observe.Warn(ctx, "%s; no request reads it", model.Flaw.String())
	}
	for _, s := range list {
		scores = append(scores, tasks.Answer{LogLikelihood: s.Sum, Greedy: s.Greedy})
	}
	return scores, model.Diagnosis, nil
}

// write continues prompts.
func (e *Tasks) write(ctx context.Context, r *blocks.Run, p *gpu.Program, x program.Inference, weights string,
	q *tasks.Questions, prompts []forward.Prompt) (written []string, flaw string, err error) {
	if len(prompts) == 0 {
		return nil, "", nil
	}
	model, err := forward.LoadGenerator(ctx, r.Device, p, x, weights)
	if err != nil {
		return nil, "", err
	}
	defer model.Close()
	ended := r.Observe.Batches(ctx, tracing.SpanPrompt, tracing.Tokens)
	model.Ended = func(_ int, x *forward.Generated) { ended.Done(int64(len(x.IDs))) }
	ids := make([][]int32, len(prompts))
	list, err := model.Generate(ctx, prompts, func(n int, id int32) bool {
		ids[n] = append(ids[n], id)
		return !q.Ends(n, ids[n])
	})
	ended.End()
	if ctx.Err() != nil {
		err = observe.ErrInterrupted
	}
	if err != nil {
		return nil, "", err
	}
	for n, g := range list {
		written = append(written, q.Text(n, g.IDs))
		if flaw == "" {
			flaw = g.Diagnosis
		}
	}
	return written, flaw, nil
}

// odd tells what is odd about the documents, though they were measured.
func (e *Tasks) odd(q *tasks.Questions) (list []string) {
	for _, r := range q.Tasks {
		n := r.Notes
		for _, x := range []struct {
			n          int
			of, reason string
		}{
			{n.Cut, "request", fmt.Sprintf("cut at the beginning: the model takes %d tokens", e.Model.MaxPositionEmbeddings)},
			{n.NoGold, "document", "without a right answer, or with one that is not among the choices, counted as answered wrong"},
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

// asTold are the results of a name: of a tag, those of its tasks.
func (e *Tasks) asTold(name string, results map[string]*tasks.Result) (list []*tasks.Result) {
	if s := results[name]; s != nil {
		return []*tasks.Result{s}
	}
	leaves, _ := e.all.Leaves(name)
	for _, t := range leaves {
		list = append(list, results[t.Name])
	}
	return list
}

// told is what is said of a result: metrics with their standard errors, and what guessing gives.
func told(s *tasks.Result) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(s.Metrics)) {
		text := fmt.Sprintf("%s %.4g", key, s.Metrics[key])
		if e, ok := s.Stderr[key]; ok {
			text += fmt.Sprintf(" ± %.2g", e)
		}
		list = append(list, text)
	}
	if !math.IsNaN(s.Chance) {
		list = append(list, fmt.Sprintf("chance %.4g", s.Chance))
	}
	return s.Name + ": " + strings.Join(list, ", ")
}

// values returns what the block exports.
func (e *Tasks) values(results map[string]*tasks.Result) map[string]any {
	all, documents := map[string]any{}, 0.0
	for name, s := range results {
		m := map[string]any{"documents": float64(s.Documents)}
		put := func(key string, x float64) {
			m[key] = nil
			if metrics.Finite(x) {
				m[key] = x
			}
		}
		for key, x := range s.Metrics {
			put(key, x)
		}
		for key, x := range s.Stderr {
			put(blocks.StderrName(key), x)
		}
		if !math.IsNaN(s.Chance) {
			put("chance", s.Chance)
		}
		all[name] = m
		if e.all.Groups[name] == nil {
			documents += float64(s.Documents)
		}
	}
	return map[string]any{"results": all, "documents": documents}
}

// scalars are the metrics for TensorBoard, in order.
func scalars(results map[string]*tasks.Result) (list []metrics.Scalar) {
	for _, name := range slices.Sorted(maps.Keys(results)) {
		for _, key := range slices.Sorted(maps.Keys(results[name].Metrics)) {
			list = append(list, metrics.Scalar{Tag: "eval/" + name + "/" + key, Value: results[name].Metrics[key]})
		}
	}
	return list
}
