package cuda

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"stepflow/gpu"
)

// Alignment of every buffer in the arena, in bytes: that of the driver's allocations.
const Alignment = 256

// Reserve is the memory a card needs beside the arena, in bytes: the driver's context with the kernels'
// code, and what cuBLASLt loads. It is a bound to plan with, not a measurement.
const Reserve = 768 << 20

// Workspace is what a matrix product may use beside its operands, in bytes: part of its launch's scratch,
// so of the arena. It is what NVIDIA recommends for cuBLAS on Hopper (cuBLAS documentation).
const Workspace = 32 << 20

// Width is what extents of matrices should be a multiple of: 128 bytes of bf16, with which cuBLAS is most efficient
// from 8.0 on (NVIDIA, Matrix Multiplication Background, table 1).
const Width = 64

// Usable reports whether the kernels run on a card: bf16 products on tensor cores begin with 8.0.
func (c Card) Usable() bool { return c.Major >= 8 }

// PlanCaps are the capabilities that planning reads, of a card with a name and an amount of memory in bytes, of which
// the reserve is not the program's.
func PlanCaps(name string, memory int64) gpu.Caps {
	return gpu.Caps{Kind: "cuda", Name: name, Memory: max(0, memory-Reserve), Reserve: Reserve, Alignment: Alignment,
		Workspace: Workspace, Width: Width, WidestHead: widestHead, FewLaunches: true, Async: true, DTypes: []gpu.DType{gpu.F32, gpu.BF16}}
}

// Device implements gpu.Device on a driver.
type Device struct {
	driver Driver
	caps   gpu.Caps
	rates  *rates // nil until they are measured

	comm gpu.Communicator // nil for none
	nccl *nccl            // nil where a program runs on one card
	lost error            // a call of NCCL that does not return holds the driver's thread
}

var _ gpu.Device = (*Device)(nil)

// Open checks that the card can run the kernels. The device closes the driver.
func Open(d Driver) (*Device, error) {
	c := d.Card()
	if !c.Usable() {
		d.Close()
		return nil, fmt.Errorf("cuda: %s has compute capability %d.%d; stepflow's kernels need 8.0 or later (A100, "+
			"RTX 30, and what came after)", c.Name, c.Major, c.Minor)
	}
	name := fmt.Sprintf("%s, compute capability %d.%d", c.Name, c.Major, c.Minor)
	caps := PlanCaps(name, c.Free)
	return &Device{driver: d, caps: caps}, nil
}

// Caps describes the card; its memory is what was free when it was opened, less the reserve.
func (d *Device) Caps() gpu.Caps { return d.caps }

// Close leaves the other ranks and ends the driver.
func (d *Device) Close() error {
	err := d.leave()
	if d.lost != nil {
		return err
	}
	return errors.Join(err, d.driver.Close())
}

// Join has the programs that are loaded from now on run on the cards of several ranks, one a rank, with NCCL between them. From
// then on each has the memory of the card that has the least.
func (d *Device) Join(c gpu.Communicator) error {
	if err := d.leave(); err != nil {
		return err
	}
	if c == nil || c.Size() == 1 {
		d.comm = c
		return nil
	}
	n, memory, err := joinNCCL(d.driver, c, d.caps.Memory)
	if errors.Is(err, errAbandoned) {
		d.lost = err
	}
	if err != nil {
		return fmt.Errorf("cuda: %w", err)
	}
	d.comm, d.nccl, d.caps.Memory = c, n, memory
	return nil
}

// leave ends NCCL.
func (d *Device) leave() error {
	n := d.nccl
	d.comm, d.nccl = nil, nil
	if n == nil {
		return nil
	}
	err := n.close(d.driver)
	if errors.Is(err, errAbandoned) {
		d.lost = err
	}
	return err
}

// Load verifies the program, allocates its arena on the card, and prepares its launches. The rates of the card are
// measured before the first arena takes its memory.
func (d *Device) Load(p *gpu.Program) (gpu.Loaded, error) {
	if err := errors.Join(p.Verify(), gpu.CheckRanks(p, d.comm)); err != nil {
		return nil, err
	}
	d.measure()
	return d.load(p)
}

func (d *Device) load(p *gpu.Program) (*loaded, error) {
	base, err := d.driver.Alloc(max(p.ArenaBytes, 1))
	if err != nil {
		return nil, fmt.Errorf("cuda: allocating an arena of %d bytes on %s, which had %d bytes to give: %w. Another "+
			"process may hold the rest (see nvidia-smi); a smaller micro_batch_size, activation_checkpointing = "+
			"\"block\" or -device-memory with less makes the plan fit",
			p.ArenaBytes, d.caps.Name, d.caps.Memory, err)
	}
	l := &loaded{driver: d.driver, program: p, base: base, graphs: map[[2]int]Graph{}}
	b := &binder{base: base, nccl: d.nccl}
	if d.comm != nil {
		b.rank = d.comm.Rank()
	}
	if err := l.bind(b); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

type loaded struct {
	gpu.Stopping
	driver  Driver
	program *gpu.Program
	base    Pointer
	nccl    *nccl            // of its transfers; nil where it has none
	works   []work           // of each launch alone
	fused   map[int]*group   // of the launches that are done together
	graphs  map[[2]int]Graph // nil for what ran once
	timed   []mark
}

// mark is an event before or after a timed launch.
type mark struct {
	launch int // the launch that ends here; -1 where a run begins
	event  Event
}

// bind turns the program's launches into work, and prepares it.
func (l *loaded) bind(b *binder) error {
	for i := range l.program.Launches {
		x := &l.program.Launches[i]
		w, err := b.bind(x)
		if err != nil {
			return fmt.Errorf("cuda: launch %d (%s %s): %w", i, x.Kernel, x.Name, err)
		}
		l.works = append(l.works, w)
		if slices.ContainsFunc(w, isTransfer) {
			l.nccl = b.nccl
		}
	}
	l.fused = fuse(b, l.program)
	for i, w := range l.works {
		if g := l.fused[i]; g != nil && g.first == i {
			w = append(w[:len(w):len(w)], g.work...)
		}
		if err := l.each(i, w, preparing{l.driver}); err != nil {
			return err
		}
	}
	return nil
}

func isTransfer(piece any) bool {
	_, ok := piece.(*Transfer)
	return ok
}

// waited is the error of waiting for the card. Where the work of NCCL was ended, the card did what it had, and that is of no use.
func (l *loaded) waited(doing string, err error) error {
	if l.nccl != nil {
		if err := l.nccl.failed(); err != nil {
			return fmt.Errorf("cuda: %s: %w", doing, err)
		}
	}
	return failed(doing, err)
}

// Stop ends also what waits for other ranks, and them.
func (l *loaded) Stop() {
	l.Stopping.Stop()
	if l.nccl != nil {
		l.nccl.fail(gpu.ErrStopped)
		l.nccl.group.Abort(gpu.ErrStopped)
	}
}

func (l *loaded) at(o gpu.Operand) Pointer { return l.base + Pointer(o.Offset) }

func (l *loaded) Allocated() int64 { return l.program.ArenaBytes }

func (l *loaded) CopyIn(dst gpu.Operand, src []byte) error {
	if int64(len(src)) != dst.Type.Bytes() || dst.Stride != 0 {
		return fmt.Errorf("cuda: cannot copy %d bytes into %v", len(src), dst.Type)
	}
	return failed("copying to the card", l.driver.CopyIn(l.at(dst), src))
}

func (l *loaded) CopyOut(dst []byte, src gpu.Operand) error {
	if int64(len(dst)) != src.Type.Bytes() || src.Stride != 0 {
		return fmt.Errorf("cuda: cannot copy %v into %d bytes", src.Type, len(dst))
	}
	return l.waited("copying from the card", l.driver.CopyOut(dst, l.at(src)))
}

// Fetch copies into pinned memory.
func (l *loaded) Fetch(src gpu.Operand) (func() ([]byte, error), error) {
	if src.Stride != 0 {
		return nil, fmt.Errorf("cuda: cannot fetch rows of %v that lie apart", src.Type)
	}
	wait, err := l.driver.Fetch(src.Type.Bytes(), l.at(src))
	if err != nil {
		return nil, failed("fetching from the card", err)
	}
	return func() ([]byte, error) {
		b, err := wait()
		return b, l.waited("waiting for a step", err)
	}, nil
}

// Run replays the launches as one graph. It is captured when they run for the second time: the first time they are
// put on the stream one by one, so that what a library does at a first call, such as loading its code, does not
// happen in a capture, which may refuse it. Timed, each launch runs alone, with an event before and after. What lies
// on the stream already is run to its end.
func (l *loaded) Run(lo, hi int, timed bool) error {
	if l.Stopped() {
		return gpu.ErrStopped
	}
	if timed {
		return l.driver.Submit(func(s Stream) error { return l.time(s, lo, hi) })
	}
	key := [2]int{lo, hi}
	submit := func(s Stream) error { return l.submit(s, lo, hi) }
	g, ran := l.graphs[key]
	if !ran {
		l.graphs[key] = nil
		return l.driver.Submit(submit)
	}
	if g == nil {
		var err error
		if g, err = l.driver.Capture(submit); err != nil {
			return err
		}
		l.graphs[key] = g
	}
	return failed("running a step", l.driver.Replay(g))
}

// time puts launches on the stream with an event before each and behind the last. All are put there in one hand-over,
// so that the time of a launch is not that of the host.
func (l *loaded) time(s Stream, lo, hi int) error {
	for i := lo; i <= hi; i++ {
		m := mark{launch: i - 1}
		if i == lo {
			m.launch = -1
		}
		var err error
		if m.event, err = s.Mark(); err != nil {
			return failed("marking a step", err)
		}
		l.timed = append(l.timed, m)
		if i < hi {
			if err := l.each(i, l.works[i], s); err != nil {
				return err
			}
		}
	}
	return nil
}

// failed explains an error of the driver, which may come late: what a kernel did wrong is told by
// whatever waits for it.
func failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cuda: %s: %w. If the card was lost, the kernel log tells (dmesg | grep Xid); what was saved "+
		"is untouched: apply goes on from the last checkpoint", doing, err)
}

// workOf is what is to be done for launch i of those in [lo, hi), which run together: nothing for one that the first
// launch of its group does.
func (l *loaded) workOf(i, lo, hi int) work {
	g := l.fused[i]
	switch {
	case g == nil || g.first < lo || g.last >= hi:
		return l.works[i]
	case g.first == i:
		return g.work
	}
	return nil
}

// submit puts launches on the stream, and beside it those that wait for other ranks: what comes next goes on meanwhile, until it
// needs them.
func (l *loaded) submit(s Stream, lo, hi int) error {
	var beside []int // launches
	awaited := 0     // of them, the first
	await := func(n int) error {
		if n <= awaited {
			return nil
		}
		awaited = n
		return s.Await(n - 1)
	}
	for i := lo; i < hi; i++ {
		w := l.workOf(i, lo, hi)
		if len(w) == 0 {
			continue
		}
		var err error
		if l.collective(i) {
			err = s.Beside(len(beside), func(s Stream) error { return l.each(i, w, s) })
			beside = append(beside, i)
		} else if err = await(l.awaits(i, beside)); err == nil {
			err = l.each(i, w, s)
		}
		if err != nil {
			return err
		}
	}
	return await(len(beside))
}

// collective reports whether a launch waits for other ranks.
func (l *loaded) collective(i int) bool {
	return l.nccl != nil && slices.ContainsFunc(l.works[i], isTransfer)
}

// awaits is how many of the launches beside the stream must have ended before the work of launch i, which may be that of its group.
func (l *loaded) awaits(i int, beside []int) int {
	list := []int{i}
	if g := l.fused[i]; g != nil && g.first == i {
		list = g.launches
	}
	n := 0
	for _, i := range list {
		lo := l.segment(i)
		for _, d := range l.program.Launches[i].Deps {
			if at, ok := slices.BinarySearch(beside, lo+int(d)); ok {
				n = max(n, at+1)
			}
		}
		if before, _ := slices.BinarySearch(beside, lo); before > 0 { // dependencies across segments are not listed
			n = max(n, before)
		}
	}
	return n
}

// segment is where the segment of a launch begins.
func (l *loaded) segment(i int) int {
	for _, s := range l.program.Segments {
		if s.Lo <= i && i < s.Hi {
			return s.Lo
		}
	}
	return i
}

// taker takes the pieces of work: a stream, or what prepares them for it.
type taker interface {
	Launch(*Call) error
	Multiply(*Product) error
	Transfer(*Transfer) error
}

type preparing struct{ driver Driver }

func (p preparing) Launch(c *Call) error      { return p.driver.PrepareLaunch(c) }
func (p preparing) Multiply(x *Product) error { return p.driver.PrepareMultiply(x) }
func (p preparing) Transfer(*Transfer) error  { return nil }

// each hands over the pieces of launch i, in order.
func (l *loaded) each(i int, w work, to taker) error {
	for _, s := range w {
		var err error
		name := "cuBLASLt"
		switch s := s.(type) {
		case *Call:
			name, err = s.Kernel, to.Launch(s)
		case *Product:
			err = to.Multiply(s)
		case *Transfer:
			name, err = "NCCL", to.Transfer(s)
		}
		if err != nil {
			x := &l.program.Launches[i]
			return fmt.Errorf("cuda: %s of %s (%s, %s pass, layer %d): %w",
				name, x.Kernel, x.Name, x.Phase, x.Layer, err)
		}
	}
	return nil
}

// Sync waits for the stream and reads the events of the timed runs.
func (l *loaded) Sync() ([]gpu.Timing, error) {
	err := l.driver.Sync()
	if len(l.timed) == 0 {
		return nil, l.waited("waiting for a step", err)
	}
	var events []Event
	for _, m := range l.timed {
		events = append(events, m.event)
	}
	marks := l.timed
	l.timed = nil
	at, late := l.driver.Elapsed(events)
	if err = l.waited("waiting for a step", errors.Join(err, late)); err != nil {
		return nil, err
	}
	var list []gpu.Timing
	var first time.Duration
	for i, m := range marks {
		if m.launch < 0 {
			first = at[i]
			continue
		}
		list = append(list, gpu.Timing{Launch: m.launch, Start: at[i-1] - first, Duration: at[i] - at[i-1]})
	}
	return list, nil
}

// Close frees the arena.
func (l *loaded) Close() error {
	for _, g := range l.graphs {
		if g != nil {
			g.Close()
		}
	}
	l.graphs, l.works = nil, nil
	return l.driver.Free(l.base)
}
