package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"stepflow/gpu"
)

// Pointer is an address in the card's memory; 0 is none.
type Pointer uint64

// Driver is what the device needs of a card. All work is put on one stream and runs in order.
type Driver interface {
	Card() Card
	// Alloc gives zeroed memory, aligned to 256 bytes at least.
	Alloc(bytes int64) (Pointer, error)
	Free(Pointer) error
	// CopyIn puts a copy on the stream; src may be reused on return. CopyOut waits for it.
	CopyIn(dst Pointer, src []byte) error
	CopyOut(dst []byte, src Pointer) error
	// Fetch puts a copy of a few bytes on the stream; what it gives waits for it alone.
	Fetch(bytes int64, src Pointer) (func() ([]byte, error), error)
	// PrepareLaunch and PrepareMultiply do, once for each kernel and each kind of product, what a card may refuse
	// during a capture: they find the kernel and allow its shared memory, and ask cuBLASLt for an algorithm.
	// A Stream takes only what was prepared.
	PrepareLaunch(*Call) error
	PrepareMultiply(*Product) error
	// Submit puts on the stream what f does, handed over to the thread of the card's context once.
	Submit(f func(Stream) error) error
	// Capture records what f puts on the stream, without running it; Replay puts it there.
	Capture(f func(Stream) error) (Graph, error)
	Replay(Graph) error
	// Elapsed is the device time from the first of the events to each of them, after a Sync. It frees them.
	Elapsed([]Event) ([]time.Duration, error)
	Sync() error
	Close() error
}

// Stream takes work that runs in order. It is of use inside Submit and Capture only.
type Stream interface {
	Launch(*Call) error
	Multiply(*Product) error
	Transfer(*Transfer) error
	// Beside runs what f puts on the stream beside what comes next: after all that is on the stream, and in order with all
	// else beside it. Its number counts from 0 in each Submit and Capture. What comes after an Await of a number waits for it;
	// a Capture ends with a wait for the last.
	Beside(number int, f func(Stream) error) error
	Await(number int) error
	// Mark puts an event on the stream; a capture refuses it.
	Mark() (Event, error)
}

// Graph belongs to the driver that made it.
type Graph interface{ Close() error }

// Event belongs to the driver that made it.
type Event any

// Card describes the hardware.
type Card struct {
	Name           string
	Major, Minor   int // compute capability
	Total, Free    int64
	Processors     int // streaming multiprocessors; 0 for a stand-in, whose speed means nothing
	SharedPerBlock int // bytes a block may ask for
	Driver         string
}

// Call is one kernel launch. Args holds each argument at a multiple of 8 bytes, little-endian; Sizes are
// their lengths.
type Call struct {
	Kernel  string
	Grid    [3]uint32
	Threads uint32
	Shared  uint32 // dynamic shared memory, bytes
	Args    []byte
	Sizes   []int
	Spans   []Span // all memory of the card it may touch
}

// Span is a range of the card's memory.
type Span struct {
	At    Pointer
	Bytes int64
}

// Matrix is a row-major matrix, read transposed where Trans.
type Matrix struct {
	At    Pointer
	Type  gpu.DType
	LD    int // elements between rows
	Trans bool
}

// Product is D [M,N] = Alpha A [M,K] B [K,N] + C; C.At 0 for none. Sums are in fp32.
type Product struct {
	M, N, K    int
	Alpha      float32
	A, B, C, D Matrix
	Workspace  Span // what the product may use beside; of zero bytes for none
	Spans      []Span
}

// Transfer moves bytes between the cards of ranks: all of its sends and receives are under way together, those between two
// ranks in order; or the bytes of one rank go to all.
type Transfer struct {
	Send, Recv []RankSpan
	Broadcast  Span    // where they arrive, on the root too; of zero bytes for none
	Root       int     // whose they are
	From       Pointer // where they lie on the root
	Spans      []Span
	nccl       *nccl
}

// RankSpan is what goes to a rank, or comes from it.
type RankSpan struct {
	Rank int
	Span
}

// Put puts a transfer on the card's stream, by NCCL.
func (t *Transfer) Put(stream uintptr) error { return t.nccl.put(t, stream) }

// ProductKey is what cuBLASLt's choice of an algorithm depends on: shapes and types, and how operands are aligned.
type ProductKey struct {
	M, N, K   int
	Workspace int64
	Operands  [4]Matrix // their addresses modulo Alignment
	Added     bool
}

// Key is the key of a product.
func (p *Product) Key() ProductKey {
	k := ProductKey{M: p.M, N: p.N, K: p.K, Workspace: p.Workspace.Bytes, Added: p.C.At != 0}
	for i, m := range []Matrix{p.A, p.B, p.C, p.D} {
		m.At &= Alignment - 1
		k.Operands[i] = m
	}
	return k
}

// noKernels tells that a card's driver takes no image, which an old one does not.
func noKernels(c Card, errs []error) error {
	return fmt.Errorf("cuda: the driver, for CUDA %s, loads none of the kernels for compute capability %d.%d of %s: "+
		"%w. They need a driver for CUDA 12.1 or later: update it",
		c.Driver, c.Major, c.Minor, c.Name, errors.Join(errs...))
}

// newCall encodes a call's arguments: Pointer, int, int64, float32, or a struct of such.
func newCall(kernel string, grid [3]int, threads, shared int, args ...any) *Call {
	c := &Call{Kernel: kernel, Threads: uint32(threads), Shared: uint32(shared)}
	for i, n := range grid {
		c.Grid[i] = uint32(n)
	}
	for _, a := range args {
		for len(c.Args)%8 != 0 {
			c.Args = append(c.Args, 0)
		}
		at := len(c.Args)
		switch v := a.(type) {
		case Pointer:
			c.Args = binary.LittleEndian.AppendUint64(c.Args, uint64(v))
		case int64:
			c.Args = binary.LittleEndian.AppendUint64(c.Args, uint64(v))
		case int:
			if v != int(int32(v)) {
				panic(fmt.Sprintf("cuda: argument %d of %s does not fit 32 bits", v, kernel))
			}
			c.Args = binary.LittleEndian.AppendUint32(c.Args, uint32(int32(v)))
		case float32:
			c.Args = binary.LittleEndian.AppendUint32(c.Args, math.Float32bits(v))
		default:
			var err error
			if c.Args, err = binary.Append(c.Args, binary.LittleEndian, v); err != nil {
				panic("cuda: " + kernel + ": " + err.Error())
			}
		}
		c.Sizes = append(c.Sizes, len(c.Args)-at)
	}
	for len(c.Args)%8 != 0 {
		c.Args = append(c.Args, 0)
	}
	return c
}

// Offsets gives where each argument begins in Args.
func (c *Call) Offsets() []int {
	at, all := 0, make([]int, len(c.Sizes))
	for i, n := range c.Sizes {
		all[i] = at
		at += (n + 7) / 8 * 8
	}
	return all
}
