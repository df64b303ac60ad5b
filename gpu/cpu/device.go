// Package cpu is the embedded default device: the kernel table in Go on a fixed pool of goroutines,
// matrix products in assembly where the processor has AVX2 or AVX-512.
//
// Results depend on the processor's instruction set, never on the number of threads: every
// reduction is split by shape.
package cpu

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"stepflow/gpu"
)

// Alignment of every buffer: a cache line, and an AVX-512 register.
const Alignment = 64

// Device implements gpu.Device.
type Device struct {
	pool    *pool
	variant *variant
	thin    *variant  // for narrow products; nil where the variant's own tiles are as narrow
	shared  []float32 // packed columns of the right operand of a product
	peak    float64
	once    sync.Once
}

var _ gpu.Device = (*Device)(nil)

// Open starts a device with a number of threads; 0 takes one a processor the Go runtime may use.
func Open(threads int) *Device {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	return open(threads, &variants[0])
}

func open(threads int, v *variant) *Device {
	d := &Device{pool: newPool(threads), variant: v, shared: make([]float32, (blockN+maxNR)*blockK)}
	for i := range variants {
		if v.nr > narrow && variants[i].nr == narrow {
			d.thin = &variants[i]
		}
	}
	return d
}

// OpenVariant starts a device that uses one named micro-kernel; see Variants.
func OpenVariant(threads int, name string) (*Device, error) {
	for i := range variants {
		if variants[i].name == name {
			return open(threads, &variants[i]), nil
		}
	}
	return nil, fmt.Errorf("cpu: no variant %q; this machine has %s", name, strings.Join(Variants(), ", "))
}

// Variants names the micro-kernels this machine can run, the fastest first.
func Variants() (names []string) {
	for _, v := range variants {
		names = append(names, v.name)
	}
	return names
}

// Caps describes the machine.
func (d *Device) Caps() gpu.Caps {
	return gpu.Caps{Kind: "cpu", Name: fmt.Sprintf("%s, %s", processor(), d.variant.name), Memory: memory(),
		Alignment: Alignment, DTypes: []gpu.DType{gpu.F32}, Threads: len(d.pool.packs)}
}

// PlanCaps are the capabilities that planning reads, without opening a device.
func PlanCaps() gpu.Caps {
	return gpu.Caps{Kind: "cpu", Name: processor(), Memory: memory(), Alignment: Alignment, DTypes: []gpu.DType{gpu.F32}}
}

// PeakFLOPs measures a product of 768³ once and gives its rate in FLOP/s, the best of several runs.
func (d *Device) PeakFLOPs() float64 {
	d.once.Do(func() {
		const n = 768
		a, b, c := make([]float32, n*n), make([]float32, n*n), make([]float32, n*n)
		for i := range a {
			a[i], b[i] = float32(i%7), float32(i%5)
		}
		for i := 0; i < 12; i++ {
			start := time.Now()
			d.matmul(n, n, n, 1, matrix{a, n, false}, matrix{b, n, false}, c, n, false)
			d.peak = max(d.peak, 2*n*n*n/time.Since(start).Seconds())
		}
	})
	return d.peak
}

// Close stops the pool.
func (d *Device) Close() error { d.pool.close(); return nil }

// Load verifies the program and allocates its arena.
func (d *Device) Load(p *gpu.Program) (gpu.Loaded, error) {
	if err := p.Verify(); err != nil {
		return nil, err
	}
	l := &loaded{device: d, program: p}
	// One allocation; the arena proper starts at its first aligned byte.
	raw := make([]byte, p.ArenaBytes+Alignment)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) & (Alignment - 1))
	l.arena = raw[skip : skip+int(p.ArenaBytes)]
	for i := range p.Launches {
		run, err := d.bind(l, &p.Launches[i])
		if err != nil {
			return nil, fmt.Errorf("cpu: launch %d (%s %s): %w", i, p.Launches[i].Kernel, p.Launches[i].Name, err)
		}
		l.runs = append(l.runs, run)
	}
	return l, nil
}

type loaded struct {
	device  *Device
	program *gpu.Program
	arena   []byte
	runs    []func()
	timings []gpu.Timing
}

func (l *loaded) Allocated() int64 { return int64(len(l.arena)) }

func (l *loaded) Close() error { l.arena, l.runs = nil, nil; return nil }

func (l *loaded) bytes(o gpu.Operand) []byte { return l.arena[o.Offset : o.Offset+o.Span()] }

func (l *loaded) CopyIn(dst gpu.Operand, src []byte) error {
	if int64(len(src)) != dst.Type.Bytes() || dst.Stride != 0 {
		return fmt.Errorf("cpu: cannot copy %d bytes into %v", len(src), dst.Type)
	}
	copy(l.bytes(dst), src)
	return nil
}

func (l *loaded) CopyOut(dst []byte, src gpu.Operand) error {
	if int64(len(dst)) != src.Type.Bytes() || src.Stride != 0 {
		return fmt.Errorf("cpu: cannot copy %v into %d bytes", src.Type, len(dst))
	}
	copy(dst, l.bytes(src))
	return nil
}

func (l *loaded) Run(lo, hi int, timed bool) error {
	if !timed {
		for _, run := range l.runs[lo:hi] {
			run()
		}
		return nil
	}
	base := time.Now()
	for i := lo; i < hi; i++ {
		start := time.Since(base)
		l.runs[i]()
		l.timings = append(l.timings, gpu.Timing{Launch: i, Start: start, Duration: time.Since(base) - start})
	}
	return nil
}

func (l *loaded) Sync() ([]gpu.Timing, error) {
	t := l.timings
	l.timings = nil
	return t, nil
}

func floats(p *float32, n int) []float32 { return unsafe.Slice(p, n) }

func (l *loaded) f32(o gpu.Operand) []float32 {
	b := l.bytes(o)
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4)
}

func (l *loaded) i32(o gpu.Operand) []int32 {
	b := l.bytes(o)
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*int32)(unsafe.Pointer(&b[0])), len(b)/4)
}

// processor names the CPU as Linux does; elsewhere by architecture.
func processor() string {
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(b), "\n") {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
			}
		}
	}
	return runtime.GOARCH
}

// memory is what the machine has, in bytes; 0 where it can't be read.
func memory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	var kib int64
	if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kib); err != nil {
		return 0
	}
	return kib << 10
}
