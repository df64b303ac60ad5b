package cuda

import "stepflow/gpu"

// peer is a part of a transfer: what goes to a rank, or comes from it.
func peer(rank int, s Span) []RankSpan {
	if s.Bytes == 0 {
		return nil
	}
	return []RankSpan{{rank, s}}
}

// others are all ranks but this one.
func (b *binder) others(ranks int) (list []int) {
	for r := range ranks {
		if r != b.rank {
			list = append(list, r)
		}
	}
	return list
}

// elements are those of an operand in [lo, hi).
func (b *binder) elements(o gpu.Operand, lo, hi int) Span {
	size := o.Type.DType.Size()
	return Span{b.at(o) + Pointer(int64(lo)*size), int64(hi-lo) * size}
}

// received is where in the scratch of a sum what comes from a rank lies, the n first elements of the most there are.
func (b *binder) received(x *gpu.Launch, rank, n, most int) Span {
	size := x.In[0].Type.DType.Size()
	return Span{b.at(x.Scratch) + Pointer(int64(rank)*int64(most)*size), int64(n) * size}
}

// sumRanks adds up elements [lo, hi) of an operand: this rank's, and those that were received.
func (b *binder) sumRanks(x *gpu.Launch, lo, hi, most int) work {
	if lo == hi {
		return nil
	}
	return work{flatCall("sum_ranks", x.In[0].Type.DType, int64(hi-lo), b.elements(x.Out[0], lo, hi).At, b.elements(x.In[0], lo, hi).At,
		b.rank, x.Attrs.Ranks, b.at(x.Scratch), int64(most))}
}

// transfer is empty where nothing moves.
func (b *binder) transfer(t Transfer) work {
	if len(t.Send)+len(t.Recv) == 0 && t.Broadcast.Bytes == 0 {
		return nil
	}
	t.nccl = b.nccl
	return work{&t}
}

// bindAllReduce has each rank add up its share of each piece and give it to all. What is given away of a piece travels with
// what is collected for the next.
func bindAllReduce(b *binder, x *gpu.Launch) work {
	in, out, ranks := x.In[0], x.Out[0], x.Attrs.Ranks
	if ranks == 1 {
		return b.copyOf(out, in)
	}
	var w work
	var next Transfer
	n := in.Type.Shape.Elems()
	_, most := gpu.Share(min(n, gpu.CollectivePiece), 0, ranks)
	for at := 0; at < n; at += gpu.CollectivePiece {
		share := func(r int) (lo, hi int) {
			lo, hi = gpu.Share(min(gpu.CollectivePiece, n-at), r, ranks)
			return at + lo, at + hi
		}
		lo, hi := share(b.rank)
		for _, r := range b.others(ranks) {
			from, end := share(r)
			next.Send = append(next.Send, peer(r, b.elements(in, from, end))...)
			next.Recv = append(next.Recv, peer(r, b.received(x, r, hi-lo, most))...)
		}
		w = append(w, b.transfer(next)...)
		w = append(w, b.sumRanks(x, lo, hi, most)...)
		next = Transfer{}
		for _, r := range b.others(ranks) {
			from, end := share(r)
			next.Send = append(next.Send, peer(r, b.elements(out, lo, hi))...)
			next.Recv = append(next.Recv, peer(r, b.elements(out, from, end))...)
		}
	}
	return append(w, b.transfer(next)...)
}

// bindReduce has the root add up what it receives, a piece at a time.
func bindReduce(b *binder, x *gpu.Launch) (w work) {
	in, out, ranks, root := x.In[0], x.Out[0], x.Attrs.Ranks, x.Attrs.Root
	if ranks == 1 || b.rank != root {
		w = b.copyOf(out, in)
	}
	if ranks == 1 {
		return w
	}
	n := in.Type.Shape.Elems()
	_, most := gpu.Share(min(n, gpu.CollectivePiece), 0, ranks)
	for lo := 0; lo < n; lo += most {
		hi := min(n, lo+most)
		if b.rank != root {
			w = append(w, b.transfer(Transfer{Send: peer(root, b.elements(in, lo, hi))})...)
			continue
		}
		var t Transfer
		for _, r := range b.others(ranks) {
			t.Recv = append(t.Recv, peer(r, b.received(x, r, hi-lo, most))...)
		}
		w = append(w, b.transfer(t)...)
		w = append(w, b.sumRanks(x, lo, hi, most)...)
	}
	return w
}

// bindBcast gives all the operand of the root, which is of any type.
func bindBcast(b *binder, x *gpu.Launch) work {
	in, out := x.In[0], x.Out[0]
	if x.Attrs.Ranks == 1 {
		return b.copyOf(out, in)
	}
	return b.transfer(Transfer{Root: x.Attrs.Root, From: b.at(in), Broadcast: Span{b.at(out), out.Type.Bytes()}})
}
