package memoryplan

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/cuda"
	"stepflow/ops/optim"
)

// rulesFor are candidates over a small model, with optimizers that keep much and little.
func rulesFor(caps gpu.Caps, layers int, options ...option) (list []candidate) {
	base := searchOf(caps, layers, options...)
	adamw := optim.AdamW{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, MaxGradNorm: 1}
	rounded, narrow := adamw, adamw
	rounded.BF16StochasticRound = true
	narrow.StateDType = "int8"
	for i, rule := range []optim.Optimizer{adamw, narrow, rounded, optim.Scale{Momentum: 0.9, Eps: 1e-8, MaxGradNorm: 1}.With(adamw),
		optim.Adafactor{DecayRate: -0.8, ClipThreshold: 1, Eps: 1e-30, BF16StochasticRound: true}} {
		q := *base
		q.rule = rule
		q.begin()
		list = append(list, candidate{optimizer: i, name: fmt.Sprint(i), search: &q})
	}
	return list
}

// fresh are candidates that know nothing of each other, and nothing yet.
func fresh(list []candidate) (alone []candidate) {
	for _, c := range list {
		q := *c.search
		q.common = newCommon()
		q.first, q.later = nil, nil
		q.begin()
		c.search = &q
		alone = append(alone, c)
	}
	return alone
}

// TestFloors: no stage takes less than its floor, which is linear in the layers.
func TestFloors(t *testing.T) {
	for _, caps := range []gpu.Caps{cuda.PlanCaps("card", 1<<40), cpu.PlanCaps("")} {
		for _, c := range rulesFor(caps, 8, allWays...)[1:4] {
			for _, at := range []shape{{1, 0}, {8, 0}, {1, 2}, {3, 4}, {1, 7}} {
				for _, i := range c.choices(at.old) {
					floor, err := c.floor(at, i)
					must(t, err)
					n, err := c.size(at, i)
					must(t, err)
					s, err := c.alone(at, i)
					must(t, err)
					direct, err := c.programs.Floor(s)
					must(t, err)
					if floor > n || floor != direct {
						t.Errorf("%s, %s, %v, option %d: a floor of %d bytes, which is %d, below %d", caps.Kind, c.name, at, i, floor,
							direct, n)
					}
				}
			}
		}
	}
}

// TestCandidates: a search among several optimizers finds what searches with each of them find, and the first of equals.
func TestCandidates(t *testing.T) {
	caps := cuda.PlanCaps("card", 1<<40)
	rules := rulesFor(caps, 6, option{inherited, "", false}, option{inherited, "nf4", false})[1:4]
	most, err := rules[0].bytes(shape{6, 0})
	must(t, err)
	smallest, err := (&Device{rules: rules}).nearest(0)
	must(t, err)
	least := smallest.peak
	score := map[string]func(*search, *found) float64{
		"loss":   func(q *search, f *found) float64 { return loss(q.meanSize(f.split), 1e9) },
		"memory": func(_ *search, f *found) float64 { return float64(f.limit) },
		"time": func(_ *search, f *found) (sum float64) {
			for _, s := range f.stages {
				sum += s.operations
			}
			return sum
		},
	}
	chosen := map[int]bool{}
	for objective, of := range score {
		for part := range int64(3) {
			limit := least + (most-least)*part/2
			for _, stages := range []int{0, 3}[:1+part/2] {
				all := fresh(rules)
				for _, c := range all {
					c.common = all[0].common
				}
				got, err := (&Device{Limit: limit, Objective: objective, Tokens: 1e9, rules: all, timed: mostTimed}).search(stages)
				must(t, err)
				best, want := -1, (*found)(nil)
				least := math.Inf(1)
				equal := 1.0
				if objective == "time" {
					equal = asQuick
				}
				alone := make([]*found, len(rules))
				for i, c := range fresh(rules) {
					f, err := (&Device{Limit: limit, Objective: objective, Tokens: 1e9, rules: []candidate{c}, timed: mostTimed}).search(stages)
					must(t, err)
					if alone[i] = f; f == nil {
						continue
					}
					switch {
					case want == nil || len(f.split) < len(want.split):
						want, least = f, of(c.search, f)
					case len(f.split) == len(want.split):
						least = min(least, of(c.search, f))
					}
				}
				for i, f := range alone { // the first of equals
					if f != nil && len(f.split) == len(want.split) && of(rules[i].search, f) <= least*equal {
						best, want = i, f
						break
					}
				}
				switch {
				case (got == nil) != (want == nil):
					t.Fatalf("%s, %d bytes in %d stages: found %v, and one optimizer alone finds %v", objective, limit, stages, got, want)
				case got == nil:
				case got.rule != best || !slices.Equal(got.split, want.split) && objective != "memory" ||
					of(rules[best].search, got) != of(rules[best].search, want):
					t.Errorf("%s, %d bytes in %d stages: %v with %d, and %v with %d alone", objective, limit, stages, got.split, got.rule,
						want.split, best)
				default:
					chosen[best] = true
				}
			}
		}
	}
	if len(chosen) < 2 {
		t.Errorf("too few optimizers are chosen: %v", chosen)
	}
}
