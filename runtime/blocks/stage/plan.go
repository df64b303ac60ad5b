package stage

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/blocks/optimizer"
	"stepflow/runtime/blocks/peft"
	"stepflow/runtime/blocks/tokenizer"
	"stepflow/runtime/program"
)

func plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	s := &Stage{Addr: p.Addr, world: p.World, Stage: program.Stage{DType: program.Precisions[d.Str("precision")],
		PeftSeed: uint64(d.Int("seed")), Frozen: map[string]bool{}}}
	m, diags := s.start(p, d)
	if diags.HasErrors() {
		return nil, diags
	}
	for _, check := range []func(*blocks.Planned, *dsl.Decoded) hcl.Diagnostics{s.freeze, s.adapt, s.store, s.idle, s.train} {
		diags = append(diags, check(p, d)...)
	}
	if diags.HasErrors() {
		return nil, diags
	}
	if diags = append(diags, s.imports(ctx, p, d)...); diags.HasErrors() {
		return nil, diags
	}
	if s.Imported == nil {
		if diags = append(diags, s.tasks(ctx, p, d.Block("train"))...); diags.HasErrors() {
			return nil, diags
		}
	}
	mode := d.Block("train").Str("activation_checkpointing")
	s.Checkpointing = mode
	programs := p.World.Programs
	err := programs.Compile(&s.Stage, mode)
	if diags := s.uncompiled(d.Block("train"), err); diags.HasErrors() {
		return nil, diags
	}
	if err != nil {
		return nil, blocks.Uncompiled(d.Block("train"), "sequence_length", "Stage cannot be compiled", s.Micro, s.Seq, err)
	}
	if s.Imported == nil {
		if diags := s.horizon(ctx, p, d); diags.HasErrors() || p.Later != "" {
			return nil, diags
		}
		s.checkEvaluations(p)
	}
	s.Figures = program.FiguresOf(&s.Stage, s.checkpoints())
	if s.Imported == nil {
		if diags := s.passes(ctx, p, d); diags.HasErrors() {
			return nil, diags
		}
		if err := s.checkFits(p, mode); err != nil {
			return nil, blocks.Problem(d, "train", "Stage cannot be compiled", err)
		}
	}
	if s.Vanilla, err = programs.Vanilla(&s.Stage, s.whole(m), mode); err != nil {
		return nil, blocks.Uncompiled(d.Block("train"), "sequence_length", "Full model cannot be compiled", s.Micro, s.Seq,
			err)
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
func (s *Stage) checkFits(p *blocks.Planned, checkpointing string) error {
	what, remedy := "the stage", s.remedy(checkpointing)
	if s.Inference != nil {
		alone := s.Stage
		alone.Inference = nil
		if err := p.World.Programs.Compile(&alone, checkpointing); err != nil {
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
func (s *Stage) remedy(checkpointing string) string {
	var ways []string
	if s.Micro > 1 && !s.AutoMicro {
		ways = append(ways, fmt.Sprintf("set micro_batch_size = \"auto\" (now %d)", s.Micro))
	}
	if checkpointing == "none" {
		ways = append(ways, "set activation_checkpointing = \"auto\"")
	}
	if s.DType == gpu.F32 {
		ways = append(ways, "set precision = \"bf16\"")
	}
	if s.FrozenDType == gpu.InvalidDType && len(s.frozenProjections()) > 0 && !s.Restarts() {
		ways = append(ways, "set frozen_dtype = \"nf4\"")
	}
	text := strings.Join(append(ways, "split the layers into more stages, which memory_plan does for a budget"), ", or ")
	return strings.ToUpper(text[:1]) + text[1:]
}

// start finds what the stage starts from, and its layers, and returns the full model.
func (s *Stage) start(p *blocks.Planned, d *dsl.Decoded) (*model.Model, hcl.Diagnostics) {
	from, _, hasFrom := d.Ref("from")
	ref, _, hasModel := d.Ref("model")
	var m *model.Model
	if hasModel {
		m = p.Use(ref).(*model.Model)
	}
	grow := d.Block("grow")
	if !hasFrom {
		n := m.NumHiddenLayers
		if d.Has("layers") {
			n = d.Int("layers")
		}
		if m.Folder != "" && n != m.NumHiddenLayers {
			return nil, hcl.Diagnostics{d.Error("layers", "Another number of layers",
				fmt.Sprintf("The folder %s holds %d layers; a stage that starts from it has as many.", m.Folder,
					m.NumHiddenLayers))}
		}
		if diags := deeper(d, m.Model, n); diags.HasErrors() {
			return nil, diags
		}
		p.Hashed["layers"] = strconv.Itoa(n)
		s.Model, s.Seed, s.Init = m.WithLayers(n), m.Seed, m.Folder
		if len(m.NoRopeLayers) > 0 && n < m.NumHiddenLayers {
			p.Hashed["layers"] += fmt.Sprint(" of kinds ", s.Model.NoRopeLayers)
		}
		s.Layers = s.NewLayers(n)
		s.Params = s.Model.Declare(s.LayerIDs())
		s.Root = m
		s.tooDeep(m, p)
		return m, nil
	}
	up := p.Use(from).(*Stage)
	s.Before, s.From = up, &up.Stage
	s.Model, s.Seed = up.Model, up.Seed
	root := up.Root
	s.Root = root
	if m != nil && m != root {
		detail := fmt.Sprintf("%s was started from %s, this stage names %s. Leave model out.", from, root.Addr, m.Addr)
		if attr, same := arch.SameArchitecture(root.Model, m.Model); !same {
			detail = fmt.Sprintf("%s was started from %s, and %s of %s differs from it. Leave model out.", from, root.Addr,
				attr, m.Addr)
		}
		return nil, hcl.Diagnostics{d.Error("model", "Another model", detail)}
	}
	if s.DType != up.DType {
		return nil, hcl.Diagnostics{d.Error("precision", "Another precision",
			fmt.Sprintf("%s trains in %s; stages that continue each other share one precision.", from,
				program.Precision(up.DType)))}
	}
	diags := s.grow(up, grow)
	if !diags.HasErrors() {
		s.compareWith(root, p)
	}
	return root, diags
}

// grow makes the stage's model from that of the stage before, with new layers if the block has a grow block.
func (s *Stage) grow(up *Stage, block *dsl.Decoded) hcl.Diagnostics {
	small := growth.Model{Layers: up.LayerIDs(), Params: up.Params, Prefix: s.LayerPrefix(),
		ResidualOutput: s.Model.ResidualOutput,
		Init:           func(p ops.Param) []float32 { return s.Model.Init(p, s.Seed) },
		Declare: func(changed growth.Config, layers []string) []ops.Param {
			return s.Model.With(changed).Declare(layers)
		}}
	var err error
	if block == nil {
		if s.Growth, err = growth.Continue(small); err != nil {
			return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Impossible stage",
				Detail: blocks.Sentence(err.Error()) + "."}}
		}
	} else {
		if diags := deeper(block, s.Model, len(up.Layers)+block.Int("layers")); diags.HasErrors() {
			return diags
		}
		s.Grow = &growth.Spec{Method: block.Label, Layers: block.Int("layers"), Position: block.Str("position"),
			Mix:                block.Float("mix"),
			FunctionPreserving: block.Bool("function_preserving"), Moments: block.Str("moments"), Seed: s.PeftSeed}
		if s.Growth, err = s.Grow.Map(small); err != nil {
			return hcl.Diagnostics{block.Error("layers", "Impossible growth", blocks.Sentence(err.Error())+".")}
		}
	}
	s.Layers, s.Params = s.Growth.Layers, s.Growth.Params
	s.Model = up.Model.Grown(growth.Alike(s.Layers)).With(s.Growth.Config)
	return nil
}

// compareWith warns where the stage has grown to more layers than its model block has, or to as many that differ.
func (s *Stage) compareWith(root *model.Model, p *blocks.Planned) {
	s.tooDeep(root, p)
	attr, same := arch.SameArchitecture(s.Model, root.Model)
	if s.Grow == nil || len(s.Layers) != root.NumHiddenLayers || same {
		return
	}
	p.Warn(fmt.Sprintf("the stage has as many layers as %s, and %s differs, %s here and %s there: an old layer keeps "+
		"what it is, a new one takes it from the layer that it is made of", root.Addr, attr, s.Model.Show(attr),
		root.Show(attr)))
}

// whole returns the full model that the stage is compared with: that of its model block. If that was read from a folder,
// where it is what to start from, the stage may be deeper, and is the full model itself.
func (s *Stage) whole(root *model.Model) arch.Model {
	if root.Folder != "" && len(s.Layers) > root.NumHiddenLayers {
		return s.Model
	}
	return root.Model
}

// tooDeep warns where the stage adds layers beyond those of its model block.
func (s *Stage) tooDeep(root *model.Model, p *blocks.Planned) {
	if root.Folder != "" {
		return
	}
	if n, most := len(s.Layers), root.NumHiddenLayers; n > most && (s.From == nil || n > len(s.From.Layers)) {
		p.Warn(fmt.Sprintf("the stage has %d layers, and num_hidden_layers of %s is %d: what the plan compares with is the "+
			"model of %d layers. If this is the size that you want, set num_hidden_layers = %d", n, root.Addr, most, most, n))
	}
}

// deeper returns the errors of a model with so many layers.
func deeper(d *dsl.Decoded, m arch.Model, layers int) (diags hcl.Diagnostics) {
	for _, x := range m.WithLayers(layers).Check() {
		diags = append(diags, d.Error("layers", "Impossible model",
			fmt.Sprintf("The stage would have %d layers: %s.", layers, x.What)))
	}
	return diags
}

// adapt puts adapters on frozen projections.
func (s *Stage) adapt(p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	ref, _, ok := d.Ref("adapter")
	if !ok {
		if len(s.Trainable()) == 0 {
			return hcl.Diagnostics{d.Error("freeze", "Nothing to train",
				"Everything is frozen and there is no adapter. Freeze less, or give adapter.")}
		}
		return nil
	}
	spec := p.Use(ref).(*peft.Adapter).Spec
	s.Peft = &spec
	as, err := spec.Match(s.Params, func(x ops.Param) bool { return s.Frozen[x.ID] })
	if err != nil {
		return blocks.Problem(d, "adapter", "Impossible adapter", err)
	}
	if len(as) == 0 {
		return hcl.Diagnostics{d.Error("adapter", "Adapter without a place",
			"Adapters sit on frozen projections, and none that target_modules names is frozen. Set freeze, such as "+
				"freeze = [\"inherited\"].")}
	}
	s.Adapters = as
	return nil
}

// idle warns of new layers that add nothing and cannot learn to: what they add to the residual stream starts at zero, is
// frozen, and has no adapter.
func (s *Stage) idle(p *blocks.Planned, _ *dsl.Decoded) hcl.Diagnostics {
	if s.Grow == nil || !s.Grow.FunctionPreserving {
		return nil
	}
	moves := map[int]bool{} // the layers with an output that changes
	for _, x := range s.Params {
		if x.Layer >= 0 && s.Model.ResidualOutput(x) && !s.Frozen[x.ID] {
			moves[x.Layer] = true
		}
	}
	for _, a := range s.Adapters {
		if a.Target.Layer >= 0 && s.Model.ResidualOutput(a.Target) {
			moves[a.Target.Layer] = true
		}
	}
	n := 0
	for i, l := range s.Layers {
		if l.Old < 0 && !moves[i] {
			n++
		}
	}
	if n > 0 {
		p.Warn(fmt.Sprintf("new layers (%d) add nothing and cannot learn to: they start with zero outputs "+
			"(function_preserving), which are frozen and have no adapter. Freeze fewer of their tensors", n))
	}
	return nil
}

// mapsMoments returns why moments cannot be added up: the optimizer keeps some of other shapes than the weight's.
func (s *Stage) mapsMoments() error {
	for _, x := range s.Trainable() {
		if s.Growth.Rules[x.ID].State != growth.StateMapped {
			continue
		}
		for _, state := range s.States(x) {
			if !state.Type.Shape.Equal(x.Shape) {
				return fmt.Errorf("the optimizer keeps %s of %s as %v, and only what has the shape of the weight, %v, can be added "+
					"up; leave moments out, or choose an optimizer that keeps them so", state.Name, x.Name, state.Type, x.Shape)
			}
		}
	}
	return nil
}

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
	if err := s.mapsMoments(); err != nil {
		diags = append(diags, blocks.Problem(d.Block("grow"), "moments", "Moments that cannot be mapped", err)...)
	}
	diags = append(diags, s.readTuning(t)...)
	s.Seq, s.Batch = t.Int("sequence_length"), t.Int("batch_size")
	s.Fused = t.Str("update") == "fused"
	s.Micro, s.AutoMicro, _ = microOf(t)
	s.AutoMicro = s.AutoMicro && !s.Fused // a fused step is one micro-batch
	if s.Accumulate = program.Precisions[t.Str("accumulate_dtype")]; s.Accumulate == gpu.BF16 && s.DType == gpu.F32 {
		bad("accumulate_dtype", "Gradients coarser than weights",
			"The stage trains in fp32, and so are its gradients. Leave accumulate_dtype out, or set precision = \"bf16\".")
	}
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

// updatable returns the errors of parameters that the optimizer cannot update, or not in this way.
func (s *Stage) updatable(t *dsl.Decoded) hcl.Diagnostics {
	if s.Fused && len(s.Refreshes()) > 0 {
		return hcl.Diagnostics{t.Error("update", "A fused update without gradients",
			"galore finds its projections from the gradients of a whole step, which a fused update does not keep. Leave update "+
				"out, or use another optimizer, such as apollo, whose projections are random.")}
	}
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
