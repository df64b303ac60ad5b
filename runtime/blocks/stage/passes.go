package stage

import (
	"context"
	"fmt"
	"math"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
)

// manyEpochs is the number of passes beyond which reading the same data again is clearly worse than new data
// (Muennighoff et al. 2023).
const manyEpochs = 4

// passes notes how often the stage reads its data.
func (s *Stage) passes(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	if s.Tune != nil {
		return s.tuningPasses(ctx, p, d.Block("train"))
	}
	tok := s.Tokenizer.Ready()
	size, ok, err := s.Data.Size(ctx, tok)
	if err != nil {
		return data.Unfit(d.Block("train"), "data", err)
	}
	if !ok {
		return nil
	}
	for _, n := range s.Data.InFiles() {
		if part, _, err := n.Size(ctx, tok); err == nil && part.Specials > 0 {
			p.Warn(fmt.Sprintf("%s: %s", n.Addr, data.SpecialsNote(part.Specials, n.Source.SpecialIDs)))
		}
	}
	f := &s.Figures
	f.DataTokens, f.DataHow = size.Tokens, size.How
	tokens, before := float64(s.Steps)*float64(s.StepTokens()), 0.0
	for x := s.Before; x != nil && x.Data == s.Data && x.Tokenizer == s.Tokenizer && x.Seq == s.Seq; x = x.Before {
		before += float64(x.Steps) * float64(x.StepTokens())
	}
	if s.Data.Parts != nil {
		if diags := s.draws(ctx, p, d.Block("train"), before); diags.HasErrors() {
			return diags
		}
	} else if err := s.tooSmall(ctx, before); err != nil {
		return blocks.Problem(d.Block("train"), "data", "Less text than a batch", err)
	}
	f.Epochs = (before + tokens) / float64(size.Tokens)
	limit := float64(s.Data.Source.Epochs)
	switch {
	case limit > 0 && f.Epochs > limit && size.How == fineweb.Exact && s.Data.Parts == nil:
		return hcl.Diagnostics{d.Block("train").Error("data", "Data used up",
			fmt.Sprintf("The stage ends after %.2f passes over %s, whose "+
				"epochs is %.0f. Raise epochs, or train on fewer tokens.", f.Epochs, s.Data.Addr, limit))}
	case limit > 0 && f.Epochs > limit && s.Data.Parts == nil:
		p.Warn(fmt.Sprintf("the stage would end after about %.1f passes over %s, whose epochs is %.0f: the data "+
			"may be used up before", f.Epochs, s.Data.Addr, limit))
	case limit == 0 && f.Epochs > manyEpochs && before/float64(size.Tokens) <= manyEpochs:
		p.Warn(fmt.Sprintf("the stage ends after about %.0f passes over %s: beyond %d, reading it again teaches "+
			"clearly less than new data would (arXiv 2305.16264); set its epochs if you want this", f.Epochs, s.Data.Addr,
			manyEpochs))
	}
	return nil
}

// tooSmall returns an error if data other than mixtures are known to hold less than the batches of a stage take.
func (s *Stage) tooSmall(ctx context.Context, before float64) error {
	size, _, err := s.Data.Size(ctx, s.Tokenizer.Ready())
	if err != nil || size.Most == 0 || !data.Wraps(float64(size.Most), s.Data.Source.Epochs, before,
		float64(s.Batch)*float64(s.Seq), float64(s.Steps)) {
		return nil
	}
	return fmt.Errorf("%s, less than one batch of %d sequences of %d tokens. Lower sequence_length or batch_size, or "+
		"give it more text",
		s.Data.HoldsTokens(size), s.Batch, s.Seq)
}

// draws checks what a stage, which starts after before tokens, draws from each part of a mixture. What follows from the
// most that the parts can hold is an error; what only estimates say is a warning.
func (s *Stage) draws(ctx context.Context, p *blocks.Planned, train *dsl.Decoded, before float64) hcl.Diagnostics {
	first := int64(before / float64(s.Seq))
	last := first + int64(s.Steps)*int64(s.Batch)
	for _, sure := range []bool{true, false} {
		list, ok := s.drawn(ctx, first, last, sure)
		if !ok {
			return nil
		}
		var given int64
		for i, x := range list {
			given += x.to
			switch {
			case x.small && sure:
				size, _, _ := x.part.Size(ctx, s.Tokenizer.Ready())
				return hcl.Diagnostics{train.Error("data", "Less text than a sequence",
					fmt.Sprintf("%s, less than one sequence of %d tokens%s. "+
						"Lower sequence_length, leave it out of the mixture, or give it more text.",
						blocks.Sentence(x.part.HoldsTokens(size)), s.Seq, s.onlyLeft(i, last)))}
			case x.small:
				p.Warn(fmt.Sprintf("%s may hold less than one sequence of %d tokens%s: the stage would fail there",
					x.part.Addr, s.Seq, s.onlyLeft(i, last)))
			case !sure && x.to == x.from:
				p.Warn(fmt.Sprintf("%s gives none of the %d sequences of the stage: %s", x.part.Addr, last-first, s.whyNone(x)))
			}
		}
		if given < last && !sure { // the run stops there at a checkpoint, and can resume with more epochs
			p.Warn(fmt.Sprintf("after about %d of %d sequences all parts of %s are used up by their epochs: raise epochs, "+
				"or train on fewer tokens", max(0, given-first), last-first, s.Data.Addr))
		}
	}
	return nil
}

// draw is what a stage draws from a part of a mixture.
type draw struct {
	part     *data.Data
	epochs   int64
	weight   float64
	from, to int64 // sequences drawn before the stage, and with it
	tried    int64 // to, and one more where the run would try that before it finds the part used up
	limit    int64 // the most that its epochs give; -1 for no bound
	small    bool  // the part holds less than one sequence
}

// drawn returns what is drawn from each part by sequences first to last of the mixture: if sure, where the parts hold the
// most that they can, otherwise where they hold what is estimated. It is false where a size is not known.
func (s *Stage) drawn(ctx context.Context, first, last int64, sure bool) ([]draw, bool) {
	parts, seq := s.Data.Sources(), float64(s.Seq)
	tokens, limits := make([]int64, len(parts)), make([]int64, len(parts))
	for i, n := range s.Data.Parts {
		size, _, err := n.Size(ctx, s.Tokenizer.Ready())
		if err != nil {
			return nil, false
		}
		if tokens[i] = size.Tokens; sure {
			tokens[i] = size.Most
		}
		limits[i] = -1
		if e := parts[i].Source.Epochs; e > 0 && tokens[i] > 0 { // a sequence's last target is the next one's first token
			limits[i] = int64(min(float64(last)+1, math.Floor((float64(e)*float64(tokens[i])-1)/seq)))
		}
	}
	from, to := fineweb.Draws(s.Data.Weights, limits, first), fineweb.Draws(s.Data.Weights, limits, last)
	list := make([]draw, len(parts))
	for i, n := range s.Data.Parts {
		x := draw{part: n, epochs: parts[i].Source.Epochs, weight: s.Data.Weights[i], from: from[i], to: to[i], tried: to[i],
			limit: limits[i]}
		if x.limit == x.to {
			limits[i]++
			x.tried = fineweb.Draws(s.Data.Weights, limits, last)[i]
			limits[i]--
		}
		x.small = tokens[i] > 0 && data.Wraps(float64(tokens[i]), x.epochs, float64(x.from*int64(s.Seq)), seq,
			float64(x.tried-x.from))
		list[i] = x
	}
	return list, true
}

// whyNone returns why a part gives no sequence of the stage.
func (s *Stage) whyNone(x draw) string {
	switch {
	case x.from > 0 && x.from == x.limit:
		return fmt.Sprintf("the stages before use it up, since its epochs is %d", x.epochs)
	case x.tried > x.to:
		return fmt.Sprintf("its %d epochs hold less than one", x.epochs)
	}
	var sum float64
	for _, w := range s.Data.Weights {
		sum += w
	}
	return fmt.Sprintf("its weight is %.3g of all", x.weight/sum)
}

// onlyLeft returns why a part gives sequences that its weight does not ask for; "" if its weight does.
func (s *Stage) onlyLeft(part int, n int64) string {
	none := make([]int64, len(s.Data.Weights))
	for i := range none {
		none[i] = -1
	}
	if fineweb.Draws(s.Data.Weights, none, n)[part] > 0 {
		return ""
	}
	return ", and it has to give some once others are used up by their epochs"
}
