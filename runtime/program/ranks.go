package program

import (
	"cmp"
	"slices"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
	"stepflow/ops/optim"
)

// Shard says what of a stage's training each of several ranks has a part of, as the ZeRO stages do (Rajbhandari et al. 2020,
// arXiv 1910.02054). A tensor belongs to one rank as a whole.
type Shard string

// The shards. The zero value is ShardNone.
const (
	ShardNone      Shard = "none"      // every rank has everything
	ShardOptimizer Shard = "optimizer" // ZeRO-1: the states of a parameter lie with its owner, which updates it
	ShardGradients Shard = "gradients" // ZeRO-2: and so does its gradient, once it is complete
)

// Everyone is the owner of what is not sharded.
const Everyone = -1

// together reports whether several ranks train the stage.
func (s *Stage) together() bool { return s.Ranks > 1 }

// sharded reports whether parameters have owners.
func (s *Stage) sharded() bool {
	return s.together() && (s.Shard == ShardOptimizer || s.Shard == ShardGradients)
}

// OwnSteps is the number of micro-batches of a step that this rank runs: those from FirstMicro on.
func (s *Stage) OwnSteps() int { return s.MicroSteps() / max(s.Ranks, 1) }

// FirstMicro is the first micro-batch of a step that this rank runs.
func (s *Stage) FirstMicro() int { return s.Rank * s.OwnSteps() }

// share is the number of sequences of a step that each rank takes.
func (s *Stage) share() int { return s.Batch / max(s.Ranks, 1) }

// Owners gives the owner of each trainable parameter of the model, by its id; nil where nothing is sharded. Adapters are small,
// and every rank keeps all of them.
func (s *Stage) Owners() map[string]int {
	if !s.sharded() {
		return nil
	}
	var ids []string
	var bytes []int64
	for _, p := range s.Trainable() {
		if p.Kind.IsAdapter() {
			continue
		}
		n := optim.StateBytes(s.Optimizer, p, s.DType)
		if s.Shard == ShardGradients {
			n = gpu.Sum(n, gpu.Type{Shape: p.Shape, DType: s.GradType(p)}.Bytes())
		}
		ids, bytes = append(ids, p.ID), append(bytes, n)
	}
	owners := map[string]int{}
	for i, r := range balance(bytes, s.Ranks) {
		owners[ids[i]] = r
	}
	return owners
}

// balance shares tensors of these bytes out to ranks: the largest first, each to the rank that has least so far. The rank with most
// then has at most 4/3 of what it would have at best (Graham 1969).
func balance(bytes []int64, ranks int) []int {
	order := make([]int, len(bytes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(bytes[b], bytes[a]) })
	owner, has, count := make([]int, len(bytes)), make([]int64, ranks), make([]int, ranks)
	for _, i := range order {
		least := 0
		for r := range has {
			if has[r] < has[least] || has[r] == has[least] && count[r] < count[least] {
				least = r
			}
		}
		owner[i] = least
		has[least] += bytes[i]
		count[least]++
	}
	return owner
}

// heaviest is the rank that keeps most, by which all ranks decide what fits.
func (s *Stage) heaviest() int {
	owners := s.Owners()
	if owners == nil {
		return s.Rank
	}
	has := make([]int64, s.Ranks)
	for _, p := range s.Trainable() {
		if r, ok := owners[p.ID]; ok {
			has[r] += optim.StateBytes(s.Optimizer, p, s.DType)
			if s.Shard == ShardGradients {
				has[r] += gpu.Type{Shape: p.Shape, DType: s.GradType(p)}.Bytes()
			}
		}
	}
	return slices.Index(has, slices.Max(has))
}

// owner of a parameter; Everyone of one that is not sharded.
func (b *stageBuilder) owner(p ops.Param) int {
	if r, ok := b.owners[p.ID]; ok {
		return r
	}
	return Everyone
}

// owns reports whether this rank updates a parameter.
func (b *stageBuilder) owns(p ops.Param) bool {
	o := b.owner(p)
	return o == Everyone || o == b.s.Rank
}

// ownSlots are those of the parameters that this rank updates.
func (b *stageBuilder) ownSlots() []optim.Slot {
	return slices.DeleteFunc(slices.Clone(b.slots), func(x optim.Slot) bool { return !b.owns(x.Param) })
}

// passing reports whether gradients go to their owners in the backward pass, and nobody else keeps them: where a rank has one
// micro-batch. Where it has more, they are added up first.
func (s *Stage) passing() bool { return s.sharded() && s.Shard == ShardGradients && s.OwnSteps() == 1 }

// reduced adds up a value over the ranks: for the owner of a parameter, or for all where everyone needs it.
func (b *stageBuilder) reduced(p ops.Param, v graph.Value) graph.Value {
	if o := b.owner(p); o != Everyone && b.s.Shard == ShardGradients {
		return b.g.Op1("reduce", gpu.Attrs{Ranks: b.s.Ranks, Root: o}, v)
	}
	return b.g.Op1("all_reduce", gpu.Attrs{Ranks: b.s.Ranks}, v)
}

// overlaps reports whether the last micro-batch of a rank adds up each gradient over the ranks as soon as it is complete, beside
// what is left of the backward pass.
func (s *Stage) overlaps() bool { return s.together() && !s.Fused && !s.passing() }

// sumLoss adds up the loss over the ranks.
func (b *stageBuilder) sumLoss() {
	b.g.At(-1, "loss")
	b.g.Update(b.loss, b.g.Op1("all_reduce", gpu.Attrs{Ranks: b.s.Ranks}, b.lossMade))
}

// reduce adds up over the ranks what the backward pass has not: the loss.
func (b *stageBuilder) reduce() {
	b.g.Segment(SegReduce, gpu.Update)
	b.lossMade = b.loss
	b.sumLoss()
}

// squares are the sums of squares of the gradients, in the order of parameters. Where a gradient lies with its owner, that gives
// its square and all others give 0: the sum over ranks is exact.
func (b *stageBuilder) squares() graph.Value {
	g := b.g
	apart := b.s.sharded() && b.s.Shard == ShardGradients
	grads := make([]graph.Value, len(b.slots))
	for i, x := range b.slots {
		grads[i] = x.Grad
		if o := b.owner(x.Param); apart && o != b.s.Rank && (o != Everyone || b.s.Rank != 0) {
			grads[i] = b.nothing
		}
	}
	v := g.Op1("sum_squares", gpu.Attrs{}, grads...)
	if apart {
		v = g.Op1("all_reduce", gpu.Attrs{Ranks: b.s.Ranks}, v)
	}
	return v
}

// spread gives the updated weights to all ranks.
func (b *stageBuilder) spread() {
	g := b.g
	g.Segment(SegSpread, gpu.Update)
	for _, x := range b.slots {
		if o := b.owner(x.Param); o != Everyone {
			g.At(x.Param.Layer, x.Param.Name)
			g.Update(x.Weight, g.Op1("bcast", gpu.Attrs{Ranks: b.s.Ranks, Root: o}, x.Weight))
		}
	}
}
