package cpu

import (
	"fmt"

	"stepflow/gpu"
)

// collective runs f, after which an error ends the run.
func (l *loaded) collective(x *gpu.Launch, f func() error) func() {
	return func() {
		if err := f(); err != nil {
			l.err = fmt.Errorf("%s %s: %w", x.Kernel, x.Name, err)
		}
	}
}

// sumRanks adds up what the ranks have in a piece of an operand of a size in bytes: got holds the parts in order, each of n
// elements.
func (d *Device) sumRanks(to []byte, got [][]byte, dtype gpu.DType) {
	n := len(to) / int(dtype.Size())
	l := &loop{body: func(w *worker, t int) {
		lo, hi := t*gpu.SumBlock, min(n, (t+1)*gpu.SumBlock)
		if dtype == gpu.BF16 {
			y := view[uint16](to)[lo:hi]
			for i := range y {
				s := gpu.FromBF16(view[uint16](got[0])[lo+i])
				for _, g := range got[1:] {
					s += gpu.FromBF16(view[uint16](g)[lo+i])
				}
				y[i] = gpu.ToBF16(s)
			}
			return
		}
		y := view[float32](to)[lo:hi]
		for i := range y {
			s := view[float32](got[0])[lo+i]
			for _, g := range got[1:] {
				s += view[float32](g)[lo+i]
			}
			y[i] = s
		}
	}}
	d.pool.run(l, blocksOf(n, gpu.SumBlock))
}

// bindAllReduce has each rank add up its share of each piece and give it to all.
func bindAllReduce(d *Device, l *loaded, x *gpu.Launch) func() {
	c, t := d.comm, x.In[0].Type
	size := int(t.DType.Size())
	return l.collective(x, func() error {
		in, out, scratch := l.bytes(x.In[0]), l.bytes(x.Out[0]), l.bytes(x.Scratch)
		for at := 0; at < t.Shape.Elems(); at += gpu.CollectivePiece {
			n := min(gpu.CollectivePiece, t.Shape.Elems()-at)
			part := func(b []byte, r int) []byte {
				lo, hi := gpu.Share(n, r, c.Size())
				return b[(at+lo)*size : (at+hi)*size]
			}
			mine := len(part(in, c.Rank()))
			send, got := make([][]byte, c.Size()), make([][]byte, c.Size())
			for r := range send {
				send[r], got[r] = part(in, r), scratch[r*mine:(r+1)*mine]
			}
			if err := c.Exchange(send, got); err != nil {
				return err
			}
			d.sumRanks(part(out, c.Rank()), got, t.DType)
			for r := range send {
				send[r], got[r] = part(out, c.Rank()), part(out, r)
			}
			if err := c.Exchange(send, got); err != nil {
				return err
			}
		}
		return nil
	})
}

// bindReduce has the root add up what it receives, a piece at a time.
func bindReduce(d *Device, l *loaded, x *gpu.Launch) func() {
	c, t := d.comm, x.In[0].Type
	size := int(t.DType.Size())
	_, step := gpu.Share(min(t.Shape.Elems(), gpu.CollectivePiece), 0, x.Attrs.Ranks)
	return l.collective(x, func() error {
		in, out, scratch := l.bytes(x.In[0]), l.bytes(x.Out[0]), l.bytes(x.Scratch)
		root := c.Rank() == x.Attrs.Root
		if !root && x.In[0].Offset != x.Out[0].Offset {
			copy(out, in)
		}
		for at := 0; at < t.Shape.Elems(); at += step {
			end := min(t.Shape.Elems(), at+step)
			n := (end - at) * size
			send, got := make([][]byte, c.Size()), make([][]byte, c.Size())
			send[x.Attrs.Root] = in[at*size : end*size]
			if root {
				for r := range got {
					got[r] = scratch[r*n : (r+1)*n]
				}
			}
			if err := c.Exchange(send, got); err != nil {
				return err
			}
			if root {
				d.sumRanks(out[at*size:end*size], got, t.DType)
			}
		}
		return nil
	})
}

// bindBcast copies the root's operand to all.
func bindBcast(d *Device, l *loaded, x *gpu.Launch) func() {
	return l.collective(x, func() error {
		in, out := l.bytes(x.In[0]), l.bytes(x.Out[0])
		if d.comm.Rank() == x.Attrs.Root && x.In[0].Offset != x.Out[0].Offset {
			copy(out, in)
		}
		return d.comm.Broadcast(x.Attrs.Root, out)
	})
}
