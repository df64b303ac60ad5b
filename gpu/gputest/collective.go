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

// rankCase is an operand to try all collectives on.
type rankCase struct {
	typ     gpu.Type
	inPlace bool
}

func (c rankCase) String() string { return fmt.Sprintf("%v in place %v", c.typ, c.inPlace) }

// rankCases lists operands that are smaller than a share, that leave some ranks a short share or none, and of several pieces.
func rankCases(ranks int) (list []rankCase) {
	for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
		for _, n := range []int{1, 1000, gpu.CollectivePiece + 77} {
			for _, inPlace := range []bool{false, true} {
				if n > gpu.CollectivePiece && (ranks > 2 || !inPlace) {
					continue
				}
				list = append(list, rankCase{gpu.Type{Shape: gpu.Shape{n}, DType: dtype}, inPlace})
			}
		}
	}
	return list
}

// RunRanks tries the collectives on devices that open gives, one a rank: sums are made in the order of ranks, to the bit.
func RunRanks(t *testing.T, open func() gpu.Device) {
	for _, size := range []int{1, 2, 3, 4} {
		for _, c := range rankCases(size) {
			t.Run(fmt.Sprintf("%d ranks %v", size, c), func(t *testing.T) {
				errs := make([]error, size)
				var wg sync.WaitGroup
				for r, comm := range Ranks(size) {
					wg.Go(func() {
						d := open()
						if errs[r] = d.Join(comm); errs[r] == nil {
							errs[r] = c.try(d, comm)
						}
						if errs[r] != nil {
							comm.Abort(errs[r])
						}
						errs[r] = errors.Join(errs[r], d.Close())
					})
				}
				wg.Wait()
				check(t, errors.Join(errs...))
			})
		}
	}
}

// RunRank does so as one of several processes, each of which calls it with a communicator of its own.
func RunRank(t *testing.T, open func() gpu.Device, comm gpu.Communicator) {
	d := open()
	defer func() { check(t, d.Close()) }()
	check(t, d.Join(comm))
	for _, c := range rankCases(comm.Size()) {
		t.Run(fmt.Sprintf("rank %d of %d %v", comm.Rank(), comm.Size(), c), func(t *testing.T) {
			if err := c.try(d, comm); err != nil {
				comm.Abort(err)
				t.Fatal(err)
			}
		})
	}
}

// try runs each collective as one rank, with every root, and compares with the sum in the order of ranks.
func (c rankCase) try(d gpu.Device, comm gpu.Communicator) error {
	size, n := comm.Size(), c.typ.Shape.Elems()
	rnd := rand.New(rand.NewPCG(uint64(size), uint64(n)))
	values, sum := make([][]float32, size), make([]float32, n)
	for r := range values {
		values[r] = make([]float32, n)
		for i := range values[r] {
			values[r][i] = float32(rnd.NormFloat64())
		}
		values[r] = gpu.BytesFloat32(gpu.Float32Bytes(values[r], c.typ.DType), c.typ.DType)
		for i := range sum {
			sum[i] += values[r][i]
		}
	}
	for root := range size {
		for _, kernel := range []string{"all_reduce", "reduce", "bcast"} {
			want := sum
			switch {
			case kernel == "all_reduce" && root > 0: // it has none
				continue
			case kernel == "bcast":
				want = values[root]
			case kernel == "reduce" && comm.Rank() != root:
				want = values[comm.Rank()]
			}
			err := c.run(d, kernel, gpu.Attrs{Ranks: size, Root: root}, values[comm.Rank()], gpu.Float32Bytes(want, c.typ.DType))
			if err != nil {
				return fmt.Errorf("%s with root %d, rank %d: %w", kernel, root, comm.Rank(), err)
			}
		}
	}
	return nil
}

// run runs one collective several times, as training does, and once timed: a device may record it and replay the record.
func (c rankCase) run(d gpu.Device, kernel string, a gpu.Attrs, values []float32, want []byte) error {
	k, in, align := gpu.Lookup(kernel), gpu.Operand{Type: c.typ}, d.Caps().Alignment
	l := gpu.Launch{Kernel: kernel, Attrs: a, In: []gpu.Operand{in}, Out: []gpu.Operand{in}, Layer: -1}
	at := gpu.Align(c.typ.Bytes(), align)
	if !c.inPlace {
		l.Out[0].Offset = at
		at *= 2
	}
	if k.Scratch != nil {
		n := k.Scratch(a, []gpu.Type{c.typ}, nil)
		l.Scratch = gpu.Operand{Offset: at, Type: gpu.Type{Shape: gpu.Shape{int(n+3) / 4}, DType: gpu.F32}}
		at += gpu.Align(n, align)
	}
	p := &gpu.Program{ArenaBytes: at, Launches: []gpu.Launch{l}, Segments: []gpu.Segment{{Name: "all", Hi: 1}}}
	loaded, err := d.Load(p)
	if err != nil {
		return err
	}
	defer loaded.Close()
	got := make([]byte, c.typ.Bytes())
	for _, timed := range []bool{false, false, false, true} {
		if err := loaded.CopyIn(in, gpu.Float32Bytes(values, c.typ.DType)); err != nil {
			return err
		}
		if err := loaded.Run(0, 1, timed); err != nil {
			return err
		}
		if err := loaded.CopyOut(got, l.Out[0]); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return errors.New("other values")
		}
	}
	_, err = loaded.Sync()
	return err
}
