//go:build cudaemu

package emu

import (
	"fmt"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/gpu/gputest"
)

func open(t *testing.T, order uint64) *cuda.Device {
	d := New()
	d.Order = order
	return opened(t, d)
}

func opened(t *testing.T, d *Driver) *cuda.Device {
	dev, err := cuda.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// Every kernel of the table, in fp32 and bf16, with the threads in three orders, of which -short leaves one out.
func TestConformance(t *testing.T) {
	for _, order := range []uint64{Ascending, 12345, Descending} {
		if order == Descending && testing.Short() {
			continue
		}
		t.Run(fmt.Sprint("order", order), func(t *testing.T) {
			open := func() gpu.Device { return open(t, order) }
			gputest.Run(t, open)
			gputest.RunWide(t, open)
			gputest.RunPieces(t, open)
		})
	}
}

// What runs captured gives the bits of what runs launch by launch.
func TestConformanceCaptured(t *testing.T) {
	gputest.RunReplayed(t, func() gpu.Device { return open(t, Ascending) })
}

// The emulator refuses what a card may refuse during a capture.
func TestCaptureRefuses(t *testing.T) {
	d := New()
	p, err := d.Alloc(1 << 10)
	if err != nil {
		t.Fatal(err)
	}
	call := &cuda.Call{Kernel: "zero_f32"}
	fresh := func(f func(cuda.Stream) error) error {
		_, err := d.Capture(f)
		return err
	}
	for name, err := range map[string]error{
		"an allocation":       fresh(func(cuda.Stream) error { _, err := d.Alloc(1); return err }),
		"freeing":             fresh(func(cuda.Stream) error { return d.Free(p) }),
		"a copy in":           fresh(func(cuda.Stream) error { return d.CopyIn(p, []byte{1}) }),
		"a copy out":          fresh(func(cuda.Stream) error { return d.CopyOut([]byte{1}, p) }),
		"waiting":             fresh(func(cuda.Stream) error { return d.Sync() }),
		"an event":            fresh(func(s cuda.Stream) error { _, err := s.Mark(); return err }),
		"preparing a kernel":  fresh(func(cuda.Stream) error { return d.PrepareLaunch(call) }),
		"preparing a product": fresh(func(cuda.Stream) error { return d.PrepareMultiply(&cuda.Product{}) }),
		"a kernel's first launch": func() error {
			if err := d.PrepareLaunch(call); err != nil {
				t.Fatal(err)
			}
			return fresh(func(s cuda.Stream) error { return s.Launch(call) })
		}(),
	} {
		if err == nil {
			t.Errorf("%s is not refused during a capture", name)
		}
	}
	if err := d.Free(p); err != nil {
		t.Fatal(err)
	}
}
