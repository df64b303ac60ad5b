package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/words"
)

// Shared is what a plan trains once for several stages.
type Shared struct {
	Stages   int     `json:"stages"`   // that are made in the run
	Same     int     `json:"same"`     // of these, the same as others
	Extended int     `json:"extended"` // and those that go on from a shorter one of the run
	Tokens   int64   `json:"tokens"`   // that are not trained again
	FLOPs    float64 `json:"flops"`
	Seconds  float64 `json:"seconds,omitempty"` // 0 if no rate is known
	Least    bool    `json:"least,omitempty"`   // Seconds is a lower bound
}

// Shared returns what the stages of a plan share, compared with a run of each from what lies on disk.
func (p *Plan) Shared() (s Shared) {
	for _, a := range p.Actions {
		if _, ok := a.Block.(blocks.Trains); !ok || a.Verb == Import || !a.Verb.Works() && a.Verb != Same {
			continue
		}
		s.Stages++
		maker, steps := a, a.FromStep-a.alone
		switch {
		case a.Verb == Same:
			if maker = p.Action(a.After); maker == nil || maker.stepped() == nil {
				continue
			}
			s.Same++
			steps = maker.stepped().NumSteps() - maker.alone
		case a.After != addr.Addr{}:
			s.Extended++
		default:
			continue
		}
		s.add(maker, steps)
	}
	return s
}

// add adds steps that a stage is not trained for.
func (s *Shared) add(a *Action, steps int) {
	x := a.Block.(blocks.Trains).Training()
	flops := float64(steps) * float64(x.Figures.StepFLOPs+x.Figures.RecomputeFLOPs)
	s.Tokens += int64(steps) * x.StepTokens
	s.FLOPs += flops
	if f := a.Block.(blocks.Forecaster).Takes(); f.Rate > 0 {
		s.Seconds += flops / f.Rate
		s.Least = s.Least || f.Least
	}
}

// String says what is trained once, and what that saves; "" where nothing is.
func (s Shared) String() string {
	var what []string
	if s.Same > 0 {
		what = append(what, fmt.Sprintf("%d of %s the same as others", s.Same, words.Plural(s.Stages, "stage")))
	}
	if s.Extended > 0 {
		what = append(what, fmt.Sprintf("%d going on from shorter ones", s.Extended))
	}
	if len(what) == 0 {
		return ""
	}
	saved := fmt.Sprintf("%s tokens, %sFLOP", words.Count(s.Tokens), words.Count(s.FLOPs))
	switch {
	case s.Seconds < shortest:
	case s.Least:
		saved += ", at least " + words.Duration(s.Seconds)
	default:
		saved += ", about " + words.Duration(s.Seconds)
	}
	return fmt.Sprintf("Trained once: %s, which saves %s.", strings.Join(what, ", "), saved)
}

// shortest is the time in seconds below which nothing is said of a saving.
const shortest = 0.01

// lengthen lets stages that are to run go on from where shorter ones end that the run makes before them, so that several
// lengths take one training and their ends. The actions are those of one block.
func (f *Fold) lengthen(ctx context.Context, actions []*Action) (diags hcl.Diagnostics) {
	var mine []*Action
	for _, a := range actions {
		if a.Course != nil && a.Verb.Works() {
			mine = append(mine, a)
			f.courses[a.Course.ID] = append(f.courses[a.Course.ID], a)
		}
	}
	for _, a := range mine {
		from := f.shorter(a)
		if from == nil {
			continue
		}
		a.Verb, a.FromStep, a.Base, a.After = Extend, from.stepped().NumSteps(), nil, from.Addr
		a.Why = goesOn(a, from.Addr.String(), a.reason)
		var err error
		if a.Losses, err = f.losses(a); err != nil {
			diags = append(diags, unreadable(a, err)...)
		}
		diags = append(diags, a.Block.(blocks.Forecaster).Forecast(ctx, &a.Planned, a.FromStep, a.decoded)...)
		f.redact(a, a.decoded)
	}
	return diags
}

// shorter returns the longest stage of the run whose end is on the way of an action, beyond what is on disk; nil if
// there is none.
func (f *Fold) shorter(a *Action) *Action {
	x := a.extendable()
	if a.Verb != Run && a.Verb != Extend || a.again || x.Merges() {
		return nil
	}
	list := f.courses[a.Course.ID]
	slices.SortStableFunc(list, func(p, q *Action) int { return q.stepped().NumSteps() - p.stepped().NumSteps() })
	for _, b := range list {
		n := b.stepped().NumSteps()
		if n > a.FromStep && n < x.NumSteps() && x.Shares(n, b.Course.Pace) {
			return b
		}
	}
	return nil
}

// goesOn writes from where an action goes on, and why it runs. of is the block whose run it goes on from; "" for its own.
func goesOn(a *Action, of, why string) string {
	steps := "1 step"
	if left := a.stepped().NumSteps() - a.FromStep; left != 1 {
		steps = fmt.Sprintf("%d steps", left)
	}
	if of != "" {
		of = " of " + of
	}
	return fmt.Sprintf("%s from step %d%s: %s", steps, a.FromStep, of, why)
}

// Origin returns the address of the block whose run an action goes on from; "" if it runs from its start, or from its
// own checkpoint.
func (a *Action) Origin() string {
	switch {
	case a.Verb != Extend:
		return ""
	case a.Base != nil:
		return a.Base.Address
	}
	return a.After.String()
}
