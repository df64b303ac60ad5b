package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/program"
)

func plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	s := &Stage{Addr: p.Addr, world: p.World, Stage: program.Stage{DType: program.Precisions[d.Str("precision")],
		PeftSeed: uint64(d.Int("seed")), Frozen: map[string]bool{}}}
	t := d.Block("train")
	m, diags := s.start(p, d)
	if diags = append(diags, s.onDevice(d, p.World.Caps)...); diags.HasErrors() {
		return nil, diags
	}
	diags = append(diags, s.freeze(p, d)...)
	if !diags.HasErrors() { // otherwise these may fail only because too little is frozen
		diags = slices.Concat(diags, s.adapt(p, d), s.store(p, d), s.idle(p, d))
	}
	diags = append(diags, s.train(p, d)...)
	if diags.HasErrors() {
		return nil, diags
	}
	if diags = append(diags, s.imports(ctx, p, d)...); diags.HasErrors() {
		return nil, diags
	}
	if s.Imported == nil {
		if diags = append(diags, s.tasks(ctx, p, t)...); diags.HasErrors() {
			return nil, diags
		}
	}
	programs := p.World.Programs
	err := programs.Compile(&s.Stage, s.Checkpointing)
	if err != nil {
		return nil, s.uncompiled(t, err)
	}
	if err := s.alone(programs); err != nil {
		return nil, s.uncompiled(t, err)
	}
	if err := s.measureRanks(programs); err != nil {
		return nil, s.uncompiled(t, err)
	}
	if s.Imported == nil {
		if diags := s.horizon(ctx, p, d); diags.HasErrors() || p.Later != "" {
			return nil, diags
		}
		s.checkEvaluations(p)
		s.promised(p, d)
		p.Warn(p.World.Secrets.Redact(s.plan.warn()))
	}
	s.Figures = program.FiguresOf(&s.Stage, s.checkpoints())
	if s.Imported == nil {
		if diags := s.passes(ctx, p, d); diags.HasErrors() {
			return nil, diags
		}
		if err := s.checkFits(p, t); err != nil {
			return nil, blocks.Problem(d, "train", "Stage cannot be compiled", err)
		}
		if err := s.measureStart(p.World); err != nil {
			return nil, s.uncompiled(t, err)
		}
		if err := s.countMoments(); err != nil {
			return nil, blocks.Problem(d, "from", "Unreadable state of an optimizer", err)
		}
	}
	if s.Vanilla, err = programs.Vanilla(&s.Stage, s.whole(m), s.Checkpointing); err != nil {
		return nil, blocks.Uncompiled(t, "sequence_length", "Full model cannot be compiled", s.Micro, s.Seq, err)
	}
	p.Block = s
	f := s.Figures
	known := map[string]cty.Value{
		"num_hidden_layers": blocks.Number(len(s.Layers)), "num_parameters": blocks.Number(ops.Count(s.Params, nil)),
		"peak_bytes": blocks.Number(f.Peak), "flops": blocks.Number(f.FLOPs), "tokens": blocks.Number(f.Tokens),
		"steps": blocks.Number(s.Steps),
	}
	if !s.decides() {
		known["result_step"] = known["steps"]
	}
	return known, nil
}

// checkFits checks that the program fits the device.
func (s *Stage) checkFits(p *blocks.Planned, t *dsl.Decoded) error {
	what, remedy := "the stage", s.remedy(p, t)
	if s.Inference != nil {
		alone := s.Stage
		alone.Inference = nil
		if err := p.World.Programs.Compile(&alone, s.Checkpointing); err != nil {
			return err
		}
		if least := alone.Program.ArenaBytes; least <= p.World.Caps.Memory {
			what = fmt.Sprintf("the stage, which takes %s without the tasks that it is measured on between steps,",
				dsl.FormatBytes(least))
			remedy = "Lower num_fewshot, leave the task with the longest documents out, or lower micro_batch_size"
		}
	}
	p.CheckFits(s.Program.ArenaBytes, what, remedy)
	return nil
}

// remedy says what would make the stage smaller, of what it does not do yet.
func (s *Stage) remedy(p *blocks.Planned, t *dsl.Decoded) string {
	more := "split the layers into more stages, which memory_plan does for a device"
	if s.plan != nil {
		if text, all := s.plan.remedy(p.World); all {
			return text
		} else if text != "" {
			more = text
		}
	}
	var ways []string
	add := func(is bool, format string, args ...any) {
		if is {
			ways = append(ways, fmt.Sprintf(format, args...))
		}
	}
	add(s.Fused, "lower batch_size (now %d, and a fused step takes it at once)", s.Batch)
	add(s.Fused && s.Batch > 1, "set update = \"separate\" with micro_batch_size = \"auto\"")
	add(!s.Fused && s.Micro > 1 && !s.AutoMicro, "set micro_batch_size = \"auto\" (now %d)", s.Micro)
	add(s.Checkpointing == "none", "set activation_checkpointing = \"auto\"")
	add(s.DType == gpu.F32, "set precision = \"bf16\"")
	s.addOptimizers(p, t, add)
	add(s.FrozenDType == gpu.InvalidDType && slices.ContainsFunc(s.Params, s.FrozenProjection) && !s.Restarts(),
		"set frozen_dtype = \"nf4\"")
	text := strings.Join(append(ways, more), ", or ")
	return strings.ToUpper(text[:1]) + text[1:]
}

// addOptimizers lists what would make the states of the optimizer smaller.
func (s *Stage) addOptimizers(p *blocks.Planned, t *dsl.Decoded, add func(is bool, format string, args ...any)) {
	ref, _, _ := t.Ref("optimizer")
	o, _ := p.World.Find(ref).Block.(*optimizer.Optimizer)
	if o == nil {
		return
	}
	rule, keeps := o.Keeping("int8")
	add(keeps && s.each(rule, s.DType) < s.each(s.Optimizer, s.DType), "set state_dtype = \"int8\" in %s", ref)
	copies := slices.ContainsFunc(s.Trainable(), func(x ops.Param) bool {
		return slices.ContainsFunc(s.Optimizer.States(x, s.DType), func(y optim.State) bool { return y.Copy })
	})
	add(copies, "set bf16_stochastic_round = true in %s", ref)
}
