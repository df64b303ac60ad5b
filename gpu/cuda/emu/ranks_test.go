//go:build cudaemu

package emu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
	"stepflow/gpu/group"
)

// standIn builds what stands in for NCCL and has it found.
func standIn(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("driver/nccl.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("STEPFLOW_NCCL_LIBRARY", filepath.Join(dir, "libnccl.so.2"))
}

// The collectives of ranks that are goroutines, each with a card of its own.
func TestCUDARanks(t *testing.T) {
	standIn(t)
	gputest.RunRanks(t, func() gpu.Device { return open(t, 12345) })
}

// The collectives of ranks that are processes.
func TestCUDAProcesses(t *testing.T) {
	standIn(t)
	for _, n := range []int{2, 4} {
		for r, err := range processes(t, n, "conformance") {
			if err != nil {
				t.Errorf("rank %d of %d: %v", r, n, err)
			}
		}
	}
}

// processes runs this test's program n times, as ranks that do one thing, and returns what became of each.
func processes(t *testing.T, n int, do string) []error {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, errs := l.Addr().String(), make([]error, n)
	l.Close()
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			c := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestRankOfProcesses$")
			c.Env = append(os.Environ(), "TEST_DO="+do, "TEST_ADDRESS="+address, fmt.Sprint("TEST_RANK=", r), fmt.Sprint("TEST_RANKS=", n))
			if out, err := c.CombinedOutput(); err != nil {
				errs[r] = fmt.Errorf("%w: %s", err, out)
			}
		})
	}
	wg.Wait()
	return errs
}

// TestRankOfProcesses is what each of the processes runs.
func TestRankOfProcesses(t *testing.T) {
	rank, err := strconv.Atoi(os.Getenv("TEST_RANK"))
	if err != nil {
		t.Skip("it is run by others")
	}
	size, _ := strconv.Atoi(os.Getenv("TEST_RANKS"))
	g, err := group.Open(t.Context(), group.World{Rank: rank, Size: size, Launcher: "the test", Address: os.Getenv("TEST_ADDRESS"), Key: "key"},
		group.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var c gpu.Communicator = g
	switch os.Getenv("TEST_DO") {
	case "conformance":
		gputest.RunRank(t, c, func() gpu.Device { return open(t, Ascending) })
		return
	case "killed, and NCCL notices":
		c = unwatched{c}
	}
	// Rank 1 is killed after its first sum. The others do not take the second for one.
	l, _ := sums(t, c)
	run(t, l)
	if rank == 1 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	run(t, l)
}

// unwatched is a communicator that does not notice by itself that ranks are gone.
type unwatched struct{ gpu.Communicator }

const elems = 1000

var operand = gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{elems}, DType: gpu.F32}}

// sums loads a program of one sum over ranks.
func sums(t *testing.T, c gpu.Communicator) (gpu.Loaded, gpu.Device) {
	d := open(t, Ascending)
	if err := d.Join(c); err != nil {
		t.Fatal(err)
	}
	l, err := d.Load(&gpu.Program{ArenaBytes: 1 << 16, Launches: []gpu.Launch{{Kernel: "all_reduce", Attrs: gpu.Attrs{Ranks: c.Size()},
		In: []gpu.Operand{operand}, Out: []gpu.Operand{operand}, Scratch: gpu.Operand{Offset: 1 << 13, Type: gpu.Type{Shape: gpu.Shape{1 << 11}, DType: gpu.F32}}}},
		Segments: []gpu.Segment{{Name: "all", Hi: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	return l, d
}

func run(t *testing.T, l gpu.Loaded) {
	t.Helper()
	if err := errors.Join(l.Run(0, 1, false), l.CopyOut(make([]byte, 4*elems), operand)); err != nil {
		t.Fatal(err)
	}
}

// A rank that is killed ends the others at once, whether the communicator or NCCL notices.
func TestCUDARankKilled(t *testing.T) {
	standIn(t)
	for do, want := range map[string]string{
		"killed":                   "ended without a word: it was killed, or its machine is gone",
		"killed, and NCCL notices": "remote process exited or there was a network error",
	} {
		t.Run(do, func(t *testing.T) {
			if strings.Contains(do, "NCCL") {
				t.Setenv("STAND_IN_NOTICES", "1")
			}
			begin := time.Now()
			for r, err := range processes(t, 3, do) {
				if r != 1 && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("rank %d: %v", r, err)
				}
			}
			t.Log("the ranks ended after ", time.Since(begin))
		})
	}
}

// Stop ends a sum that waits for a rank that does not come.
func TestCUDARankStopped(t *testing.T) {
	standIn(t)
	comms := gputest.Ranks(2)
	other := make(chan gpu.Device)
	go func() {
		_, d := sums(t, comms[1])
		other <- d
	}()
	l, d := sums(t, comms[0])
	time.AfterFunc(20*time.Millisecond, l.Stop)
	if err := l.Run(0, 1, false); !errors.Is(err, gpu.ErrStopped) {
		t.Errorf("Run: %v", err)
	}
	if err := l.CopyOut(make([]byte, 4*elems), operand); !errors.Is(err, gpu.ErrStopped) {
		t.Errorf("CopyOut: %v", err)
	}
	if err := l.Run(0, 1, false); !errors.Is(err, gpu.ErrStopped) {
		t.Errorf("Run: %v", err)
	}
	l.Close()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	comms[0].Abort(errors.New("stopped"))
	<-other
}

// Ranks that cannot join say why, on every rank; those that do have the least memory of all.
func TestCUDARanksJoin(t *testing.T) {
	standIn(t)
	join := func(set func(rank int, d *Driver)) (memory [2]int64, errs [2]error) {
		errs = together(func(r int, c gpu.Communicator) error {
			d := New()
			set(r, d)
			dev := opened(t, d)
			err := dev.Join(c)
			memory[r] = dev.Caps().Memory
			if err != nil {
				c.Abort(err)
			}
			return errors.Join(err, dev.Close())
		})
		return memory, errs
	}
	memory, errs := join(func(r int, d *Driver) { d.Memory -= int64(r) << 20 })
	if errs != [2]error{} || memory[0] != memory[1] || memory[0] != opened(t, New()).Caps().Memory-1<<20 {
		t.Errorf("memory %v, errors %v", memory, errs)
	}
	t.Run("an old version", func(t *testing.T) {
		t.Setenv("STAND_IN_NCCL_VERSION", "21000")
		if _, errs := join(func(int, *Driver) {}); errs[0] == nil || !strings.Contains(errs[0].Error(), "is NCCL 2.10.0, and NCCL 2.14.0 or later is needed") {
			t.Error(errs)
		}
	})
	t.Run("no library", func(t *testing.T) {
		t.Setenv("STEPFLOW_NCCL_LIBRARY", "/nowhere/libnccl.so.2")
		if _, errs := join(func(int, *Driver) {}); errs[1] == nil || !strings.Contains(errs[1].Error(), "NCCL cannot be loaded from STEPFLOW_NCCL_LIBRARY: /nowhere/libnccl.so.2") {
			t.Error(errs)
		}
	})
}

// Launches go on while others wait for ranks, up to those that need them: in any order, as graphs too, the values are those of one
// after the other.
func TestCUDARanksBesideOthers(t *testing.T) {
	standIn(t)
	at := func(i int) gpu.Operand {
		return gpu.Operand{Offset: int64(i) << 13, Type: operand.Type}
	}
	scale := func(by float64, x, y gpu.Operand, deps ...int32) gpu.Launch {
		return gpu.Launch{Kernel: "scale", Attrs: gpu.Attrs{Alpha: by}, In: []gpu.Operand{x}, Out: []gpu.Operand{y}, Deps: deps}
	}
	over := func(kernel string, x, y gpu.Operand, deps ...int32) gpu.Launch {
		l := gpu.Launch{Kernel: kernel, Attrs: gpu.Attrs{Ranks: 2}, In: []gpu.Operand{x}, Out: []gpu.Operand{y}, Deps: deps}
		if kernel != "bcast" {
			l.Scratch = gpu.Operand{Offset: 1 << 16, Type: gpu.Type{Shape: gpu.Shape{1 << 11}, DType: gpu.F32}}
		}
		return l
	}
	add := func(x, y, z gpu.Operand, deps ...int32) gpu.Launch {
		return gpu.Launch{Kernel: "add", In: []gpu.Operand{x, y}, Out: []gpu.Operand{z}, Deps: deps}
	}
	a, b, c, e, f := at(0), at(1), at(2), at(3), at(4)
	p := &gpu.Program{ArenaBytes: 1<<16 + 1<<13, Launches: []gpu.Launch{
		scale(2, a, a),                   // 0: a = 2
		over("all_reduce", a, b, 0),      // 1: b = 2+4, beside
		scale(5, c, c),                   // 2: c = 5, meanwhile
		over("reduce", c, e, 1, 2),       // 3: e = 5+10 on rank 0, beside, with the scratch of 1
		scale(3, a, a, 0, 1),             // 4: a = 6, which 1 reads
		add(a, b, f, 1, 4),               // 5: f = 12
		scale(7, c, c, 2, 3),             // 6: c = 35, which 3 reads
		add(e, f, f, 3, 5), add(f, b, f), // 7: f = 27; 8, in another segment: f = 33
		over("bcast", f, a), add(a, f, f), // 9: a = 33; 10: f = 66
	}, Segments: []gpu.Segment{{Name: "one", Hi: 8}, {Name: "two", Lo: 8, Hi: 9}, {Name: "three", Lo: 9, Hi: 11}}}
	p.Launches[10].Deps = []int32{0}
	for _, order := range []uint64{Ascending, Descending} {
		for r, err := range together(func(rank int, comm gpu.Communicator) error {
			d := open(t, order)
			if err := d.Join(comm); err != nil {
				return err
			}
			l, err := d.Load(p)
			if err != nil {
				return err
			}
			for n := range 3 {
				ones := make([]float32, elems)
				for i := range ones {
					ones[i] = float32(rank + 1)
				}
				err := errors.Join(l.CopyIn(a, gpu.Float32Bytes(ones, gpu.F32)), l.CopyIn(c, gpu.Float32Bytes(ones, gpu.F32)), l.Run(0, 11, false))
				got := make([]byte, 4*elems)
				if err = errors.Join(err, l.CopyOut(got, f)); err != nil {
					return err
				}
				want := []float32{66, 33 + 34}[rank] // e is 15 on rank 0 and 10 on rank 1, whose a is 12
				if v := gpu.BytesFloat32(got, gpu.F32); v[0] != want || v[elems-1] != want {
					return fmt.Errorf("run %d: %v and %v, not %v", n, v[0], v[elems-1], want)
				}
			}
			return errors.Join(l.Close(), d.Close())
		}) {
			if err != nil {
				t.Errorf("order %d, rank %d: %v", order, r, err)
			}
		}
	}
}

// together runs f as two ranks.
func together(f func(rank int, c gpu.Communicator) error) (errs [2]error) {
	var wg sync.WaitGroup
	for r, c := range gputest.Ranks(2) {
		wg.Go(func() {
			if errs[r] = f(r, c); errs[r] != nil {
				c.Abort(errs[r])
			}
		})
	}
	wg.Wait()
	return errs
}
