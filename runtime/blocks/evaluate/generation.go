package evaluate

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/forward"
	"stepflow/runtime/metrics"
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
	Sampling  Sampling
}

// pass returns the forward pass for the logits of a text of at most seq tokens.
func (e *Generation) pass(seq int) program.Pass {
	return program.Pass{Model: e.Model, Params: e.Params, DType: e.DType, Batch: 1, Seq: seq, Logits: true}
}

// Plan reads the prompts, and how to continue them.
func (e *Generation) Plan(_ context.Context, p *blocks.Planned, d *dsl.Decoded, _ int) hcl.Diagnostics {
	e.Prompts, e.NewTokens = d.Strs("prompts"), d.Int("max_new_tokens")
	e.Sampling = Sampling{d.Float("temperature"), d.Int("top_k"), d.Float("top_p"), uint64(d.Int("seed"))}
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
	long := 0
	for _, n := range lengths {
		long = max(long, n.all)
	}
	if long == 0 {
		return nil
	}
	p, err := w.Programs.Pass(e.pass(long))
	if err != nil {
		return err
	}
	f.Program(p)
	flops := e.pass(long).FLOPs(p)
	for _, n := range lengths {
		f.Tokens += int64(n.all - n.prompt)
		f.FLOPs += float64(flops) * float64(n.all) / float64(long) * float64(n.all-n.prompt)
	}
	f.Predict(w, generating, e.DType, p, program.SegProbe)
	return nil
}

// Sampling says how the next token is chosen.
type Sampling struct {
	Temperature float64
	TopK        int
	TopP        float64
	Seed        uint64
}

// promptTokens returns the tokens of a prompt.
func promptTokens(tok *bpe.Tokenizer, prompt string) (ids []int32, err error) {
	if tok.BOS >= 0 {
		ids = append(ids, tok.BOS)
	}
	if ids, err = tok.Encode(ids, prompt); len(ids) == 0 && err == nil {
		ids = append(ids, tok.EOS) // it came before every document in training
	}
	return ids, err
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
			ids, err := promptTokens(tok, prompt)
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

// Run continues each prompt token by token. The whole sequence is run forward for each token.
func (e *Generation) Run(ctx context.Context, r *blocks.Run, tok *bpe.Tokenizer) (map[string]any, error) {
	weights, err := e.weights(r)
	if err != nil {
		return nil, err
	}
	texts, diagnosis := []string{}, ""
	var longest *gpu.Program
	var busy time.Duration // time without reading weights
	flops := 0.0
	prompts := r.Observe.Batches(ctx, tracing.SpanPrompt, tracing.Tokens)
	for i, prompt := range e.Prompts {
		ids, err := promptTokens(tok, prompt)
		if err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i, err)
		}
		seq, err := e.length(i, len(ids))
		if err != nil {
			return nil, err
		}
		p, err := r.World.Programs.Pass(e.pass(seq))
		if err != nil {
			return nil, err
		}
		before := len(ids)
		ids, flawed, took, err := e.continueText(ctx, r, weights, p, ids, seq, i, tok.EOS)
		if err != nil {
			return nil, err
		}
		busy += took
		prompts.Done(int64(len(ids) - before))
		if longest == nil || p.ArenaBytes > longest.ArenaBytes {
			longest = p
		}
		each := e.pass(seq).FLOPs(p)
		flops += float64(each) * float64(len(ids)-before)
		texts = append(texts, tok.Decode(ids, true))
		if diagnosis == "" {
			diagnosis = flawed
		}
	}
	prompts.End()
	if longest != nil {
		r.Took(generating.Rate(r.World.Caps, e.DType, longest, program.SegProbe, 0), flops, busy)
	}
	values := map[string]any{"texts": texts}
	if diagnosis != "" {
		values[blocks.Flaw] = diagnosis
	}
	return values, nil
}

// continueText continues the tokens of prompt n. It ends early if a logit is not finite, and flawed says why. took is
// the time without reading weights.
func (e *Generation) continueText(ctx context.Context, r *blocks.Run, weights string, p *gpu.Program, ids []int32,
	seq, n int, eos int32) (_ []int32, flawed string, took time.Duration, err error) {
	model, err := forward.Load(ctx, r.Device, p, e.pass(seq), weights)
	if err != nil {
		return nil, "", 0, err
	}
	defer model.Close()
	began := time.Now()
	defer func() { took = time.Since(began) }()
	if model.Flaw.Found() && n == 0 {
		r.Observe.Warn(ctx, "%s", model.Flaw.String())
	}
	rng := rand.New(rand.NewPCG(e.Sampling.Seed, uint64(n)))
	for len(ids) < seq {
		logits, err := model.Logits(ids)
		if err != nil {
			return nil, "", 0, err
		}
		if x := forward.FirstBad(logits); x != 0 {
			flawed, err = model.Diagnose(fmt.Sprintf("a logit is %s after token %d of prompt %d, which was not continued",
				metrics.Text(x), len(ids), n))
			return ids, flawed, 0, err
		}
		id := e.Sampling.next(logits, rng)
		if id == eos {
			break
		}
		ids = append(ids, id)
	}
	return ids, "", 0, nil
}

// next chooses a token: the likeliest at temperature 0, else a sample of softmax(logits/temperature)
// cut to the k likeliest and to the smallest set that holds probability p (Holtzman et al. 2020).
func (s Sampling) next(logits []float32, rng *rand.Rand) int32 {
	if s.Temperature == 0 {
		return int32(slices.Index(logits, slices.Max(logits)))
	}
	order := make([]int32, len(logits))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(logits[b], logits[a]) })
	if s.TopK > 0 && s.TopK < len(order) {
		order = order[:s.TopK]
	}
	p := make([]float64, len(order))
	var sum float64
	for i, id := range order {
		p[i] = math.Exp(float64(logits[id]-logits[order[0]]) / s.Temperature)
		sum += p[i]
	}
	if s.TopP < 1 {
		var kept float64
		for i := range p {
			kept += p[i]
			if kept >= s.TopP*sum {
				p, sum = p[:i+1], kept
				break
			}
		}
	}
	x := rng.Float64() * sum
	for i := range p {
		if x -= p[i]; x < 0 {
			return order[i]
		}
	}
	return order[len(p)-1]
}
