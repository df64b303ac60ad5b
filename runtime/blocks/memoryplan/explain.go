package memoryplan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/ops/peft"
	"stepflow/runtime/blocks"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
)

// explain fills in what the stages come to, what each choice saved, and what one more GiB would buy.
func (x *Device) explain(w *blocks.World, d *dsl.Decoded, f *found) error {
	by := x.rules[f.rule]
	x.rule, x.Optimizer, x.StateDType, x.Gap = f.rule, by.optimizer, by.stateDType, f.gap
	if err := f.compile(w, x.Limit); err != nil {
		return err
	}
	layers := f.layers()
	for i, s := range f.stages {
		all, trained := sizes(s.Stage)
		update := updates[0]
		if s.Fused {
			update = updates[1]
		}
		x.Stages = append(x.Stages, Stage{layers[i], update, s.checkpointing, s.freeze, s.frozen, s.Fit, trained, all})
	}
	x.Forecast = forecast(f.means(), by.model.Params(), x.Tokens, by.model.VocabSize, runs(w, by.model.VocabSize))
	x.FLOPs = f.flops(x.Tokens)
	x.takes = blocks.Forecast{FLOPs: x.FLOPs}
	x.takes.Predict(w, "train", by.dtype, f.stages[0].made.Program, program.SegMicro)
	x.scores = f.scores
	if err := x.leaveOut(by.search, f); err != nil {
		return err
	}
	if err := x.undo(by.search, f); err != nil {
		return err
	}
	if err := x.another(f, d.Int("stages")); err != nil {
		return err
	}
	x.Tried = by.programs.Sized()
	return nil
}

// undo computes for each choice what a stage would take without it: the largest stage, or the largest that continues another,
// whichever saves more.
func (x *Device) undo(q *search, f *found) error {
	if n := len(f.stages); n > 1 {
		whole, err := q.bytes(shape{q.model.NumHiddenLayers, 0})
		if err != nil {
			return err
		}
		x.Choices = append(x.Choices, Choice{fmt.Sprintf("%d stages in place of one", n), 0, whole - f.peak(),
			fmt.Sprintf("by the scaling law the loss is higher by %.3f", x.Forecast.Law-x.Forecast.Whole)})
	}
	at := map[string]int{} // the place of a kind of choice
	for _, i := range f.largest() {
		for _, c := range x.undone(q, f.stages[i]) {
			s := *f.stages[i].Stage
			s.Inference = nil // which takes what is left
			before, err := q.programs.Bytes(&s)
			if err != nil {
				return err
			}
			c.change(&s)
			s.Chunk = min(s.Chunk, s.Micro*s.Seq)
			n, err := q.programs.Bytes(&s)
			if err != nil {
				return err
			}
			choice := Choice{c.what, i + 1, n - before, c.cost}
			switch j, ok := at[c.kind]; {
			case n == before:
			case !ok:
				at[c.kind] = len(x.Choices)
				x.Choices = append(x.Choices, choice)
			case choice.Saved > x.Choices[j].Saved:
				x.Choices[j] = choice
			}
		}
	}
	return nil
}

// largest lists the largest stage that continues another, and the largest of all.
func (f *found) largest() (list []int) {
	later, all := -1, 0
	for i, s := range f.stages {
		if i > 0 && (later < 0 || s.Fit.Bytes > f.stages[later].Fit.Bytes) {
			later = i
		}
		if s.Fit.Bytes > f.stages[all].Fit.Bytes {
			all = i
		}
	}
	if later >= 0 && later != all {
		list = append(list, later)
	}
	return append(list, all)
}

// undoing is a choice, what it costs, and how a stage is without it.
type undoing struct {
	kind, what, cost string
	change           func(*program.Stage)
}

// undone lists the choices of a stage.
func (x *Device) undone(q *search, s chosen) (list []undoing) {
	add := func(is bool, kind, what, cost string, change func(*program.Stage)) {
		if is {
			list = append(list, undoing{kind, what, cost, change})
		}
	}
	cost := "they learn by their adapters alone"
	if q.spec == nil {
		cost = "they learn nothing"
	}
	add(slices.Contains(s.freeze, "inherited"), "inherited", "freezing inherited layers", cost, func(s *program.Stage) {
		s.Frozen, s.Adapters, s.Peft, s.FrozenDType = map[string]bool{}, nil, nil, gpu.InvalidDType
	})
	for _, word := range s.freeze {
		add(word != "inherited", word, "freezing "+word, x.untrained(word), func(s *program.Stage) {
			s.Frozen = maps.Clone(s.Frozen)
			for _, p := range s.Params {
				if program.Parts[word](s, p) {
					delete(s.Frozen, p.ID)
				}
			}
			s.Adapters = slices.DeleteFunc(slices.Clone(s.Adapters), func(a peft.Adapter) bool { return !s.Frozen[a.Target.ID] })
		})
	}
	bits := map[string]string{"nf4": "4 bits", "int8": "8 bits", "bf16": "16 bits"}
	add(s.FrozenDType != gpu.InvalidDType, "stored", "frozen weights in "+s.frozen, "they are rounded to "+bits[s.frozen],
		func(s *program.Stage) { s.FrozenDType = gpu.InvalidDType })
	if n := s.Fit.Recompute; n > 0 {
		figures := program.FiguresOf(s.made, 0)
		cost := fmt.Sprintf("%.1f %% more operations", 100*float64(figures.RecomputeFLOPs)/float64(figures.StepFLOPs))
		add(true, "again", "computing "+words.Plural(n, "layer")+" again", cost, func(s *program.Stage) { s.Recompute = 0 })
	}
	add(s.Micro < s.Batch, "micro", "micro-batches of "+words.Plural(s.Micro, "sequence"), "smaller products", func(s *program.Stage) {
		s.Micro = s.Batch
	})
	add(s.Fused, "fused", "fused updates", "gradients are clipped one by one", func(s *program.Stage) { s.Fused = false })
	if first := x.rules[0]; first.rule.Key() != q.rule.Key() {
		cost := "its effect on the loss is not known"
		if x.Optimizer == first.optimizer {
			cost = "moments are rounded"
		}
		if was, ok := x.scores[0]; ok && x.Objective == "time" {
			cost = fmt.Sprintf("%.3g %% fewer operations; %s", 100*(1-x.scores[x.rule]/was), cost)
		}
		add(true, "optimizer", x.chosen().name+" in place of "+first.name, cost, func(s *program.Stage) { s.Optimizer = first.rule })
	}
	return list
}

// another says what one more GiB would buy.
func (x *Device) another(f *found, stages int) error {
	more := *x
	more.Limit += 1 << 30
	more.timed = mostTimed / 8 // a good plan says enough
	g, err := more.search(stages)
	if err != nil {
		return err
	}
	var gains []string
	add := func(is bool, format string, args ...any) {
		if is {
			gains = append(gains, fmt.Sprintf(format, args...))
		}
	}
	a, b := f.layers(), g.layers()
	add(len(b) < len(a), "%s instead of %d", words.Plural(len(b), "stage"), len(a))
	add(!slices.Equal(a, b) && x.Objective != "memory", "layers %v", b)
	add(g.rule != f.rule, "%s", x.rules[g.rule].name)
	gain := loss(f.means()[0], x.Tokens) - loss(g.means()[0], x.Tokens)
	add(gain >= 0.0005, "a loss lower by %.3f by the scaling law", gain)
	add(g.recomputed() < f.recomputed(), "%d instead of %d layers computed again", g.recomputed(), f.recomputed())
	fewer := 1 - g.flops(x.Tokens)/f.flops(x.Tokens)
	add(fewer >= 0.001, "%.1f %% fewer operations", 100*fewer)
	add(g.micro() > f.micro(), "micro-batches of at least %d instead of %d sequences", g.micro(), f.micro())
	for _, c := range []struct {
		what string
		is   func(chosen) bool
	}{
		{"narrow frozen weights", func(s chosen) bool { return s.FrozenDType != gpu.InvalidDType }},
		{"fused updates", func(s chosen) bool { return s.Fused }},
		{"more than inherited layers frozen", func(s chosen) bool { return len(s.freeze) > 1 }},
	} {
		n, m := f.count(c.is), g.count(c.is)
		add(m < n, "%s with %s instead of %d", words.Plural(m, "stage"), c.what, n)
	}
	x.More = cmp.Or(strings.Join(gains, ", "), "nothing")
	if len(gains) > 0 && fewer <= -0.001 { // fewer stages come first, and train more layers at a time
		x.More += fmt.Sprintf(", for %.1f %% more operations", -100*fewer)
	}
	if g.gap > 0 {
		x.More += "; the search for it ended early, so it may buy more"
	}
	return nil
}

// count is the number of stages of a kind.
func (f *found) count(is func(chosen) bool) (n int) {
	for _, s := range f.stages {
		if is(s) {
			n++
		}
	}
	return n
}
