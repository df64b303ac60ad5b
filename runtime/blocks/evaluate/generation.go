package evaluate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/task"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
	"stepflow/tracing"
)

// generating is the work of a Generation.
const generating blocks.Work = "generation"

// Generation continues texts.
type Generation struct {
	*Subject
	Prompts   []string
	NewTokens int // at most
	Sampling  forward.Sampling
}

// inference returns what continues prompts of these lengths.
func (e *Generation) inference(lengths []length) program.Inference {
	x := program.Inference{Model: e.Model, Params: e.Params, DType: e.DType, Texts: min(len(lengths), task.MostTexts)}
	for _, n := range lengths {
		x.Context = max(x.Context, n.all-1) // the last token is chosen, and never read
	}
	return x
}

// Plan reads the prompts, and how to continue them.
func (e *Generation) Plan(_ context.Context, p *blocks.Planned, d *dsl.Decoded, _ int) hcl.Diagnostics {
	e.Prompts, e.NewTokens = d.Strs("prompts"), d.Int("max_new_tokens")
	e.Sampling = forward.Sampling{Temperature: d.Float("temperature"), TopK: d.Int("top_k"), TopP: d.Float("top_p"),
		Seed: uint64(d.Int("seed"))}
	own := e.Tokenizer.Own()
	if s := e.Stage; s != nil && slices.Contains(e.Prompts, "") && !s.Data.Source.PredictFirst && (own == nil || own.BOS < 0) {
		return hcl.Diagnostics{d.Error("prompts", "Nothing to continue",
			fmt.Sprintf("A prompt is empty, and %s was trained without the "+
				"first tokens of documents: give the prompt text, or train on data with predict_first_token = true.", s.Addr))}
	}
	return nil
}

// Forecast predicts what the generation takes at most.
func (e *Generation) Forecast(_ context.Context, p *blocks.Planned, d *dsl.Decoded,
	f *blocks.Forecast) hcl.Diagnostics {
	lengths, diags := e.lengths(d)
	if diags.HasErrors() {
		return diags
	}
	if err := e.forecast(p.World, lengths, f); err != nil {
		return blocks.Problem(d, "max_new_tokens", "Generation cannot be compiled", err)
	}
	p.CheckFits(f.Peak, "the generation", "Lower max_new_tokens, or shorten the prompts")
	return nil
}

// Documents returns nil: prompts are not documents.
func (*Generation) Documents() (*data.Data, fineweb.Windows) { return nil, fineweb.Windows{} }

// Details returns what the generation takes; nothing without prompts.
func (e *Generation) Details(f *blocks.Forecast) []blocks.Line {
	if f.Tokens == 0 {
		return nil
	}
	return []blocks.Line{{About: "takes", Text: fmt.Sprintf("at most %s; %sFLOP%s",
		words.Plural(int(f.Tokens), "new token"), words.Count(f.FLOPs),
		f.Time("FLOP/s", "the last one like it"))}}
}

// forecast predicts what a generation takes at most: all new tokens of all prompts.
func (e *Generation) forecast(w *blocks.World, lengths []length, f *blocks.Forecast) error {
	if len(lengths) == 0 {
		return nil
	}
	x := e.inference(lengths)
	p, err := w.Programs.Inference(&x)
	if err != nil {
		return err
	}
	f.Program(p)
	prompts := make([]forward.Prompt, len(lengths))
	for i, n := range lengths {
		f.Tokens += int64(n.all - n.prompt)
		ids := make([]int32, n.prompt)
		ids[0] = int32(i) // no two prompts begin alike
		prompts[i] = forward.Prompt{IDs: ids, NewTokens: n.all - n.prompt}
	}
	f.FLOPs = forward.GeneratingFLOPs(p, x, prompts)
	f.Predict(w, generating, e.DType, p, program.SegDecode)
	return nil
}

// length returns the most tokens that prompt n, which has tokens, and its continuation can have.
func (e *Generation) length(n, tokens int) (int, error) {
	seq := min(tokens+e.NewTokens, e.Model.MaxPositionEmbeddings)
	switch {
	case e.Model.MaxPositionEmbeddings < 2:
		return 0, fmt.Errorf("the model's %s leaves no room for a token after a prompt, which has at least one: "+
			"generate with a model that takes more", e.Model.Longest())
	case tokens >= seq:
		return 0, fmt.Errorf("prompt %d has %d tokens, and the model's %s leaves no room for another: shorten the prompt",
			n, tokens, e.Model.Longest())
	}
	return seq, nil
}

// length is the number of tokens of a prompt, and of the prompt with its continuation.
type length struct{ prompt, all int }

// lengths returns the lengths of all prompts. If the tokenizer is not trained yet, it counts a token for each byte.
func (e *Generation) lengths(d *dsl.Decoded) (list []length, diags hcl.Diagnostics) {
	tok := e.Tokenizer.Ready()
	for i, prompt := range e.Prompts {
		n := min(len(prompt)+1, e.Model.MaxPositionEmbeddings-1)
		if tok != nil {
			ids, err := forward.PromptTokens(tok, prompt)
			if err != nil {
				return nil, blocks.Problem(d, "prompts", "Unusable prompt", fmt.Errorf("prompt %d: %w", i, err))
			}
			n = len(ids)
		}
		all, err := e.length(i, n)
		if err != nil {
			return nil, blocks.Problem(d, "prompts", "Prompt too long", err)
		}
		list = append(list, length{n, all})
	}
	return list, nil
}

// Run continues the prompts.
func (e *Generation) Run(ctx context.Context, r *blocks.Run, tok *bpe.Tokenizer) (map[string]any, error) {
	if len(e.Prompts) == 0 {
		return map[string]any{"texts": []string{}}, nil
	}
	prompts, lengths, err := e.read(tok)
	if err != nil {
		return nil, err
	}
	weights, err := e.weights(r)
	if err != nil {
		return nil, err
	}
	x := e.inference(lengths)
	p, err := r.World.Programs.Inference(&x)
	if err != nil {
		return nil, err
	}
	model, err := forward.LoadGenerator(ctx, r.Device, p, x, weights)
	if err != nil {
		return nil, err
	}
	defer model.Close()
	if model.Flaw.Found() {
		r.Observe.Warn(ctx, "%s", model.Flaw.String())
	}
	ended := r.Observe.Batches(ctx, tracing.SpanPrompt, tracing.Tokens)
	model.Ended = func(_ int, x *forward.Generated) { ended.Done(int64(len(x.IDs))) }
	began := time.Now()
	list, err := model.Generate(ctx, prompts, nil)
	ended.End()
	if err != nil {
		return nil, err
	}
	busy := time.Since(began)
	texts, diagnosis := []string{}, ""
	for i, g := range list {
		prompts[i].NewTokens = len(g.IDs)
		texts = append(texts, tok.Decode(slices.Concat(prompts[i].IDs, g.IDs), true))
		if diagnosis == "" {
			diagnosis = g.Diagnosis
		}
	}
	rate := generating.Rate(r.World.Caps, e.DType, p, program.SegDecode, 0)
	r.Took(rate, forward.GeneratingFLOPs(p, x, prompts), busy)
	values := map[string]any{"texts": texts}
	if diagnosis != "" {
		values[blocks.Flaw] = diagnosis
	}
	return values, nil
}

// read returns the prompts, and their lengths.
func (e *Generation) read(tok *bpe.Tokenizer) (prompts []forward.Prompt, lengths []length, err error) {
	for i, prompt := range e.Prompts {
		ids, err := forward.PromptTokens(tok, prompt)
		if err != nil {
			return nil, nil, fmt.Errorf("prompt %d: %w", i, err)
		}
		all, err := e.length(i, len(ids))
		if err != nil {
			return nil, nil, err
		}
		lengths = append(lengths, length{len(ids), all})
		prompts = append(prompts, forward.Prompt{IDs: ids, NewTokens: all - len(ids), Stop: []int32{tok.EOS},
			Sampling: e.Sampling, Draw: i})
	}
	return prompts, lengths, nil
}
