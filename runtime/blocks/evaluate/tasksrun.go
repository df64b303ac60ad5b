package evaluate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/gob"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/gpu/ranks"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/task"
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
	a, x, err := e.ask(ctx, tok)
	if err != nil {
		return nil, err
	}
	weights, err := e.weights(r)
	if err != nil {
		return nil, err
	}
	p, err := r.World.Programs.Inference(&x)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	mine := share(r.Comm, a)
	scores, flaw, err := score(ctx, r, p, x, weights, mine)
	if err != nil {
		return nil, err
	}
	written, flawed, err := write(ctx, r, p, x, weights, mine)
	if err != nil {
		return nil, err
	}
	r.Took(scoring.Rate(r.World.Caps, e.DType, p, segment(a, x), 0), mine.FLOPs(p, x), time.Since(began))
	all, err := gather(r.Comm, answers{scores, written, flaw, flawed})
	if err != nil || r.Follows() {
		return nil, err
	}
	scores, written, flaw, flawed = all.Scores, all.Written, all.Flaw, all.Flawed
	leaks, trained, err := e.leaks(ctx, r, tok, weights, a)
	if err != nil {
		return nil, err
	}
	var samples bytes.Buffer
	judged, err := a.Judge(scores, written, &samples)
	if err != nil {
		return nil, err
	}
	results, notes, err := a.Total(judged, func(*tasks.Item) bool { return true })
	if err != nil {
		return nil, err
	}
	clean := results
	if slices.ContainsFunc(slices.Collect(maps.Values(leaks)), func(c *fineweb.Contamination) bool { return c.Words.Dirty > 0 }) {
		if clean, _, err = a.Total(judged, (*tasks.Item).Clean); err != nil {
			return nil, err
		}
	}
	e.beside = []checkpoint.Part{checkpoint.Bytes(blocks.SamplesFile, samples.Bytes())}
	for _, n := range append(notes, a.Odd(e.Model.MaxPositionEmbeddings)...) {
		r.Observe.Warn(ctx, "%s", n)
	}
	for _, name := range e.Told() {
		r.Observe.Notice(ctx, "%s", told(results[name], leaks[name], clean[name]))
	}
	for _, name := range e.Told() {
		if found := leaks[name]; found != nil {
			tellContamination(ctx, r, name, found, trained, nil)
		}
	}
	values := e.values(results, clean, leaks)
	if flaw == "" {
		flaw = flawed
	}
	if flaw != "" {
		values[blocks.Flaw] = flaw
	}
	return values, metrics.WriteScores(r.Folder(), e.step(weights), scalars(results))
}

// share returns the part of the questions that this rank asks.
func share(c gpu.Communicator, a *task.Asked) *task.Asked {
	if c == nil {
		return a
	}
	var requests, prompts [2]int
	requests[0], requests[1] = ranks.Part(len(a.Requests), c.Rank(), c.Size())
	prompts[0], prompts[1] = ranks.Part(len(a.Prompts), c.Rank(), c.Size())
	return a.Part(requests, prompts)
}

// answers are what a model answered.
type answers struct {
	Scores       []tasks.Answer
	Written      []string
	Flaw, Flawed string // why a likelihood is not a number, and why a text was not written
}

// gather puts the answers of all ranks together, in the order of the questions. It writes them with gob: a likelihood may be
// infinite, which JSON cannot say.
func gather(c gpu.Communicator, mine answers) (all answers, err error) {
	if c == nil {
		return mine, nil
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(mine); err != nil {
		return all, err
	}
	parts, err := ranks.GatherBytes(c, b.Bytes())
	if err != nil {
		return all, err
	}
	for rank, part := range parts {
		var x answers
		if err := gob.NewDecoder(bytes.NewReader(part)).Decode(&x); err != nil {
			return all, fmt.Errorf("the answers of rank %d: %w", rank, err)
		}
		all.Scores, all.Written = append(all.Scores, x.Scores...), append(all.Written, x.Written...)
		all.Flaw, all.Flawed = cmp.Or(all.Flaw, x.Flaw), cmp.Or(all.Flawed, x.Flawed)
	}
	return all, nil
}

// score scores requests; flaw says why a likelihood is not a number.
func score(ctx context.Context, r *blocks.Run, p *gpu.Program, x program.Inference, weights string,
	a *task.Asked) (scores []tasks.Answer, flaw string, err error) {
	if len(a.Requests) == 0 {
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
	scores, err = a.Score(ctx, model, func(n int) { batches.Done(int64(n)) })
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
	return scores, model.Diagnosis, nil
}

// write continues prompts.
func write(ctx context.Context, r *blocks.Run, p *gpu.Program, x program.Inference, weights string,
	a *task.Asked) (written []string, flaw string, err error) {
	if len(a.Prompts) == 0 {
		return nil, "", nil
	}
	model, err := forward.LoadGenerator(ctx, r.Device, p, x, weights)
	if err != nil {
		return nil, "", err
	}
	defer model.Close()
	ended := r.Observe.Batches(ctx, tracing.SpanPrompt, tracing.Tokens)
	model.Ended = func(_ int, x *forward.Generated) { ended.Done(int64(len(x.IDs))) }
	written, _, flaw, err = a.Write(ctx, model)
	ended.End()
	if ctx.Err() != nil {
		err = observe.ErrInterrupted
	}
	return written, flaw, err
}

// told is what is said of a result: metrics with their standard errors, what guessing gives, and where it is known the share
// of the documents that were trained on, with the metrics of the others.
func told(s *tasks.Result, found *fineweb.Contamination, clean *tasks.Result) string {
	text := s.Name + ": " + scoresTold(s)
	if !math.IsNaN(s.Chance) {
		text += fmt.Sprintf(", chance %.4g", s.Chance)
	}
	if found == nil || found.Words.Checked == 0 {
		return text
	}
	text += fmt.Sprintf(", contamination %.3g", found.Words.Share())
	if found.Words.Dirty > 0 && clean != nil {
		text += fmt.Sprintf(" (on %s: %s)", words.Plural(clean.Documents, "clean document"), scoresTold(clean))
	}
	return text
}

func scoresTold(s *tasks.Result) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(s.Metrics)) {
		text := fmt.Sprintf("%s %.4g", key, s.Metrics[key])
		if e, ok := s.Stderr[key]; ok {
			text += fmt.Sprintf(" ± %.2g", e)
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// leaks looks for n-grams of the documents in what the stages trained on. It returns what was found, by the name of a task
// or a group, and the data that were searched; both are nil if it is not known what the stages trained on.
func (e *Tasks) leaks(ctx context.Context, r *blocks.Run, tok *bpe.Tokenizer, weights string,
	a *task.Asked) (leaks map[string]*fineweb.Contamination, where []*data.Data, err error) {
	if !e.Leaks.looks {
		return nil, nil, nil
	}
	add := func(k *fineweb.Check) error {
		return a.Compared(func(text string, at task.Place) (bool, error) { return k.Text(text, at) })
	}
	err = e.contaminated(ctx, r, tok, weights, add, func(k *fineweb.Check, trained []*data.Data) {
		a.Contaminated(k.Document)
		leaks, where = map[string]*fineweb.Contamination{}, trained
		for _, name := range a.Names() {
			leaks[name] = k.ResultOf(a.Of(name))
		}
	})
	return leaks, where, err
}

// values returns what the block exports.
func (e *Tasks) values(results, clean map[string]*tasks.Result, leaks map[string]*fineweb.Contamination) map[string]any {
	all, documents := map[string]any{}, 0.0
	for name, s := range results {
		m := numbers(s)
		maps.Copy(m, unknownContamination())
		m[blocks.CleanScores] = nil
		if found := leaks[name]; found != nil {
			maps.Copy(m, contaminationValues(found))
			if c := clean[name]; c != nil {
				m[blocks.CleanScores] = numbers(c)
			}
		}
		all[name] = m
		if !e.Group(name) {
			documents += float64(s.Documents)
		}
	}
	return map[string]any{"results": all, "documents": documents}
}

// numbers are the values of a result.
func numbers(s *tasks.Result) map[string]any {
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
	return m
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
