package gputest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"stepflow/gpu"
)

// RunRanks tries the collectives on devices that open gives, one a rank: sums are made in the order of ranks, to the bit.
func RunRanks(t *testing.T, open func() gpu.Device) {
	for _, size := range []int{1, 2, 3, 4} {
		for _, x := range trials(size) {
			t.Run(x.String(), func(t *testing.T) {
				errs := make([]error, size)
				var wg sync.WaitGroup
				for r, c := range Ranks(size) {
					wg.Go(func() {
						d := open()
						if errs[r] = errors.Join(d.Join(c), x.run(d, c)); errs[r] != nil {
							c.Abort(errs[r])
						}
						errs[r] = errors.Join(errs[r], d.Close())
					})
				}
				wg.Wait()
				for _, err := range errs {
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// RunRank is RunRanks in one of several processes: all of them call it, each with its communicator.
func RunRank(t *testing.T, c gpu.Communicator, open func() gpu.Device) {
	d := open()
	defer func() { check(t, d.Close()) }()
	check(t, d.Join(c))
	for _, x := range trials(c.Size()) {
		if err := x.run(d, c); err != nil {
			c.Abort(err)
			t.Fatalf("%v: %v", x, err)
		}
	}
}

// trial is an operand of collectives.
type trial struct {
	size    int // ranks
	typ     gpu.Type
	inPlace bool
}

func (x trial) String() string { return fmt.Sprintf("%d ranks %v %v", x.size, x.typ, x.inPlace) }

func trials(size int) (list []trial) {
	for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
		for _, n := range []int{1, 1000, gpu.CollectivePiece + 77} {
			for _, inPlace := range []bool{false, true} {
				if n <= gpu.CollectivePiece || size <= 2 && inPlace {
					list = append(list, trial{size, gpu.Type{Shape: gpu.Shape{n}, DType: dtype}, inPlace})
				}
			}
		}
	}
	for _, dtype := range []gpu.DType{gpu.I32, gpu.U8, gpu.Dynamic8, gpu.NF4, gpu.RowInt8} {
		list = append(list, trial{size, gpu.Type{Shape: gpu.Shape{64, 192}, DType: dtype}, false})
	}
	return list
}

// kernels are those that take the operand.
func (x trial) kernels() []string {
	if x.typ.DType.IsFloat() {
		return []string{"all_reduce", "reduce", "bcast"}
	}
	return []string{"bcast"}
}

// values are those of each rank, and their sum in the order of ranks.
func (x trial) values() (values [][]byte, total []byte) {
	rnd := rand.New(rand.NewPCG(uint64(x.size), uint64(x.typ.Shape.Elems())))
	if !x.typ.DType.IsFloat() {
		for range x.size {
			b := make([]byte, x.typ.Bytes())
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			values = append(values, b)
		}
		return values, nil
	}
	sum := make([]float32, x.typ.Shape.Elems())
	for range x.size {
		v := make([]float32, len(sum))
		for i := range v {
			v[i] = float32(rnd.NormFloat64())
		}
		b := gpu.Float32Bytes(v, x.typ.DType)
		for i, v := range gpu.BytesFloat32(b, x.typ.DType) {
			sum[i] += v
		}
		values = append(values, b)
	}
	return values, gpu.Float32Bytes(sum, x.typ.DType)
}

// run runs each collective as one of the ranks, with every root, and compares.
func (x trial) run(d gpu.Device, c gpu.Communicator) error {
	values, sum := x.values()
	for root := range x.size {
		for _, kernel := range x.kernels() {
			want := sum
			switch {
			case kernel == "bcast":
				want = values[root]
			case kernel == "reduce" && c.Rank() != root:
				want = values[c.Rank()]
			}
			if err := x.collective(d, kernel, root, values[c.Rank()], want); err != nil {
				return fmt.Errorf("%s with root %d, rank %d: %w", kernel, root, c.Rank(), err)
			}
		}
	}
	return nil
}

// collective runs one several times, as training does, and once timed: a device may record it and replay the record.
func (x trial) collective(d gpu.Device, kernel string, root int, values, want []byte) error {
	k, a := gpu.Lookup(kernel), gpu.Attrs{Ranks: x.size}
	if kernel != "all_reduce" {
		a.Root = root
	}
	in, align := gpu.Operand{Type: x.typ}, d.Caps().Alignment
	l := gpu.Launch{Kernel: kernel, Attrs: a, In: []gpu.Operand{in}, Out: []gpu.Operand{in}, Layer: -1}
	at := gpu.Align(x.typ.Bytes(), align)
	if !x.inPlace {
		l.Out[0].Offset = at
		at *= 2
	}
	if k.Scratch != nil {
		n := k.Scratch(a, []gpu.Type{x.typ}, nil)
		l.Scratch = gpu.Operand{Offset: at, Type: gpu.Type{Shape: gpu.Shape{int(n+3) / 4}, DType: gpu.F32}}
		at += gpu.Align(n, align)
	}
	p := &gpu.Program{ArenaBytes: at, Launches: []gpu.Launch{l}, Segments: []gpu.Segment{{Name: "all", Hi: 1}}}
	loaded, err := d.Load(p)
	if err != nil {
		return err
	}
	defer loaded.Close()
	got := make([]byte, x.typ.Bytes())
	for _, timed := range []bool{false, false, false, true} {
		if err := errors.Join(loaded.CopyIn(in, values), loaded.Run(0, 1, timed), loaded.CopyOut(got, l.Out[0])); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return errors.New("other values")
		}
	}
	_, err = loaded.Sync()
	return err
}
