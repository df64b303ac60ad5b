package gpu

import (
	"encoding/binary"
	"errors"
	"math"
	"sync/atomic"
	"time"
)

// Caps describe a device as far as planning needs it. They are a value, so a plan for a card can
// be made on a machine without one.
type Caps struct {
	Kind      string  // "cpu", "cuda"
	Name      string  // what the hardware calls itself
	Memory    int64   // bytes it can give a program; 0 if unknown
	Reserve   int64   // bytes set aside beside Memory, for its driver and libraries
	Alignment int64   // of every buffer in the arena
	DTypes    []DType // element types its kernels compute in
	Threads   int     // host threads it computes with; 0 for an accelerator
	Workspace int64   // bytes each matrix product may use beside its operands; 0 for none
	Async     bool    // Run returns before the work is done, so the host may prepare what comes next
	// FewLaunches says that each launch costs time of its own: work is done in as few as operands allow.
	FewLaunches bool
	WidestHead  int // channels of a head that attention takes at most; 0 for any number
	Width       int // elements that rows and columns of matrices should be a multiple of; 0 for any. See Widen.
}

// Supports reports whether the device computes in d.
func (c Caps) Supports(d DType) bool {
	for _, x := range c.DTypes {
		if x == d {
			return true
		}
	}
	return false
}

// Timing is how long one launch took on the device's own clock. Start counts from the start of the run.
type Timing struct {
	Launch          int
	Start, Duration time.Duration
}

// Device opens programs. It is safe for use by one goroutine at a time.
type Device interface {
	Caps() Caps
	// Join has the programs that are loaded from now on run together with those of the other ranks of a communicator, which
	// outlives the device; nil for none.
	Join(Communicator) error
	// Load checks the program and allocates its arena, and nothing else, zeroed.
	Load(*Program) (Loaded, error)
	// PeakFLOPs is the rate of large matrix products of one element type, in FLOP/s, as measured on
	// the first call; 0 for a device without a speed worth naming.
	PeakFLOPs(DType) float64
	// Bandwidth is the rate of a large copy in bytes/s, read and written, measured on the first call.
	Bandwidth() float64
	Close() error
}

// Loaded is a program with its arena. All its calls are ordered as if put on one stream: a copy
// sees every run before it. Run may return before the work is done; CopyOut and Sync wait.
type Loaded interface {
	// CopyIn writes the operand's bytes; src may be reused on return.
	CopyIn(dst Operand, src []byte) error
	// CopyOut waits for what was put before and reads the operand's bytes.
	CopyOut(dst []byte, src Operand) error
	// Fetch puts a copy of the operand on the stream and returns; what it gives waits for that copy, not
	// for what was put on the stream after it.
	Fetch(src Operand) (func() ([]byte, error), error)
	// Run puts the launches [lo, hi) on the stream; timed asks for device times at the next Sync. Where collectives are among
	// them, all ranks give the same arguments: one may not wait for a graph of launches while another makes them singly.
	Run(lo, hi int, timed bool) error
	// Sync waits and gives the timings of the timed runs since the last Sync.
	Sync() ([]Timing, error)
	// Stop ends the run under way early and all to come at once: Run returns ErrStopped, and what the launches
	// write is of no use. What none of them writes stays as it is. A program that runs together with those of other ranks ends
	// those too, by Abort of the communicator. Any goroutine may call it at any time.
	Stop()
	// Allocated is the bytes of device memory this program holds.
	Allocated() int64
	Close() error
}

// ErrStopped says that a run was ended by Stop.
var ErrStopped = errors.New("the run on the device was stopped")

// Stopping is the part of a Loaded that Stop needs.
type Stopping struct{ stopped atomic.Bool }

// Stop is that of Loaded.
func (s *Stopping) Stop() { s.stopped.Store(true) }

// Stopped reports whether Stop was called.
func (s *Stopping) Stopped() bool { return s.stopped.Load() }

// FetchNow is Fetch for a device that has no stream: the copy is made at once.
func FetchNow(l Loaded, src Operand) (func() ([]byte, error), error) {
	b := make([]byte, src.Type.Bytes())
	err := l.CopyOut(b, src)
	return func() ([]byte, error) { return b, err }, err
}

// Float32Bytes encodes v in little-endian order as type d, rounding to nearest even.
func Float32Bytes(v []float32, d DType) []byte {
	if d == BF16 {
		b := make([]byte, 2*len(v))
		for i, x := range v {
			binary.LittleEndian.PutUint16(b[2*i:], ToBF16(x))
		}
		return b
	}
	b := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	return b
}

// BytesFloat32 is the inverse of Float32Bytes; bf16 widens exactly.
func BytesFloat32(b []byte, d DType) []float32 {
	if d == BF16 {
		v := make([]float32, len(b)/2)
		for i := range v {
			v[i] = FromBF16(binary.LittleEndian.Uint16(b[2*i:]))
		}
		return v
	}
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// Int32Bytes encodes v in little-endian order.
func Int32Bytes(v []int32) []byte {
	b := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(x))
	}
	return b
}

// BytesInt32 is the inverse of Int32Bytes.
func BytesInt32(b []byte) []int32 {
	v := make([]int32, len(b)/4)
	for i := range v {
		v[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// ToBF16 rounds to nearest even; NaN stays NaN.
func ToBF16(x float32) uint16 {
	u := math.Float32bits(x)
	if x != x {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// ToBF16Stochastic rounds element i of an update to one of its two neighbours, up with the probability that
// makes the mean exact: 16 bits of splitmix64 (Steele et al. 2014), drawn by the update's seed and the
// element, are added before truncation (Zamirai et al. 2020). Infinities and NaN stay.
func ToBF16Stochastic(x float32, seed uint32, i int64) uint16 {
	if x != x {
		return ToBF16(x)
	}
	return uint16((math.Float32bits(x) + uint32(splitmix(seed, i)>>48)) >> 16)
}

// splitmix is splitmix64 of a seed, a whole number below 2^24, and an element.
func splitmix(seed uint32, i int64) uint64 { return splitmix64(uint64(seed)<<40 + uint64(i)) }

// splitmix64 is the number that the generator of Steele et al. 2014 gives in state x.
func splitmix64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Uniform is the number in [-1, 1) that a seed, a whole number below 2^24, draws for an element.
func Uniform(seed uint32, i int64) float32 { return float32(splitmix(seed, i)>>40)*0x1p-23 - 1 }

// FromBF16 widens exactly.
func FromBF16(u uint16) float32 { return math.Float32frombits(uint32(u) << 16) }
