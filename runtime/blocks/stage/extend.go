package stage

import (
	"encoding/json"
	"fmt"
	"io"
	"math"

	"stepflow/gpu"
	"stepflow/ops/optim"
	"stepflow/runtime/words"
)

// usualDecay is the decay_ratio of a wsd schedule that a plan suggests: the default.
const usualDecay = 0.2

// pace is how long a stage trains, and by what schedule.
type pace struct {
	Steps    int            `json:"steps"`
	Horizon  float64        `json:"horizon"` // tokens at which the schedule ends
	Schedule optim.Schedule `json:"schedule"`
	decided
}

// Course writes what decides the bits of a step and can be said in several ways, but for its learning rate.
func (s *Stage) Course(w io.Writer) {
	one := &s.Stage
	if s.ofOne != nil { // a recipe does not depend on the number of ranks
		one = s.ofOne
	}
	fmt.Fprintf(w, "micro-batch %d, rows of logits %d, gradients", one.Micro, one.Chunk)
	for _, x := range one.Trainable() {
		fmt.Fprintf(w, " %v", one.GradType(x))
	}
	fmt.Fprintln(w)
	if s.FromZero {
		fmt.Fprintln(w, "gradients from zero")
	}
	if s.Fused && s.Optimizer.ClipNorm() > 0 { // without clipping the bits are the same
		fmt.Fprintln(w, "gradients clipped one by one")
	}
	if s.FrozenDType != gpu.InvalidDType {
		fmt.Fprintf(w, "frozen projections in %v\n", s.FrozenDType)
	}
	if s.Tune != nil {
		fmt.Fprintln(w, s.Tune.identity())
	}
}

// Pace returns the number of steps and the schedule.
func (s *Stage) Pace() json.RawMessage {
	b, err := json.Marshal(pace{s.Steps, s.Horizon, s.Schedule.Used(), s.rules()})
	if err != nil {
		panic(err) // the language has no numbers that are not finite
	}
	return b
}

// Certain reports whether the result is that of the last step, whatever evaluations give.
func (s *Stage) Certain() bool { return !s.decides() }

// Merges reports whether the result has adapters merged into its weights: further steps need a checkpoint from before.
func (s *Stage) Merges() bool { return len(s.Adapters) > 0 }

// Shares reports whether a stage at another pace that has taken so many steps is what this one is after them. It is not
// if that pace cannot be read.
func (s *Stage) Shares(steps int, text json.RawMessage) bool {
	var was pace
	if json.Unmarshal(text, &was) != nil || steps > min(s.Steps, was.Steps) || !s.follows(was.decided, was.Steps, steps) {
		return false
	}
	last := float64(steps) * float64(s.StepTokens())
	if was.Schedule.Factor(last, was.Horizon) != s.Schedule.Factor(last, s.Horizon) {
		return false // most part at the end
	}
	other := s.Stage
	other.Steps = was.Steps
	// adapters do not restart after the last step, which may be that of one of the two
	return s.sameRates(was, steps) == steps && other.RestartAfter(steps) == s.RestartAfter(steps)
}

// sameRates returns how many steps, from the first and up to most, have the same learning rate at both paces.
func (s *Stage) sameRates(was pace, most int) int {
	for step := 1; step <= most; step++ {
		tokens := float64(step) * float64(s.StepTokens())
		if was.Schedule.Factor(tokens, was.Horizon) != s.Schedule.Factor(tokens, s.Horizon) {
			return step - 1
		}
	}
	return most
}

// Anew returns why a finished run at a shorter pace is not extended though it is intact, and what would have saved its
// steps.
func (s *Stage) Anew(text json.RawMessage) string {
	var was pace
	if json.Unmarshal(text, &was) != nil || was.Steps >= s.Steps {
		return ""
	}
	steps := func(n int) string {
		return fmt.Sprintf("%s (%s tokens)", words.Plural(n, "step"), words.Count(float64(n)*float64(s.StepTokens())))
	}
	same := s.sameRates(was, was.Steps)
	switch {
	case same == was.Steps && !s.Merges():
		return ""
	case same == was.Steps:
		return fmt.Sprintf("it cannot go on from the end of its %s: the adapters are merged, and no checkpoint from before "+
			"is left. With every_steps and keep = 2 in its checkpoint block, the latest one would be", steps(was.Steps))
	}
	why, saved := s.parted(was, same)
	all := fmt.Sprintf("With the longer horizon from the start, and stop_at for the share to train, all %s would be kept",
		steps(was.Steps))
	switch {
	case saved > 0:
		all = fmt.Sprintf("%s would be kept by a wsd schedule, from a checkpoint before its decay (decay_ratio = %g), and "+
			"all %s by a constant one", steps(saved), usualDecay, steps(was.Steps))
	case same > 0:
		all = fmt.Sprintf("A checkpoint from before would have kept %s. %s", steps(same), all)
	}
	return fmt.Sprintf("it cannot go on from the end of its %s: %s. %s", steps(was.Steps), why, all)
}

// parted returns why the schedule of a stage at another pace is another after the steps that are the same, and how many
// steps a wsd schedule would keep; 0 if it would not help.
func (s *Stage) parted(was pace, same int) (why string, saved int) {
	at := float64(same+1) * float64(s.StepTokens())
	switch {
	case at < was.Schedule.WarmupRatio*was.Horizon || at < s.Schedule.WarmupRatio*s.Horizon:
		return "warmup_ratio is a share of the horizon, so that the warm-up is another", 0
	case was.Schedule.Kind != s.Schedule.Kind:
		return fmt.Sprintf("its schedule was %s and is %s", was.Schedule.Kind, s.Schedule.Kind), 0
	case was.Schedule.Kind == "wsd":
		return fmt.Sprintf("its schedule began to decay after step %d", same), 0
	}
	before := math.Floor((1 - usualDecay) * was.Horizon / float64(s.StepTokens()))
	return fmt.Sprintf("a %s schedule falls over the whole horizon, so that the learning rates are others from step %d on",
		s.Schedule.Kind, same+1), min(int(before), was.Steps)
}
