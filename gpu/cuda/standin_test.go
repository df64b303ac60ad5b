//go:build cuda

package cuda

import (
	"maps"
	"strings"
	"testing"
	"unsafe"

	"gorgonia.org/cu"

	"stepflow/gpu"
)

// The driver library made of the emulator refuses during a capture what CUDA's manual forbids there, and what is
// known to fail: so the conformance suite shows whether this package does any of it. A card may be more lenient.
func TestStandInRefusesInCapture(t *testing.T) {
	d, err := OpenCard(0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c := d.(*card)
	if c.info.Name != "emulated card" {
		t.Skip("this is a card")
	}
	p, err := c.Alloc(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Free(p)
	m := Matrix{p, gpu.F32, 4, false}
	product := &Product{M: 4, N: 4, K: 4, Alpha: 1, A: m, B: m, D: m}
	kernel := newCall("zero_f32", [3]int{1, 1, 1}, 32, 0, int64(4), p)
	for _, prepare := range []error{c.PrepareLaunch(kernel), c.PrepareMultiply(product)} {
		if prepare != nil {
			t.Fatal(prepare)
		}
	}
	pageable := make([]byte, 16)
	for name, f := range map[string]func(Stream) error{
		"an allocation":           func(Stream) error { _, err := cu.MemAlloc(1); return err },
		"freeing":                 func(Stream) error { return cu.MemFree(cu.DevicePtr(p)) },
		"pinned memory":           func(Stream) error { _, err := pinnedBytes(1); return err },
		"waiting":                 func(Stream) error { return c.sync() },
		"an event":                func(s Stream) error { _, err := s.Mark(); return err },
		"a module":                func(Stream) error { return c.loadKernels() },
		"a function":              func(Stream) error { _, err := c.module.Function("zero_f32"); return err },
		"an attribute":            func(Stream) error { return allowShared(c.functions["zero_f32"], 64<<10) },
		"an algorithm":            func(Stream) error { return another(c.blas).prepare(product) },
		"a kernel's first launch": func(s Stream) error { return s.Launch(kernel) },
		"a first product":         func(s Stream) error { return s.Multiply(product) },
		"a copy from pageable memory": func(Stream) error {
			return cu.MemcpyHtoDAsync(cu.DevicePtr(p), unsafe.Pointer(&pageable[0]), 16, c.stream)
		},
	} {
		if _, err := c.Capture(f); err == nil {
			t.Errorf("%s is not refused during a capture", name)
		}
	}
	// What ran before is captured.
	run := func(s Stream) error {
		if err := s.Launch(kernel); err != nil {
			return err
		}
		return s.Multiply(product)
	}
	if err := c.Submit(run); err != nil {
		t.Fatal(err)
	}
	legacy := func(Stream) error { return launchKernel(c.functions["zero_f32"], nil, kernel) }
	if _, err := c.Capture(legacy); err == nil {
		t.Error("the legacy stream is not refused during a capture")
	}
	g, err := c.Capture(run)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

// A result of cuBLASLt whose own state is not success is no algorithm.
func TestStandInUnsupportedProduct(t *testing.T) {
	d, err := OpenCard(0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Card().Name != "emulated card" {
		t.Skip("this is a card")
	}
	t.Setenv("STAND_IN_UNSUPPORTED", "1")
	m := Matrix{Alignment, gpu.F32, 4, false}
	err = d.PrepareMultiply(&Product{M: 4, N: 4, K: 4, Alpha: 1, A: m, B: m, D: m})
	if err == nil || !strings.Contains(err.Error(), "[4,4] x [4,4]") || !strings.Contains(err.Error(), "status 15") {
		t.Errorf("a product that cuBLASLt does not support: %v", err)
	}
}

// another is the same cuBLASLt, with nothing prepared.
func another(b *blas) *blas {
	c := *b
	c.prepared = maps.Clone(b.prepared)
	clear(c.prepared)
	return &c
}
