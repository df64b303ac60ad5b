package runtime

import (
	"math"

	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/growth"
	"stepflow/ops/llama"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
)

// Checkpoints that stay where keep is not given: while a stage runs, and when it has ended.
const (
	keepRunning = 2
	keepEnded   = 1
)

// Stage is a planned stage: all that compile needs, and the program it made.
type Stage struct {
	Addr  addr.Addr
	Model llama.Config // NumHiddenLayers is the stage's own
	Seed  uint64       // of the model's first weights
	Init  string       // folder of weights to start from; empty for random ones
	From  *Stage       // the stage it continues; nil for a first one
	Root  *Model       // the full model that the first stage was started with

	Layers []growth.Layer // bottom first; all new for a first stage
	Grow   *growth.Spec   // nil if nothing is added
	Params []ops.Param
	Frozen map[string]bool // by ID

	Peft     *peft.Spec
	Adapters []peft.Adapter
	PeftSeed uint64

	DType     gpu.DType
	Seq       int
	Batch     int  // sequences a step
	Micro     int  // sequences on the device at a time
	AutoMicro bool // Micro is the largest that fits the device
	Chunk     int  // rows of logits in memory at a time
	// Accumulate is the type in which gradients are added up; InvalidDType for fp32 where there are many parts, and else the
	// weights' own.
	Accumulate gpu.DType
	Horizon    float64
	Steps      int
	Schedule   optim.Schedule
	Optimizer  optim.AdamW
	Skip       bool // skip steps that are not finite instead of stopping
	Recompute  int  // layers, from the bottom, whose activations are computed again in the backward pass
	Every      int  // steps between checkpoints; 0 for none on the way
	Keep       int  // checkpoints that stay while it runs
	KeepEnded  int  // and when it has ended, the result among them

	Data      *Data
	Tokenizer *Tokenizer
	Program   *gpu.Program
	Vanilla   *Figures // the full model trained at once with the same batch
	Figures   Figures
	Forecast  Forecast // of what is left to run
}

// Figures are the bytes and operations of a program.
type Figures struct {
	Layers         int              `json:"layers"`
	Trainable      int64            `json:"trainable_parameters"`
	Frozen         int64            `json:"frozen_parameters"`
	Adapter        int64            `json:"adapter_parameters"`
	ByKind         map[string]int64 `json:"bytes"`
	Peak           int64            `json:"peak_bytes"`
	LowerBound     int64            `json:"lower_bound_bytes"` // resident and the most that is alive at once
	States         int64            `json:"model_state_bytes"`
	PaperStates    int64            `json:"paper_state_bytes"`                  // of the model's states as the paper counts: gradients of the weights' type, no remainders
	LayerStates    int64            `json:"layer_state_bytes"`                  // of those the layers and their adapters alone: the paper's figure
	WideGradients  int64            `json:"fp32_gradient_parameters,omitempty"` // parameters of bf16 weights whose gradients are added up in fp32
	Remainders     int64            `json:"remainder_bytes,omitempty"`          // of merges
	StepFLOPs      int64            `json:"flops_per_step"`
	RecomputeFLOPs int64            `json:"recompute_flops_per_step"` // activation checkpointing, not part of flops
	FLOPs          float64          `json:"flops"`
	Tokens         int64            `json:"tokens"`
	Steps          int              `json:"steps"`
	CheckpointSize int64            `json:"checkpoint_bytes"`
	Disk           int64            `json:"disk_bytes"`                  // of the checkpoints that stay, and of one that is written beside them
	DataTokens     int64            `json:"data_tokens,omitempty"`       // of one pass over the data; 0 where it is not known
	DataHow        fineweb.How      `json:"data_tokens_known,omitempty"` // exact, or by what estimate
	Epochs         float64          `json:"epochs,omitempty"`            // passes, with those of the stages before on the same data
}

// ByteKinds are the rows of the memory table, in order.
var ByteKinds = []string{"weights", "gradients", "optimizer", "adapters", "activations", "workspace", "inputs"}

// roleKinds are the rows that named buffers count in.
var roleKinds = map[gpu.Role]string{gpu.RoleWeight: "weights", gpu.RoleGradient: "gradients", gpu.RoleOptimizer: "optimizer", gpu.RoleAdapter: "adapters",
	gpu.RoleInput: "inputs", gpu.RoleOutput: "inputs", gpu.RoleConst: "inputs"}

// LayerIDs are the stable ids of the layers.
func (s *Stage) LayerIDs() []string {
	ids := make([]string, len(s.Layers))
	for i, l := range s.Layers {
		ids[i] = l.ID
	}
	return ids
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

// Trainable lists the parameters that are updated, adapters behind the model's own.
func (s *Stage) Trainable() (list []ops.Param) {
	for _, p := range s.Params {
		if !s.Frozen[p.ID] {
			list = append(list, p)
		}
	}
	return append(list, peft.Params(s.Adapters)...)
}

// All lists the model's parameters and the adapters'.
func (s *Stage) All() []ops.Param {
	return append(append([]ops.Param(nil), s.Params...), peft.Params(s.Adapters)...)
}

// LR is the learning rate of a step (from 1): the schedule at the tokens that step completes. After a
// ReLoRA restart it rises again over the restart's warm-up.
func (s *Stage) LR(step int) float64 {
	lr := s.Optimizer.LearningRate * s.Schedule.Factor(float64(step)*float64(s.StepTokens()), s.Horizon)
	if s.restarts() && s.Peft.RestartWarmup > 0 {
		if done := (step - 1) / s.Peft.ResetEvery; done > 0 {
			since := step - done*s.Peft.ResetEvery
			lr *= math.Min(1, float64(since)/float64(s.Peft.RestartWarmup))
		}
	}
	return lr
}

func (s *Stage) restarts() bool {
	return s.Peft != nil && s.Peft.Method == "relora" && len(s.Adapters) > 0
}

func (s *Stage) keepsRemainders() bool { return s.restarts() && s.Peft.KeepsRemainders(s.DType) }

// MergesRounded reports whether adapters are merged into weights that are coarser than fp32.
func (s *Stage) MergesRounded() bool { return len(s.Adapters) > 0 && s.DType == gpu.BF16 }

// mergesAtRandom reports whether merges round stochastically.
func (s *Stage) mergesAtRandom() bool {
	return s.MergesRounded() && !s.keepsRemainders()
}

// bf16Additions is how many parts of a gradient may be added up in bf16: the sum of more loses too much (docs/decisions/0020).
const bf16Additions = 64

// additions is how many parts the gradient of p is added up from in a step.
func (s *Stage) additions(p ops.Param) int {
	n := s.MicroSteps()
	if tied := p.Kind == ops.KindEmbedding && s.Model.TieWordEmbeddings; (tied || p.Kind == ops.KindHead) && !s.adaptsHead() {
		n *= (s.Micro*s.Seq + s.Chunk - 1) / s.Chunk // a part for each piece of the logits
		if tied {
			n += s.MicroSteps()
		}
	}
	return n
}

// gradType is the element type in which the gradient of p is added up.
func (s *Stage) gradType(p ops.Param) gpu.DType {
	switch {
	case s.DType == gpu.F32 || s.Accumulate == gpu.F32:
		return gpu.F32
	case s.Accumulate == gpu.BF16 || s.additions(p) <= bf16Additions:
		return gpu.BF16
	}
	return gpu.F32
}

// restartAfter reports whether adapters are merged and restarted behind this step.
func (s *Stage) restartAfter(step int) bool {
	return s.restarts() && step%s.Peft.ResetEvery == 0 && step < s.Steps
}

// checkpoints is how many lie on disk at most beside the one that is being written, if nothing interrupts the stage.
func (s *Stage) checkpoints() int {
	n := 1
	if s.Every > 0 && s.Steps > 0 {
		n += (s.Steps - 1) / s.Every
	}
	return max(min(n, s.Keep), min(n, s.KeepEnded))
}

// bytesByKind is what the arena of a program holds.
func bytesByKind(p *gpu.Program) map[string]int64 {
	kinds, named := map[string]int64{}, int64(0)
	for _, b := range p.Buffers {
		kinds[roleKinds[b.Role]] += b.Operand.Type.Bytes()
		named += b.Operand.Type.Bytes()
	}
	kinds["inputs"] += p.ResidentBytes - named // alignment
	kinds["workspace"] = p.ScratchBytes
	kinds["activations"] = p.TransientBytes - p.ScratchBytes
	return kinds
}

// figures reads bytes and operations off the program.
func (s *Stage) figures() Figures {
	p := s.Program
	f := Figures{Layers: len(s.Layers), ByKind: bytesByKind(p), Peak: p.ArenaBytes, LowerBound: p.ResidentBytes + p.LowerBound, Steps: s.Steps}
	f.States = f.ByKind["weights"] + f.ByKind["gradients"] + f.ByKind["optimizer"] + f.ByKind["adapters"]
	weight, state, train := s.DType.Size(), s.Optimizer.StateBytes(s.DType), s.Optimizer.TrainBytes(s.DType)
	for _, x := range s.All() {
		n := x.Elems()
		per := train
		switch {
		case x.Kind.IsAdapter():
			f.Adapter += n
		case s.Frozen[x.ID]:
			f.Frozen += n
			per = weight
		default:
			f.Trainable += n
		}
		f.PaperStates += per * n
		if ops.InLayers(x) {
			f.LayerStates += per * n
		}
		if per == train && s.DType == gpu.BF16 && s.gradType(x) == gpu.F32 {
			f.WideGradients += n
		}
		f.CheckpointSize += n * weight
		if !s.Frozen[x.ID] || x.Kind.IsAdapter() {
			f.CheckpointSize += n * state
		}
	}
	if s.keepsRemainders() {
		for _, a := range s.Adapters {
			f.Remainders += a.Target.Elems() * weight
		}
		f.CheckpointSize += f.Remainders
	}
	zero, _ := p.FLOPs(segZero)
	micro, again := p.FLOPs(segMicro)
	update, _ := p.FLOPs(segUpdate)
	f.StepFLOPs = gpu.Sum(zero, gpu.Product(int64(s.MicroSteps()), micro), update)
	f.RecomputeFLOPs = gpu.Product(int64(s.MicroSteps()), again)
	f.FLOPs = float64(f.StepFLOPs) * float64(s.Steps)
	f.Tokens = s.StepTokens() * int64(s.Steps)
	f.Disk = gpu.Product(int64(s.checkpoints()+1), f.CheckpointSize)
	return f
}
