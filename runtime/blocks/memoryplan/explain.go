package memoryplan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"stepflow/dsl"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
)

// explain fills in what the stages come to, what each choice saved, and what one more GiB would buy.
func (x *Device) explain(w *blocks.World, q *search, rules []optim.Optimizer, stages int, f *found) error {
	x.Optimizer = f.rule
	layers := f.layers()
	for i, s := range f.stages {
		all, trained := sizes(s.Stage)
		update := updates[0]
		if s.Fused {
			update = updates[1]
		}
		x.Stages = append(x.Stages, Stage{layers[i], update, s.checkpointing, s.Fit, trained, all})
	}
	x.Loss = x.forecast(f)
	whole := loss(q.model.Params(), x.Tokens)
	x.Whole = [2]float64{whole, whole}
	if err := f.compile(w.Programs); err != nil {
		return err
	}
	x.FLOPs = f.flops(x.Tokens)
	x.takes = blocks.Forecast{FLOPs: x.FLOPs}
	x.takes.Predict(w, "train", q.dtype, f.stages[0].made.Program, program.SegMicro)
	if err := x.undo(q, rules, f); err != nil {
		return err
	}
	return x.another(q, rules, stages, f)
}

// undo asks of each choice what the largest stage would take without it.
func (x *Device) undo(q *search, rules []optim.Optimizer, f *found) error {
	large := slices.MaxFunc(f.stages, func(a, b chosen) int { return cmp.Compare(a.Fit.Bytes, b.Fit.Bytes) })
	add := func(what, cost string, change func(*program.Stage)) error {
		c := *large.Stage
		change(&c)
		n, err := q.programs.Bytes(&c)
		if err == nil && n != large.Fit.Bytes {
			x.Choices = append(x.Choices, Choice{what, n - large.Fit.Bytes, cost})
		}
		return err
	}
	micro := func(s *program.Stage, n int) {
		s.Micro = n
		s.Chunk = min(s.Chunk, s.Micro*s.Seq)
	}
	if large.From != nil {
		cost := "a frozen layer learns by its adapters alone"
		if q.spec == nil {
			cost = "a frozen layer learns nothing"
		}
		if err := add("freezing inherited layers", cost, func(s *program.Stage) {
			s.Frozen, s.Adapters, s.Peft = map[string]bool{}, nil, nil
		}); err != nil {
			return err
		}
	}
	if n := large.Fit.Recompute; n > 0 {
		figures := program.FiguresOf(large.made, 0)
		cost := fmt.Sprintf("%.1f %% more operations", 100*float64(figures.RecomputeFLOPs)/float64(figures.StepFLOPs))
		if err := add("computing "+words.Plural(n, "layer")+" again", cost, func(s *program.Stage) { s.Recompute = 0 }); err != nil {
			return err
		}
	}
	if large.Micro < large.Batch {
		if err := add("micro-batches of "+words.Plural(large.Micro, "sequence"), "smaller products", func(s *program.Stage) {
			micro(s, s.Batch)
		}); err != nil {
			return err
		}
	}
	if large.Fused {
		if err := add("fused updates", "gradients are clipped one by one", func(s *program.Stage) { s.Fused = false }); err != nil {
			return err
		}
	}
	if x.Optimizer > 0 {
		return add(x.optimizers[x.Optimizer]+" in place of "+x.optimizers[0], "whatever that does to the loss", func(s *program.Stage) {
			s.Optimizer = rules[0]
		})
	}
	return nil
}

// another says what one more GiB would buy.
func (x *Device) another(q *search, rules []optim.Optimizer, stages int, f *found) error {
	more := *x
	more.Limit += 1 << 30
	g, _, err := more.search(q, rules, stages)
	if err != nil {
		return err
	}
	var gains []string
	add := func(format string, args ...any) { gains = append(gains, fmt.Sprintf(format, args...)) }
	if a, b := f.layers(), g.layers(); !slices.Equal(a, b) && x.Objective != "memory" {
		add("layers %v", b)
	}
	if a, b := x.forecast(f), more.forecast(g); a[0]-b[0] >= 0.0005 {
		add("a forecast loss lower by %.3f", a[0]-b[0])
	}
	if a, b := f.recomputed(), g.recomputed(); b < a {
		add("%d instead of %d layers computed again", b, a)
	}
	if a, b := f.micro(), g.micro(); b > a {
		add("micro-batches of at least %d instead of %d sequences", b, a)
	}
	if x.More = strings.Join(gains, ", "); x.More == "" {
		x.More = "nothing"
	}
	return nil
}

// Details says what a plan for a device chose, and why. Other plans say all in their summary.
func (m *Split) Details(_, _ bool) (list []blocks.Line) {
	x := m.Device
	if x == nil {
		return nil
	}
	line := func(about, format string, args ...any) {
		list = append(list, blocks.Line{About: about, Text: fmt.Sprintf(format, args...)})
	}
	n := 0
	for i, s := range x.Stages {
		n += s.Layers
		text := fmt.Sprintf("%s (%d new): %s", words.Plural(n, "layer"), s.Layers, dsl.FormatBytes(s.Fit.Bytes))
		text += fmt.Sprintf(", micro_batch_size = %d, update = %q", s.Fit.Micro, s.Update)
		if s.Fit.Recompute > 0 {
			text += fmt.Sprintf(", %s computed again", words.Plural(s.Fit.Recompute, "layer"))
		}
		line(fmt.Sprintf("stage %d", i+1), "%s; %s of %s parameters train", text, words.Count(s.Trainable), words.Count(s.Parameters))
	}
	for _, c := range x.Choices {
		verb, by := "saves", c.Saved
		if by < 0 {
			verb, by = "costs", -by
		}
		line("choice", "%s %s %s; %s", c.What, verb, dsl.FormatBytes(by), c.Cost)
	}
	line("1 GiB more", "would buy %s", x.More)
	line("loss", "about %.3f nats a token by the scaling law (%.3f if frozen parameters did not count), %.3f of the full model "+
		"trained at once; of an unknown text it says little, of two plans which is better", x.Loss[0], x.Loss[1], x.Whole[0])
	line("run", "%s tokens, %sFLOP%s", words.Count(x.Tokens), words.Count(x.FLOPs), x.takes.Time("FLOP/s", "the last stage like it"))
	return list
}
