package stage

import (
	"fmt"
	"strings"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/program"
	"stepflow/runtime/words"
)

// Details returns what the stage trains, and the memory and time it takes.
func (s *Stage) Details(_, _ bool) (list []blocks.Line) {
	line := func(about, format string, args ...any) {
		list = append(list, blocks.Line{About: about, Text: fmt.Sprintf(format, args...)})
	}
	f, bytes := &s.Figures, dsl.FormatBytes
	if s.Imported != nil {
		line("layers", "%d, %s parameters", f.Layers, words.Count(f.Trainable+f.Frozen))
		line("imported", "%s", s.Imported)
		return list
	}
	grown := ""
	if s.Grow != nil {
		grown = fmt.Sprintf(" (%s)", s.grown())
	}
	line("layers", "%d%s", f.Layers, grown)
	line("parameters", "%s trainable, %s frozen, %s in adapters", words.Count(f.Trainable), words.Count(f.Frozen),
		words.Count(f.Adapter))
	line("tokens", "%s in %s of %d; %sFLOP, %sFLOP a step", words.Count(f.Tokens), words.Plural(f.Steps, "step"),
		s.StepTokens(),
		words.Count(f.FLOPs), words.Count(f.StepFLOPs))
	list = append(list, s.evaluationLines()...)
	if s.Tune != nil {
		line("tuning", "%s", s.Tune.summary(s.Seq, f.Epochs))
	} else if f.DataTokens > 0 {
		line("data", "%s tokens in %s, %s; %.2f passes in all", words.Count(f.DataTokens), s.Data.Addr, f.DataHow, f.Epochs)
	}
	list = append(list, s.rankLines()...)
	if s.AutoMicro {
		line("micro-batch", "%s of %d at a time, the most that fit", words.Plural(s.Micro, "sequence"), s.Batch)
	}
	if s.Chunk < s.Micro*s.Seq {
		line("logits", "of %d tokens at a time", s.Chunk)
	}
	if s.Fused {
		how := "of each parameter as soon as its gradient is complete"
		if n := s.Optimizer.ClipNorm(); n > 0 {
			how += fmt.Sprintf(", clipped by itself to a norm of %g", n)
		}
		line("updates", "%s", how)
	}
	if s.beginAgain > 0 {
		line("moments", "of %s begin again: %s has them of another optimizer or rank", words.Plural(s.beginAgain, "parameter"),
			s.Before.Addr)
	}
	if s.MergesRounded() {
		how := "are rounded stochastically"
		if f.Remainders > 0 {
			how = "keep what rounding leaves over in " + bytes(f.Remainders)
		}
		line("merges", "into bf16 weights %s", how)
	}
	if n := len(s.Composed); n > 0 {
		line("adapters", "take the place of %s of %s parameters: products of rank %d, and values at %g of the elements",
			words.Plural(n, "projection"), words.Count(f.Composed), s.Peft.R, s.Peft.Sparsity)
	} else if s.Peft != nil && s.Peft.Principal() && len(s.Adapters) > 0 {
		line("adapters", "begin with the principal singular vectors of their weights (%s)", s.Peft.Init)
	}
	if s.KeepApart {
		line("result", "weights, and adapters beside them (merge = false)")
	}
	if f.Narrow > 0 {
		line("frozen", "%s in %v take %s, %s less", words.Plural(len(s.AllNarrow()), "projection"), s.FrozenDType,
			bytes(f.Narrow), bytes(f.NarrowSaves))
	}
	if f.RecomputeFLOPs > 0 {
		var what []string
		if s.Recompute > 0 {
			what = append(what, words.Plural(s.Recompute, "layer"))
		}
		if n := len(s.Composed); n > 0 {
			what = append(what, words.Plural(n, "weight"))
		}
		line("recompute", "%s in the backward pass, %sFLOP a step on top (%.1f %%)", strings.Join(what, " and "),
			words.Count(f.RecomputeFLOPs), 100*float64(f.RecomputeFLOPs)/float64(f.StepFLOPs))
	}
	line("memory", "%s", words.Kinds(program.ByteKinds, f.ByKind))
	if more := s.beyondPaper(); len(more) > 0 {
		line("the paper", "on STEP (arXiv 2504.04151) counts %s of states; here %s", bytes(f.PaperStates), strings.Join(more, ", "))
	}
	gaps := ""
	if above := 100 * (float64(f.Peak)/float64(f.LowerBound) - 1); above >= 0.005 {
		gaps = fmt.Sprintf("; gaps between tensors are %.2f %% of it", 100*(1-float64(f.LowerBound)/float64(f.Peak)))
	}
	line("peak", "%s (%d bytes), %s %s%s", bytes(f.Peak), f.Peak, percentLess(f.Peak, s.Vanilla.Peak), bytes(s.Vanilla.Peak), gaps)
	if t := s.takes.Time("FLOP/s", "the last stage like it"); t != "" {
		line("time", "%s", strings.TrimPrefix(t, "; "))
	}
	line("states", "%s, %s %s; checkpoint %s, at most %s on disk", bytes(f.States),
		percentLess(f.States, s.Vanilla.States),
		bytes(s.Vanilla.States), bytes(f.CheckpointSize), bytes(f.Disk))
	if s.Merges() && (s.Every == 0 || s.KeepEnded < 2) {
		line("longer", "not after its end, which %s; every_steps and keep = 2 in checkpoint would leave "+
			"a step to go on from", map[bool]string{false: "merges the adapters", true: "drops the adapters' moments"}[s.KeepApart])
	}
	return list
}

// beyondPaper returns what the states take that the paper does not count.
func (s *Stage) beyondPaper() (more []string) {
	f := &s.Figures
	if f.WideGradients > 0 {
		more = append(more, fmt.Sprintf("gradients of %s parameters are added up in fp32, %s more",
			words.Count(f.WideGradients),
			dsl.FormatBytes(2*f.WideGradients)))
	}
	if f.Remainders > 0 {
		more = append(more, "remainders of merges take "+dsl.FormatBytes(f.Remainders)+" more")
	}
	return more
}

func percentLess(now, before int64) string {
	if before <= 0 {
		return ""
	}
	switch less := 100 * (1 - float64(now)/float64(before)); {
	case less <= -0.05:
		return fmt.Sprintf("%.1f %% more than vanilla's", -less)
	case less >= 0.05:
		return fmt.Sprintf("%.1f %% less than vanilla's", less)
	}
	return "as much as vanilla's"
}

// grown describes how the stage grows.
func (s *Stage) grown() string {
	return fmt.Sprintf("%d new by %s, %s", s.Grow.Layers, s.Grow.Method, s.Grow.Position)
}

// Numbers returns the figures of the stage, and of the full model trained at once.
func (s *Stage) Numbers() map[string]any {
	numbers := map[string]any{"stage": s.Figures, "vanilla": s.Vanilla, "layers": s.LayerIDs(), "program": s.Program.Hash()}
	if s.Ranks > 1 {
		numbers["ranks"], numbers["rank"], numbers["shard"] = s.Ranks, s.Rank, string(s.Shard)
		if len(s.rankBytes) > 0 {
			numbers["rank_bytes"] = s.rankBytes
		}
	}
	return numbers
}

// Training returns the stage as a report shows it.
func (s *Stage) Training() *blocks.Training {
	x := &blocks.Training{Precision: program.Precision(s.DType), Seq: s.Seq, Batch: s.Batch, Micro: s.Micro,
		Steps:      s.Steps,
		StepTokens: s.StepTokens(), Figures: s.Figures, Vanilla: s.Vanilla}
	if s.Before != nil {
		x.From = s.Before.Addr.String()
	}
	if s.Grow != nil {
		x.Added, x.Grow = s.Grow.Layers, s.grown()
	}
	if s.Peft != nil && len(s.Adapters) > 0 {
		x.Rank = s.Peft.R
		x.Adapter = fmt.Sprintf("%s, r = %d, alpha = %g, on %d projections", s.Peft.Method, s.Peft.R, s.Peft.Alpha,
			len(s.Adapters))
		if s.Peft.Principal() {
			x.Adapter += ", " + s.Peft.Init
		}
		if s.Peft.Composes() {
			x.Adapter += fmt.Sprintf(", with values at %g of their elements", s.Peft.Sparsity)
		}
	}
	adapted, trains := map[int]bool{}, map[int]bool{}
	for _, a := range s.Adapters {
		adapted[a.Target.Layer] = true
	}
	for _, p := range s.Params {
		if !s.Frozen[p.ID] {
			trains[p.Layer] = true
		}
	}
	for i, l := range s.Layers {
		y := blocks.Layer{ID: l.ID, Old: l.Old, Frozen: !trains[i]}
		if s.Before == nil {
			y.Old = -1
		}
		if adapted[i] {
			y.Rank = x.Rank
		}
		for _, f := range l.From {
			y.From = append(y.From, blocks.LayerParent{Layer: f.Layer, Weight: f.Weight})
		}
		x.Layers = append(x.Layers, y)
	}
	return x
}
