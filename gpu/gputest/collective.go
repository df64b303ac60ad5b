package gputest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"stepflow/gpu"
)

// RunRanks tries the collectives on devices that open gives, one a rank: sums are made in the order of ranks, to the bit.
func RunRanks(t *testing.T, open func() gpu.Device) {
	for _, size := range []int{1, 2, 3, 4} {
		for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
			for _, n := range []int{1, 1000, gpu.CollectivePiece + 77} {
				for _, inPlace := range []bool{false, true} {
					if n > gpu.CollectivePiece && (size > 2 || !inPlace) {
						continue
					}
					t.Run(fmt.Sprintf("%d ranks %v %d %v", size, dtype, n, inPlace), func(t *testing.T) {
						tryRanks(t, open, size, gpu.Type{Shape: gpu.Shape{n}, DType: dtype}, inPlace)
					})
				}
			}
		}
	}
}

// tryRanks runs each collective once, with every root, and compares with the sum in the order of ranks.
func tryRanks(t *testing.T, open func() gpu.Device, size int, typ gpu.Type, inPlace bool) {
	rnd := rand.New(rand.NewPCG(uint64(size), uint64(typ.Shape.Elems())))
	values := make([][]float32, size)
	sum := make([]float32, typ.Shape.Elems())
	for r := range values {
		values[r] = make([]float32, len(sum))
		for i := range values[r] {
			values[r][i] = float32(rnd.NormFloat64())
		}
		values[r] = gpu.BytesFloat32(gpu.Float32Bytes(values[r], typ.DType), typ.DType)
		for i := range sum {
			sum[i] += values[r][i]
		}
	}
	for root := range size {
		for _, kernel := range []string{"all_reduce", "reduce", "bcast"} {
			got, err := together(open, size, kernel, root, typ, inPlace, values)
			if err != nil {
				t.Fatalf("%s: %v", kernel, err)
			}
			for r := range got {
				want := sum
				switch {
				case kernel == "bcast":
					want = values[root]
				case kernel == "reduce" && r != root:
					want = values[r]
				}
				if !bytes.Equal(got[r], gpu.Float32Bytes(want, typ.DType)) {
					t.Errorf("%s with root %d: rank %d has other values", kernel, root, r)
				}
			}
		}
	}
}

// together runs one collective on all ranks and returns what each has.
func together(open func() gpu.Device, size int, kernel string, root int, typ gpu.Type, inPlace bool, values [][]float32) ([][]byte, error) {
	k, a := gpu.Lookup(kernel), gpu.Attrs{Ranks: size}
	if kernel != "all_reduce" {
		a.Root = root
	}
	got, errs := make([][]byte, size), make([]error, size)
	var wg sync.WaitGroup
	for r, c := range Ranks(size) {
		wg.Go(func() {
			errs[r] = func() error {
				d := open()
				defer d.Close()
				if err := d.Join(c); err != nil {
					return err
				}
				in, align := gpu.Operand{Type: typ}, d.Caps().Alignment
				l := gpu.Launch{Kernel: kernel, Attrs: a, In: []gpu.Operand{in}, Out: []gpu.Operand{in}, Layer: -1}
				at := gpu.Align(typ.Bytes(), align)
				if !inPlace {
					l.Out[0].Offset = at
					at *= 2
				}
				if k.Scratch != nil {
					n := k.Scratch(a, []gpu.Type{typ}, nil)
					l.Scratch = gpu.Operand{Offset: at, Type: gpu.Type{Shape: gpu.Shape{int(n+3) / 4}, DType: gpu.F32}}
					at += gpu.Align(n, align)
				}
				p := &gpu.Program{ArenaBytes: at, Launches: []gpu.Launch{l}, Segments: []gpu.Segment{{Name: "all", Hi: 1}}}
				loaded, err := d.Load(p)
				if err != nil {
					return err
				}
				defer loaded.Close()
				if err := loaded.CopyIn(in, gpu.Float32Bytes(values[r], typ.DType)); err != nil {
					return err
				}
				if err := loaded.Run(0, 1, false); err != nil {
					return err
				}
				got[r] = make([]byte, typ.Bytes())
				return loaded.CopyOut(got[r], l.Out[0])
			}()
			if errs[r] != nil {
				c.Abort(errs[r])
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return got, nil
}
