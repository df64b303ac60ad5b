package program

import (
	"strconv"
	"strings"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/graph"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/tracing"
)

// Segments of a stage's program. A step is zero, micro once a micro-batch, update, and on several ranks last in the place of the last micro; where updates are fused, micro makes them,
// and update only finishes the norm. merge folds the adapters in; probe runs the model forward on the batch that lies in the input buffers.
const (
	SegZero   = "zero"
	SegMicro  = "micro"
	SegLast   = "last"   // on several ranks: the last micro-batch of a step, with the sums over the ranks
	SegReduce = "reduce" // the sums over ranks that are left
	SegUpdate = "update"
	SegSpread = "spread" // the updated weights, from their owners to all
	SegMerge  = "merge"
	SegProbe  = "probe"
)

// segRefresh begins the names of segments that make states of the optimizer anew.
const segRefresh = "refresh "

// SegRefresh is the segment that makes states of the optimizer anew every so many updates. It runs before SegUpdate.
func SegRefresh(every int) string { return segRefresh + strconv.Itoa(every) }

// StepSegments are the segments of a training step, in the order in which it runs them: SegMicro once a micro-batch.
var StepSegments = []string{SegZero, SegMicro, SegUpdate}

// SegmentSpan is the name of a segment of a step in traces.
func SegmentSpan(segment string) string {
	if strings.HasPrefix(segment, segRefresh) {
		return tracing.SpanRefresh
	}
	return segmentSpans[segment]
}

var segmentSpans = map[string]string{SegZero: tracing.SpanZero, SegMicro: tracing.SpanMicro, SegLast: tracing.SpanMicro, SegReduce: tracing.SpanReduce,
	SegUpdate: tracing.SpanUpdate, SegSpread: tracing.SpanSpread}

// Buffers that are not parameters.
const (
	BufIDs      = "input/ids"      // [micro, seq] i32
	BufTargets  = "input/targets"  // [micro, seq] i32
	BufSegments = "input/segments" // [micro, seq] i32, with a document mask
	BufScale    = "input/scale"    // [1]: 1 / valid targets of the whole batch
	BufHyper    = "input/hyper"    // [trainable, gpu.HyperLen]
	BufLoss     = "output/loss"    // [1]: mean over the valid targets of the batch
	BufNoise    = "input/noise"    // [2]: seed and number of the micro-batch, of the noise on embeddings
	BufNorm     = "output/grad_norm"
	BufSquares  = "output/grad_squares" // [1]: of a fused update, the sum of squares of the gradients
	BufNLL      = "output/nll"          // [batch, seq]
	BufLogits   = "output/logits"       // [batch, seq, vocab]

	BufMerged    = "output/merged"     // [1]: Frobenius norm of what the last merge added to the weights
	BufMergeLost = "output/merge_lost" // [1]: and of what rounding kept out
	BufMergeSeed = "input/merge_seed"  // [adapters]: of stochastic rounding
)

// BufConst is a table of the model, by its name.
func BufConst(name string) string { return "const/" + name }

// BufGrad is the gradient of a trainable parameter, added up over a step.
func BufGrad(id string) string { return "grad/" + id }

// BufRemainder is what a weight that ReLoRA merges into could not hold.
func BufRemainder(id string) string { return "remainder/" + id }

// BufPlaces holds the numbers of the elements of a weight that have values beside its low-rank product.
func BufPlaces(id string) string { return "places/" + id }

// builder holds the leaves of a graph under construction.
type builder struct {
	g      *graph.Graph
	dtype  gpu.DType
	wide   shapes
	byName map[string]graph.Value // weights by their Hugging Face names
}

func newBuilder(params []ops.Param, dtype gpu.DType, stored func(ops.Param) gpu.DType, wide shapes) *builder {
	b := &builder{g: graph.New(), dtype: dtype, wide: wide, byName: map[string]graph.Value{}}
	for _, p := range params {
		role := gpu.RoleWeight
		if p.Kind.IsAdapter() {
			role = gpu.RoleAdapter
		}
		b.byName[p.Name] = b.like(p, p.ID, role, stored(p))
	}
	return b
}

// plain stores every parameter in one type.
func plain(t gpu.DType) func(ops.Param) gpu.DType { return func(ops.Param) gpu.DType { return t } }

// like declares a buffer of the shape of a parameter, padded as that is.
func (b *builder) like(p ops.Param, name string, role gpu.Role, d gpu.DType) graph.Value {
	return b.g.Padded(name, role, gpu.Type{Shape: p.Shape, DType: d}, b.wide.of(p))
}

func (b *builder) weight(name string) graph.Value { return b.byName[name] }

func (b *builder) input(name string, d gpu.DType, shape ...int) graph.Value {
	return b.g.Leaf(name, gpu.RoleInput, gpu.Type{Shape: shape, DType: d})
}

func (b *builder) output(name string, shape ...int) graph.Value {
	return b.g.Leaf(name, gpu.RoleOutput, gpu.Type{Shape: shape, DType: gpu.F32})
}

func (b *builder) modelInputs(m arch.Model, batch, seq int, mask bool) arch.Inputs {
	in := arch.Inputs{IDs: b.input(BufIDs, gpu.I32, batch, seq)}
	if mask {
		in.Segments = b.input(BufSegments, gpu.I32, batch, seq)
	}
	in.Constants = b.constants(m, seq, BufConst)
	return in
}

// constants declares the tables of a model for sequences of seq tokens, under these names.
func (b *builder) constants(m arch.Model, seq int, name func(string) string) map[string]graph.Value {
	list := map[string]graph.Value{}
	for _, c := range m.Constants(seq) {
		list[c.Name] = b.g.Leaf(name(c.Name), gpu.RoleConst, gpu.Type{Shape: c.Shape, DType: gpu.F32})
	}
	return list
}

// CompileStage makes the program of a stage.
func CompileStage(s *Stage, caps gpu.Caps) (*gpu.Program, error) {
	return graph.Compile(StageGraph(s, caps), caps)
}

// stageBuilder holds the leaves and values that the segments of a stage's program share.
type stageBuilder struct {
	*builder
	s         *Stage
	in        arch.Inputs
	targets   graph.Value // [micro, seq]
	scale     graph.Value // [1]
	noise     graph.Value // [2], with NEFTuneAlpha
	loss, nll graph.Value // outputs
	linear    graph.Projection
	trainable []ops.Param
	slots     []optim.Slot           // of trainable
	merged    map[string]peft.Merged // by the id of the weight
	owners    map[string]int         // of trainable parameters; see Stage.Owners
	lossMade  graph.Value            // the loss with that of the micro-batch at hand
	made      []graph.Value          // of slots: the gradients with those of the micro-batch at hand
	total     graph.Value            // [1]: of a fused update, the sum of squares of the gradients
	nothing   graph.Value            // [1], zero, in the place of gradients that lie with another rank
}

func newStageBuilder(s *Stage, caps gpu.Caps) *stageBuilder {
	return &stageBuilder{builder: newBuilder(s.All(), s.DType, s.Stored, widened(s.Model, s.Adapters, caps)), s: s,
		owners: s.Owners()}
}

// StageGraph is what the program of a stage computes on a device with these capabilities; errors are the graph's.
func StageGraph(s *Stage, caps gpu.Caps) *graph.Graph {
	b := newStageBuilder(s, caps)
	b.declare()
	if b.g.Err() != nil {
		return b.g
	}
	b.zero()
	b.micro(SegMicro)
	switch {
	case s.overlaps():
		b.micro(SegLast)
	case s.together():
		b.reduce()
	}
	if s.Fused {
		b.norm()
	} else {
		b.refresh()
		b.update()
	}
	if s.sharded() {
		b.spread()
	}
	if s.merges() {
		b.merge()
	}
	b.g.Segment(SegProbe, gpu.Forward)
	b.g.Update(b.nll, b.forward(b.in))
	if s.Inference != nil {
		b.addInference(caps)
	}
	return b.g
}

// declare makes the leaves. Their order is that of the buffers in the arena.
func (b *stageBuilder) declare() {
	s := b.s
	b.in = b.modelInputs(s.Model, s.Micro, s.Seq, s.Mask)
	b.targets = b.input(BufTargets, gpu.I32, s.Micro, s.Seq)
	b.scale = b.input(BufScale, gpu.F32, 1)
	if s.NEFTuneAlpha > 0 {
		b.noise = b.input(BufNoise, gpu.F32, 2)
	}
	b.loss = b.output(BufLoss, 1)
	b.nll = b.output(BufNLL, s.Micro, s.Seq)
	b.linear = graph.Projection(arch.Plain)
	if len(s.Adapters) > 0 {
		b.linear = s.Peft.Hook(s.Adapters, b.weight)
	}
	for _, a := range s.Composing() {
		b.byName[a.Places()] = b.g.Leaf(BufPlaces(a.Target.ID), gpu.RoleAdapter, a.PlacesType())
	}
	b.declareSlots()
	b.declareMerges()
}

// declareSlots makes the leaves of the optimizer.
func (b *stageBuilder) declareSlots() {
	s, g := b.s, b.g
	b.trainable = s.Trainable()
	b.slots = make([]optim.Slot, len(b.trainable))
	hyper := b.input(BufHyper, gpu.F32, len(b.trainable), gpu.HyperLen)
	for i, p := range b.trainable {
		var grad graph.Value // a fused update's is a value of the backward pass
		if !s.Fused && (b.owns(p) || !s.passing()) {
			grad = b.like(p, BufGrad(p.ID), gpu.RoleGradient, s.GradType(p))
		}
		scalars := g.View(hyper, i*gpu.HyperLen, gpu.Shape{gpu.HyperLen})
		if b.owns(p) {
			b.slots[i] = optim.NewSlot(g, s.Optimizer, p, b.weight(p.Name), grad, scalars)
		} else {
			b.slots[i] = optim.Slot{Param: p, Weight: b.weight(p.Name), Grad: grad, Hyper: scalars}
		}
	}
	if s.sharded() && s.Shard == ShardGradients {
		b.nothing = g.Leaf(BufConst("zero"), gpu.RoleConst, gpu.Type{Shape: gpu.Shape{1}, DType: gpu.F32})
	}
}

// declareMerges makes the leaves that merges of adapters need beside weights.
func (b *stageBuilder) declareMerges() {
	s, g := b.s, b.g
	b.merged = map[string]peft.Merged{}
	var seeds graph.Value
	if s.MergesAtRandom() && s.merges() {
		seeds = b.input(BufMergeSeed, gpu.F32, len(s.Adapters))
	}
	masters := map[string]graph.Value{}
	for _, x := range b.slots {
		masters[x.Param.ID] = x.Master()
	}
	for i, a := range s.Adapters {
		m := peft.Merged{A: masters[a.A.ID], B: masters[a.B.ID]}
		if s.KeepsRemainders() {
			m.Remainder = b.like(a.Target, BufRemainder(a.Target.ID), gpu.RoleOptimizer, s.DType)
		}
		if seeds.Valid() {
			m.Seed = g.View(seeds, i, gpu.Shape{1})
		}
		b.merged[a.Target.ID] = m
	}
}

// forward gives the loss of each position of the micro-batch, [micro, seq].
func (b *stageBuilder) forward(in arch.Inputs) graph.Value {
	s := b.s
	if s.adaptsHead() {
		logits := s.Model.Logits(b.g, b.weight, in, b.linear)
		b.g.At(-1, "loss")
		return s.Model.CrossEntropy(b.g, logits, b.targets)
	}
	return s.Model.Loss(b.g, b.weight, in, b.targets, s.Chunk, b.linear)
}

// zero clears the gradients and the loss.
func (b *stageBuilder) zero() {
	g := b.g
	g.Segment(SegZero, gpu.Update)
	for i, x := range b.slots {
		if x.Grad.Valid() {
			g.At(b.trainable[i].Layer, b.trainable[i].Name)
			g.Update(x.Grad, g.Op1("zero", gpu.Attrs{}, x.Grad))
		}
	}
	g.At(-1, "loss")
	g.Update(b.loss, g.Op1("zero", gpu.Attrs{}, b.loss))
}

// micro adds the loss and the gradients of a micro-batch. Fused, it makes the gradients of the batch, and updates with them.
func (b *stageBuilder) micro(segment string) {
	b.g.Segment(segment, gpu.Forward)
	b.pass()
	b.g.Remake()
	if s := b.s; s.Recompute > 0 {
		b.g.Recompute(func(layer int) bool { return layer >= s.Recompute })
	}
	b.keep(segment == SegLast)
	if b.s.Fused {
		b.fused()
	}
}

// keep stores what a micro-batch has added to, loss and gradients: of the last one on several ranks the sums over these. Compile
// brings each sum to where the gradient is complete.
func (b *stageBuilder) keep(last bool) {
	g := b.g
	g.Phase(gpu.Update)
	if last {
		b.sumLoss()
	} else {
		g.Update(b.loss, b.lossMade)
	}
	for i, x := range b.slots {
		v := b.made[i]
		if !v.Valid() {
			continue
		}
		if last {
			g.At(x.Param.Layer, x.Param.Name)
			v = b.reduced(x.Param, v)
		}
		g.Update(x.Grad, v)
	}
}

// pass adds the forward and the backward pass of a micro-batch.
func (b *stageBuilder) pass() {
	g := b.g
	b.made = make([]graph.Value, len(b.slots))
	in := b.in
	if b.s.NEFTuneAlpha > 0 {
		in.Noise, in.NoiseScale = b.noise, b.s.noiseScale()
	}
	nll := b.forward(in)
	g.At(-1, "loss")
	seed := g.Op1("broadcast", gpu.Attrs{}, b.scale, b.nll)
	b.lossMade = g.Add(b.loss, g.Op1("sum", gpu.Attrs{}, g.Op1("mul", gpu.Attrs{}, nll, seed)))
	if b.s.FromZero || b.s.Fused && b.s.together() {
		b.apart(nll, seed)
		return
	}
	var weights, grads []graph.Value
	for _, x := range b.slots {
		weights, grads = append(weights, x.Weight), append(grads, b.sum(x))
	}
	for i, d := range g.Grad(nll, seed, weights, grads) {
		switch {
		case b.s.Fused && !d.Valid():
			b.slots[i].Grad = b.zeros(weights[i], b.s.GradType(b.trainable[i]))
		case b.s.Fused:
			b.slots[i].Grad = d
		case d != grads[i]: // a parameter the loss does not depend on keeps its zero
			b.made[i] = d
		}
	}
}

// apart makes the gradients of a micro-batch from zero, and adds each to those before as soon as it is complete. So the sum has
// the same bits wherever the micro-batches run (docs/decisions/0074).
func (b *stageBuilder) apart(nll, seed graph.Value) {
	g, s := b.g, b.s
	var weights, from []graph.Value
	for _, x := range b.slots {
		var zeros graph.Value // in the type that parts are added up in
		if t := s.GradType(x.Param); t != s.DType {
			zeros = g.Late(func() graph.Value { return b.zeros(x.Weight, t) })
		}
		weights, from = append(weights, x.Weight), append(from, zeros)
	}
	made := g.Grad(nll, seed, weights, from)
	g.Phase(gpu.Update)
	for i, d := range made {
		x := &b.slots[i]
		g.At(x.Param.Layer, x.Param.Name)
		if !d.Valid() || d == from[i] { // the loss does not depend on it
			if s.Fused {
				x.Grad = b.zeros(x.Weight, s.GradType(x.Param))
			}
			continue
		}
		if s.passing() || s.Fused && s.together() {
			d = b.reduced(x.Param, d)
		}
		switch {
		case s.Fused:
			x.Grad = d
		case x.Grad.Valid():
			b.made[i] = g.AddApart(x.Grad, d)
		}
	}
}

// sum is what a gradient is added to: its buffer, and fused, where its parts are added up in another type than theirs, zeros.
func (b *stageBuilder) sum(x optim.Slot) graph.Value {
	if t := b.s.GradType(x.Param); b.s.Fused && t != b.s.DType {
		return b.zeros(x.Weight, t)
	}
	return x.Grad
}

// zeros has the shape of a weight.
func (b *stageBuilder) zeros(weight graph.Value, d gpu.DType) graph.Value {
	z := b.g.Op1("zero", gpu.Attrs{}, weight)
	if d == weight.Type().DType {
		return z
	}
	return b.g.Op1("cast", gpu.Attrs{DType: d}, z)
}

// fused moves each weight in the pass that makes its gradient, which Compile brings as near to it as can be.
func (b *stageBuilder) fused() {
	g, squares := b.g, b.output(BufSquares, 1)
	g.Phase(gpu.Update)
	g.Update(squares, optim.BuildEach(g, b.s.Optimizer, b.slots))
	b.total = squares
}

// norm finishes the norm of gradients that were used as they were made.
func (b *stageBuilder) norm() {
	g := b.g
	g.Segment(SegUpdate, gpu.Update)
	g.At(-1, "clip_grad_norm")
	g.Update(b.output(BufNorm, 1), g.Op1("clip", gpu.Attrs{}, b.total))
}

// refresh makes states of the optimizer anew, in the steps in which that is due.
func (b *stageBuilder) refresh() {
	for _, every := range b.s.Refreshes() {
		b.g.Segment(SegRefresh(every), gpu.Update)
		optim.BuildRefresh(b.g, b.s.Optimizer, b.ownSlots(), every)
	}
}

// update clips the gradients and moves the weights.
func (b *stageBuilder) update() {
	b.g.Segment(SegUpdate, gpu.Update)
	b.g.At(-1, "clip_grad_norm")
	norm, _ := optim.BuildOf(b.g, b.s.Optimizer, b.squares(), b.ownSlots())
	b.g.Update(b.output(BufNorm, 1), norm)
}

// merge adds the adapters to the weights.
func (b *stageBuilder) merge() {
	s, g := b.s, b.g
	g.Segment(SegMerge, gpu.Update)
	product, lost := s.Peft.Merge(g, s.mergedInPlace(), b.weight, func(a peft.Adapter) peft.Merged { return b.merged[a.Target.ID] })
	g.Update(b.output(BufMerged, 1), product)
	if lost.Valid() {
		g.Update(b.output(BufMergeLost, 1), lost)
	}
}

// Pass is a forward pass over a model: what its program is made from.
type Pass struct {
	Model      arch.Model
	Params     []ops.Param
	DType      gpu.DType
	Batch, Seq int
	Mask       bool // tokens attend to those of their own document alone
	Logits     bool // it gives logits, [batch, seq, vocab], instead of the loss of each position, [batch, seq]
}

// FLOPs is the operations of the pass whose program p is: those of the model, without padding.
func (x Pass) FLOPs(p *gpu.Program) int64 {
	n, _ := modelFLOPs(p, func() *graph.Graph { return passGraph(x, gpu.Caps{}) })(SegProbe)
	return n
}

// passGraph is what the program of a forward pass computes: its segment is SegProbe.
func passGraph(p Pass, caps gpu.Caps) *graph.Graph {
	b := newBuilder(p.Params, p.DType, plain(p.DType), widened(p.Model, nil, caps))
	g := b.g
	in := b.modelInputs(p.Model, p.Batch, p.Seq, p.Mask)
	if p.Logits {
		logits := gpu.Type{Shape: gpu.Shape{p.Batch, p.Seq, p.Model.VocabSize}, DType: p.DType}
		out := g.Padded(BufLogits, gpu.RoleOutput, logits, gpu.Shape{p.Batch, p.Seq, caps.Widen(p.Model.VocabSize)})
		g.Segment(SegProbe, gpu.Forward)
		g.Update(out, p.Model.Logits(g, b.weight, in, arch.Plain))
		return g
	}
	targets := b.input(BufTargets, gpu.I32, p.Batch, p.Seq)
	out := b.output(BufNLL, p.Batch, p.Seq)
	g.Segment(SegProbe, gpu.Forward)
	chunk := ChunkRows(caps, p.Batch*p.Seq, p.Model.VocabSize)
	g.Update(out, p.Model.Loss(g, b.weight, in, targets, chunk, arch.Plain))
	return g
}
