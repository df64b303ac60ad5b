package runtime

import (
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
	"stepflow/ops/llama"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
)

// Segments of a stage's program. A step is zero, micro once a micro-batch, update. merge folds the
// adapters in; probe runs the model forward on the batch that lies in the input buffers.
const (
	segZero   = "zero"
	segMicro  = "micro"
	segUpdate = "update"
	segMerge  = "merge"
	segProbe  = "probe"
)

// Buffers that are not parameters.
const (
	bufIDs      = "input/ids"      // [micro, seq] i32
	bufTargets  = "input/targets"  // [micro, seq] i32
	bufSegments = "input/segments" // [micro, seq] i32, with a document mask
	bufScale    = "input/scale"    // [1]: 1 / valid targets of the whole batch
	bufHyper    = "input/hyper"    // [trainable, gpu.HyperLen]
	bufCos      = "const/cos"
	bufSin      = "const/sin"
	bufLoss     = "output/loss" // [1]: mean over the valid targets of the batch
	bufNorm     = "output/grad_norm"
	bufNLL      = "output/nll"    // [batch, seq]
	bufLogits   = "output/logits" // [batch, seq, vocab]

	bufMerged    = "output/merged"     // [1]: Frobenius norm of what the last merge added to the weights
	bufMergeLost = "output/merge_lost" // [1]: and of what rounding kept out
	bufMergeSeed = "input/merge_seed"  // [adapters]: of stochastic rounding
)

func bufGrad(id string) string   { return "grad/" + id }
func bufM(id string) string      { return "adam_m/" + id }
func bufV(id string) string      { return "adam_v/" + id }
func bufMaster(id string) string { return "master/" + id }

// bufRemainder is what a weight that ReLoRA merges into could not hold.
func bufRemainder(id string) string { return "remainder/" + id }

// builder holds the leaves of a graph under construction.
type builder struct {
	g      *graph.Graph
	dtype  gpu.DType
	byName map[string]graph.Value // weights by their Hugging Face names
}

func newBuilder(params []ops.Param, dtype gpu.DType) *builder {
	b := &builder{g: graph.New(), dtype: dtype, byName: map[string]graph.Value{}}
	for _, p := range params {
		role := gpu.RoleWeight
		if p.Kind.IsAdapter() {
			role = gpu.RoleAdapter
		}
		b.byName[p.Name] = b.g.Leaf(p.ID, role, gpu.Type{Shape: p.Shape, DType: dtype})
	}
	return b
}

func (b *builder) weight(name string) graph.Value { return b.byName[name] }

func (b *builder) input(name string, d gpu.DType, shape ...int) graph.Value {
	return b.g.Leaf(name, gpu.RoleInput, gpu.Type{Shape: shape, DType: d})
}

func (b *builder) output(name string, shape ...int) graph.Value {
	return b.g.Leaf(name, gpu.RoleOutput, gpu.Type{Shape: shape, DType: gpu.F32})
}

func (b *builder) modelInputs(c llama.Config, batch, seq int, mask bool) llama.Inputs {
	in := llama.Inputs{IDs: b.input(bufIDs, gpu.I32, batch, seq)}
	if mask {
		in.Segments = b.input(bufSegments, gpu.I32, batch, seq)
	}
	half := gpu.Type{Shape: gpu.Shape{seq, c.HeadDim / 2}, DType: gpu.F32}
	in.Cos, in.Sin = b.g.Leaf(bufCos, gpu.RoleConst, half), b.g.Leaf(bufSin, gpu.RoleConst, half)
	return in
}

// compileStage makes the program of a stage.
func compileStage(s *Stage, mask bool, caps gpu.Caps) (*gpu.Program, error) {
	return graph.Compile(stageGraph(s, mask), caps)
}

// stageGraph is what the program of a stage computes; errors are the graph's.
func stageGraph(s *Stage, mask bool) *graph.Graph {
	b := newBuilder(s.All(), s.DType)
	g := b.g
	in := b.modelInputs(s.Model, s.Micro, s.Seq, mask)
	targets := b.input(bufTargets, gpu.I32, s.Micro, s.Seq)
	scale := b.input(bufScale, gpu.F32, 1)
	loss := b.output(bufLoss, 1)
	nllOut := b.output(bufNLL, s.Micro, s.Seq)
	linear := graph.Projection(llama.Plain)
	if len(s.Adapters) > 0 {
		linear = s.Peft.Hook(s.Adapters, b.weight)
	}
	forward := func() graph.Value {
		if s.adaptsHead() {
			logits := llama.Logits(g, s.Model, b.weight, in, linear)
			g.At(-1, "loss")
			return g.Op("cross_entropy", gpu.Attrs{}, logits, targets)[0]
		}
		return llama.Loss(g, s.Model, b.weight, in, targets, s.Chunk, linear)
	}

	trainable := s.Trainable()
	hyper := b.input(bufHyper, gpu.F32, len(trainable), gpu.HyperLen)
	slots := make([]optim.Slot, len(trainable))
	var weights, grads []graph.Value
	for i, p := range trainable {
		f32 := gpu.Type{Shape: p.Shape, DType: gpu.F32}
		slots[i] = optim.Slot{Param: p, Weight: b.weight(p.Name),
			Grad:  g.Leaf(bufGrad(p.ID), gpu.RoleGradient, gpu.Type{Shape: p.Shape, DType: s.gradType(p)}),
			M:     g.Leaf(bufM(p.ID), gpu.RoleOptimizer, f32),
			V:     g.Leaf(bufV(p.ID), gpu.RoleOptimizer, f32),
			Hyper: g.View(hyper, i*gpu.HyperLen, gpu.Shape{gpu.HyperLen})}
		if s.Optimizer.Master(s.DType) {
			slots[i].Master = g.Leaf(bufMaster(p.ID), gpu.RoleOptimizer, f32)
		}
		weights, grads = append(weights, slots[i].Weight), append(grads, slots[i].Grad)
	}

	merged := map[string]peft.Merged{} // by the id of the weight
	var seeds graph.Value
	if s.mergesAtRandom() {
		seeds = b.input(bufMergeSeed, gpu.F32, len(s.Adapters))
	}
	masters := map[string]graph.Value{}
	for _, x := range slots {
		masters[x.Param.ID] = x.Master
	}
	for i, a := range s.Adapters {
		m := peft.Merged{A: masters[a.A.ID], B: masters[a.B.ID]}
		if s.keepsRemainders() {
			m.Remainder = g.Leaf(bufRemainder(a.Target.ID), gpu.RoleOptimizer, gpu.Type{Shape: a.Target.Shape, DType: s.DType})
		}
		if seeds.Valid() {
			m.Seed = g.View(seeds, i, gpu.Shape{1})
		}
		merged[a.Target.ID] = m
	}

	if g.Err() != nil {
		return g
	}
	g.Segment(segZero, gpu.Update)
	for i, v := range grads {
		g.At(trainable[i].Layer, trainable[i].Name)
		g.Update(v, g.Op1("zero", gpu.Attrs{}, v))
	}
	g.At(-1, "loss")
	g.Update(loss, g.Op1("zero", gpu.Attrs{}, loss))

	g.Segment(segMicro, gpu.Forward)
	nll := forward()
	g.At(-1, "loss")
	seed := g.Op1("broadcast", gpu.Attrs{}, scale, nllOut)
	g.Update(loss, g.Add(loss, g.Op1("sum", gpu.Attrs{}, g.Op1("mul", gpu.Attrs{}, nll, seed))))
	for i, d := range g.Grad(nll, seed, weights, grads) {
		if d != grads[i] { // a parameter the loss does not depend on keeps its zero
			g.Update(grads[i], d)
		}
	}

	if s.Recompute > 0 {
		g.Recompute(func(layer int) bool { return layer >= s.Recompute })
	}

	g.Segment(segUpdate, gpu.Update)
	norm, _ := s.Optimizer.Build(g, slots)
	g.Update(b.output(bufNorm, 1), norm)

	if len(s.Adapters) > 0 {
		g.Segment(segMerge, gpu.Update)
		product, lost := s.Peft.Merge(g, s.Adapters, b.weight, func(a peft.Adapter) peft.Merged { return merged[a.Target.ID] })
		g.Update(b.output(bufMerged, 1), product)
		if lost.Valid() {
			g.Update(b.output(bufMergeLost, 1), lost)
		}
	}

	g.Segment(segProbe, gpu.Forward)
	g.Update(nllOut, forward())
	return g
}

// compileForward makes a program that evaluates: segment probe gives nll, or logits when targets
// are not wanted.
func compileForward(c llama.Config, params []ops.Param, dtype gpu.DType, batch, seq int, mask, logitsOnly bool, caps gpu.Caps) (*gpu.Program, error) {
	b := newBuilder(params, dtype)
	g := b.g
	in := b.modelInputs(c, batch, seq, mask)
	if logitsOnly {
		out := g.Leaf(bufLogits, gpu.RoleOutput, gpu.Type{Shape: gpu.Shape{batch, seq, c.VocabSize}, DType: dtype})
		g.Segment(segProbe, gpu.Forward)
		g.Update(out, llama.Logits(g, c, b.weight, in, llama.Plain))
		return graph.Compile(g, caps)
	}
	targets := b.input(bufTargets, gpu.I32, batch, seq)
	out := b.output(bufNLL, batch, seq)
	g.Segment(segProbe, gpu.Forward)
	g.Update(out, llama.Loss(g, c, b.weight, in, targets, chunkRows(batch*seq, c.VocabSize), llama.Plain))
	return graph.Compile(g, caps)
}
