//go:build cudaemu

package emu

import (
	"context"
	"errors"
	"fmt"
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
	dir, errs := t.TempDir(), make([]error, n)
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			c := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestRankOfProcesses$")
			c.Env = append(os.Environ(), "TEST_DO="+do, "TEST_FOLDER="+dir, fmt.Sprint("TEST_RANK=", r), fmt.Sprint("TEST_RANKS=", n))
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
	c, err := gputest.Folder(os.Getenv("TEST_FOLDER"), rank, size)
	if err != nil {
		t.Fatal(err)
	}
	switch os.Getenv("TEST_DO") {
	case "conformance":
		gputest.RunRank(t, c, func() gpu.Device { return open(t, Ascending) })
		return
	case "killed, and NCCL notices":
		c = unwatched{c}
	}
	// Rank 1 is killed after the first of many sums. The others say so, and do not take the second for one.
	l, _ := sums(t, c)
	run(t, l)
	if rank == 1 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	if err := errors.Join(l.Run(0, 1, false), l.CopyOut(make([]byte, 4*elems), operand)); err == nil {
		t.Fatal("a sum over ranks that are gone")
	} else {
		t.Fatal("as it should: ", err)
	}
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
		"killed":                   "another rank ended, or the connection to it was lost",
		"killed, and NCCL notices": "remote process exited or there was a network error",
	} {
		t.Run(do, func(t *testing.T) {
			if strings.Contains(do, "NCCL") {
				t.Setenv("STAND_IN_NOTICES", "1")
			}
			begin := time.Now()
			for r, err := range processes(t, 3, do) {
				if r != 1 && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "as it should")) {
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
		var wg sync.WaitGroup
		for r, c := range gputest.Ranks(2) {
			wg.Go(func() {
				d := New()
				set(r, d)
				dev := opened(t, d)
				errs[r] = dev.Join(c)
				memory[r] = dev.Caps().Memory
				if errs[r] != nil {
					c.Abort(errs[r])
				}
				errs[r] = errors.Join(errs[r], dev.Close())
			})
		}
		wg.Wait()
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
