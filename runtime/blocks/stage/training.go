package stage

import (
	"context"
	"fmt"
	"math"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/blocks/tokenizer"
	"stepflow/runtime/program"
)

// train reads what to train on, and how.
func (s *Stage) train(p *blocks.Planned, d *dsl.Decoded) (diags hcl.Diagnostics) {
	t := d.Block("train")
	bad := func(attr, summary, format string, args ...any) {
		diags = append(diags, t.Error(attr, summary, fmt.Sprintf(format, args...)))
	}
	ref, split, _ := t.Ref("data")
	s.Data = p.Use(ref).(*data.Data)
	s.Mask = s.Data.Source.DocumentMask
	if split != "" {
		bad("data", "Training on held-out data", "%s.%s is for evaluate. Train on %s.", ref, split, ref)
	}
	for _, n := range s.Data.InFiles() {
		if n.Source.ValidationFraction >= 1 {
			bad("data", "Nothing to train on", "%s holds all its documents out: its validation_fraction is 1.", n.Addr)
		}
	}
	ref, _, _ = t.Ref("tokenizer")
	s.Tokenizer = p.Use(ref).(*tokenizer.Tokenizer)
	ref, _, _ = t.Ref("optimizer")
	s.Optimizer = p.Use(ref).(*optimizer.Optimizer).Rule
	if o := t.Referred("optimizer"); o != nil && s.DType == gpu.F32 && o.Bool("bf16_stochastic_round") {
		p.Warn(fmt.Sprintf("bf16_stochastic_round of %s (%s) does nothing in this stage, which trains in fp32: set precision = \"bf16\", or "+
			"leave it out", ref, dsl.FileLine(o.At("bf16_stochastic_round"))))
	}
	if gs, ok := s.Optimizer.(optim.Groups); ok && gs.Idle(s.Trainable()) {
		p.Warn(fmt.Sprintf("%s trains no parameter of this stage: its others do, since no projection is trained but by adapters", ref))
	}
	diags = append(diags, s.readTuning(t)...)
	s.Seq, s.Batch = t.Int("sequence_length"), t.Int("batch_size")
	s.Fused = t.Str("update") == "fused"
	s.Micro, s.AutoMicro, _ = microOf(t)
	s.AutoMicro = s.AutoMicro && !s.Fused // a fused step is one micro-batch
	diags = append(diags, s.parallel(t, p.World)...)
	s.Checkpointing = t.Str("activation_checkpointing")
	s.Accumulate = program.Precisions[t.Str("accumulate_dtype")]
	if s.Seq > s.Model.MaxPositionEmbeddings {
		bad("sequence_length", "Sequence too long", "sequence_length %d is larger than the model's %s.", s.Seq,
			s.Model.Longest())
	}
	if s.Tokenizer.VocabSize > s.Model.VocabSize {
		bad("tokenizer", "Vocabulary too small", "The model's vocab_size is %d, the tokenizer has %d tokens. Set "+
			"vocab_size = %s.vocab_size.",
			s.Model.VocabSize, s.Tokenizer.VocabSize, s.Tokenizer.Addr)
	}
	if s.From == nil {
		p.Warn(s.Root.OtherTokens(s.Tokenizer))
	}
	s.Skip = t.Str("on_nonfinite") == "skip"
	s.Schedule = optim.Schedule{Kind: "constant"}
	if c := t.Block("schedule"); c != nil {
		s.Schedule = optim.Schedule{Kind: c.Label, WarmupRatio: c.Float("warmup_ratio"), MinLRRatio: c.Float("min_lr_ratio"),
			DecayRatio: c.Float("decay_ratio"), DecayType: c.Str("decay_type")}
	}
	s.Keep, s.KeepEnded = keepRunning, keepEnded
	if c := t.Block("checkpoint"); c != nil {
		s.Every = c.Int("every_steps")
		if c.Has("keep") {
			s.Keep, s.KeepEnded = c.Int("keep"), c.Int("keep")
		}
	}
	return append(append(diags, s.updatable(t)...), s.evaluations(p, t)...)
}

// updatable returns the errors of parameters that the optimizer cannot update.
func (s *Stage) updatable(t *dsl.Decoded) hcl.Diagnostics {
	if err := optim.Fits(s.Optimizer, s.Trainable()); err != nil {
		return blocks.Problem(t, "optimizer", "Impossible optimizer", err)
	}
	return nil
}

// roundedSteps is the share by which a stage's steps may differ from its horizon without a warning.
const roundedSteps = 0.05

// horizon turns the horizon into steps, once the program says what a step costs.
func (s *Stage) horizon(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	t := d.Block("train")
	per := float64(s.StepTokens())
	attr, asked := "tokens", 0.0 // in steps
	switch {
	case t.Has("tokens"):
		s.Horizon = t.Float("tokens")
		asked = s.Horizon / per
	case t.Has("steps"):
		attr, asked = "steps", t.Float("steps")
		s.Horizon = asked * per
	case t.Has("epochs"):
		sequences, diags := s.epochs(ctx, p, t)
		if diags.HasErrors() || p.Later != "" {
			return diags
		}
		attr, asked = "epochs", math.Ceil(sequences/float64(s.Batch)) // the last batch has some of the next pass
		s.Horizon = asked * per
	default:
		attr, asked = "flops", t.Float("flops")/float64(program.FiguresOf(&s.Stage, 0).StepFLOPs)
		s.Horizon = math.Round(asked) * per
	}
	asked *= t.Float("stop_at")
	steps := math.Round(s.Horizon / per * t.Float("stop_at"))
	if steps < 1 {
		return hcl.Diagnostics{t.Error(attr, "Less than one batch", fmt.Sprintf("The stage would train on %.0f tokens, "+
			"and one step takes "+
			"%d (batch_size x sequence_length). Ask for more, or lower batch_size.", s.Horizon*t.Float("stop_at"),
			s.StepTokens()))}
	}
	if steps > math.MaxInt32 {
		return hcl.Diagnostics{t.Error(attr, "Too many steps", fmt.Sprintf("%.0f steps cannot be counted.", steps))}
	}
	s.Steps = int(steps)
	if off := steps/asked - 1; math.Abs(off) > roundedSteps {
		more := "more"
		if off < 0 {
			more = "less"
		}
		p.Warn(fmt.Sprintf("its %s are worth %.2f steps, and the stage takes %d, since steps are whole: %.0f %% %s", attr,
			asked, s.Steps,
			100*math.Abs(off), more))
	}
	return nil
}
