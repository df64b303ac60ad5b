package main

import (
	"errors"
	"time"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
)

// recorder is a driver without a card: it keeps what it is given.
type recorder struct {
	calls    []*cuda.Call
	products []*cuda.Product
}

var (
	_ cuda.Driver = (*recorder)(nil)
	_ cuda.Stream = (*recorder)(nil)
)

var errNoCard = errors.New("there is no card")

func (*recorder) Card() cuda.Card {
	return cuda.Card{Name: "H100", Major: 9, Total: 80 << 30, Free: 80 << 30, SharedPerBlock: 227 << 10}
}

// Alloc gives an address that nothing reads.
func (*recorder) Alloc(int64) (cuda.Pointer, error) { return cuda.Alignment, nil }

func (*recorder) Free(cuda.Pointer) error                                   { return nil }
func (*recorder) CopyIn(cuda.Pointer, []byte) error                         { return nil }
func (*recorder) CopyOut([]byte, cuda.Pointer) error                        { return errNoCard }
func (*recorder) Fetch(int64, cuda.Pointer) (func() ([]byte, error), error) { return nil, errNoCard }
func (*recorder) PrepareLaunch(*cuda.Call) error                            { return nil }
func (*recorder) PrepareMultiply(*cuda.Product) error                       { return nil }
func (r *recorder) Capture(f func(cuda.Stream) error) (cuda.Graph, error)   { return r, f(r) }
func (*recorder) Replay(cuda.Graph) error                                   { return errNoCard }
func (*recorder) Elapsed([]cuda.Event) ([]time.Duration, error)             { return nil, errNoCard }
func (*recorder) Sync() error                                               { return nil }
func (*recorder) Close() error                                              { return nil }
func (*recorder) Mark() (cuda.Event, error)                                 { return nil, errNoCard }
func (r *recorder) Submit(f func(cuda.Stream) error) error                  { return f(r) }
func (r *recorder) Launch(c *cuda.Call) error                               { r.calls = append(r.calls, c); return nil }
func (r *recorder) Transfer(*cuda.Transfer) error                           { return nil }
func (r *recorder) Beside(_ int, f func(cuda.Stream) error) error           { return f(r) }
func (r *recorder) Await(int) error                                         { return nil }
func (r *recorder) Multiply(p *cuda.Product) error                          { r.products = append(r.products, p); return nil }

// recording is a loaded program whose driver keeps what it is given.
type recording struct {
	driver *recorder
	loaded gpu.Loaded
}

func load(p *gpu.Program) (*recording, error) {
	r := &recorder{}
	d, err := cuda.Open(r)
	if err != nil {
		return nil, err
	}
	l, err := d.Load(p)
	return &recording{r, l}, err
}

// run returns the calls and products of launches [lo, hi).
func (r *recording) run(lo, hi int) (recorder, error) {
	*r.driver = recorder{}
	err := r.loaded.Run(lo, hi, false)
	return *r.driver, err
}
