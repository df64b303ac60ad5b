package cuda

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"stepflow/gpu"
)

// recorder is a driver that runs nothing and notes what it was given.
type recorder struct {
	calls                                []*Call
	products                             []*Product
	captures, submits, replays, prepared int
	transfers, beside, awaits            int
}

type nothing struct{}

func (nothing) Close() error { return nil }

func (r *recorder) Card() Card {
	return Card{Name: "recorder", Major: 9, Total: 80 << 30, Free: 80 << 30, SharedPerBlock: 99 << 10} // what Ada gives a block
}
func (r *recorder) Alloc(int64) (Pointer, error)  { return 1 << 20, nil }
func (r *recorder) Free(Pointer) error            { return nil }
func (r *recorder) CopyIn(Pointer, []byte) error  { return nil }
func (r *recorder) CopyOut([]byte, Pointer) error { return nil }
func (r *recorder) Fetch(n int64, _ Pointer) (func() ([]byte, error), error) {
	return func() ([]byte, error) { return make([]byte, n), nil }, nil
}
func (r *recorder) PrepareLaunch(c *Call) error       { r.prepared++; return nil }
func (r *recorder) PrepareMultiply(p *Product) error  { r.prepared++; return nil }
func (r *recorder) Submit(f func(Stream) error) error { r.submits++; return f(r) }
func (r *recorder) Launch(c *Call) error              { r.calls = append(r.calls, c); return nil }
func (r *recorder) Multiply(p *Product) error         { r.products = append(r.products, p); return nil }
func (r *recorder) Transfer(*Transfer) error          { r.transfers++; return nil }
func (r *recorder) Beside(_ int, f func(Stream) error) error {
	r.beside++
	return f(r)
}
func (r *recorder) Await(int) error      { r.awaits++; return nil }
func (r *recorder) Mark() (Event, error) { return nil, nil }
func (r *recorder) Capture(f func(Stream) error) (Graph, error) {
	r.captures++
	return nothing{}, f(r)
}
func (r *recorder) Replay(Graph) error { r.replays++; return nil }
func (r *recorder) Elapsed(list []Event) ([]time.Duration, error) {
	return make([]time.Duration, len(list)), nil
}
func (r *recorder) Sync() error  { return nil }
func (r *recorder) Close() error { return nil }

func device(t *testing.T) (*recorder, *Device) {
	t.Helper()
	r := &recorder{}
	d, err := Open(r)
	if err != nil {
		t.Fatal(err)
	}
	return r, d
}

func TestEveryKernelHasABinder(t *testing.T) {
	for _, k := range gpu.Kernels() {
		if binders[k.Name] == nil {
			t.Errorf("kernel %s is missing", k.Name)
		}
	}
	for name := range binders {
		if gpu.Lookup(name) == nil {
			t.Errorf("%s is in no table", name)
		}
	}
}

func f32(n ...int) gpu.Type { return gpu.Type{Shape: n, DType: gpu.F32} }

// updates makes a program of n updates of tensors of 3000 elements, and one launch before them.
func updates(n int) *gpu.Program {
	var at int64
	place := func(t gpu.Type) gpu.Operand {
		o := gpu.Operand{Offset: at, Type: t}
		at += (t.Bytes() + Alignment - 1) / Alignment * Alignment
		return o
	}
	p := &gpu.Program{}
	coef, hyper, x := place(f32(1)), place(f32(gpu.HyperLen)), place(f32(3000))
	p.Launches = append(p.Launches, gpu.Launch{Kernel: "scale", Attrs: gpu.Attrs{Alpha: 2}, In: []gpu.Operand{x}, Out: []gpu.Operand{x}})
	for i := 0; i < n; i++ {
		w, g, m, v := place(f32(3000)), place(f32(3000)), place(f32(3000)), place(f32(3000))
		p.Launches = append(p.Launches, gpu.Launch{Kernel: "adamw", In: []gpu.Operand{w, g, m, v, coef, hyper}, Out: []gpu.Operand{w, m, v}})
	}
	p.ArenaBytes = at
	p.Segments = []gpu.Segment{{Name: "update", Hi: len(p.Launches)}}
	return p
}

// 140 tensors are updated in 3 calls, put on the stream once and then captured; timed, each launch is alone, all
// handed over at once.
func TestUpdatesAreFused(t *testing.T) {
	r, d := device(t)
	l, err := d.Load(updates(140))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 3; i++ {
		if err := l.Run(0, 141, false); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.calls) != 2*(1+3) || r.submits != 1 || r.captures != 1 || r.replays != 2 {
		t.Errorf("%d calls in %d submissions, %d captures and %d replays, not 8 in 1, 1 and 2",
			len(r.calls), r.submits, r.captures, r.replays)
	}
	r.calls = r.calls[4:]
	if c := r.calls[1]; c.Grid[0] != 63 {
		t.Errorf("63 tensors of a block each are updated by %d blocks", c.Grid[0])
	}
	if err := l.Run(0, 141, true); err != nil {
		t.Fatal(err)
	}
	times, err := l.Sync()
	if err != nil || len(times) != 141 || times[140].Launch != 140 {
		t.Errorf("%d timings of 141 launches: %v", len(times), err)
	}
	if r.submits != 2 {
		t.Errorf("a timed run was handed over %d times", r.submits-1)
	}
	if len(r.calls) != 4+141 {
		t.Errorf("timed, %d calls were made", len(r.calls)-4)
	}
	// A part of a group is run alone.
	if err := l.Run(5, 7, false); err != nil {
		t.Fatal(err)
	}
	if len(r.calls) != 4+141+2 {
		t.Errorf("two updates took %d calls", len(r.calls)-145)
	}
}

// Updates are done together wherever they are in their segment, of whatever decay, unless one waits for what comes after
// the first of its group.
func TestUpdatesJoinAcrossOthers(t *testing.T) {
	p := updates(4)
	p.Launches[2].Attrs.WeightDecay = 0.1
	scale := p.Launches[0]
	p.Launches = slices.Insert(p.Launches, 2, scale) // 0 and 2 scale; 1, 3, 4 and 5 update
	for _, c := range []struct {
		name   string
		change func(*gpu.Launch) // of the third update
		want   [][]int
	}{
		{"independent", func(*gpu.Launch) {}, [][]int{{1, 3, 4, 5}}},
		{"another rule", func(x *gpu.Launch) { x.Attrs.Beta1 = 0.5 }, [][]int{{1, 3, 5}}},
		{"waits for what is before", func(x *gpu.Launch) { x.Deps = []int32{0} }, [][]int{{1, 3, 4, 5}}},
		{"waits for what is between", func(x *gpu.Launch) { x.Deps = []int32{2} }, [][]int{{1, 3}, {4, 5}}},
	} {
		q := *p
		q.Launches = append([]gpu.Launch{scale}, p.Launches...) // the segment begins with the second launch
		q.Segments = []gpu.Segment{{Name: "update", Lo: 1, Hi: len(q.Launches)}}
		c.change(&q.Launches[1+4])
		_, d := device(t)
		l, err := d.load(&q)
		if err != nil {
			t.Fatal(err)
		}
		members := map[*group][]int{}
		for i := range q.Launches {
			if g := l.fused[i]; g != nil {
				members[g] = append(members[g], i-1)
			}
		}
		got := slices.SortedFunc(maps.Values(members), slices.Compare)
		if !slices.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%s: groups %v, want %v", c.name, got, c.want)
		}
	}
}

// attention makes a program of a forward and a backward launch.
func attention(heads, d int, t gpu.DType) *gpu.Program {
	q, lse := gpu.Type{Shape: gpu.Shape{1, 128, heads * d}, DType: t}, f32(1, heads, 128)
	p := &gpu.Program{ArenaBytes: 9*q.Bytes() + 2*lse.Bytes()}
	at := func(i int64) gpu.Operand { return gpu.Operand{Offset: i * q.Bytes(), Type: q} }
	l := gpu.Operand{Offset: 9 * q.Bytes(), Type: lse}
	a := gpu.Attrs{Heads: heads, KVHeads: heads}
	p.Launches = []gpu.Launch{
		{Kernel: "attention", Attrs: a, In: []gpu.Operand{at(0), at(1), at(2)}, Out: []gpu.Operand{at(3), l}, Name: "layers.0.self_attn"},
		{Kernel: "attention_grad", Attrs: a, In: []gpu.Operand{at(4), at(0), at(1), at(2), at(3), l}, Out: []gpu.Operand{at(5), at(6), at(7)},
			Scratch: gpu.Operand{Offset: l.Offset + lse.Bytes(), Type: lse}, Name: "layers.0.self_attn"},
	}
	return p
}

// Tiles fit the shared memory of every supported card; wider heads are refused with the place.
func TestAttentionFits(t *testing.T) {
	for _, dt := range []gpu.DType{gpu.F32, gpu.BF16} {
		for _, width := range []int{2, 16, 33, 64, 100, 128} {
			r, d := device(t)
			l, err := d.Load(attention(2, width, dt))
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Run(0, 2, true); err != nil {
				t.Fatal(err)
			}
			if len(r.calls) != 4 {
				t.Errorf("%d calls, not 4", len(r.calls))
			}
			for _, c := range r.calls {
				if int(c.Shared) > r.Card().SharedPerBlock {
					t.Errorf("%s for heads of %d takes %d bytes of shared memory", c.Kernel, width, c.Shared)
				}
			}
		}
		_, d := device(t)
		if _, err := d.Load(attention(2, 160, dt)); err == nil || !strings.Contains(err.Error(), "head_dim 160") || !strings.Contains(err.Error(), "layers.0.self_attn") {
			t.Errorf("heads of 160: %v", err)
		}
	}
}

// Find reads what a driver tells; here, one made for the test.
func TestFind(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler to make a driver with")
	}
	dir := t.TempDir()
	make := func(name, source string) string {
		c, so := filepath.Join(dir, name+".c"), filepath.Join(dir, name+".so")
		if err := os.WriteFile(c, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(cc, "-w", "-shared", "-fPIC", "-o", so, c).CombinedOutput(); err != nil {
			t.Skipf("%s: %s", cc, out)
		}
		return so
	}
	driver := func(init, cards int) string {
		return fmt.Sprintf(`#include <string.h>
int cuInit(unsigned f) { return %d; }
int cuDriverGetVersion(int *v) { *v = 12040; return 0; }
int cuDeviceGetCount(int *n) { *n = %d; return 0; }
int cuDeviceGet(int *d, int i) { *d = 40 + i; return 0; }
int cuDeviceGetName(char *s, int n, int d) { strcpy(s, d == 40 ? "Test A" : "Test B"); return 0; }
int cuDeviceTotalMem_v2(unsigned long *n, int d) { *n = 24ul << 30; return 0; }
int cuDeviceGetAttribute(int *x, int a, int d) { *x = a == 75 ? (d == 40 ? 8 : 7) : a == 76 ? 9 : 128; return 0; }
`, init, cards)
	}
	t.Setenv("STEPFLOW_LIBCUDA", make("two", driver(0, 2)))
	cards, err := Find()
	if err != nil || len(cards) != 2 {
		t.Fatalf("%v, %v", cards, err)
	}
	if a := cards[0]; a.Name != "Test A" || a.Major != 8 || a.Minor != 9 || a.Total != 24<<30 || a.Processors != 128 || a.Driver != "12.4" || !a.Usable() || cards[1].Usable() {
		t.Errorf("%+v", cards)
	}
	for _, x := range []struct{ lib, want string }{
		{make("none", driver(100, 0)), "finds no card"},
		{make("hidden", driver(0, 0)), "CUDA_VISIBLE_DEVICES"},
		{make("mismatch", driver(803, 0)), "different versions"},
		{make("empty", "int nothing;"), "is no NVIDIA driver"},
		{filepath.Join(dir, "nowhere.so"), "no NVIDIA driver"},
	} {
		t.Setenv("STEPFLOW_LIBCUDA", x.lib)
		if _, err := Find(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", x.lib, err, x.want)
		}
	}
}

func TestErrorsTellWhatToDo(t *testing.T) {
	err := failed("running a step", errors.New("unspecified launch failure"))
	for _, part := range []string{"running a step", "unspecified launch failure", "last checkpoint"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	err = noKernels(Card{Name: "Test A", Major: 8, Driver: "11.8"}, []error{errors.New("sm_80.cubin: no kernel image"), errors.New("compute_80.ptx: unsupported PTX version")})
	for _, part := range []string{"for CUDA 11.8", "8.0 of Test A", "unsupported PTX version", "driver for CUDA 12.1 or later"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	if failed("running", nil) != nil {
		t.Error("no error became one")
	}
}

// refuser is a card that refuses during a capture what CUDA's manual forbids there, and products that are new to it.
type refuser struct {
	recorder
	capturing bool
	known     map[ProductKey]bool
}

func (r *refuser) PrepareMultiply(p *Product) error {
	if r.capturing {
		return errors.New("no heuristics on a stream that is captured")
	}
	r.known[p.Key()] = true
	return nil
}

func (r *refuser) Multiply(p *Product) error {
	if !r.known[p.Key()] {
		return errors.New("a product that was not prepared")
	}
	return nil
}

func (r *refuser) Submit(f func(Stream) error) error { return f(r) }

func (r *refuser) Capture(f func(Stream) error) (Graph, error) {
	r.capturing = true
	defer func() { r.capturing = false }()
	return nothing{}, f(r)
}

// Every product is prepared when a program is loaded, each of a kind once it runs.
func TestProductsArePreparedWhenLoaded(t *testing.T) {
	r := &refuser{known: map[ProductKey]bool{}}
	d, err := Open(r)
	if err != nil {
		t.Fatal(err)
	}
	x, y := gpu.Operand{Type: f32(64, 64)}, gpu.Operand{Offset: 1 << 14, Type: f32(64, 64)}
	l, err := d.Load(&gpu.Program{ArenaBytes: 1 << 15, Launches: []gpu.Launch{
		{Kernel: "matmul", Attrs: gpu.Attrs{Alpha: 1}, In: []gpu.Operand{x, x}, Out: []gpu.Operand{y}}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.known) != 1 {
		t.Errorf("%d products are prepared by loading, not 1", len(r.known))
	}
	for i := 0; i < 3; i++ {
		if err := l.Run(0, 1, false); err != nil {
			t.Fatal(err)
		}
	}
}

// A grid that no card takes is refused when the program is loaded, with what to do about it.
func TestGridsFit(t *testing.T) {
	x := func(batch int) gpu.Operand {
		return gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{batch, 1, 8}, DType: gpu.BF16}}
	}
	for _, c := range []struct {
		batch int
		ok    bool
	}{{65535, true}, {65536, false}} {
		q := x(c.batch)
		lse := gpu.Operand{Type: f32(c.batch, 1, 1)}
		_, err := (&binder{}).bind(&gpu.Launch{Kernel: "attention", Attrs: gpu.Attrs{Heads: 1, KVHeads: 1},
			In: []gpu.Operand{q, q, q}, Out: []gpu.Operand{q, lse}})
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "micro_batch_size") {
			t.Errorf("%d sequences at a time: %v", c.batch, err)
		}
	}
}

// What waits for ranks runs beside the stream, in order, and is waited for once it is needed.
func TestUpdatesAwaitRanks(t *testing.T) {
	r, d := device(t)
	d.comm, d.nccl = alone{}, &nccl{}
	x := func(i int) gpu.Operand { return gpu.Operand{Offset: int64(i) << 14, Type: f32(1000)} }
	sum := func(i int, deps ...int32) gpu.Launch {
		return gpu.Launch{Kernel: "all_reduce", Attrs: gpu.Attrs{Ranks: 2}, In: []gpu.Operand{x(i)}, Out: []gpu.Operand{x(i)},
			Scratch: gpu.Operand{Offset: 3 << 14, Type: f32(1 << 11)}, Deps: deps}
	}
	scale := func(i int, deps ...int32) gpu.Launch {
		return gpu.Launch{Kernel: "scale", Attrs: gpu.Attrs{Alpha: 2}, In: []gpu.Operand{x(i)}, Out: []gpu.Operand{x(i)}, Deps: deps}
	}
	l, err := d.Load(&gpu.Program{ArenaBytes: 1 << 16, Launches: []gpu.Launch{sum(0), scale(1), sum(1, 0, 1), scale(2), scale(1, 1, 2), scale(2, 3)},
		Segments: []gpu.Segment{{Name: "all", Hi: 6}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ lo, hi, beside, awaits int }{{0, 6, 2, 1}, {0, 4, 2, 1}, {1, 2, 0, 0}, {3, 6, 0, 0}} {
		r.beside, r.awaits = 0, 0
		if err := l.Run(c.lo, c.hi, false); err != nil || r.beside != c.beside || r.awaits != c.awaits {
			t.Errorf("launches %d to %d: %d beside, %d waits: %v", c.lo, c.hi, r.beside, r.awaits, err)
		}
	}
	r.beside, r.awaits = 0, 0
	if err := l.Run(0, 6, true); err != nil || r.beside != 0 || r.transfers == 0 {
		t.Errorf("timed, %d of %d transfers ran beside: %v", r.beside, r.transfers, err)
	}
}

// alone is rank 0 of two.
type alone struct{ gpu.Communicator }

func (alone) Rank() int { return 0 }
func (alone) Size() int { return 2 }
