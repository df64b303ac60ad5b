//go:build cuda

package cuda

import (
	"encoding/binary"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
)

// Every kernel with its operands in allocations of their own: compute-sanitizer's memcheck sees where an allocation
// ends, and not where a buffer of an arena does.
func TestCardApart(t *testing.T) {
	open := oneCard(t)
	gputest.Run(t, func() gpu.Device {
		d := open().(*Device)
		d.driver = apart{d.driver}
		return d
	})
}

// apart is a driver that runs each call on copies of the memory it may touch, one allocation a span. Products run where
// they are: they are not kernels of ours.
type apart struct{ Driver }

// Submit hands over each piece of work alone, since memory cannot be allocated within a hand-over.
func (d apart) Submit(f func(Stream) error) error { return f(apartStream{d}) }

type apartStream struct{ d apart }

func (s apartStream) Multiply(p *Product) error {
	return s.d.Driver.Submit(func(to Stream) error { return to.Multiply(p) })
}

func (s apartStream) Transfer(t *Transfer) error {
	return s.d.Driver.Submit(func(to Stream) error { return to.Transfer(t) })
}

func (s apartStream) Beside(_ int, f func(Stream) error) error { return f(s) }
func (s apartStream) Await(int) error                          { return nil }

func (s apartStream) Mark() (e Event, err error) {
	err = s.d.Driver.Submit(func(to Stream) error {
		e, err = to.Mark()
		return err
	})
	return e, err
}

func (s apartStream) Launch(c *Call) error {
	spans := joined(c.Spans)
	places := make([]Pointer, len(spans))
	for i, from := range spans {
		var err error
		if places[i], err = s.d.Alloc(from.Bytes); err != nil {
			return err
		}
		defer s.d.Free(places[i])
		if err := s.copy(places[i], from.At, from.Bytes); err != nil {
			return err
		}
	}
	moved := *c
	moved.Args = redirected(c.Args, spans, places)
	if err := s.d.Driver.Submit(func(to Stream) error { return to.Launch(&moved) }); err != nil {
		return err
	}
	for i, to := range spans {
		if err := s.copy(to.At, places[i], to.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// copy copies on the card, through the host.
func (s apartStream) copy(to, from Pointer, n int64) error {
	b := make([]byte, n)
	if err := s.d.CopyOut(b, from); err != nil {
		return err
	}
	return s.d.CopyIn(to, b)
}

// joined sorts spans and makes one of those that overlap.
func joined(spans []Span) (list []Span) {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b Span) int { return int(a.At) - int(b.At) })
	for _, s := range spans {
		if n := len(list); n > 0 && s.At < list[n-1].At+Pointer(list[n-1].Bytes) {
			list[n-1].Bytes = max(list[n-1].Bytes, int64(s.At-list[n-1].At)+s.Bytes)
			continue
		}
		list = append(list, s)
	}
	return list
}

// redirected replaces the addresses in a call's arguments, each 8 bytes at a multiple of 8, that point into a span.
func redirected(args []byte, spans []Span, places []Pointer) []byte {
	args = slices.Clone(args)
	for at := 0; at+8 <= len(args); at += 8 {
		p := Pointer(binary.LittleEndian.Uint64(args[at:]))
		for i, s := range spans {
			if p >= s.At && p < s.At+Pointer(s.Bytes) {
				binary.LittleEndian.PutUint64(args[at:], uint64(places[i]+p-s.At))
			}
		}
	}
	return args
}
