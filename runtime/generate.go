package runtime

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
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/runtime/metrics"
	"stepflow/runtime/train"
)

// Sampling says how the next token is chosen.
type Sampling struct {
	Temperature float64
	TopK        int
	TopP        float64
	Seed        uint64
}

// promptTokens are the tokens that a text is generated from.
func promptTokens(tok *tokenizer.Tokenizer, prompt string) (ids []int32, err error) {
	if tok.BOS >= 0 {
		ids = append(ids, tok.BOS)
	}
	if ids, err = tok.Encode(ids, prompt); len(ids) == 0 && err == nil {
		ids = append(ids, tok.EOS) // it stands before every document that was trained on
	}
	return ids, err
}

// length is the number of tokens of prompt n, of which it has so many, and of what continues it.
func (e *Evaluation) length(n, tokens int) (int, error) {
	seq := min(tokens+e.NewTokens, e.Model.MaxPositionEmbeddings)
	switch {
	case e.Model.MaxPositionEmbeddings < 2:
		return 0, fmt.Errorf("the model's %s leaves no room for a token after a prompt, which takes one at least: generate with a model that takes more", e.Model.Longest())
	case tokens >= seq:
		return 0, fmt.Errorf("prompt %d has %d tokens, and a token more would be beyond the model's %s: shorten it", n, tokens, e.Model.Longest())
	}
	return seq, nil
}

// length is the tokens of a prompt, and with those that continue it.
type length struct{ prompt, all int }

// lengths are those of all prompts: of a tokenizer that is not trained yet, with a token a byte.
func (p *planner) lengths(e *Evaluation, d *dsl.Decoded) (list []length, diags hcl.Diagnostics) {
	tok := p.trained(e.Tokenizer)
	for i, prompt := range e.Prompts {
		n := min(len(prompt)+1, e.Model.MaxPositionEmbeddings-1)
		if tok != nil {
			ids, err := promptTokens(tok, prompt)
			if err != nil {
				return nil, problem(d, "prompts", "Unusable prompt", fmt.Errorf("prompt %d: %w", i, err))
			}
			n = len(ids)
		}
		all, err := e.length(i, n)
		if err != nil {
			return nil, problem(d, "prompts", "Prompt too long", err)
		}
		list = append(list, length{n, all})
	}
	return list, nil
}

// generate continues each prompt token by token. The whole sequence is run forward for each token.
func (r *runner) generate(ctx context.Context, a *Action, e *Evaluation, tok *tokenizer.Tokenizer) (map[string]any, error) {
	texts, diagnosis := []string{}, ""
	var longest *gpu.Program
	var busy time.Duration // without reading weights
	flops := 0.0
	for i, prompt := range e.Prompts {
		ids, err := promptTokens(tok, prompt)
		if err != nil {
			return nil, fmt.Errorf("prompt %d: %w", i, err)
		}
		seq, err := e.length(i, len(ids))
		if err != nil {
			return nil, err
		}
		p, err := r.pl.programs.Pass(e.continuation(seq))
		if err != nil {
			return nil, err
		}
		before := len(ids)
		ids, flawed, took, err := r.continueText(ctx, e, p, ids, seq, i, tok.EOS)
		if err != nil {
			return nil, err
		}
		busy += took
		if longest == nil || p.ArenaBytes > longest.ArenaBytes {
			longest = p
		}
		each, _ := p.FLOPs(train.SegProbe)
		flops += float64(each) * float64(len(ids)-before)
		texts = append(texts, tok.Decode(ids, true))
		if diagnosis == "" {
			diagnosis = flawed
		}
	}
	if longest != nil {
		r.took(rateName(rateGenerate, r.plan.Caps, e.DType, longest, train.SegProbe, 0), flops, busy)
	}
	values := map[string]any{"texts": texts}
	if diagnosis != "" {
		values[valueDiagnosis] = diagnosis
	}
	return values, nil
}

// continueText continues the tokens of prompt n. Where no token can be drawn, because a logit is not finite, it ends, and flawed says why.
// took is without reading weights.
func (r *runner) continueText(ctx context.Context, e *Evaluation, p *gpu.Program, ids []int32, seq, n int, eos int32) (_ []int32, flawed string, took time.Duration, err error) {
	l, err := r.load(ctx, e, p, e.continuation(seq))
	if err != nil {
		return nil, "", 0, err
	}
	began := time.Now()
	defer func() { took = time.Since(began) }()
	if l.Flaw.Found() && n == 0 {
		r.running.Warn(ctx, "%s", l.Flaw.String())
	}
	defer l.Close()
	rng := rand.New(rand.NewPCG(e.Sampling.Seed, uint64(n)))
	for len(ids) < seq {
		logits, err := l.Logits(ids)
		if err != nil {
			return nil, "", 0, err
		}
		if x := train.FirstBad(logits); x != 0 {
			flawed, err = l.Diagnose(fmt.Sprintf("a logit is %s behind token %d of prompt %d, which was not continued", metrics.Text(x), len(ids), n))
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
