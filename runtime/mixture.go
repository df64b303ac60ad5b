package runtime

import (
	"fmt"
	"math"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
)

// onePass is how many tokens a mixture gives before the first of its parts starts over. One that may be read once never does: it is used
// up, and the others go on by their weights.
func onePass(parts []fineweb.Weighted, tokens []float64) (sum float64) {
	level := math.Inf(1) // tokens per weight
	for i, x := range parts {
		if x.Source.Epochs != 1 {
			level = min(level, tokens[i]/x.Weight)
		}
	}
	for i, x := range parts {
		if x.Source.Epochs > 0 {
			sum += min(level*x.Weight, tokens[i]*float64(x.Source.Epochs))
		} else {
			sum += level * x.Weight
		}
	}
	return sum
}

// draws checks what a stage draws of each part of a mixture, of which it starts after so many tokens. What is sure, by what the parts hold
// at most, is an error; what only estimates say is a warning.
func (p *planner) draws(a *Action, s *Stage, train *dsl.Decoded, before float64) hcl.Diagnostics {
	parts := s.Data.Sources(p.ctx)
	first := int64(before / float64(s.Seq))
	last := first + int64(s.Steps)*int64(s.Batch)
	var sum float64
	for _, w := range s.Data.Weights {
		sum += w
	}
	for _, sure := range []bool{true, false} {
		tokens, limits := make([]int64, len(parts)), make([]int64, len(parts))
		for i, n := range s.Data.Parts {
			size, _, err := p.size(n, s.Tokenizer)
			if err != nil {
				return nil
			}
			if tokens[i] = size.Tokens; sure {
				tokens[i] = size.Most
			}
			limits[i] = -1
			if e := parts[i].Source.Epochs; e > 0 && tokens[i] > 0 { // the last target of a sequence is the first token of the next one
				limits[i] = int64(min(float64(last)+1, math.Floor((float64(e)*float64(tokens[i])-1)/float64(s.Seq))))
			}
		}
		from, to := fineweb.Draws(s.Data.Weights, limits, first), fineweb.Draws(s.Data.Weights, limits, last)
		var given int64
		for i, n := range s.Data.Parts {
			given += to[i]
			tried := to[i]
			if limits[i] == to[i] { // it may be found out to be used up
				limits[i]++
				tried = fineweb.Draws(s.Data.Weights, limits, last)[i]
				limits[i]--
			}
			small := tokens[i] > 0 && wraps(float64(tokens[i]), parts[i].Source.Epochs, float64(from[i]*int64(s.Seq)), float64(s.Seq), float64(tried-from[i]))
			switch {
			case small && sure:
				size, _, _ := p.size(n, s.Tokenizer)
				return hcl.Diagnostics{train.Error("data", "Less text than a sequence", fmt.Sprintf("%s, less than one sequence of %d tokens%s. "+
					"Lower sequence_length, leave it out of the mixture, or give it more text.", upper(holdsTokens(n, size)), s.Seq, p.onlyLeft(s, i, last)))}
			case small:
				a.warn(fmt.Sprintf("%s may hold less than one sequence of %d tokens%s: the stage would fail there", n.Addr, s.Seq, p.onlyLeft(s, i, last)))
			case !sure && to[i] == from[i] && from[i] > 0 && from[i] == limits[i]:
				a.warn(fmt.Sprintf("%s gives none of the %d sequences of the stage: the stages before use it up, since its epochs is %d",
					n.Addr, last-first, parts[i].Source.Epochs))
			case !sure && to[i] == from[i] && tried > to[i]:
				a.warn(fmt.Sprintf("%s gives none of the %d sequences of the stage: its %d epochs hold less than one", n.Addr, last-first, parts[i].Source.Epochs))
			case !sure && to[i] == from[i]:
				a.warn(fmt.Sprintf("%s gives none of the %d sequences of the stage: its weight is %.3g of all", n.Addr, last-first, s.Data.Weights[i]/sum))
			}
		}
		if given < last && !sure { // where the run stops, at a checkpoint from which it goes on with more epochs
			a.warn(fmt.Sprintf("after about %d of %d sequences all parts of %s are used up by their epochs: raise epochs, or train on fewer tokens",
				max(0, given-first), last-first, s.Data.Addr))
		}
	}
	return nil
}

// onlyLeft says why a part gives sequences that its weight does not ask for; "" if it does.
func (p *planner) onlyLeft(s *Stage, part int, n int64) string {
	none := make([]int64, len(s.Data.Weights))
	for i := range none {
		none[i] = -1
	}
	if fineweb.Draws(s.Data.Weights, none, n)[part] > 0 {
		return ""
	}
	return ", and it has to give some once others are used up by their epochs"
}
