package report

import (
	"slices"

	"stepflow/runtime/metrics"
)

// Cost is what a chain of stages took, and what it would have taken to train the full model from the start on the same
// tokens in the same batches.
type Cost struct {
	Address string   `json:"address"` // of the chain's last stage
	Planned bool     `json:"planned"` // nothing was trained yet: all of it is as planned
	Tokens  float64  `json:"tokens"`
	Run     Spending `json:"run"`
	Vanilla Spending `json:"vanilla"`
	// SameFLOPs is on how many tokens the full model could have been trained for the FLOPs of the chain.
	SameFLOPs float64 `json:"tokens_at_same_flops"`
}

// Spending is what training takes.
type Spending struct {
	FLOPs   float64 `json:"flops"`
	Seconds float64 `json:"seconds,omitempty"` // 0 before there are measured ones
	Peak    float64 `json:"peak_bytes"`
	States  float64 `json:"model_state_bytes"`
}

// costs compares each chain with its full model, except those that are the full model all along.
func costs(blocks []*Block) (list []*Cost) {
	by, goesOn := map[string]*Block{}, map[string]bool{}
	for _, b := range blocks {
		by[b.Address] = b
		if trains(b) {
			goesOn[b.Stage.From] = true
		}
	}
	for _, b := range blocks {
		if !trains(b) || goesOn[b.Address] {
			continue
		}
		stages := (&chain{end: b, by: by}).stages()
		if c := cost(b.Address, stages); c != nil {
			list = append(list, c)
		}
	}
	return list
}

// cost is nil for stages of which nothing can be said.
func cost(address string, stages []*Stage) *Cost {
	c := &Cost{Address: address, Planned: !slices.ContainsFunc(stages, func(s *Stage) bool { return s.Series != nil })}
	for _, s := range stages {
		if s.Vanilla == nil || s.StepTokens <= 0 {
			return nil
		}
		x := s.trains()
		if !c.Planned {
			x = s.Series.end()
		}
		c.Tokens += x.tokens
		c.Run.FLOPs += x.flops
		c.Run.Seconds += x.seconds
		c.Run.Peak = max(c.Run.Peak, float64(s.Figures.Peak), float64(s.Measured))
		c.Run.States = max(c.Run.States, float64(s.Figures.States))
		c.Vanilla.FLOPs += x.tokens / float64(s.StepTokens) * float64(s.Vanilla.StepFLOPs)
		c.Vanilla.Peak = max(c.Vanilla.Peak, float64(s.Vanilla.Peak))
		c.Vanilla.States = max(c.Vanilla.States, float64(s.Vanilla.States))
	}
	same := c.Run.FLOPs == c.Vanilla.FLOPs && c.Run.States == c.Vanilla.States
	if same || !(c.Run.FLOPs > 0 && c.Vanilla.FLOPs > 0) {
		return nil
	}
	c.Vanilla.Seconds = c.Vanilla.FLOPs * (c.Run.Seconds / c.Run.FLOPs)
	c.SameFLOPs = c.Tokens * (c.Run.FLOPs / c.Vanilla.FLOPs)
	if x := c.Run; !metrics.Finite(x.FLOPs+x.Seconds+c.Vanilla.FLOPs+c.Vanilla.Seconds+c.Tokens+c.SameFLOPs) || c.Run.Seconds < 0 {
		return nil
	}
	return c
}

// took is what training took.
type took struct{ tokens, flops, seconds float64 }

// end is what all steps together took; nothing of no steps.
func (s *Series) end() took {
	if s == nil || len(s.Step) == 0 {
		return took{}
	}
	i := len(s.Step) - 1
	return took{float64(s.Tokens[i]), float64(s.FLOPs[i]), float64(s.Seconds[i])}
}
