// Package ref is a device that executes the kernel table in float64, slowly and plainly: the
// formulas as code. It is the oracle that other devices are compared with, and a machine on which
// gradients can be checked by finite differences.
package ref

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"stepflow/gpu"
)

// slotBytes is the smallest element size: every element starts a slot of its own.
const slotBytes = 1

// Device implements gpu.Device.
type Device struct{ comm gpu.Communicator }

var _ gpu.Device = (*Device)(nil)

// Caps describes the reference: every element type, no limit known.
func (*Device) Caps() gpu.Caps {
	return gpu.Caps{Kind: "ref", Name: "float64 reference", Alignment: 64, DTypes: []gpu.DType{gpu.F32, gpu.BF16},
		Threads: 1}
}

// PeakFLOPs is 0: the reference has no speed worth naming.
func (*Device) PeakFLOPs(gpu.DType) float64 { return 0 }

// Bandwidth is 0 too.
func (*Device) Bandwidth() float64 { return 0 }

// Close does nothing.
func (*Device) Close() error { return nil }

// Join has programs run together with those of other ranks.
func (d *Device) Join(c gpu.Communicator) error { d.comm = c; return nil }

// Load verifies the program and makes its arena.
func (d *Device) Load(p *gpu.Program) (gpu.Loaded, error) {
	l, err := Open(p)
	if err != nil {
		return nil, err
	}
	l.comm = d.comm
	return l, gpu.CheckRanks(p, d.comm)
}

// Open is Load with the concrete type, whose Get and Set work in float64.
func Open(p *gpu.Program) (*Loaded, error) {
	if err := p.Verify(); err != nil {
		return nil, err
	}
	return &Loaded{program: p, slots: make([]float64, p.ArenaBytes/slotBytes+1),
		quantised: map[int64][]float64{}}, nil
}

// Loaded is a program with an arena of float64 slots. f32 values are kept unrounded, bf16 values rounded.
type Loaded struct {
	gpu.Stopping
	program *gpu.Program
	slots   []float64
	// quantised are the values of operands whose elements have no slots, by their offsets.
	quantised map[int64][]float64
	timings   []gpu.Timing
	comm      gpu.Communicator
}

// Allocated is the arena as a device would allocate it.
func (l *Loaded) Allocated() int64 { return l.program.ArenaBytes }

// Close drops the arena.
func (l *Loaded) Close() error { l.slots = nil; return nil }

// Get reads an operand.
func (l *Loaded) Get(o gpu.Operand) []float64 {
	m := l.mat(o)
	v := make([]float64, 0, m.rows*m.cols)
	for r := 0; r < m.rows; r++ {
		for c := 0; c < m.cols; c++ {
			v = append(v, m.at(r, c))
		}
	}
	return v
}

// Set writes an operand.
func (l *Loaded) Set(o gpu.Operand, v []float64) {
	m := l.mat(o)
	for i, x := range v {
		m.set(i/m.cols, i%m.cols, x)
	}
}

// CopyIn decodes src.
func (l *Loaded) CopyIn(dst gpu.Operand, src []byte) error {
	if int64(len(src)) != dst.Type.Bytes() {
		return fmt.Errorf("ref: copies %d bytes into %v", len(src), dst.Type)
	}
	if dst.Type.DType.Codes() != nil {
		l.mat(dst).load(dst.Type, src)
		return nil
	}
	v := make([]float64, dst.Type.Shape.Elems())
	if dst.Type.DType == gpu.I32 {
		for i := range v {
			v[i] = float64(int32(binary.LittleEndian.Uint32(src[4*i:])))
		}
	} else {
		for i, x := range dst.Type.Decode(src) {
			v[i] = float64(x)
		}
	}
	l.Set(dst, v)
	return nil
}

// CopyOut encodes, rounding to the operand's type.
func (l *Loaded) CopyOut(dst []byte, src gpu.Operand) error {
	if int64(len(dst)) != src.Type.Bytes() {
		return fmt.Errorf("ref: copies %v into %d bytes", src.Type, len(dst))
	}
	if src.Type.DType.Codes() != nil {
		l.mat(src).bytes(src.Type, dst)
		return nil
	}
	v := l.Get(src)
	if src.Type.DType == gpu.I32 {
		for i, x := range v {
			binary.LittleEndian.PutUint32(dst[4*i:], uint32(int32(x)))
		}
		return nil
	}
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	copy(dst, src.Type.Encode(f))
	return nil
}

// Fetch copies at once.
func (l *Loaded) Fetch(src gpu.Operand) (func() ([]byte, error), error) { return gpu.FetchNow(l, src) }

// Run executes the launches in order.
func (l *Loaded) Run(lo, hi int, timed bool) error {
	base := time.Now()
	for i := lo; i < hi; i++ {
		if l.Stopped() {
			return gpu.ErrStopped
		}
		start := time.Now()
		launch := &l.program.Launches[i]
		if gpu.Lookup(launch.Kernel).Collective {
			if err := l.collective(launch); err != nil {
				return err
			}
			continue
		}
		f := kernels[launch.Kernel]
		if f == nil {
			return fmt.Errorf("ref: kernel %s is missing", launch.Kernel)
		}
		in, out := make([]mat, len(launch.In)), make([]mat, len(launch.Out))
		for j, o := range launch.In {
			in[j] = l.mat(o).clone() // an output may share an input's storage
		}
		for j, o := range launch.Out {
			out[j] = l.mat(o)
		}
		f(launch.Attrs, in, out)
		if timed {
			l.timings = append(l.timings, gpu.Timing{Launch: i, Start: start.Sub(base), Duration: time.Since(start)})
		}
	}
	return nil
}

// Sync gives the timings.
func (l *Loaded) Sync() ([]gpu.Timing, error) {
	t := l.timings
	l.timings = nil
	return t, nil
}

// mat is an operand seen as a matrix of float64.
type mat struct {
	shape      gpu.Shape
	dtype      gpu.DType
	rows, cols int
	step, ld   int // slots between elements, between rows
	v          []float64
	scales     []float64 // of blocks of codes, whose elements lie one after the other
}

func (l *Loaded) mat(o gpu.Operand) mat {
	if o.Type.DType.Stored() {
		m := mat{shape: o.Type.Shape, dtype: o.Type.DType, rows: o.Type.Shape.Rows(), cols: o.Type.Shape.Cols(), step: 1}
		m.ld = m.cols
		if l.quantised[o.Offset] == nil {
			l.quantised[o.Offset] = make([]float64, m.rows*m.cols)
		}
		m.v = l.quantised[o.Offset]
		return m
	}
	step := int(o.Type.DType.Size() / slotBytes)
	m := mat{shape: o.Type.Shape, dtype: o.Type.DType, rows: o.Type.Shape.Rows(), cols: o.Type.Shape.Cols(),
		step: step, ld: o.RowStride() * step}
	if o.Span() > 0 {
		m.v = l.slots[o.Offset/slotBytes:]
	}
	if n := m.rows * m.cols; o.Type.DType.Quantized() {
		m.step, m.ld = 1, m.cols
		m.scales = m.v[gpu.ScalesAt(n):][:(n+gpu.CodeBlock-1)/gpu.CodeBlock]
	}
	return m
}

func (m mat) at(r, c int) float64     { return m.v[r*m.ld+c*m.step] }
func (m mat) set(r, c int, x float64) { m.v[r*m.ld+c*m.step] = round(x, m.dtype) }

func round(x float64, d gpu.DType) float64 {
	if d == gpu.BF16 {
		return float64(gpu.FromBF16(gpu.ToBF16(float32(x))))
	}
	return x
}

func (m mat) clone() mat {
	c := m
	c.step, c.ld = 1, m.cols
	c.v = make([]float64, m.rows*m.cols)
	for r := 0; r < m.rows; r++ {
		for k := 0; k < m.cols; k++ {
			c.v[r*m.cols+k] = m.at(r, k)
		}
	}
	c.scales = slices.Clone(m.scales)
	return c
}

// each fills out element by element.
func (m mat) each(f func(r, c int) float64) {
	for r := 0; r < m.rows; r++ {
		for c := 0; c < m.cols; c++ {
			m.set(r, c, f(r, c))
		}
	}
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
