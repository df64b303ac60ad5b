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
		maker, steps := a, a.FromStep-a.ownStep
		switch {
		case a.Verb == Same:
			if maker = p.Action(a.After); maker == nil || maker.Verb == Import {
				continue
			}
			s.Same++
			steps = maker.stepped().NumSteps() - maker.ownStep
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
	say := func(n int, one, more string) {
		switch {
		case n == 1:
			what = append(what, "1 "+one)
		case n > 1:
			what = append(what, fmt.Sprintf("%d %s", n, more))
		}
	}
	say(s.Same, "is the same as another", "are the same as others")
	say(s.Extended, "goes on from a shorter one", "go on from shorter ones")
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
	return fmt.Sprintf("Trained once: of %d stages %s, which saves %s.", s.Stages, strings.Join(what, " and "), saved)
}

// shortest is the time in seconds below which nothing is said of a saving.
const shortest = 0.01

// lengthen lets stages that are to run go on from where shorter ones of the run end, so that several lengths take one
// training and their ends. The shorter ones run first, wherever they stand in the pipeline.
func (p *Plan) lengthen(ctx context.Context) (diags hcl.Diagnostics) {
	courses := map[string][]*Action{}
	for _, a := range p.Actions {
		if a.Course != nil && a.Verb.Works() {
			courses[a.Course.ID] = append(courses[a.Course.ID], a)
		}
	}
	for _, list := range courses {
		slices.SortStableFunc(list, func(a, b *Action) int { return b.stepped().NumSteps() - a.stepped().NumSteps() })
	}
	w := newWaits(p)
	for _, a := range p.Actions {
		if a.Course == nil {
			continue
		}
		if from := a.shorter(courses[a.Course.ID], w); from != nil {
			w.add(a.Addr, from.Addr)
			diags = append(diags, p.fold.goOn(ctx, a, from)...)
		}
	}
	return diags
}

// shorter returns the longest stage of a list, longest first, whose end is on the way of an action, beyond what is on
// disk; nil if there is none.
func (a *Action) shorter(list []*Action, w waits) *Action {
	x := a.extendable()
	if a.Verb != Run && a.Verb != Extend || a.again || x.Merges() {
		return nil
	}
	for _, b := range list {
		n := b.stepped().NumSteps()
		if b.extendable().Certain() && n > a.FromStep && n < x.NumSteps() && x.Shares(n, b.Course.Pace) &&
			!w.has(b.Addr, a.Addr) && !b.mayName(a) {
			return b
		}
	}
	return nil
}

// goOn lets a stage go on from the end of another.
func (f *Fold) goOn(ctx context.Context, a, from *Action) (diags hcl.Diagnostics) {
	a.Verb, a.FromStep, a.Base, a.After = Extend, from.stepped().NumSteps(), nil, from.Addr
	a.Why = goesOn(a, from.Addr.String(), a.reason)
	var err error
	if a.Losses, err = f.losses(a); err != nil {
		diags = append(diags, unreadable(a, err)...)
	}
	diags = append(diags, a.Block.(blocks.Forecaster).Forecast(ctx, &a.Planned, a.FromStep, a.decoded)...)
	f.redact(a, a.decoded)
	return diags
}

// waits holds for each block those that must end, in part, before it does.
type waits map[addr.Addr][]addr.Addr

func newWaits(p *Plan) waits {
	w := waits{}
	for _, b := range p.Config.Blocks {
		w[b.Addr] = slices.Clone(b.Refs)
	}
	for _, a := range p.Actions {
		if a.Verb == Same {
			w.add(a.Addr, a.After)
		}
	}
	return w
}

// add notes that an instance waits for another.
func (w waits) add(a, after addr.Addr) {
	if x, y := a.Block(), after.Block(); x != y && !slices.Contains(w[x], y) {
		w[x] = append(w[x], y)
	}
}

// has reports whether the block of an instance waits for that of another, directly or not.
func (w waits) has(a, after addr.Addr) bool {
	seen, to := map[addr.Addr]bool{}, after.Block()
	var look func(addr.Addr) bool
	look = func(x addr.Addr) bool {
		if seen[x] {
			return false
		}
		seen[x] = true
		return slices.Contains(w[x], to) || slices.ContainsFunc(w[x], look)
	}
	return a.Block() != to && look(a.Block())
}

// goesOn writes from where an action goes on, and why it runs. of is the block whose run it goes on from; "" for its
// own.
func goesOn(a *Action, of, why string) string {
	if of != "" {
		of = " of " + of
	}
	steps := words.Plural(a.stepped().NumSteps()-a.FromStep, "step")
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
