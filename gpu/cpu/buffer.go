package cpu

import (
	"unsafe"

	"stepflow/gpu"
)

// buffer is the elements of an operand: f32 or bf16. Kernels compute in float32; get and put
// convert on the way, a block at a time, so that a block lies in the nearest cache.
type buffer struct {
	f []float32
	h []uint16
}

func (l *loaded) buffer(o gpu.Operand) buffer {
	if o.Type.DType == gpu.BF16 {
		return buffer{h: view[uint16](l.bytes(o))}
	}
	return buffer{f: l.f32(o)}
}

func (l *loaded) f32(o gpu.Operand) []float32 { return view[float32](l.bytes(o)) }

func (l *loaded) i32(o gpu.Operand) []int32 { return view[int32](l.bytes(o)) }

// view reads memory as elements of another type.
func view[T any](b []byte) []T {
	if len(b) == 0 {
		return nil
	}
	var x T
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), len(b)/int(unsafe.Sizeof(x)))
}

func (b buffer) len() int { return max(len(b.f), len(b.h)) }

func (b buffer) sub(lo, hi int) buffer {
	if b.h != nil {
		return buffer{h: b.h[lo:hi]}
	}
	return buffer{f: b.f[lo:hi]}
}

// tail is the elements from at on; none of none.
func (b buffer) tail(at int) buffer {
	if b.h != nil {
		return buffer{h: b.h[at:]}
	}
	if b.f != nil {
		return buffer{f: b.f[at:]}
	}
	return b
}

func (b buffer) pointer() unsafe.Pointer {
	if b.h != nil {
		return unsafe.Pointer(unsafe.SliceData(b.h))
	}
	return unsafe.Pointer(unsafe.SliceData(b.f))
}

// get gives elements [lo, hi) as float32: the memory itself, or room filled from bf16.
func (v *variant) get(b buffer, lo, hi int, room []float32) []float32 {
	if b.h == nil {
		return b.f[lo:hi]
	}
	room = room[:hi-lo]
	v.widen(room, b.h[lo:hi])
	return room
}

// squaresOf sums the squares of elements [lo, hi). Numbers that bf16 holds have the same sum in bf16 and in f32.
func (v *variant) squaresOf(b buffer, lo, hi int) float32 {
	if b.h == nil {
		return v.squares(b.f[lo:hi])
	}
	return v.halfSquares(b.h[lo:hi])
}

// at gives room for the results that put stores at [lo, hi): the memory itself for f32.
func (b buffer) at(lo, hi int, room []float32) []float32 {
	if b.h == nil {
		return b.f[lo:hi]
	}
	return room[:hi-lo]
}

// put stores what was computed in the room at gave; for f32 it is there already.
func (v *variant) put(b buffer, lo int, x []float32) {
	if b.h != nil {
		v.narrow(b.h[lo:lo+len(x)], x)
	}
}

func (b buffer) clear() {
	clear(b.f)
	clear(b.h)
}

// copy takes elements of the same type.
func (b buffer) copy(from buffer) {
	copy(b.f, from.f)
	copy(b.h, from.h)
}

func widenLoop(dst []float32, src []uint16) {
	for i, x := range src {
		dst[i] = gpu.FromBF16(x)
	}
}

func narrowLoop(dst []uint16, src []float32) {
	for i, x := range src {
		dst[i] = gpu.ToBF16(x)
	}
}

// worker is what a goroutine of the pool owns: memory that bind reserves and launches reuse.
type worker struct {
	a       []float32 // packed rows of the left operand of a product
	b       []float32 // a packed panel of the right one
	wide    []float32 // bf16 widened on the way into a panel
	codes   []float32 // what was quantised on the way into a panel
	rounded []uint16  // the same in bf16
	edge    [maxMR * maxNR]float32
	lane    [3][maxNR]float32 // a value a lane
	room    [rooms][]float32
	args    [rooms][]float32 // operands of the loop under way
	step    stepArgs         // of the call of variant.step under way
}

// widePiece is how many elements of a row are widened at a time.
const widePiece = 256

const rooms = 12

// reserve makes room i of every worker at least n elements long.
func (d *Device) reserve(i, n int) {
	for _, w := range d.pool.workers {
		if len(w.room[i]) < n {
			w.room[i] = make([]float32, n)
		}
	}
}
