package program

import (
	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/optim"
)

// Figures are the bytes and operations of a program.
type Figures struct {
	Layers     int              `json:"layers"`
	Trainable  int64            `json:"trainable_parameters"`
	Frozen     int64            `json:"frozen_parameters"`
	Adapter    int64            `json:"adapter_parameters"`
	Composed   int64            `json:"composed_parameters,omitempty"` // of weights that adapters take the place of
	ByKind     map[string]int64 `json:"bytes"`
	Peak       int64            `json:"peak_bytes"`
	LowerBound int64            `json:"lower_bound_bytes"` // resident and the most that is alive at once
	States     int64            `json:"model_state_bytes"`
	// PaperStates are the model's states as the paper counts: gradients of the weights' type, no remainders. LayerStates
	// are those of the layers and their adapters alone, the paper's figure.
	PaperStates int64 `json:"paper_state_bytes"`
	LayerStates int64 `json:"layer_state_bytes"`
	// WideGradients are the parameters of bf16 weights whose gradients are added up in fp32.
	WideGradients int64 `json:"fp32_gradient_parameters,omitempty"`
	Remainders    int64 `json:"remainder_bytes,omitempty"` // of merges
	// Narrow are the bytes of frozen weights that are stored in fewer bits, NarrowSaves those that this saves.
	Narrow         int64   `json:"narrow_bytes,omitempty"`
	NarrowSaves    int64   `json:"narrow_saved_bytes,omitempty"`
	StepFLOPs      int64   `json:"flops_per_step"`
	RecomputeFLOPs int64   `json:"recompute_flops_per_step"` // activation checkpointing, not part of flops
	FLOPs          float64 `json:"flops"`
	Tokens         int64   `json:"tokens"`
	Steps          int     `json:"steps"`
	CheckpointSize int64   `json:"checkpoint_bytes"`
	Disk           int64   `json:"disk_bytes"` // of the checkpoints that stay, and of one that is written beside them
	// DataTokens are those of one pass over the data, exact or by the estimate DataHow; 0 where they are not known.
	DataTokens int64       `json:"data_tokens,omitempty"`
	DataHow    fineweb.How `json:"data_tokens_known,omitempty"`
	Epochs     float64     `json:"epochs,omitempty"` // passes, with those of the stages before on the same data
}

// ByteKinds are the rows of the memory table, in order.
var ByteKinds = []string{"weights", "gradients", "optimizer", "adapters", "padding", "activations", "workspace", "inputs",
	"cache"}

// roleKinds are the rows that named buffers count in.
var roleKinds = map[gpu.Role]string{gpu.RoleWeight: "weights", gpu.RoleGradient: "gradients",
	gpu.RoleOptimizer: "optimizer", gpu.RoleAdapter: "adapters", gpu.RoleInput: "inputs", gpu.RoleOutput: "inputs",
	gpu.RoleConst: "inputs", gpu.RoleCache: "cache"}

// BytesByKind returns the bytes of a program's arena by what they hold, one of ByteKinds. Those of padding are counted
// apart from the tensors that have it; they are missing where there is none.
func BytesByKind(p *gpu.Program) map[string]int64 {
	kinds, named := map[string]int64{}, int64(0)
	for _, b := range p.Buffers {
		kinds[roleKinds[b.Role]] += b.Tensor().Bytes()
		if n := b.Padding(); n > 0 {
			kinds["padding"] += n
		}
		named += b.Operand.Type.Bytes()
	}
	kinds["inputs"] += p.ResidentBytes - named // alignment
	kinds["workspace"] = p.ScratchBytes
	kinds["activations"] = p.TransientBytes - p.ScratchBytes
	return kinds
}

// count adds up the parameters of a stage, and the bytes of their states.
func (f *Figures) count(s *Stage) {
	weight := s.DType.Size()
	for _, x := range s.All() {
		n := x.Elems()
		states, kept := s.StoredBytes(x), int64(0)
		if !s.Frozen[x.ID] {
			kept = optim.StateBytes(s.Optimizer, x, s.DType)
			states += kept
			if !s.Fused { // which has no buffers of gradients
				states = optim.TrainBytes(s.Optimizer, x, s.DType)
				if s.DType == gpu.BF16 && s.GradType(x) == gpu.F32 {
					f.WideGradients += n
				}
			}
		}
		switch {
		case x.Kind.IsAdapter():
			f.Adapter += n
		case s.Frozen[x.ID]:
			f.Frozen += n
		default:
			f.Trainable += n
		}
		f.PaperStates += states
		if ops.InLayers(x) {
			f.LayerStates += states
		}
		f.CheckpointSize += n*weight + kept
		if x.Kind.IsAdapter() && s.KeepsFirst() {
			f.CheckpointSize += n * gpu.F32.Size()
		}
		if s.Narrow(x) {
			f.Narrow += states
			f.NarrowSaves += n*weight - states
			if s.Stored(x).Quantized() {
				f.CheckpointSize += states
			}
		}
	}
	for _, a := range s.Composing() {
		f.Composed += a.Target.Elems()
		n := a.PlacesType().Bytes()
		f.PaperStates, f.CheckpointSize = f.PaperStates+n, f.CheckpointSize+n
		if ops.InLayers(a.Target) {
			f.LayerStates += n
		}
	}
	if s.KeepsRemainders() {
		for _, a := range s.Adapters {
			f.Remainders += a.Target.Elems() * weight
		}
		f.CheckpointSize += f.Remainders
	}
}

// FiguresOf reads bytes and operations off a compiled stage, of which so many checkpoints stay on disk.
func FiguresOf(s *Stage, checkpoints int) Figures {
	p := s.Program
	f := Figures{Layers: len(s.Layers), ByKind: BytesByKind(p), Peak: p.ArenaBytes,
		LowerBound: p.ResidentBytes + p.LowerBound, Steps: s.Steps}
	f.States = f.ByKind["weights"] + f.ByKind["gradients"] + f.ByKind["optimizer"] + f.ByKind["adapters"]
	f.count(s)
	f.StepFLOPs, f.RecomputeFLOPs = s.stepFLOPs()
	f.FLOPs = float64(f.StepFLOPs) * float64(s.Steps)
	f.Tokens = s.StepTokens() * int64(s.Steps)
	f.Disk = gpu.Product(int64(checkpoints+1), f.CheckpointSize)
	return f
}
