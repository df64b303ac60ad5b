// Package cpu is the embedded default device: the kernel table on a fixed pool of goroutines, its inner
// loops and matrix products in assembly for AVX-512, AVX2 and NEON, in Go elsewhere.
//
// Results depend on the processor's instruction set, never on the number of threads: every
// reduction is split by shape.
package cpu

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"stepflow/gpu"
)

// Alignment of every buffer: a cache line, and an AVX-512 register.
const Alignment = 64

// Device implements gpu.Device.
type Device struct {
	pool    *pool
	variant *variant
	shared  []float32 // packed columns of the right operand of a product
	sums    []float32 // beside a bf16 result whose product is cut along k

	comm gpu.Communicator // nil for none

	peak      map[gpu.DType]float64 // measured
	bandwidth float64
}

var _ gpu.Device = (*Device)(nil)

// Open starts a device with a number of threads, 0 for one a processor that the Go runtime may use (it
// heeds the limits of a container), and with the code of one instruction set: one of Variants, ""
// for the fastest this machine has.
func Open(threads int, isa string) (*Device, error) {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0) - int(added.Load())
	}
	for i := range variants {
		if v := &variants[i]; isa == "" || v.name == isa {
			d := &Device{pool: newPool(threads), variant: v, peak: map[gpu.DType]float64{},
				shared: make([]float32, (blockN+maxNR)*blockSteps)}
			for _, w := range d.pool.workers {
				w.a = make([]float32, (blockM+maxMR)*blockSteps)
				w.b = make([]float32, maxNR*blockSteps)
				w.wide = make([]float32, maxNR*widePiece)
				w.codes, w.rounded = make([]float32, maxNR*widePiece), make([]uint16, maxNR*widePiece)
			}
			return d, nil
		}
	}
	return nil, fmt.Errorf("cpu: no instruction set %q here; there are %s", isa, strings.Join(Variants(), ", "))
}

// Variants names the instruction sets there is code for and that this machine has, the fastest first.
func Variants() (names []string) {
	for _, v := range variants {
		names = append(names, v.name)
	}
	return names
}

var dtypes = []gpu.DType{gpu.F32, gpu.BF16}

// Caps describes the machine.
func (d *Device) Caps() gpu.Caps {
	return gpu.Caps{Kind: "cpu", Name: fmt.Sprintf("%s, %s", processor(), d.variant.name), Memory: totalMemory(),
		Alignment: Alignment, DTypes: dtypes, Threads: len(d.pool.workers)}
}

// PlanCaps are the capabilities that planning reads, without opening a device with the code of an instruction set, as
// Open takes it.
func PlanCaps(isa string) gpu.Caps {
	if isa == "" {
		isa = variants[0].name
	}
	return gpu.Caps{Kind: "cpu", Name: fmt.Sprintf("%s, %s", processor(), isa), Memory: totalMemory(), Alignment: Alignment,
		DTypes: dtypes}
}

// PeakFLOPs measures a product of 1344x512x512, whole tiles that lie in the caches, and gives its rate
// in FLOP/s, the best of several runs.
func (d *Device) PeakFLOPs(t gpu.DType) float64 {
	if d.peak[t] == 0 {
		const m, n = 1344, 512
		matrixOf := func(rows int) buffer {
			if t == gpu.BF16 {
				return buffer{h: make([]uint16, rows*n)}
			}
			return buffer{f: make([]float32, rows*n)}
		}
		p := d.product(m, n, n, 1, dense(matrixOf(m), n, false), dense(matrixOf(n), n, false),
			output{buffer: matrixOf(m), ld: n})
		d.peak[t] = 2 * m * n * n / fastest(6, p.run)
	}
	return d.peak[t]
}

// Bandwidth measures a copy of 64 MiB, which no cache holds, and gives bytes read and written a second,
// the best of several runs.
func (d *Device) Bandwidth() float64 {
	if d.bandwidth == 0 {
		const n = 16 << 20
		from, to := make([]float32, n), make([]float32, n)
		l := &loop{body: func(_ *worker, i int) {
			at := i * gpu.SumBlock
			copy(to[at:at+gpu.SumBlock], from[at:at+gpu.SumBlock])
		}}
		d.bandwidth = 8 * n / fastest(6, func() { d.pool.run(l, n/gpu.SumBlock) })
	}
	return d.bandwidth
}

// fastest is the least time of several runs in seconds, one more to warm up. Long runs vary less, so fewer do.
func fastest(runs int, f func()) float64 {
	const enough = 0.5 // seconds in all
	best, sum := math.Inf(1), 0.0
	for i := 0; i <= runs && (i < 3 || sum < enough); i++ {
		start := time.Now()
		f()
		s := time.Since(start).Seconds()
		if sum += s; i > 0 {
			best = min(best, s)
		}
	}
	return best
}

// Close stops the pool.
func (d *Device) Close() error { d.pool.close(); return nil }

// Join has programs run together with those of other ranks. What moves their bytes runs beside the pool, and gets a processor
// of the Go runtime where the pool has one a goroutine: the operating system shares out the machine's.
func (d *Device) Join(c gpu.Communicator) error {
	d.comm = c
	if c != nil && c.Size() > 1 && len(d.pool.workers) >= runtime.GOMAXPROCS(0) && added.CompareAndSwap(0, 1) {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	return nil
}

// added is the processors of the Go runtime that Join added.
var added atomic.Int32

// Load verifies the program and allocates its arena.
func (d *Device) Load(p *gpu.Program) (gpu.Loaded, error) {
	if err := errors.Join(p.Verify(), gpu.CheckRanks(p, d.comm)); err != nil {
		return nil, err
	}
	l := &loaded{device: d, program: p, comm: d.comm}
	var err error
	if l.arena, err = newArena(p.ArenaBytes); err != nil {
		return nil, fmt.Errorf("cpu: allocating an arena of %d bytes: %w", p.ArenaBytes, err)
	}
	together := map[int]func() error{}
	for i := range p.Launches {
		if x := &p.Launches[i]; x.Attrs.Ranks > 1 && collectives[x.Kernel] != nil {
			if l.exchange == nil {
				l.exchange = &exchange{send: make([][]byte, x.Attrs.Ranks), got: make([][]byte, x.Attrs.Ranks)}
			}
			together[i] = collectives[x.Kernel](l, x)
			l.runs = append(l.runs, nil)
			continue
		}
		run, err := d.bind(l, &p.Launches[i])
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("cpu: launch %d (%s %s): %w", i, p.Launches[i].Kernel, p.Launches[i].Name, err)
		}
		l.runs = append(l.runs, run)
	}
	l.queue = newQueue(l, together)
	return l, nil
}

type loaded struct {
	gpu.Stopping
	device  *Device
	program *gpu.Program
	arena   []byte
	runs    []func() // by launch; nil for those of the queue
	timings []gpu.Timing

	comm     gpu.Communicator
	queue    *queue // nil where no launch is a collective of several ranks
	exchange *exchange
}

// Stop ends the run under way, and with it those of the other ranks, if there are any: what they would wait for does not
// come.
func (l *loaded) Stop() {
	l.Stopping.Stop()
	if l.queue != nil {
		l.comm.Abort(gpu.ErrStopped)
	}
}

func (l *loaded) Allocated() int64 { return int64(len(l.arena)) }

func (l *loaded) Close() error {
	if l.queue != nil {
		l.queue.close()
	}
	arena := l.arena
	l.arena, l.runs = nil, nil
	return freeArena(arena)
}

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

func (l *loaded) Fetch(src gpu.Operand) (func() ([]byte, error), error) { return gpu.FetchNow(l, src) }

func (l *loaded) Run(lo, hi int, timed bool) error {
	pool := l.device.pool
	pool.stopping = &l.Stopping
	defer func() { pool.stopping = pool.never }()
	base, q, before := time.Now(), l.queue, len(l.timings)
	if q != nil {
		q.start(timed, base)
	}
	for i := lo; i < hi && !l.Stopped(); i++ {
		if q != nil {
			if q.failed.Load() {
				break
			}
			if l.runs[i] == nil {
				q.begin(i)
				continue
			}
			q.before(i, lo)
		}
		if !timed {
			l.runs[i]()
			continue
		}
		start := time.Since(base)
		l.runs[i]()
		l.timings = append(l.timings, gpu.Timing{Launch: i, Start: start, Duration: time.Since(base) - start})
	}
	var err error
	if q != nil {
		if err = q.end(); err == nil && timed {
			l.timings = q.merge(l.timings, before)
		}
	}
	if l.Stopped() {
		return gpu.ErrStopped
	}
	return err
}

func (l *loaded) Sync() ([]gpu.Timing, error) {
	t := l.timings
	l.timings = nil
	return t, nil
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
