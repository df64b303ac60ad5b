//go:build cudaemu

package emu

/*
#cgo CXXFLAGS: -std=c++17 -O3 -DSTEPFLOW_EMU -Wno-unknown-pragmas -fno-strict-aliasing
#cgo LDFLAGS: -lm
#include "emu_c.h"
#include <stdlib.h>
#include <string.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
	_ "stepflow/gpu/cuda/kernels" // compiled by emu.cpp
)

// Order in which a block's threads take turns.
const (
	Ascending  = 0
	Descending = 1 // any other value seeds a shuffle before every turn
)

// Driver implements cuda.Driver on the host.
type Driver struct {
	Order uint64
	// Memory is what Alloc gives in all, in bytes; Capability the card's, major and minor.
	Memory     int64
	Capability [2]int
	// FailAt makes launch number FailAt from now on fail with Fault, and all that follow: a lost device.
	FailAt int
	Fault  error

	Launches, Replays int // counted

	taken     map[cuda.Pointer]block
	recorded  *graph // what is put on the stream goes here while it is set
	capturing bool
	lost      error

	kernels  map[string]readiness
	products map[cuda.ProductKey]readiness

	connected map[string]bool // ranks that a transfer has connected, each way

	// Work beside the stream, in the Submit or Capture under way: how many pieces there are, are awaited, and ran late.
	besides, awaited, ran int
	late                  [][]any
}

// readiness is how far a kernel or a kind of product is: a first launch loads its code, which a capture may refuse.
type readiness int

const (
	unknown readiness = iota
	prepared
	ran
)

// block is an allocation: its bytes, and where the host's begins.
type block struct {
	bytes int64
	start unsafe.Pointer
}

var _ cuda.Driver = (*Driver)(nil)

// New gives a card of compute capability 8.0 with 4 GiB.
func New() *Driver {
	return &Driver{Memory: 4 << 30, Capability: [2]int{8, 0}, taken: map[cuda.Pointer]block{},
		kernels: map[string]readiness{}, products: map[cuda.ProductKey]readiness{}, connected: map[string]bool{}}
}

// Sanitized reports whether the address sanitizer watches.
func Sanitized() bool { return C.emu_sanitized() != 0 }

type graph struct{ work []any }

func (*graph) Close() error { return nil }

// forbidden is the error of what a card refuses during a capture (CUDA C++ Programming Guide, stream capture); nil
// outside one.
func (d *Driver) forbidden(what string) error {
	if !d.capturing {
		return nil
	}
	return fmt.Errorf("%s during a capture: operation not permitted when stream is capturing", what)
}

// Card describes the emulated hardware.
func (d *Driver) Card() cuda.Card {
	free := d.Memory
	for _, b := range d.taken {
		free -= b.bytes
	}
	return cuda.Card{Name: "emulator", Major: d.Capability[0], Minor: d.Capability[1], Total: d.Memory, Free: free,
		SharedPerBlock: 163 << 10}
}

func (d *Driver) Alloc(n int64) (cuda.Pointer, error) {
	if err := d.forbidden("an allocation"); err != nil {
		return 0, err
	}
	if free := d.Card().Free; n > free {
		return 0, fmt.Errorf("out of memory: %d bytes are free", free)
	}
	// calloc, so that pages which nobody touches cost nothing; it aligns less than a card does.
	p := C.calloc(1, C.size_t(n+cuda.Alignment))
	if p == nil {
		return 0, errors.New("out of memory on the host")
	}
	at := cuda.Pointer(gpu.Align(int64(uintptr(p)), cuda.Alignment))
	d.taken[at] = block{n, p}
	return at, nil
}

func (d *Driver) Free(p cuda.Pointer) error {
	if err := d.forbidden("freeing memory"); err != nil {
		return err
	}
	b, ok := d.taken[p]
	if !ok {
		return fmt.Errorf("%#x was not allocated", uint64(p))
	}
	delete(d.taken, p)
	C.free(b.start)
	return nil
}

// host is the memory at p.
func host(p cuda.Pointer) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// inside reports whether a range lies in one allocation.
func (d *Driver) inside(p cuda.Pointer, n int64) bool {
	for at, b := range d.taken {
		if p >= at && int64(p-at)+n <= b.bytes {
			return true
		}
	}
	return false
}

func (d *Driver) CopyIn(dst cuda.Pointer, src []byte) error {
	if err := d.forbidden("a copy"); err != nil {
		return err
	}
	if d.lost != nil {
		return d.lost
	}
	if !d.inside(dst, int64(len(src))) {
		return fmt.Errorf("a copy to %#x lies outside what was allocated", uint64(dst))
	}
	copy(unsafe.Slice((*byte)(host(dst)), len(src)), src)
	return nil
}

func (d *Driver) CopyOut(dst []byte, src cuda.Pointer) error {
	if err := d.forbidden("a copy"); err != nil {
		return err
	}
	if d.lost != nil {
		return d.lost
	}
	if !d.inside(src, int64(len(dst))) {
		return fmt.Errorf("a copy from %#x lies outside what was allocated", uint64(src))
	}
	copy(dst, unsafe.Slice((*byte)(host(src)), len(dst)))
	return nil
}

// Fetch copies at once: nothing is put on the emulator's stream that does not run at once.
func (d *Driver) Fetch(n int64, src cuda.Pointer) (func() ([]byte, error), error) {
	b := make([]byte, n)
	err := d.CopyOut(b, src)
	return func() ([]byte, error) { return b, err }, err
}

// PrepareLaunch takes note of a kernel.
func (d *Driver) PrepareLaunch(c *cuda.Call) error {
	if err := d.forbidden("looking for a kernel"); err != nil {
		return err
	}
	d.kernels[c.Kernel] = max(d.kernels[c.Kernel], prepared)
	return nil
}

// PrepareMultiply takes note of a kind of product.
func (d *Driver) PrepareMultiply(p *cuda.Product) error {
	if err := d.forbidden("choosing an algorithm"); err != nil {
		return err
	}
	d.products[p.Key()] = max(d.products[p.Key()], prepared)
	return nil
}

// admit takes what was prepared, into a capture only what ran before.
func admit[K comparable](d *Driver, all map[K]readiness, key K) error {
	if all[key] == unknown {
		return errors.New("it was not prepared")
	}
	if all[key] != ran {
		if err := d.forbidden("loading code"); err != nil {
			return err
		}
	}
	all[key] = ran
	return nil
}

func (d *Driver) Launch(c *cuda.Call) error {
	if err := admit(d, d.kernels, c.Kernel); err != nil {
		return err
	}
	if d.recorded != nil {
		d.recorded.work = append(d.recorded.work, c)
		return nil
	}
	return d.launch(c)
}

func (d *Driver) launch(c *cuda.Call) error {
	if err := d.count(); err != nil {
		return err
	}
	if int(c.Shared) > d.Card().SharedPerBlock {
		return fmt.Errorf("a block asks for %d bytes of shared memory, the card has %d",
			c.Shared, d.Card().SharedPerBlock)
	}
	if c.Grid[0] < 1 || c.Grid[1] < 1 || c.Grid[2] < 1 || c.Grid[1] > 65535 || c.Grid[2] > 65535 {
		return fmt.Errorf("a grid of %v blocks", c.Grid)
	}
	var sizes []C.int
	for _, n := range c.Sizes {
		sizes = append(sizes, C.int(n))
	}
	block := C.malloc(C.size_t(len(c.Args) + 8*len(sizes)))
	defer C.free(block)
	args := unsafe.Slice((*byte)(block), len(c.Args))
	copy(args, c.Args)
	places := unsafe.Slice((*unsafe.Pointer)(unsafe.Add(block, len(c.Args))), len(sizes))
	for i, at := range c.Offsets() {
		places[i] = unsafe.Add(block, at)
	}
	name := C.CString(c.Kernel)
	defer C.free(unsafe.Pointer(name))
	defer d.watch(c.Spans)()
	fault := C.emu_launch(name, (*C.uint)(unsafe.Pointer(&c.Grid[0])), C.uint(c.Threads), C.uint(c.Shared), &places[0],
		C.int(len(sizes)), &sizes[0], C.ulonglong(d.Order))
	if fault != nil {
		return errors.New(C.GoString(fault))
	}
	return nil
}

// watch forbids all of the card's memory but the spans, until the function it gives is called.
func (d *Driver) watch(spans []cuda.Span) func() {
	if !Sanitized() {
		return func() {}
	}
	for at, b := range d.taken {
		C.emu_poison(host(at), C.size_t(b.bytes), 1)
	}
	for _, s := range spans {
		C.emu_poison(host(s.At), C.size_t(s.Bytes), 0)
	}
	return func() {
		for at, b := range d.taken {
			C.emu_poison(host(at), C.size_t(b.bytes), 0)
		}
	}
}

func (d *Driver) count() error {
	d.Launches++
	if d.Fault != nil && d.Launches >= d.FailAt {
		d.lost = d.Fault
	}
	return d.lost
}

func (d *Driver) Multiply(p *cuda.Product) error {
	if err := admit(d, d.products, p.Key()); err != nil {
		return err
	}
	if d.recorded != nil {
		d.recorded.work = append(d.recorded.work, p)
		return nil
	}
	return d.multiply(p)
}

func (d *Driver) multiply(p *cuda.Product) error {
	if err := d.count(); err != nil {
		return err
	}
	if p.A.Type != p.B.Type || p.C.At != 0 && p.C.Type != p.D.Type {
		return fmt.Errorf("a product of %v and %v into %v", p.A.Type, p.B.Type, p.D.Type)
	}
	bf16 := func(m cuda.Matrix) C.int { return flag(m.Type == gpu.BF16) }
	defer d.watch(p.Spans)()
	if n := p.Workspace.Bytes; n > 0 { // the product's own: what anyone keeps there is lost
		C.memset(host(p.Workspace.At), 0xff, C.size_t(min(n, 4096)))
		C.memset(host(p.Workspace.At+cuda.Pointer(n-1)), 0xff, 1)
	}
	C.emu_gemm(C.int(p.M), C.int(p.N), C.int(p.K), C.float(p.Alpha), host(p.A.At), bf16(p.A), C.int64_t(p.A.LD),
		flag(p.A.Trans),
		host(p.B.At), bf16(p.B), C.int64_t(p.B.LD), flag(p.B.Trans), host(p.C.At), C.int64_t(p.C.LD), host(p.D.At),
		bf16(p.D), C.int64_t(p.D.LD))
	return nil
}

// Transfer moves bytes by what stands in for NCCL, which connects two ranks at their first transfer: it may not be in a capture.
func (d *Driver) Transfer(t *cuda.Transfer) error {
	connections := []string{fmt.Sprint("a broadcast of ", t.Root)}
	if t.Broadcast.Bytes == 0 {
		connections = nil
		for _, p := range t.Send {
			connections = append(connections, fmt.Sprint("to ", p.Rank))
		}
		for _, p := range t.Recv {
			connections = append(connections, fmt.Sprint("from ", p.Rank))
		}
	}
	for _, c := range connections {
		if !d.connected[c] {
			if err := d.forbidden("connecting ranks"); err != nil {
				return err
			}
			d.connected[c] = true
		}
	}
	if d.recorded != nil {
		d.recorded.work = append(d.recorded.work, t)
		return nil
	}
	return d.transfer(t)
}

func (d *Driver) transfer(t *cuda.Transfer) error {
	if err := d.count(); err != nil {
		return err
	}
	defer d.watch(t.Spans)()
	return t.Put(0)
}

func flag(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// Submit runs each piece of work at once.
func (d *Driver) Submit(f func(cuda.Stream) error) error {
	if err := d.forbidden("other work"); err != nil {
		return err
	}
	return d.ended(f(d))
}

// Beside runs work at once, or in any order but the ascending one as late as it may be: when it is waited for. So a wait that is
// missing shows.
func (d *Driver) Beside(number int, f func(cuda.Stream) error) error {
	if number != d.besides {
		return fmt.Errorf("number %d beside, after %d", number, d.besides)
	}
	d.besides++
	if d.Order == Ascending {
		return f(d)
	}
	recorded := d.recorded
	d.recorded = &graph{}
	defer func() { d.recorded = recorded }()
	err := f(d)
	d.late = append(d.late, d.recorded.work)
	return err
}

// Await runs what is beside, up to a number.
func (d *Driver) Await(number int) error {
	if number >= d.besides {
		return fmt.Errorf("a wait for number %d of %d beside", number, d.besides)
	}
	d.awaited = max(d.awaited, number+1)
	for ; d.Order != Ascending && d.ran <= number; d.ran++ {
		work := d.late[d.ran]
		if d.recorded != nil {
			d.recorded.work = append(d.recorded.work, work...)
			continue
		}
		if err := d.runs(work); err != nil {
			return err
		}
	}
	return nil
}

// ended reports work beside that nothing waits for, which a capture refuses, where there was no other error.
func (d *Driver) ended(err error) error {
	if err == nil && d.awaited < d.besides {
		err = errors.New("nothing waits for the work beside: unjoined work")
	}
	d.besides, d.awaited, d.ran, d.late = 0, 0, 0, nil
	return err
}

// Capture records calls instead of running them.
func (d *Driver) Capture(f func(cuda.Stream) error) (cuda.Graph, error) {
	if err := d.forbidden("a capture"); err != nil {
		return nil, err
	}
	g := &graph{}
	d.recorded, d.capturing = g, true
	err := d.ended(f(d))
	d.recorded, d.capturing = nil, false
	return g, err
}

func (d *Driver) Replay(g cuda.Graph) error {
	if err := d.forbidden("a replay"); err != nil {
		return err
	}
	d.Replays++
	return d.runs(g.(*graph).work)
}

func (d *Driver) runs(work []any) error {
	for _, s := range work {
		var err error
		switch s := s.(type) {
		case *cuda.Call:
			err = d.launch(s)
		case *cuda.Product:
			err = d.multiply(s)
		case *cuda.Transfer:
			err = d.transfer(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) Mark() (cuda.Event, error) {
	if err := d.forbidden("an event"); err != nil {
		return nil, err
	}
	return time.Now(), d.lost
}

func (d *Driver) Elapsed(events []cuda.Event) (times []time.Duration, err error) {
	for _, e := range events {
		times = append(times, e.(time.Time).Sub(events[0].(time.Time)))
	}
	return times, d.forbidden("reading events")
}

func (d *Driver) Sync() error { return errors.Join(d.forbidden("waiting"), d.lost) }

// Close tells of memory that was not freed.
func (d *Driver) Close() error {
	if n := len(d.taken); n > 0 {
		return fmt.Errorf("%d allocations were not freed", n)
	}
	return nil
}
