package program

import (
	"slices"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/graph"
	"stepflow/ops/peft"
)

// shapes are those in which a device stores parameters, by their names. A parameter's own shape is what files hold.
type shapes map[string]gpu.Shape

// widened returns the shapes of a model's parameters, and of adapters, on a device.
func widened(m arch.Model, adapters []peft.Adapter, caps gpu.Caps) shapes {
	if caps.Width == 0 {
		return nil
	}
	wide := shapes{}
	for p := range m.Widened(caps.Widen).Wants() {
		wide[p.Name] = p.Shape
	}
	for _, x := range adapters {
		wide[x.A.Name], wide[x.B.Name] = peft.Shapes(wide.of(x.Target), caps.Widen(x.A.Shape[0]))
	}
	return wide
}

// of returns the shape of a parameter on the device.
func (s shapes) of(p ops.Param) gpu.Shape {
	if wide, ok := s[p.Name]; ok {
		return wide
	}
	return p.Shape
}

// counted are the operations of a step by a program, and of its forward pass alone. They take a while to count where it is
// padded.
type counted struct {
	program                  *gpu.Program
	model, recomputed, probe int64
}

// stepFLOPs returns the operations of a step: those of the model, and those that compute activations again.
func (s *Stage) stepFLOPs() (model, recomputed int64) {
	c := s.counted()
	return c.model, c.recomputed
}

// ProbeFLOPs returns the operations of running the model forward on a micro-batch.
func (s *Stage) ProbeFLOPs() int64 { return s.counted().probe }

// counted counts the operations of the program, once.
func (s *Stage) counted() *counted {
	if s.flops.program != s.Program && s.together() { // a step has the operations that it has in one process
		alone := *s
		alone.Ranks, alone.Rank = 0, 0
		s.flops = alone.count(graph.FLOPs(StageGraph(&alone, gpu.Caps{})))
		s.flops.program = s.Program
	}
	if s.flops.program != s.Program {
		s.flops = s.count(modelFLOPs(s.Program, func() *graph.Graph { return StageGraph(s, gpu.Caps{}) }))
		s.flops.program = s.Program
	}
	return &s.flops
}

// Operations counts the operations of a step of a stage as it is set, like FiguresOf but without making its program: those of the
// model, and those that compute activations again.
func (p *Programs) Operations(s *Stage) (model, recomputed int64) {
	as := *s
	as.SumsInF32, as.Inference = p.caps.SumsInF32(), nil
	c := as.count(graph.FLOPs(StageGraph(&as, gpu.Caps{})))
	return c.model, c.recomputed
}

// count adds up the operations of a step, given those of its segments.
func (s *Stage) count(flops func(segment string) (n, recomputed int64)) counted {
	zero, _ := flops(SegZero)
	micro, again := flops(SegMicro)
	update, _ := flops(SegUpdate)
	probe, _ := flops(SegProbe)
	for _, every := range s.Refreshes() {
		again, _ := flops(SegRefresh(every))
		update = gpu.Sum(update, again/int64(every))
	}
	n := int64(s.MicroSteps())
	return counted{model: gpu.Sum(zero, gpu.Product(n, micro), update), recomputed: gpu.Product(n, again), probe: probe}
}

// modelFLOPs counts the operations of a program as Program.FLOPs does, but of the model alone: where the program is
// padded, those of the same graph without padding.
func modelFLOPs(p *gpu.Program, unpadded func() *graph.Graph) func(segment string) (n, recomputed int64) {
	if slices.ContainsFunc(p.Buffers, func(b gpu.Buffer) bool { return b.Shape != nil }) {
		return graph.FLOPs(unpadded())
	}
	return p.FLOPs
}
