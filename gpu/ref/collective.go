package ref

import (
	"encoding/binary"
	"math"

	"stepflow/gpu"
)

// collective runs a kernel that combines what several ranks have: everyone receives everything, in float64.
func (l *Loaded) collective(x *gpu.Launch) error {
	v := l.Get(x.In[0])
	if x.Attrs.Ranks == 1 { // and perhaps no communicator
		l.Set(x.Out[0], v)
		return nil
	}
	mine := make([]byte, 8*len(v))
	for i, e := range v {
		binary.LittleEndian.PutUint64(mine[8*i:], math.Float64bits(e))
	}
	send, got := make([][]byte, l.comm.Size()), make([][]byte, l.comm.Size())
	for r := range send {
		send[r], got[r] = mine, make([]byte, len(mine))
	}
	if err := l.comm.Exchange(send, got); err != nil {
		return err
	}
	of := func(r, i int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(got[r][8*i:])) }
	y := l.mat(x.Out[0])
	switch root := x.Attrs.Root; {
	case x.Kernel == "bcast":
		for i := range v {
			v[i] = of(root, i)
		}
	case x.Kernel == "all_reduce" || l.comm.Rank() == root:
		for i := range v {
			v[i] = 0
			for r := range got {
				v[i] += of(r, i)
			}
		}
	}
	y.each(func(r, c int) float64 { return v[r*y.cols+c] })
	return nil
}
