package train

import (
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// Phases returns what passing tensors through the host takes: making or reading the weights, of a run that goes on from a
// step or begins at 0, and saving. Tensors come one after the other, so it goes by the one that takes most.
func Phases(s *program.Stage, from int) []program.Phase {
	t := planned(s)
	begin := program.Phase{Doing: "starting"}
	for _, b := range s.Program.Buffers {
		if b.Role != gpu.RoleGradient { // no step has touched them
			begin.Arena += b.Operand.Type.Bytes()
		}
	}
	takes := t.setWeightBytes
	switch {
	case from > 0:
		begin.Doing, takes = "restoring", t.restoreBytes
	case s.From != nil:
		begin.Doing, takes = "growing", t.growBytes
	}
	save := program.Phase{Doing: "saving", Arena: s.Program.ArenaBytes, Held: t.largest()}
	for _, a := range s.Composing() {
		save.Heap = max(save.Heap, composeBytes(a)+a.Target.Elems()*s.DType.Size())
		if from == 0 {
			begin.Heap = max(begin.Heap, t.beginsBytes(a))
		}
	}
	for _, p := range s.All() {
		begin.Heap = max(begin.Heap, takes(p))
		if s.Narrow(p) {
			save.Heap = max(save.Heap, t.plainBytes(p))
		}
	}
	if s.KeepsAdapters() {
		for _, x := range t.masters() {
			save.Held += x.Bytes()
		}
	}
	if s.Peft != nil && s.Peft.Principal() && len(s.Composed) == 0 { // until the adapters begin with them
		for _, p := range peft.Params(s.Adapters) {
			begin.Held += float * p.Elems()
		}
	}
	for _, x := range t.firstTensors() { // they stay for the end, and are copied into checkpoints
		save.Held += x.Bytes()
		save.Heap = max(save.Heap, x.Bytes())
	}
	return []program.Phase{begin, save}
}

// Restoring is what loading the best checkpoint takes at the end, when all of the arena has been used.
func Restoring(s *program.Stage) program.Phase {
	t := planned(s)
	p := program.Phase{Doing: "restoring the best", Arena: s.Program.ArenaBytes}
	for _, x := range s.All() {
		p.Heap = max(p.Heap, t.restoreBytes(x))
	}
	for _, x := range t.firstTensors() {
		p.Held += x.Bytes()
	}
	return p
}

// BeforePhase returns what Before takes with the program p: a value at a time, and what is copied of it.
func BeforePhase(s *program.Stage, p *gpu.Program) program.Phase {
	x := program.Phase{Doing: "measuring the model to start from", Arena: p.ArenaBytes}
	for _, q := range s.StartPass().Params {
		b, _ := p.Buffer(program.BufStreamed(q))
		x.Heap = max(x.Heap, float*q.Elems()+copied(b))
	}
	return x
}

// The functions below say what one tensor takes on the host while it passes through, in bytes that are alive at a time. A value
// is a []float32.

const float = 4 // bytes

// copied is what a buffer takes on its way to the device or from it: its tensor, and where rows are padded the buffer too.
func copied(b gpu.Buffer) int64 {
	n := b.Tensor().Bytes()
	if b.Padding() > 0 {
		n += b.Operand.Type.Bytes()
	}
	return n
}

// setWeightBytes is what setWeight takes: a value, and the largest of what is copied for it.
func (t *trainer) setWeightBytes(p ops.Param) int64 {
	value := float * p.Elems()
	most := copied(t.named(p.ID))
	if t.stage.Narrow(p) { // decoded again, to compare
		most += value
	}
	for _, s := range t.states(p) {
		n := copied(t.named(s.Buffer(p.ID)))
		if s.Type.DType.Quantized() {
			n += float * int64(s.Type.Shape.Elems())
		}
		most = max(most, n)
	}
	if a := t.adapterOf(p); a != nil && t.stage.Peft.Principal() && !t.stage.Composed[p.ID] {
		// The search for singular vectors; and then their product, and what is left of the weight.
		most = max(most+2*value, t.stage.Peft.SingularBytes(p.Shape[0], p.Shape[1]))
	}
	return value + most
}

// composeBytes is what compose takes: a value, and what it is made of.
func composeBytes(a peft.Adapter) int64 {
	return float*a.Target.Elems() + 2*partsBytes(a) + 2*a.PlacesType().Bytes()
}

// partsBytes is what the matrices and the values of an adapter take.
func partsBytes(a peft.Adapter) int64 { return float * (a.A.Elems() + a.B.Elems() + a.Values.Elems()) }

// beginsBytes is what begins takes, or what making its weight takes before that.
func (t *trainer) beginsBytes(a peft.Adapter) int64 {
	s, p := t.stage, a.Target
	parts := partsBytes(a) + 2*a.PlacesType().Bytes()
	most := int64(0)
	for _, x := range []ops.Param{a.A, a.B, a.Values} {
		most = max(most, parts+t.setWeightBytes(x))
	}
	if s.From != nil {
		most = max(most, s.Growth.ValueBytes(p)-float*p.Elems())
	}
	if !t.fresh(p) {
		most = max(most, parts+s.Peft.DecomposeBytes(a))
	}
	return float*p.Elems() + most
}

// growBytes is what grow takes: making a value and then setWeight, and takeState for a state that is not kept as it is.
func (t *trainer) growBytes(p ops.Param) int64 {
	g := &t.stage.Growth
	most := max(t.setWeightBytes(p), g.ValueBytes(p))
	if g.KeepsState(p) {
		return most
	}
	for _, s := range t.states(p) { // as it is stored, decoded, in order, and the sum
		most = max(most, s.Type.Bytes()+3*float*int64(s.Type.Shape.Elems()))
	}
	return most
}

// restoreBytes is what restore takes: a value and its copy, or a state as it is stored and as it is copied.
func (t *trainer) restoreBytes(p ops.Param) int64 {
	most := float*p.Elems() + copied(t.named(p.ID))
	for _, s := range t.states(p) {
		most = max(most, s.Type.Bytes()+copied(t.named(s.Buffer(p.ID))))
	}
	return most
}

// ImportBytes is what importing the result of a stage takes: a value, and the bytes that are written.
func ImportBytes(s *program.Stage) (n int64) {
	for _, p := range s.Params {
		n = max(n, p.Elems()*(float+s.DType.Size()))
	}
	return n
}

// plainBytes is what plain and plainTensor take: what is stored, two values, and the bytes that are written.
func (t *trainer) plainBytes(p ops.Param) int64 {
	n := copied(t.named(p.ID)) + float*p.Elems() + p.Elems()*t.stage.DType.Size()
	if a := t.adapterOf(p); a != nil {
		n += float * (p.Elems() + 2*a.A.Elems() + 2*a.B.Elems())
	}
	return n
}

// largest is the largest tensor that a checkpoint holds as the device does.
func (t *trainer) largest() (n int64) {
	s := t.stage
	model, adapter, opt := t.tensors(false)
	for _, list := range [][]checkpoint.Tensor{model, adapter, opt} {
		for _, x := range list {
			n = max(n, x.Bytes())
		}
	}
	for _, b := range s.Program.Buffers {
		if b.Padding() > 0 {
			n = max(n, copied(b))
		}
	}
	return n
}
