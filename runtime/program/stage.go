package program

import (
	"math"
	"slices"
	"strconv"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/observe"
)

// Stage is what a training step computes, of what model, and how many steps there are.
type Stage struct {
	Model arch.Model // with the layers of the stage
	Seed  uint64     // of the model's first weights
	Init  string     // folder of weights to start from; empty for random ones
	From  *Stage     // the stage it continues; nil for a first one

	Layers []growth.Layer // bottom first; all new for a first stage
	Growth growth.Map     // what is made of the weights of From
	Params []ops.Param
	Frozen map[string]bool // by ID
	// FrozenDType is the type in which the projections of frozen layers are stored; InvalidDType for DType.
	FrozenDType gpu.DType

	Peft     *peft.Spec
	Adapters []peft.Adapter
	PeftSeed uint64
	// Composed are the weights that adapters take the place of, by ID: they have no buffers. Adapt sets it.
	Composed map[string]bool
	// KeepApart ends the stage with weights and adapters, instead of weights that they are merged into.
	KeepApart bool

	// NEFTuneAlpha is the alpha of the noise that training adds to the embeddings (Jain et al. 2023, arXiv 2310.05914); 0 for
	// none. Its seeds are made of PeftSeed.
	NEFTuneAlpha float64

	DType     gpu.DType
	Seq       int  // tokens of a sequence
	Batch     int  // sequences a step
	Micro     int  // sequences on the device at a time
	AutoMicro bool // Micro is the largest that fits the device
	Chunk     int  // rows of logits in memory at a time
	SumsInF32 bool // the device rounds the head's gradient once a micro-batch, whatever Chunk is
	// Accumulate is the type in which gradients are added up; InvalidDType for fp32 where there are many parts, and else the
	// weights' own.
	Accumulate gpu.DType
	Mask       bool    // tokens attend to those of their own document alone
	Horizon    float64 // tokens at which the schedule ends
	Steps      int
	Ranks      int   // processes that train it together; 0 and 1 for one alone
	Rank       int   // of this one, from 0
	Shard      Shard // what each of them has a part of
	// FromZero says that the gradient of each micro-batch is made from zero before it is added to those before.
	FromZero  bool
	Schedule  optim.Schedule
	Optimizer optim.Optimizer
	// Fused updates each parameter in the backward pass, as soon as its gradient is complete: gradients have no buffers. A step
	// is one micro-batch.
	Fused     bool
	Skip      bool // skip steps that are not finite instead of stopping
	Recompute int  // layers, from the bottom, whose activations are computed again in the backward pass
	// Inference is what scores and continues texts between steps, with the stage's own weights; nil for nothing. The caller sets
	// Context, Continuation and Texts, and Tokens where less is to be run at once than fits.
	Inference *Inference

	Program *gpu.Program // made by Programs.Compile
	flops   counted      // of Program; see stepFLOPs
}

// Adapt gives the stage adapters.
func (s *Stage) Adapt(spec *peft.Spec, as []peft.Adapter) {
	s.Peft, s.Adapters, s.Composed = spec, as, nil
	if spec.Composes() {
		s.Composed = map[string]bool{}
		for _, a := range as {
			s.Composed[a.Target.ID] = true
		}
	}
}

// Composing lists the adapters that take the place of weights.
func (s *Stage) Composing() []peft.Adapter {
	if len(s.Composed) == 0 {
		return nil
	}
	return s.Adapters
}

// LayerPrefix starts the ids of layers that the stage makes. It is the number of stages below it, not its name, so that a
// renamed block makes the same bits.
func (s *Stage) LayerPrefix() string {
	n := 0
	for f := s.From; f != nil; f = f.From {
		n++
	}
	return "g" + strconv.Itoa(n)
}

// NewLayers returns n layers of which none comes from a stage before.
func (s *Stage) NewLayers(n int) (list []growth.Layer) {
	for i := range n {
		list = append(list, growth.Layer{ID: s.LayerPrefix() + "." + strconv.Itoa(i), Old: -1})
	}
	return list
}

// LayerIDs are the stable ids of the layers.
func (s *Stage) LayerIDs() []string {
	ids := make([]string, len(s.Layers))
	for i, l := range s.Layers {
		ids[i] = l.ID
	}
	return ids
}

// Grows reports whether the stage adds layers to those of the stage it continues.
func (s *Stage) Grows() bool { return s.From != nil && len(s.Layers) > len(s.From.Layers) }

// ChangesAtStart reports whether what the stage trains is not, number for number, the model that it starts from: it has new layers,
// frozen weights in fewer bits, or adapters that took a part of their weights or the place of them.
func (s *Stage) ChangesAtStart() bool {
	if s.From == nil && s.Init == "" { // it starts from no model
		return false
	}
	return s.Grows() || len(s.AllNarrow()) > 0 || len(s.Composed) > 0 || s.Peft != nil && s.Peft.Principal() && len(s.Adapters) > 0
}

// StartPass is the pass of the model that the stage starts from over one of its micro-batches.
func (s *Stage) StartPass() Pass {
	x := Pass{Model: s.Model, Params: s.Params, DType: s.DType, Batch: s.Micro, Seq: s.Seq, Mask: s.Mask}
	if s.From != nil {
		x.Model, x.Params = s.From.Model, s.From.Params
	}
	return x
}

// adaptsHead reports whether the head has an adapter: its logits are then a sum.
func (s *Stage) adaptsHead() bool {
	for _, a := range s.Adapters {
		if a.Target.Kind == ops.KindHead {
			return true
		}
	}
	return false
}

// StepTokens is the number of tokens of an optimizer step.
func (s *Stage) StepTokens() int64 { return int64(s.Batch) * int64(s.Seq) }

// MicroSteps is the number of micro-batches of a step.
func (s *Stage) MicroSteps() int { return s.Batch / s.Micro }

// Trainable lists the parameters that are updated, adapters after the model's own.
func (s *Stage) Trainable() (list []ops.Param) {
	for _, p := range s.Dense() {
		if !s.Frozen[p.ID] {
			list = append(list, p)
		}
	}
	return append(list, peft.Params(s.Adapters)...)
}

// Dense lists the model's parameters that have buffers of their own.
func (s *Stage) Dense() []ops.Param {
	if len(s.Composed) == 0 {
		return s.Params
	}
	return slices.DeleteFunc(slices.Clone(s.Params), func(p ops.Param) bool { return s.Composed[p.ID] })
}

// All lists the model's parameters and the adapters', but for those that adapters take the place of.
func (s *Stage) All() []ops.Param {
	return append(append([]ops.Param(nil), s.Dense()...), peft.Params(s.Adapters)...)
}

// States lists what the optimizer keeps of a parameter: nothing of one that is frozen, or that an adapter takes the place of.
func (s *Stage) States(p ops.Param) []optim.State {
	if s.Frozen[p.ID] || s.Composed[p.ID] {
		return nil
	}
	return s.Optimizer.States(p, s.DType)
}

// Rate returns the peak of the learning rate of a parameter.
func (s *Stage) Rate(p ops.Param) float64 {
	rate := s.Optimizer.Rate(p)
	if s.Peft != nil {
		rate *= s.Peft.Rate(p)
	}
	return rate
}

// LR returns the learning rate that is reported of a step, from 1.
func (s *Stage) LR(step int) float64 { return s.Scheduled(s.Optimizer.Peak(), step) }

// Scheduled returns the learning rate of a step, from 1, where its peak is given: the schedule at the tokens that the
// step completes. After a ReLoRA restart it rises again over the restart's warm-up.
func (s *Stage) Scheduled(peak float64, step int) float64 {
	lr := peak * s.Schedule.Factor(float64(step)*float64(s.StepTokens()), s.Horizon)
	if s.Restarts() && s.Peft.RestartWarmup > 0 {
		if done := (step - 1) / s.Peft.ResetEvery; done > 0 {
			since := step - done*s.Peft.ResetEvery
			lr *= math.Min(1, float64(since)/float64(s.Peft.RestartWarmup))
		}
	}
	return lr
}

// Restarts reports whether adapters are merged and begin again on the way, as ReLoRA does.
func (s *Stage) Restarts() bool {
	return s.Peft != nil && s.Peft.Method == "relora" && len(s.Adapters) > 0
}

// KeepsRemainders reports whether what merges on the way round off is kept for the next one.
func (s *Stage) KeepsRemainders() bool { return s.Restarts() && s.Peft.KeepsRemainders(s.DType) }

// MergesRounded reports whether adapters are merged into weights that are coarser than fp32.
func (s *Stage) MergesRounded() bool {
	return len(s.Adapters) > 0 && s.DType == gpu.BF16 && !s.KeepApart && len(s.Composed) == 0
}

// MergesAtRandom reports whether merges round stochastically.
func (s *Stage) MergesAtRandom() bool {
	return s.MergesRounded() && !s.KeepsRemainders()
}

// bf16Additions is how many parts of a gradient may be added up in bf16: the sum of more loses too much
// (docs/decisions/0020).
const bf16Additions = 64

// additions is how many parts the gradient of p is added up from in a step.
func (s *Stage) additions(p ops.Param) int {
	n := s.MicroSteps()
	if tied := p.Kind == ops.KindEmbedding && s.Model.TieWordEmbeddings; (tied || p.Kind == ops.KindHead) && !s.adaptsHead() {
		if !s.SumsInF32 {
			n *= (s.Micro*s.Seq + s.Chunk - 1) / s.Chunk // a part for each piece of the logits
		}
		if tied {
			n += s.MicroSteps()
		}
	}
	return n
}

// GradType is the element type in which the gradient of p is added up.
func (s *Stage) GradType(p ops.Param) gpu.DType {
	switch {
	case s.DType == gpu.F32 || s.Accumulate == gpu.F32:
		return gpu.F32
	case s.Accumulate == gpu.BF16 || s.additions(p) <= bf16Additions:
		return gpu.BF16
	}
	return gpu.F32
}

// RestartAfter reports whether adapters are merged and restarted after this step.
func (s *Stage) RestartAfter(step int) bool {
	return s.Restarts() && step%s.Peft.ResetEvery == 0 && step < s.Steps
}

// noiseScale bounds the noise on the embeddings: alpha / sqrt(L d), with the padded length of a sequence, as in transformers.
func (s *Stage) noiseScale() float64 {
	return s.NEFTuneAlpha / math.Sqrt(float64(s.Seq)*float64(s.Model.HiddenSize))
}

// NoiseSeed is the seed of a step's noise on the embeddings: a whole number below 2^24. It is the same for all micro-batches
// of a step, whose tokens are told apart by number, so the noise does not depend on how many there are.
func (s *Stage) NoiseSeed(step int) float32 {
	return float32(ops.Rand(s.PeftSeed+uint64(step)*0x9e3779b97f4a7c15, "neftune").Uint32() >> 8)
}

// Refreshes lists after how many updates states of the optimizer are made anew.
func (s *Stage) Refreshes() []int { return optim.Intervals(s.Optimizer, s.Trainable()) }

// Segments are those that a step may run, in order.
func (s *Stage) Segments() []string {
	list := []string{SegZero, SegMicro}
	switch {
	case s.overlaps():
		list = append(list, SegLast)
	case s.together():
		list = append(list, SegReduce)
	}
	for _, every := range s.Refreshes() {
		list = append(list, SegRefresh(every))
	}
	if list = append(list, SegUpdate); s.sharded() {
		list = append(list, SegSpread)
	}
	return list
}

// Work is a step as the observer shows it.
func (s *Stage) Work() observe.Work {
	w := observe.Work{Program: s.Program, Micros: s.OwnSteps(), Tokens: s.StepTokens(), Steps: s.Steps}
	for _, name := range s.Segments() {
		w.Segments = append(w.Segments, observe.Segment{Name: name, Span: SegmentSpan(name), Micro: name == SegMicro || name == SegLast,
			Whole: name == SegZero})
	}
	return w
}
