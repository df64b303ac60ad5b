package runtime

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/growth"
	"stepflow/ops/llama"
	"stepflow/ops/optim"
	"stepflow/runtime/train"
)

func (p *planner) stage(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	s := &Stage{Addr: a.Addr, Stage: train.Stage{DType: train.Precisions[d.Str("precision")], PeftSeed: uint64(d.Int("seed")), Frozen: map[string]bool{}}}
	m, diags := p.stageModel(a, s, d)
	if diags.HasErrors() {
		return nil, diags
	}
	s.Model.NumHiddenLayers = len(s.Layers)
	s.Params = llama.Declare(s.Model, s.LayerIDs())
	for _, check := range []func(*Action, *Stage, *dsl.Decoded) hcl.Diagnostics{p.stageFreeze, p.stageAdapter, p.stageTrain} {
		diags = append(diags, check(a, s, d)...)
	}
	if diags.HasErrors() {
		return nil, diags
	}
	mode := d.Block("train").Str("activation_checkpointing")
	err := p.programs.Compile(&s.Stage, mode)
	if err != nil {
		return nil, uncompiled(d.Block("train"), "sequence_length", "Stage cannot be compiled", s.Micro, s.Seq, err)
	}
	if diags := p.stageSteps(a, s, d); diags.HasErrors() {
		return nil, diags
	}
	s.Figures = train.FiguresOf(&s.Stage, s.checkpoints())
	if diags := p.passes(a, s, d); diags.HasErrors() {
		return nil, diags
	}
	a.tooLarge(p.caps, s.Program.ArenaBytes, "the stage",
		fmt.Sprintf("Lower micro_batch_size (now %d), set activation_checkpointing = \"auto\", or split the layers into more stages", s.Micro))
	if s.Vanilla, err = p.programs.Vanilla(&s.Stage, m.Config, mode); err != nil {
		return nil, uncompiled(d.Block("train"), "sequence_length", "Full model cannot be compiled", s.Micro, s.Seq, err)
	}
	a.Stage = s
	f := s.Figures
	return map[string]cty.Value{
		"num_hidden_layers": number(float64(len(s.Layers))), "num_parameters": number(float64(ops.Count(s.Params, nil))),
		"peak_bytes": number(float64(f.Peak)), "flops": number(f.FLOPs), "tokens": number(float64(f.Tokens)), "steps": number(float64(s.Steps)),
	}, nil
}

// stageModel finds what the stage starts from and its layers, and gives the full model.
func (p *planner) stageModel(a *Action, s *Stage, d *dsl.Decoded) (*Model, hcl.Diagnostics) {
	from, _, hasFrom := d.Ref("from")
	ref, _, hasModel := d.Ref("model")
	var m *Model
	if hasModel {
		m = p.use(a, ref).model
	}
	grow := d.Block("grow")
	if !hasFrom {
		n := m.Config.NumHiddenLayers
		if d.Has("layers") {
			n = d.Int("layers")
		}
		if m.Folder != "" && n != m.Config.NumHiddenLayers {
			return nil, hcl.Diagnostics{d.Error("layers", "Another number of layers",
				fmt.Sprintf("The folder %s holds %d layers; a stage that starts from it has as many.", m.Folder, m.Config.NumHiddenLayers))}
		}
		if diags := deeper(d, m.Config, n); diags.HasErrors() {
			return nil, diags
		}
		a.hashed["layers"] = strconv.Itoa(n)
		s.Model, s.Seed, s.Init = m.Config, m.Seed, m.Folder
		s.Layers = s.NewLayers(n)
		s.Root = m
		return m, nil
	}
	up := p.use(a, from)
	s.From, s.Stage.From = up.Stage, &up.Stage.Stage
	s.Model, s.Seed = up.Stage.Model, up.Stage.Seed
	root := up.Stage.Root
	s.Root = root
	if m != nil && m != root {
		detail := fmt.Sprintf("%s was started from %s, this stage names %s. Leave model out.", from, root.Addr, m.Addr)
		if attr, same := llama.SameArchitecture(root.Config, m.Config); !same {
			detail = fmt.Sprintf("%s was started from %s, and %s of %s differs from it. Leave model out.", from, root.Addr, attr, m.Addr)
		}
		return nil, hcl.Diagnostics{d.Error("model", "Another model", detail)}
	}
	if s.DType != up.Stage.DType {
		return nil, hcl.Diagnostics{d.Error("precision", "Another precision",
			fmt.Sprintf("%s trains in %s; stages that continue each other share one precision.", from, train.Precision(up.Stage.DType)))}
	}
	for i, id := range up.Stage.LayerIDs() {
		s.Layers = append(s.Layers, growth.Layer{ID: id, Old: i})
	}
	if grow != nil {
		if diags := deeper(grow, s.Model, len(s.Layers)+grow.Int("layers")); diags.HasErrors() {
			return nil, diags
		}
		s.Grow = &growth.Spec{Method: grow.Label, Layers: grow.Int("layers"), Position: grow.Str("position"), Mix: grow.Float("mix"),
			FunctionPreserving: grow.Bool("function_preserving"), Seed: s.PeftSeed}
		layers, err := s.Grow.Grow(up.Stage.LayerIDs(), s.LayerPrefix())
		if err != nil {
			return nil, hcl.Diagnostics{grow.Error("layers", "Impossible growth", upper(err.Error())+".")}
		}
		s.Layers = layers
	}
	return root, nil
}

// deeper is the problem with a model of so many layers; nil if there is none.
func deeper(d *dsl.Decoded, c llama.Config, layers int) (diags hcl.Diagnostics) {
	c.NumHiddenLayers = layers
	for _, x := range c.Check() {
		diags = append(diags, d.Error("layers", "Impossible model", fmt.Sprintf("The stage would have %d layers: %s.", layers, x.What)))
	}
	return diags
}

func (p *planner) stageFreeze(_ *Action, s *Stage, d *dsl.Decoded) (diags hcl.Diagnostics) {
	for _, word := range d.Strs("freeze") {
		var keep func(ops.Param) bool
		switch {
		case word == "inherited":
			if s.From == nil {
				diags = append(diags, d.Error("freeze", "Nothing inherited",
					"\"inherited\" means the layers that came with from, and this stage starts a new model."))
				continue
			}
			keep = func(x ops.Param) bool { return x.Layer >= 0 && s.Layers[x.Layer].Old >= 0 }
		case word == "embeddings":
			keep = func(x ops.Param) bool { return x.Kind == ops.KindEmbedding }
		case word == "lm_head":
			keep = func(x ops.Param) bool { return x.Kind == ops.KindHead }
			if s.Model.TieWordEmbeddings {
				diags = append(diags, d.Error("freeze", "Tied embeddings",
					"The head is the embedding table of this model (tie_word_embeddings): freeze \"embeddings\" instead, or neither."))
				continue
			}
		case word == "norm":
			keep = func(x ops.Param) bool { return x.Kind == ops.KindNorm && x.Layer < 0 }
		case strings.HasPrefix(word, "layers:"):
			lo, hi, err := layerRange(strings.TrimPrefix(word, "layers:"), len(s.Layers))
			if err != nil {
				diags = append(diags, d.Error("freeze", "Invalid layers", upper(err.Error())+"."))
				continue
			}
			keep = func(x ops.Param) bool { return x.Layer >= lo && x.Layer <= hi }
		default:
			keep = func(x ops.Param) bool { ok, err := path.Match(word, x.Name); return err == nil && ok }
		}
		hit := false
		for _, x := range s.Params {
			if keep(x) {
				s.Frozen[x.ID], hit = true, true
			}
		}
		if !hit {
			names := []string{"inherited", "embeddings", "lm_head", "norm", "layers:A-B"}
			for _, x := range s.Params[:min(10, len(s.Params))] {
				names = append(names, x.Name)
			}
			diags = append(diags, d.Error("freeze", "Freezes nothing",
				fmt.Sprintf("%q matches no parameter. It takes %s, and so on.", word, strings.Join(names, ", "))))
		}
	}
	return diags
}

func layerRange(s string, n int) (lo, hi int, err error) {
	a, b, two := strings.Cut(s, "-")
	lo, err1 := strconv.Atoi(a)
	hi, err2 := lo, error(nil)
	if two {
		hi, err2 = strconv.Atoi(b)
	}
	if err1 != nil || err2 != nil || lo < 0 || hi < lo || hi >= n {
		return 0, 0, fmt.Errorf("layers:%s is not a range of the layers 0 to %d; write layers:0-%d", s, n-1, n-1)
	}
	return lo, hi, nil
}

func (p *planner) stageAdapter(a *Action, s *Stage, d *dsl.Decoded) hcl.Diagnostics {
	ref, _, ok := d.Ref("adapter")
	if !ok {
		if len(s.Trainable()) == 0 {
			return hcl.Diagnostics{d.Error("freeze", "Nothing to train",
				"Everything is frozen and there is no adapter. Freeze less, or give adapter.")}
		}
		return nil
	}
	spec := p.use(a, ref).peft.spec
	s.Peft = &spec
	as, err := spec.Match(s.Params, func(x ops.Param) bool { return s.Frozen[x.ID] })
	if err != nil {
		return problem(d, "adapter", "Impossible adapter", err)
	}
	if len(as) == 0 {
		return hcl.Diagnostics{d.Error("adapter", "Adapter without a place",
			"Adapters sit on frozen projections, and of those target_modules names none is frozen. Set freeze, such as freeze = [\"inherited\"].")}
	}
	s.Adapters = as
	return nil
}

func (p *planner) stageTrain(a *Action, s *Stage, d *dsl.Decoded) (diags hcl.Diagnostics) {
	t := d.Block("train")
	bad := func(attr, summary, format string, args ...any) {
		diags = append(diags, t.Error(attr, summary, fmt.Sprintf(format, args...)))
	}
	ref, split, _ := t.Ref("data")
	s.Data = p.use(a, ref).Data
	s.Mask = s.Data.Source.DocumentMask
	switch {
	case split != "":
		bad("data", "Training on held-out data", "%s.%s is for evaluate. Train on %s.", ref, split, ref)
	}
	for _, n := range s.Data.sources() {
		if n.Source.ValidationFraction >= 1 {
			bad("data", "Nothing to train on", "%s holds all its documents out: its validation_fraction is 1.", n.Addr)
		}
	}
	ref, _, _ = t.Ref("tokenizer")
	s.Tokenizer = p.use(a, ref).Token
	ref, _, _ = t.Ref("optimizer")
	s.Optimizer = p.use(a, ref).optim.adamw
	s.Seq, s.Batch = t.Int("sequence_length"), t.Int("batch_size")
	s.Micro, s.AutoMicro, _ = microOf(t)
	if s.Accumulate = train.Precisions[t.Str("accumulate_dtype")]; s.Accumulate == gpu.BF16 && s.DType == gpu.F32 {
		bad("accumulate_dtype", "Gradients coarser than weights",
			"The stage trains in fp32, and so are its gradients. Leave accumulate_dtype out, or set precision = \"bf16\".")
	}
	if s.Seq > s.Model.MaxPositionEmbeddings {
		bad("sequence_length", "Sequence too long", "sequence_length %d is larger than the model's %s.", s.Seq, s.Model.Longest())
	}
	if s.Tokenizer.VocabSize > s.Model.VocabSize {
		bad("tokenizer", "Vocabulary too small", "The model's vocab_size is %d, the tokenizer has %d tokens. Set vocab_size = %s.vocab_size.",
			s.Model.VocabSize, s.Tokenizer.VocabSize, s.Tokenizer.Addr)
	}
	if s.From == nil {
		a.warn(s.Root.otherTokens(s.Tokenizer))
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
	return diags
}

// manyEpochs is the number of passes beyond which more of the same data is worth clearly less than new data
// (Muennighoff et al. 2023).
const manyEpochs = 4

// passes notes how often the stage reads its data.
func (p *planner) passes(a *Action, s *Stage, d *dsl.Decoded) hcl.Diagnostics {
	size, ok, err := p.size(s.Data, s.Tokenizer)
	if err != nil {
		return unfit(d.Block("train"), "data", err)
	}
	if !ok {
		return nil
	}
	for _, n := range s.Data.sources() {
		if part, _, err := p.size(n, s.Tokenizer); err == nil && part.Specials > 0 {
			a.Warnings = append(a.Warnings, fmt.Sprintf("%s: %s", n.Addr, SpecialsNote(part.Specials, n.Source.SpecialIDs)))
		}
	}
	f := &s.Figures
	f.DataTokens, f.DataHow = size.Tokens, size.How
	tokens, before := float64(s.Steps)*float64(s.StepTokens()), 0.0
	for x := s.From; x != nil && x.Data == s.Data && x.Tokenizer == s.Tokenizer && x.Seq == s.Seq; x = x.From {
		before += float64(x.Steps) * float64(x.StepTokens())
	}
	if s.Data.Parts != nil {
		if diags := p.draws(a, s, d.Block("train"), before); diags.HasErrors() {
			return diags
		}
	} else if err := p.tooSmall(s, before); err != nil {
		return problem(d.Block("train"), "data", "Less text than a batch", err)
	}
	f.Epochs = (before + tokens) / float64(size.Tokens)
	limit := float64(s.Data.Source.Epochs)
	switch {
	case limit > 0 && f.Epochs > limit && size.How == fineweb.Exact && s.Data.Parts == nil:
		return hcl.Diagnostics{d.Block("train").Error("data", "Data used up", fmt.Sprintf("The stage ends after %.2f passes over %s, whose "+
			"epochs is %.0f. Raise epochs, or train on fewer tokens.", f.Epochs, s.Data.Addr, limit))}
	case limit > 0 && f.Epochs > limit && s.Data.Parts == nil:
		a.Warnings = append(a.Warnings, fmt.Sprintf("the stage would end after about %.1f passes over %s, whose epochs is %.0f: the data "+
			"may be used up before", f.Epochs, s.Data.Addr, limit))
	case limit == 0 && f.Epochs > manyEpochs && before/float64(size.Tokens) <= manyEpochs:
		a.Warnings = append(a.Warnings, fmt.Sprintf("the stage ends after about %.0f passes over %s: beyond %d, reading it again teaches "+
			"clearly less than new data would (arXiv 2305.16264); set its epochs to have this so", f.Epochs, s.Data.Addr, manyEpochs))
	}
	return nil
}

// roundedSteps is the share of its steps by which a stage may differ from what was asked for without a word.
const roundedSteps = 0.05

// stageSteps turns the horizon into steps, once the program tells what a step costs.
func (p *planner) stageSteps(a *Action, s *Stage, d *dsl.Decoded) hcl.Diagnostics {
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
	default:
		attr, asked = "flops", t.Float("flops")/float64(train.FiguresOf(&s.Stage, 0).StepFLOPs)
		s.Horizon = math.Round(asked) * per
	}
	asked *= t.Float("stop_at")
	steps := math.Round(s.Horizon / per * t.Float("stop_at"))
	if steps < 1 {
		return hcl.Diagnostics{t.Error(attr, "Less than one batch", fmt.Sprintf("The stage would train on %.0f tokens, and one step takes "+
			"%d (batch_size x sequence_length). Ask for more, or lower batch_size.", s.Horizon*t.Float("stop_at"), s.StepTokens()))}
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
		a.warn(fmt.Sprintf("its %s are worth %.2f steps, and the stage takes %d, since steps are whole: %.0f %% %s", attr, asked, s.Steps,
			100*math.Abs(off), more))
	}
	return nil
}
