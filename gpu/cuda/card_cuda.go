//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"gorgonia.org/cu"

	"stepflow/gpu/cuda/kernels"
)

// staging is the pinned memory that copies pass through, in bytes: two batches of any size we have seen.
const staging = 32 << 20

// card is the Driver of a real device. A context belongs to a thread: all calls are made by one
// goroutine, locked to its thread.
type card struct {
	info   Card
	calls  chan func()
	dev    cu.Device
	ctx    cu.CUContext
	stream cu.Stream
	beside cu.Stream  // for what waits for other ranks
	fork   cu.Event   // where beside takes up from stream
	joins  []cu.Event // where stream takes up from beside, by number
	module cu.Module
	blas   *blas

	room      []byte // pinned; [0, used) is read by copies under way
	slots     []byte // pinned, for what is fetched
	slot      int    // the next of them
	used      int
	functions map[string]unsafe.Pointer
	shared    map[string]uint32 // dynamic shared memory a function may have
}

// OpenCard opens card number n, 0 for the first.
func OpenCard(n int) (Driver, error) {
	c := &card{calls: make(chan func()), functions: map[string]unsafe.Pointer{}, shared: map[string]uint32{}}
	go func() {
		runtime.LockOSThread()
		for f := range c.calls {
			f()
		}
	}()
	if err := c.do(func() error { return c.open(n) }); err != nil {
		close(c.calls)
		return nil, err
	}
	return c, nil
}

// do runs f where the context is current.
func (c *card) do(f func() error) (err error) {
	done := make(chan struct{})
	c.calls <- func() {
		err = f()
		close(done)
	}
	<-done
	return err
}

func (c *card) open(n int) error {
	count, err := cu.NumDevices()
	if err != nil {
		return fmt.Errorf("cuda: counting cards: %w", err)
	}
	if n < 0 || n >= count {
		return fmt.Errorf("cuda: there is no card %d: the driver shows %d (CUDA_VISIBLE_DEVICES hides others)",
			n, count)
	}
	version := cu.Version()
	if err := loadExtra(version / 1000); err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	dev, err := cu.GetDevice(n)
	if err != nil {
		return fmt.Errorf("cuda: card %d: %w", n, err)
	}
	c.info.Name, _ = dev.Name()
	for len(c.info.Name) > 0 && c.info.Name[len(c.info.Name)-1] == 0 {
		c.info.Name = c.info.Name[:len(c.info.Name)-1]
	}
	c.info.Driver = fmt.Sprintf("%d.%d", version/1000, version%1000/10)
	for _, a := range []struct {
		to   *int
		what cu.DeviceAttribute
	}{{&c.info.Major, cu.ComputeCapabilityMajor}, {&c.info.Minor, cu.ComputeCapabilityMinor},
		{&c.info.Processors, cu.MultiprocessorCount}, {&c.info.SharedPerBlock, sharedOptin}} {
		if *a.to, err = dev.Attribute(a.what); err != nil {
			return fmt.Errorf("cuda: reading what %s is: %w", c.info.Name, err)
		}
	}
	if !c.info.Usable() {
		return nil // Open says so
	}
	// The device's primary context, which NCCL makes current in any thread: it knows no other (NVIDIA/nccl#565).
	c.dev = dev
	err = dev.SetPrimaryCtxFlags(cu.SchedBlockingSync)
	if err == nil {
		if c.ctx, err = dev.RetainPrimaryCtx(); err == nil {
			err = cu.SetCurrentContext(c.ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("cuda: making a context on %s: %w; another process may hold the card or its memory (see "+
			"nvidia-smi)", c.info.Name, err)
	}
	if c.info.Free, c.info.Total, err = cu.MemInfo(); err != nil {
		return err
	}
	if c.stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return err
	}
	if c.beside, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return err
	}
	if c.fork, err = cu.MakeEvent(cu.DisableTiming); err != nil {
		return err
	}
	if c.blas, err = newBLAS(); err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	if c.room, err = pinnedBytes(staging); err != nil {
		return fmt.Errorf("cuda: %d bytes of pinned host memory: %w", staging, err)
	}
	if c.slots, err = pinnedBytes(fetches * fetchBytes); err != nil {
		return fmt.Errorf("cuda: pinned host memory: %w", err)
	}
	return c.loadKernels()
}

// Up to fetches values of up to fetchBytes may be on their way at once.
const (
	fetches    = 64
	fetchBytes = 64
)

func (c *card) Fetch(n int64, src Pointer) (func() ([]byte, error), error) {
	if n > fetchBytes {
		return nil, fmt.Errorf("%d bytes are more than the %d that are fetched", n, fetchBytes)
	}
	var to []byte
	var arrived cu.Event
	err := c.do(func() (err error) {
		to = c.slots[c.slot*fetchBytes:][:n]
		c.slot = (c.slot + 1) % fetches
		if err := cu.MemcpyDtoHAsync(unsafe.Pointer(&to[0]), cu.DevicePtr(src), n, c.stream); err != nil {
			return err
		}
		if arrived, err = cu.MakeEvent(cu.DefaultEvent); err != nil {
			return err
		}
		return arrived.Record(c.stream)
	})
	if err != nil {
		return nil, err
	}
	return func() ([]byte, error) {
		err := c.do(func() error { return errors.Join(arrived.Synchronize(), cu.DestroyEvent(&arrived)) })
		return append([]byte(nil), to...), err
	}, nil
}

// sharedOptin is CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, which package cu does not name.
const sharedOptin cu.DeviceAttribute = 97

// loadKernels takes the card's machine code, or else PTX, which the driver compiles.
func (c *card) loadKernels() error {
	var errs []error
	for _, name := range kernels.For(c.info.Major, c.info.Minor) {
		image, err := kernels.Image(name)
		if err != nil {
			return err
		}
		if c.module, err = cu.LoadData(string(image)); err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return noKernels(c.info, errs)
}

func (c *card) Card() Card { return c.info }

func (c *card) Alloc(n int64) (p Pointer, err error) {
	err = c.do(func() error {
		d, err := cu.MemAlloc(n)
		if err != nil {
			if free, _, e := cu.MemInfo(); e == nil {
				err = fmt.Errorf("%w: %d bytes are free, %d too few", err, free, n-free)
			}
			return err
		}
		p = Pointer(d)
		return cu.MemsetD8Async(d, 0, n, c.stream)
	})
	return p, err
}

func (c *card) Free(p Pointer) error {
	return c.do(func() error {
		if err := c.sync(); err != nil {
			return err
		}
		return cu.MemFree(cu.DevicePtr(p))
	})
}

// sync waits for the stream: the pinned memory is free again.
func (c *card) sync() error {
	c.used = 0
	return c.stream.Synchronize()
}

func (c *card) CopyIn(dst Pointer, src []byte) error {
	return c.do(func() error {
		for len(src) > 0 {
			if c.used == len(c.room) {
				if err := c.sync(); err != nil {
					return err
				}
			}
			n := copy(c.room[c.used:], src)
			from := unsafe.Pointer(&c.room[c.used])
			if err := cu.MemcpyHtoDAsync(cu.DevicePtr(dst), from, int64(n), c.stream); err != nil {
				return err
			}
			c.used += n
			dst, src = dst+Pointer(n), src[n:]
		}
		return nil
	})
}

func (c *card) CopyOut(dst []byte, src Pointer) error {
	return c.do(func() error {
		for len(dst) > 0 {
			if err := c.sync(); err != nil {
				return err
			}
			n := min(len(dst), len(c.room))
			to := unsafe.Pointer(&c.room[0])
			if err := cu.MemcpyDtoHAsync(to, cu.DevicePtr(src), int64(n), c.stream); err != nil {
				return err
			}
			if err := c.sync(); err != nil {
				return err
			}
			copy(dst, c.room[:n])
			dst, src = dst[n:], src+Pointer(n)
		}
		return nil
	})
}

// PrepareLaunch looks the kernel up and allows its shared memory.
func (c *card) PrepareLaunch(x *Call) error {
	return c.do(func() error {
		f := c.functions[x.Kernel]
		if f == nil {
			fn, err := c.module.Function(x.Kernel)
			if err != nil {
				return err
			}
			f = raw(fn)
			c.functions[x.Kernel] = f
		}
		if x.Shared <= max(48<<10, c.shared[x.Kernel]) { // a block gets 48 KiB unasked
			return nil
		}
		if int(x.Shared) > c.info.SharedPerBlock {
			return fmt.Errorf("a block needs %d bytes of shared memory, the card has %d", x.Shared,
				c.info.SharedPerBlock)
		}
		if err := allowShared(f, int(x.Shared)); err != nil {
			return err
		}
		c.shared[x.Kernel] = x.Shared
		return nil
	})
}

// PrepareMultiply asks cuBLASLt for an algorithm.
func (c *card) PrepareMultiply(p *Product) error {
	return c.do(func() error { return c.blas.prepare(p) })
}

// Submit makes one hand-over of all that f puts on the stream: each takes 5 to 20 µs, as much as a small kernel.
func (c *card) Submit(f func(Stream) error) error {
	return c.do(func() error { return f(cardStream{c, c.stream}) })
}

// cardStream is a stream of the card, where its context is current.
type cardStream struct {
	*card
	on cu.Stream
}

func (s cardStream) Launch(x *Call) error {
	f := s.functions[x.Kernel]
	if f == nil {
		return errors.New("the kernel was not prepared")
	}
	return launchKernel(f, raw(s.on), x)
}

func (s cardStream) Multiply(p *Product) error { return s.blas.multiply(raw(s.on), p) }

func (s cardStream) Transfer(t *Transfer) error { return t.Put(uintptr(raw(s.on))) }

// Beside uses events, which a capture takes for its own.
func (s cardStream) Beside(number int, f func(Stream) error) error {
	for len(s.joins) <= number {
		e, err := cu.MakeEvent(cu.DisableTiming)
		if err != nil {
			return err
		}
		s.joins = append(s.joins, e)
	}
	if err := s.fork.Record(s.on); err != nil {
		return err
	}
	if err := s.beside.Wait(s.fork, 0); err != nil {
		return err
	}
	if err := f(cardStream{s.card, s.beside}); err != nil {
		return err
	}
	return s.joins[number].Record(s.beside)
}

func (s cardStream) Await(number int) error { return s.on.Wait(s.joins[number], 0) }

func (s cardStream) Mark() (Event, error) {
	e, err := cu.MakeEvent(cu.DefaultEvent)
	if err != nil {
		return nil, err
	}
	return e, e.Record(s.on)
}

type cardGraph struct {
	card *card
	exec unsafe.Pointer
}

func (g *cardGraph) Close() error { return g.card.do(func() error { return destroyGraph(g.exec) }) }

func (c *card) Capture(f func(Stream) error) (Graph, error) {
	g := &cardGraph{card: c}
	return g, c.do(func() (err error) {
		if err := beginCapture(raw(c.stream)); err != nil {
			return fmt.Errorf("cuda: capturing a graph: %w", err)
		}
		failed := f(cardStream{c, c.stream})
		g.exec, err = endCapture(raw(c.stream), failed == nil)
		if failed == nil && err != nil {
			return fmt.Errorf("cuda: capturing a graph: %w", err)
		}
		return failed
	})
}

func (c *card) Replay(g Graph) error {
	return c.do(func() error { return launchGraph(g.(*cardGraph).exec, raw(c.stream)) })
}

func (c *card) Elapsed(events []Event) (times []time.Duration, err error) {
	err = c.do(func() error {
		var errs []error
		for _, e := range events {
			ms, err := events[0].(cu.Event).Elapsed(e.(cu.Event))
			times, errs = append(times, time.Duration(ms*float64(time.Millisecond))), append(errs, err)
		}
		for _, e := range events {
			e := e.(cu.Event)
			errs = append(errs, cu.DestroyEvent(&e))
		}
		return errors.Join(errs...)
	})
	return times, err
}

func (c *card) Sync() error { return c.do(c.sync) }

// Close gives everything back; what was lost with the device is not complained about again.
func (c *card) Close() error {
	err := c.do(func() error {
		if c.blas == nil {
			return nil
		}
		var errs []error
		for _, e := range append(c.joins, c.fork) {
			errs = append(errs, cu.DestroyEvent(&e))
		}
		return errors.Join(errors.Join(errs...), c.blas.close(), c.beside.Destroy(), freePinned(c.room), freePinned(c.slots), c.module.Unload(),
			c.stream.Destroy(), c.dev.ReleasePrimaryCtx())
	})
	close(c.calls)
	return err
}

// free is the memory the card has left.
func (c *card) free() (n int64, err error) {
	err = c.do(func() (err error) {
		n, _, err = cu.MemInfo()
		return err
	})
	return n, err
}
