// Package gputest holds a device to the kernel table: [Run] executes every kernel at odd shapes,
// strides and in place, compares with the float64 reference and checks that nothing outside the
// operands was touched. A kernel that a device lacks is a failure, not a skip.
package gputest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/ref"
)

// Case is one launch to try.
type Case struct {
	Kernel string
	Attrs  gpu.Attrs
	In     []gpu.Type
	// Stride of each input in elements, 0 for contiguous; OutStride that of each output that takes one.
	Stride    []int
	OutStride int
	// Ints bounds the values of integer inputs: [lo, hi). Segment ids are made as ascending runs, of the lengths of
	// Documents, over and over, in each row; of 4 on average where there are none.
	Ints      [2]int
	Segments  bool
	Documents []int
	// Values are those of integer inputs that are given, by input.
	Values map[int][]int
	// Positive makes the inputs named here positive (moments, bias corrections, norms).
	Positive []int
	// Large makes the inputs named here 16 times as large.
	Large []int
	// Tol is the allowed difference relative to the largest magnitude of the output.
	Tol float64
	// HalfTol is that of bf16 outputs: one rounding, 1/256, unless a kernel rounds on the way too.
	HalfTol float64
}

func (c Case) String() string {
	name := fmt.Sprintf("%s/%v%+v", c.Kernel, c.In, c.Stride)
	if c.Documents != nil {
		name += fmt.Sprintf("documents%v", c.Documents)
	}
	return name
}

// begins lists the places of a row of cols ids at which the documents of a case begin.
func (c Case) begins(cols int) map[int]bool {
	places := map[int]bool{}
	for at, i := 0, 0; at < cols; i++ {
		places[at] = true
		at += c.Documents[i%len(c.Documents)]
	}
	return places
}

const guard = 64 // bytes round each operand

// Run tries every case on the device that open gives.
func Run(t *testing.T, open func() gpu.Device) {
	t.Run("stochastic rounding", func(t *testing.T) {
		stochastic(t, open)
		castStochastic(t, open)
		noise(t, open)
	})
	t.Run("skipped updates", func(t *testing.T) { unchanged(t, open) })
	t.Run("tensors beside zeros", func(t *testing.T) { padded(t, open) })
	t.Run("equal logits", func(t *testing.T) { ties(t, open) })
	covered := map[string]bool{}
	for _, c := range Cases() {
		covered[c.Kernel] = true
		k := gpu.Lookup(c.Kernel)
		if k == nil {
			t.Errorf("%v: no such kernel in the table", c)
			continue
		}
		t.Run(fmt.Sprintf("%.200s", c), func(t *testing.T) {
			d := open()
			defer d.Close()
			for _, x := range c.In {
				if x.DType.IsFloat() && !d.Caps().Supports(x.DType) {
					t.Fatalf("the device does not compute in %v", x.DType)
				}
			}
			try(t, d, k, c, nil)
			for _, p := range k.InPlace {
				if p[1] < len(c.In) && (c.Stride == nil || c.Stride[p[1]] == c.OutStride) {
					try(t, d, k, c, &p)
				}
			}
		})
	}
	for _, k := range gpu.Kernels() {
		if !covered[k.Name] && !k.Collective {
			t.Errorf("kernel %s has no case", k.Name)
		}
	}
}

// Program lays a case out for a device as a program of one launch with guards between operands.
func Program(c Case, caps gpu.Caps, shared *[2]int) (*gpu.Program, error) {
	k := gpu.Lookup(c.Kernel)
	out, err := k.Infer(c.Attrs, c.In)
	if err != nil {
		return nil, err
	}
	var at int64 = guard
	place := func(t gpu.Type, stride int) gpu.Operand {
		o := gpu.Operand{Offset: at, Type: t, Stride: stride}
		at += (o.Span() + guard + 63) / 64 * 64
		return o
	}
	l := gpu.Launch{Kernel: c.Kernel, Attrs: c.Attrs, Layer: -1, Name: "case", Phase: gpu.Forward}
	for i, t := range c.In {
		stride := 0
		if c.Stride != nil {
			stride = c.Stride[i]
		}
		l.In = append(l.In, place(t, stride))
	}
	for i, t := range out {
		if shared != nil && shared[0] == i {
			l.Out = append(l.Out, l.In[shared[1]])
			continue
		}
		stride := 0
		if i < k.Strided.Out {
			stride = c.OutStride
		}
		l.Out = append(l.Out, place(t, stride))
	}
	at = gpu.Align(at, caps.Alignment)
	caps.Workspace = min(caps.Workspace, 1<<14) // enough to see that it is kept apart
	if n := k.ScratchOn(caps, c.Attrs, c.In, out); n > 0 {
		l.Scratch = place(gpu.Type{Shape: gpu.Shape{int(n)/4 + 1}, DType: gpu.F32}, 0)
	}
	return &gpu.Program{ArenaBytes: at + guard, Launches: []gpu.Launch{l},
		Segments: []gpu.Segment{{Name: "case", Lo: 0, Hi: 1}}}, nil
}

// Inputs makes the values of a case's inputs from a seed: reproducible, of mixed magnitude.
func Inputs(c Case, seed uint64) [][]float64 {
	r := rand.New(rand.NewPCG(seed, 1))
	positive := map[int]bool{}
	for _, i := range c.Positive {
		positive[i] = true
	}
	all := make([][]float64, len(c.In))
	for i, t := range c.In {
		size := 1.0
		if slices.Contains(c.Large, i) {
			size = 16
		}
		v := make([]float64, t.Shape.Elems())
		id := 0
		var begins map[int]bool
		if c.Documents != nil && t.DType == gpu.I32 {
			begins = c.begins(t.Shape.Cols())
		}
		for j := range v {
			switch {
			case c.Values[i] != nil:
				v[j] = float64(c.Values[i][j])
			case begins != nil:
				if begins[j%t.Shape.Cols()] {
					id++
				}
				v[j] = float64(id)
			case t.DType == gpu.I32 && c.Segments:
				if j%t.Shape.Cols() == 0 || r.IntN(4) == 0 {
					id++
				}
				v[j] = float64(id)
			case t.DType == gpu.I32:
				v[j] = float64(c.Ints[0] + r.IntN(c.Ints[1]-c.Ints[0]))
			case positive[i]:
				v[j] = size * (0.1 + r.Float64())
			default:
				v[j] = size * r.NormFloat64()
			}
			if t.DType.IsFloat() {
				v[j] = float64(float32(v[j]))
			}
			if t.DType == gpu.BF16 {
				v[j] = float64(gpu.FromBF16(gpu.ToBF16(float32(v[j]))))
			}
		}
		if t.DType.Codes() != nil {
			v = codable(v)
		}
		all[i] = v
	}
	return all
}

// Encode gives the bytes of values of a type.
func Encode(v []float64, t gpu.Type) []byte {
	if t.DType == gpu.I32 {
		b := make([]byte, 4*len(v))
		for i, x := range v {
			binary.LittleEndian.PutUint32(b[4*i:], uint32(int32(x)))
		}
		return b
	}
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	return t.Encode(f)
}

// put lays the rows of a contiguous operand where they are in the arena.
func put(arena []byte, o gpu.Operand, b []byte) {
	if o.Stride == 0 {
		copy(arena[o.Offset:], b)
		return
	}
	size := int(o.Type.DType.Size())
	cols, stride := o.Type.Shape.Cols()*size, o.Stride*size
	for r := 0; r < o.Type.Shape.Rows(); r++ {
		copy(arena[int(o.Offset)+r*stride:], b[r*cols:(r+1)*cols])
	}
}

// answers are the outputs of the reference for each case: a case is tried on several devices, and in place on each.
var answers sync.Map

// answer runs a case on the reference, once.
func answer(t *testing.T, c Case) [][]float64 {
	t.Helper()
	key := fmt.Sprintf("%#v", c)
	if known, ok := answers.Load(key); ok {
		return known.([][]float64)
	}
	p, err := Program(c, new(ref.Device).Caps(), nil)
	check(t, err)
	oracle, err := ref.Open(p)
	check(t, err)
	l := p.Launches[0]
	for i, v := range Inputs(c, seedOf(c)) {
		check(t, oracle.CopyIn(l.In[i], Encode(v, l.In[i].Type)))
	}
	check(t, oracle.Run(0, 1, false))
	outputs := make([][]float64, len(l.Out))
	for i, o := range l.Out {
		outputs[i] = oracle.Get(o)
	}
	answers.Store(key, outputs)
	return outputs
}

// try runs a case on the reference and on the device and compares outputs and guards.
func try(t *testing.T, d gpu.Device, k *gpu.Kernel, c Case, shared *[2]int) {
	t.Helper()
	p, err := Program(c, d.Caps(), shared)
	if err != nil {
		t.Fatal(err)
	}
	l := p.Launches[0]
	dev, err := d.Load(p)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if dev.Allocated() != p.ArenaBytes {
		t.Errorf("allocated %d bytes for an arena of %d", dev.Allocated(), p.ArenaBytes)
	}
	before := bytes.Repeat([]byte{0xa5, 0x5a, 0xc3, 0x7f}, int(p.ArenaBytes/4)) // a NaN as float32
	whole := gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{len(before) / 4}, DType: gpu.I32}}
	for i, v := range Inputs(c, seedOf(c)) {
		o := l.In[i]
		put(before, o, Encode(v, o.Type))
	}
	check(t, dev.CopyIn(whole, before))
	check(t, dev.Run(0, 1, true))
	timings, err := dev.Sync()
	check(t, err)
	if len(timings) != 1 {
		t.Errorf("%d timings for a timed run of one launch", len(timings))
	}
	after := make([]byte, len(before))
	check(t, dev.CopyOut(after, whole))

	mine := make([]bool, len(before)) // bytes the launch may write
	for j := int64(0); j < l.Scratch.Span(); j++ {
		mine[l.Scratch.Offset+j] = true
	}
	want := answer(t, c)
	for i, o := range l.Out {
		if where, differs := compare(c, o, want[i], after, mine); differs != "" {
			t.Fatalf("shared %v: output %d[%d] is %s", shared, i, where, differs)
		}
	}
	for i := range after {
		if after[i] != before[i] && !mine[i] {
			t.Fatalf("shared %v: byte %d outside the outputs was changed", shared, i)
		}
	}
}

// compare compares an output in the arena with what it is to be, and marks its bytes. It says at which element they
// differ, and how; "" if they do not.
func compare(c Case, o gpu.Operand, want []float64, arena []byte, mine []bool) (where int, differs string) {
	if o.Type.DType.Quantized() {
		return compareCodes(o, want, arena, mine)
	}
	size, stride, cols := int(o.Type.DType.Size()), o.RowStride(), o.Type.Shape.Cols()
	var scale float64
	for _, x := range want {
		if !math.IsInf(x, 0) && !math.IsNaN(x) {
			scale = math.Max(scale, math.Abs(x))
		}
	}
	tol := c.Tol
	if o.Type.DType == gpu.BF16 {
		tol = max(tol, c.HalfTol, 1.0/256)
	}
	for j, w := range want {
		at := int(o.Offset) + (j/cols*stride+j%cols)*size
		for b := 0; b < size; b++ {
			mine[at+b] = true
		}
		got := float64(gpu.BytesFloat32(arena[at:at+size], o.Type.DType)[0])
		if math.IsNaN(w) && math.IsNaN(got) || w == got {
			continue
		}
		if diff := math.Abs(got - w); !(diff <= tol*scale+1e-30) {
			return j, fmt.Sprintf("%g, reference %g: differs by %g of the largest magnitude %g, allowed %g",
				got, w, diff/scale, scale, tol)
		}
	}
	return 0, ""
}

func seedOf(c Case) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, c)
	return h.Sum64()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
