package stage

import (
	"encoding/json"
	"strings"
	"testing"

	"stepflow/ops/optim"
	"stepflow/ops/peft"
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
