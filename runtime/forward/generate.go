package forward

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"stepflow/gpu"
	"stepflow/runtime/metrics"
	"stepflow/runtime/program"
)

// Prompt is a text to continue.
type Prompt struct {
	IDs       []int32 // of the text; one at least
	NewTokens int     // at most
	Stop      []int32 // tokens that end it, which are not part of the continuation
	Sampling  Sampling
	Draw      int // number of the text among those that are sampled with one seed
}

// Generated is the continuation of a prompt.
type Generated struct {
	IDs []int32 // without the prompt, and without the token that ended it
	End End
	// Diagnosis says why the text was not continued, where End is Flawed.
	Diagnosis string
}

// End is why a text ends.
type End string

// The ends of a text.
const (
	Stopped End = "stop"   // by a token, or by who was told of the tokens
	Full    End = "length" // it has as many tokens as were asked for
	Flawed  End = "flaw"   // a logit is not finite
)

// Generator continues texts. What it kept of the latest texts it does not compute again where new ones begin alike.
type Generator struct {
	Flaw  Flaw                      // of the weights
	Ended func(n int, x *Generated) // is told of a text that has ended; nil for nobody

	*inference
	held [][]int32 // the texts in the slots
}

// LoadGenerator loads the program p of x with the weights in folder. It ends with ctx, and so does all that it runs, in
// the middle of a launch.
func LoadGenerator(ctx context.Context, d gpu.Device, p *gpu.Program, x program.Inference,
	folder string) (*Generator, error) {
	i, err := loadInference(ctx, d, p, x, folder)
	return i.generator(), err
}

// FillGenerator loads the program p of x with weights, as LoadGenerator does with those in a folder.
func FillGenerator(ctx context.Context, d gpu.Device, p *gpu.Program, x program.Inference, from Weights) (*Generator, error) {
	i, err := loadWeights(ctx, d, p, x, from)
	return i.generator(), err
}

// NewGenerator continues texts with a program that is loaded, as NewScorer scores with it.
func NewGenerator(l gpu.Loaded, p *gpu.Program, x program.Inference) (*Generator, error) {
	i, err := between(l, p, x)
	return i.generator(), err
}

// generator is nil of nil.
func (i *inference) generator() *Generator {
	if i == nil {
		return nil
	}
	return &Generator{Flaw: i.flaw, inference: i, held: make([][]int32, i.Slots)}
}

// Close frees the device's memory.
func (g *Generator) Close() error { return g.loaded.Close() }

// Generate continues prompts, as many at once as the program takes, and returns the continuations in their order. each,
// where it is not nil, is told of every token as soon as it is chosen, and ends the text where it returns false; that
// token is part of the continuation. A continuation does not depend on the other prompts.
func (g *Generator) Generate(ctx context.Context, prompts []Prompt, each func(n int, id int32) bool) ([]Generated, error) {
	for n, p := range prompts {
		if err := g.check(p); err != nil {
			return nil, fmt.Errorf("prompt %d: %w", n, err)
		}
	}
	list := make([]Generated, len(prompts))
	for n := range list {
		list[n].End = Full
	}
	err := rotate(g.Texts, prompts, func(now []*text) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		logits, err := g.step(now)
		if err != nil {
			return err
		}
		for _, x := range now {
			vocab := g.Model.VocabSize
			if err := g.choose(x, &prompts[x.n], &list[x.n], logits[x.slot*vocab:][:vocab], each); err != nil {
				return err
			}
			if x.ended && g.Ended != nil {
				g.Ended(x.n, &list[x.n])
			}
		}
		return nil
	})
	return list, err
}

// text is a text that is being continued, in a slot.
type text struct {
	n     int // of the prompt
	slot  int
	ids   []int32
	rng   *rand.Rand
	ended bool
}

// rotate steps through texts, so many at once: the next prompt takes the slot of a text that has ended. A step adds a token
// to each text, or ends it.
func rotate(slots int, prompts []Prompt, step func(now []*text) error) error {
	texts, next := make([]*text, slots), 0
	for {
		var now []*text
		for slot, x := range texts {
			if x != nil && x.ended {
				x = nil
			}
			for ; x == nil && next < len(prompts); next++ {
				if p := prompts[next]; p.NewTokens > 0 {
					x = &text{n: next, slot: slot, ids: slices.Clone(p.IDs), rng: p.Sampling.Draws(p.Draw)}
				}
			}
			if texts[slot] = x; x != nil {
				now = append(now, x)
			}
		}
		if len(now) == 0 {
			return nil
		}
		if err := step(now); err != nil {
			return err
		}
	}
}

// GeneratingFLOPs returns the operations of continuing prompts with the program p of x, of each by as many tokens as it
// may get.
func GeneratingFLOPs(p *gpu.Program, x program.Inference, prompts []Prompt) (sum float64) {
	held, runs := make([][]int32, x.Slots), map[string]int{}
	// The step gives no errors, so nor does rotate.
	_ = rotate(x.Texts, prompts, func(now []*text) error {
		for _, b := range catchUp(&x, held, now) {
			runs[b.segment()]++
		}
		runs[program.SegDecode]++
		for _, t := range now {
			held[t.slot] = t.ids
			t.ids = append(t.ids, 0)
			t.ended = len(t.ids) == len(prompts[t.n].IDs)+prompts[t.n].NewTokens
		}
		return nil
	})
	return runsFLOPs(p, x, runs)
}

// check returns why a prompt cannot be continued; nil if it can.
func (g *Generator) check(p Prompt) error {
	if len(p.IDs) == 0 || len(p.IDs)+p.NewTokens-1 > g.Context {
		return fmt.Errorf("%d tokens, and %d to follow: the program takes one at least, and %d in all", len(p.IDs), p.NewTokens,
			g.Context+1)
	}
	return inVocabulary(g.Model, p.IDs)
}

// step gives the logits of the next token of each text, [Texts, vocab].
func (g *Generator) step(now []*text) ([]float32, error) {
	for _, b := range catchUp(&g.Inference, g.held, now) {
		if err := g.keep(b.rows, b.n); err != nil {
			return nil, err
		}
	}
	rows := make([]row, g.Texts)
	for _, x := range now {
		last := len(x.ids) - 1
		rows[x.slot] = row{slot: x.slot, past: last, ids: x.ids[last:]}
		g.held[x.slot] = x.ids
	}
	if err := g.run(program.SegDecode, rows, g.Texts, 1); err != nil {
		return nil, err
	}
	return g.read(program.BufTextLogits)
}

// catchUp makes the batches that keep of each text what its slot does not hold, but for the last token.
func catchUp(x *program.Inference, held [][]int32, now []*text) []batch {
	wave := make([]*sharing, x.Slots)
	for _, t := range now {
		wave[t.slot] = &sharing{kept: t.ids[:len(t.ids)-1]}
	}
	return keeping(x, held, wave)
}

// choose adds a token to a text, or ends it.
func (g *Generator) choose(x *text, p *Prompt, to *Generated, logits []float32, each func(n int, id int32) bool) (err error) {
	if bad := FirstBad(logits); bad != 0 {
		to.End, x.ended = Flawed, true
		what := fmt.Sprintf("a logit is %s after token %d of prompt %d, which was not continued", metrics.Text(bad), len(x.ids),
			x.n)
		last := len(x.ids) - 1
		to.Diagnosis, err = g.diagnose(what, x.ids[:last], program.SegDecode, row{past: last, ids: x.ids[last:]}, g.Texts, 1)
		clear(g.held) // the other texts are kept again
		return err
	}
	id := p.Sampling.Next(logits, x.ids, x.rng)
	if slices.Contains(p.Stop, id) {
		to.End, x.ended = Stopped, true
		return nil
	}
	x.ids, to.IDs = append(x.ids, id), append(to.IDs, id)
	switch {
	case each != nil && !each(x.n, id):
		to.End, x.ended = Stopped, true
	case len(to.IDs) == p.NewTokens:
		x.ended = true
	}
	return nil
}
