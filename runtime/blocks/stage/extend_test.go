package stage

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"stepflow/dsl/addr"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/train"
)

// at makes a stage of steps of 10 tokens each, which ends after them on the way to a horizon in steps.
func at(steps, horizon int, s optim.Schedule) *Stage {
	x := &Stage{}
	x.Batch, x.Seq, x.Steps, x.Horizon, x.Schedule = 2, 5, steps, float64(10*horizon), s
	return x
}

// shared is how many steps, at most, a stage has in common with another.
func shared(is, was *Stage) int {
	n := min(is.Steps, was.Steps)
	for n > 0 && !is.Shares(n, was.Pace()) {
		n--
	}
	return n
}

// TestShares: a stage has in common with another what has the same learning rates.
func TestShares(t *testing.T) {
	constant, cosine := optim.Schedule{Kind: "constant"}, optim.Schedule{Kind: "cosine"}
	wsd := optim.Schedule{Kind: "wsd", DecayRatio: 0.2, DecayType: "linear"}
	warm := func(s optim.Schedule, ratio float64) optim.Schedule { s.WarmupRatio = ratio; return s }
	for name, c := range map[string]struct {
		was, is *Stage
		same    int
		why     string // that the longer one is trained anew
	}{
		"constant":                  {at(100, 100, constant), at(300, 300, constant), 100, ""},
		"constant, shorter":         {at(100, 100, constant), at(40, 40, constant), 40, ""},
		"wsd that has decayed":      {at(100, 100, wsd), at(200, 200, wsd), 80, "began to decay after step 80"},
		"wsd before its decay":      {at(50, 100, wsd), at(200, 200, wsd), 50, ""},
		"a decay is added":          {at(100, 100, constant), at(125, 125, wsd), 100, ""},
		"a decay that is too early": {at(100, 100, constant), at(110, 110, wsd), 88, "its schedule was constant and is wsd"},
		"cosine":                    {at(100, 100, cosine), at(200, 200, cosine), 0, "80 steps (800 tokens) would be kept"},
		"cosine, stop_at":           {at(100, 400, cosine), at(200, 400, cosine), 100, ""},
		"warm-up":                   {at(100, 100, warm(constant, 0.1)), at(300, 300, warm(constant, 0.1)), 0, "the warm-up"},
		"warm-up, stop_at":          {at(100, 300, warm(constant, 0.1)), at(300, 300, warm(constant, 0.1)), 100, ""},
		"warm-up, halved":           {at(100, 100, warm(constant, 0.1)), at(200, 200, warm(constant, 0.05)), 100, ""},
	} {
		if n := shared(c.is, c.was); n != c.same {
			t.Errorf("%s: %d steps are the same, not %d", name, n, c.same)
		}
		if why := c.is.Anew(c.was.Pace()); c.why != "" && !strings.Contains(why, c.why) {
			t.Errorf("%s: %s", name, why)
		}
	}
	if at(3, 3, constant).Shares(1, json.RawMessage(`"none"`)) {
		t.Error("a step is the same as at a pace that cannot be read")
	}
}

// TestSharesWithRestarts: adapters do not restart after the last step, and do where the stage goes on.
func TestSharesWithRestarts(t *testing.T) {
	relora := func(steps int) *Stage {
		x := at(steps, 100, optim.Schedule{Kind: "constant"})
		x.Peft, x.Adapters = &peft.Spec{Method: "relora", ResetEvery: 4}, make([]peft.Adapter, 1)
		return x
	}
	for _, c := range []struct{ was, is, same int }{{8, 20, 7}, {9, 20, 9}, {20, 8, 7}, {8, 8, 8}} {
		if n := shared(relora(c.is), relora(c.was)); n != c.same {
			t.Errorf("%d and %d steps: %d are the same, not %d", c.was, c.is, n, c.same)
		}
	}
}

// TestFollows: what rules by which a stage ends may follow which others. The evaluations are of the same data but where of
// says otherwise.
func TestFollows(t *testing.T) {
	world := &blocks.World{ID: func(a addr.Addr) string { return a.Name }}
	with := func(of string, every int, ending *train.Ending, best bool) *Stage {
		x := at(100, 100, optim.Schedule{Kind: "constant"})
		x.world = world
		x.Evaluations = []*Evaluation{{Name: "v", EverySteps: every, Data: &data.Data{Addr: addr.Addr{Name: of}}}}
		if x.Ending = ending; ending != nil {
			x.Ending.Value = train.Value{Evaluation: "v", Name: "loss"}
		}
		if best {
			x.Best = &train.Value{Evaluation: "v", Name: "loss"}
		}
		return x
	}
	patience := func(n int, delta float64) *train.Ending { return &train.Ending{Patience: n, MinDelta: delta} }
	low, lower := 3.0, 2.0
	threshold := func(x *float64, n int) *train.Ending { return &train.Ending{Threshold: x, Patience: n} }
	for name, c := range map[string]struct {
		is, was *Stage
		step    int
		want    bool
	}{
		"no rule after none":              {with("d", 10, nil, false), with("e", 7, nil, false), 50, true},
		"no rule after one":               {with("d", 10, nil, false), with("d", 10, patience(2, 0), true), 50, true},
		"the same":                        {with("d", 10, patience(2, 0), true), with("d", 10, patience(2, 0), true), 50, true},
		"more patience":                   {with("d", 10, patience(3, 0), false), with("d", 10, patience(2, 0), false), 50, true},
		"less patience":                   {with("d", 10, patience(2, 0), false), with("d", 10, patience(3, 0), false), 50, false},
		"a first rule":                    {with("d", 10, patience(2, 0), false), with("d", 10, nil, false), 50, false},
		"another min_delta":               {with("d", 10, patience(3, 0.1), false), with("d", 10, patience(2, 0), false), 50, false},
		"the best is no longer kept":      {with("d", 10, patience(2, 0), false), with("d", 10, patience(2, 0), true), 50, true},
		"the best was not kept":           {with("d", 10, patience(2, 0), true), with("d", 10, patience(2, 0), false), 50, false},
		"other data":                      {with("d", 10, patience(2, 0), false), with("e", 10, patience(2, 0), false), 50, false},
		"more often":                      {with("d", 5, patience(2, 0), false), with("d", 10, patience(2, 0), false), 50, false},
		"the same threshold":              {with("d", 10, threshold(&low, 0), false), with("d", 10, threshold(&low, 0), false), 50, true},
		"a lower threshold":               {with("d", 10, threshold(&lower, 0), false), with("d", 10, threshold(&low, 0), false), 50, false},
		"patience on top":                 {with("d", 10, threshold(&low, 2), false), with("d", 10, threshold(&low, 0), false), 50, false},
		"without patience":                {with("d", 10, threshold(&low, 0), false), with("d", 10, threshold(&low, 2), false), 50, true},
		"after a last step, regular":      {with("d", 10, patience(2, 0), false), with("d", 10, patience(2, 0), false), 100, true},
		"after a last step, out of order": {with("d", 30, patience(2, 0), false), with("d", 30, patience(2, 0), false), 100, false},
	} {
		c.is.Steps = 200
		if c.is.Shares(c.step, c.was.Pace()) != c.want {
			t.Errorf("%s: it follows: %t", name, !c.want)
		}
	}
}

// TestWhenItIsEvaluated: evaluations follow the steps that complete so many more tokens, and the last; there are as many as
// are counted.
func TestWhenItIsEvaluated(t *testing.T) {
	for name, c := range map[string]struct {
		e    Evaluation
		want []int
	}{
		"steps":              {Evaluation{EverySteps: 5}, []int{5, 10, 12}},
		"each step":          {Evaluation{EverySteps: 1}, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		"the last is one":    {Evaluation{EverySteps: 4, OnStart: true}, []int{0, 4, 8, 12}},
		"larger than it":     {Evaluation{EverySteps: 13}, []int{12}},
		"tokens":             {Evaluation{EveryTokens: 35}, []int{4, 7, 11, 12}},
		"tokens of a step":   {Evaluation{EveryTokens: 10}, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		"less than a step's": {Evaluation{EveryTokens: 0.5}, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
	} {
		s := at(12, 12, optim.Schedule{Kind: "constant"})
		var got []int
		for step := range s.Steps + 1 {
			if s.due(&c.e, step) {
				got = append(got, step)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: after %v", name, got)
		}
		for from := range s.Steps + 1 {
			left := slices.DeleteFunc(slices.Clone(got), func(step int) bool { return step <= from && (step > 0 || from > 0) })
			if n := s.count(&c.e, from); n != len(left) {
				t.Errorf("%s: after step %d there are %d, not %d", name, from, n, len(left))
			}
		}
	}
}
