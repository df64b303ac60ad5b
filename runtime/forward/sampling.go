package forward

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Sampling says how the next token is chosen. Names are those of transformers' generation config.
type Sampling struct {
	Temperature       float64 // 0 for the likeliest token
	TopK              int     // 0 for all
	TopP              float64 // 1 for all
	RepetitionPenalty float64 // 1, or 0, for none
	Seed              uint64
}

// Draws returns the random numbers with which text n is sampled: they do not depend on the other texts.
func (s Sampling) Draws(n int) *rand.Rand { return rand.New(rand.NewPCG(s.Seed, uint64(n))) }

// Next chooses a token: the likeliest at temperature 0, else a sample of softmax(logits/temperature) cut to the k
// likeliest and to the smallest set that holds probability p (Holtzman et al. 2020). Logits of the tokens before are
// first divided by the repetition penalty where they are positive, and else multiplied by it (Keskar et al. 2019); they
// are changed in place.
func (s Sampling) Next(logits []float32, before []int32, rng *rand.Rand) int32 {
	s.penalise(logits, before)
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

// penalise applies the repetition penalty, once to each token however often it stands before.
func (s Sampling) penalise(logits []float32, before []int32) {
	if s.RepetitionPenalty == 0 || s.RepetitionPenalty == 1 {
		return
	}
	seen := map[int32]bool{}
	for _, id := range before {
		if seen[id] {
			continue
		}
		seen[id] = true
		if logits[id] > 0 {
			logits[id] /= float32(s.RepetitionPenalty)
		} else {
			logits[id] *= float32(s.RepetitionPenalty)
		}
	}
}
