package cpu

import (
	"stepflow/gpu"
)

// binds of collectives. What they return runs beside other launches, so they use no worker of the pool.
var collectives = map[string]func(*loaded, *gpu.Launch) func() error{
	"all_reduce": bindAllReduce,
	"reduce":     bindReduce,
	"bcast":      bindBcast,
}

// exchange is the buffers of an exchange and room for sums, made once for a program: collectives run one at a time.
type exchange struct {
	send, got [][]byte
	sum, one  [sumPiece]float32
}

// sumPiece is how many elements are added up at a time, so that they lie in the nearest cache.
const sumPiece = 2048

// sumRanks adds up what the ranks have in a piece of an operand: got holds the parts in order, each as long as to, which may
// be one of them.
func (e *exchange) sumRanks(v *variant, to []byte, got [][]byte, dtype gpu.DType) {
	of := func(b []byte) buffer {
		if dtype == gpu.BF16 {
			return buffer{h: view[uint16](b)}
		}
		return buffer{f: view[float32](b)}
	}
	y, last := of(to), len(got)-1
	for lo := 0; lo < y.len(); lo += sumPiece {
		hi := min(y.len(), lo+sumPiece)
		sum := v.get(of(got[0]), lo, hi, e.sum[:])
		for r := 1; r < last; r++ {
			next := e.sum[:hi-lo]
			v.add(next, sum, v.get(of(got[r]), lo, hi, e.one[:]))
			sum = next
		}
		all := y.at(lo, hi, e.sum[:])
		v.add(all, sum, v.get(of(got[last]), lo, hi, e.one[:]))
		v.put(y, lo, all)
	}
}

// bindAllReduce has each rank add up its share of each piece and give it to all.
func bindAllReduce(l *loaded, x *gpu.Launch) func() error {
	c, t, e := l.comm, x.In[0].Type, l.exchange
	size := int(t.DType.Size())
	in, out, scratch := l.bytes(x.In[0]), l.bytes(x.Out[0]), l.bytes(x.Scratch)
	return func() error {
		for at := 0; at < t.Shape.Elems(); at += gpu.CollectivePiece {
			n := min(gpu.CollectivePiece, t.Shape.Elems()-at)
			part := func(b []byte, r int) []byte {
				lo, hi := gpu.Share(n, r, c.Size())
				return b[(at+lo)*size : (at+hi)*size]
			}
			mine := len(part(in, c.Rank()))
			for r := range e.send {
				e.send[r], e.got[r] = part(in, r), scratch[r*mine:(r+1)*mine]
			}
			e.got[c.Rank()] = e.send[c.Rank()]
			if err := c.Exchange(e.send, e.got); err != nil {
				return err
			}
			e.sumRanks(l.device.variant, part(out, c.Rank()), e.got, t.DType)
			for r := range e.send {
				e.send[r], e.got[r] = part(out, c.Rank()), part(out, r)
			}
			if err := c.Exchange(e.send, e.got); err != nil {
				return err
			}
		}
		return nil
	}
}

// bindReduce has the root add up what it receives, a piece at a time.
func bindReduce(l *loaded, x *gpu.Launch) func() error {
	c, t, e, root := l.comm, x.In[0].Type, l.exchange, x.Attrs.Root
	size := int(t.DType.Size())
	in, out, scratch := l.bytes(x.In[0]), l.bytes(x.Out[0]), l.bytes(x.Scratch)
	_, step := gpu.Share(min(t.Shape.Elems(), gpu.CollectivePiece), 0, x.Attrs.Ranks)
	return func() error {
		if c.Rank() != root && x.In[0].Offset != x.Out[0].Offset {
			copy(out, in)
		}
		for at := 0; at < t.Shape.Elems(); at += step {
			end := min(t.Shape.Elems(), at+step)
			n := (end - at) * size
			clear(e.send)
			clear(e.got)
			e.send[root] = in[at*size : end*size]
			if c.Rank() == root {
				for r := range e.got {
					e.got[r] = scratch[r*n : (r+1)*n]
				}
				e.got[root] = e.send[root]
			}
			if err := c.Exchange(e.send, e.got); err != nil {
				return err
			}
			if c.Rank() == root {
				e.sumRanks(l.device.variant, out[at*size:end*size], e.got, t.DType)
			}
		}
		return nil
	}
}

// bindBcast copies the root's operand to all.
func bindBcast(l *loaded, x *gpu.Launch) func() error {
	c, root := l.comm, x.Attrs.Root
	in, out := l.bytes(x.In[0]), l.bytes(x.Out[0])
	return func() error {
		if c.Rank() == root && x.In[0].Offset != x.Out[0].Offset {
			copy(out, in)
		}
		return c.Broadcast(root, out)
	}
}
