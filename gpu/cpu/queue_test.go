package cpu

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
)

// summed is a program of a number of ranks: s = all_reduce(x), y = x x beside it, and z = s + x.
func summed(t *testing.T, ranks int) (*gpu.Program, []gpu.Operand) {
	t.Helper()
	typ := gpu.Type{Shape: gpu.Shape{1000}, DType: gpu.F32}
	at := func(i int) gpu.Operand { return gpu.Operand{Offset: int64(4096 * i), Type: typ} }
	x, s, y, z := at(0), at(1), at(2), at(3)
	sum := gpu.Launch{Kernel: "all_reduce", Name: "layers.0", Attrs: gpu.Attrs{Ranks: ranks}, In: []gpu.Operand{x}, Out: []gpu.Operand{s}}
	n := gpu.Lookup("all_reduce").Scratch(sum.Attrs, []gpu.Type{typ}, nil)
	sum.Scratch = gpu.Operand{Offset: 4 * 4096, Type: gpu.Type{Shape: gpu.Shape{int(n / 4)}, DType: gpu.F32}}
	return &gpu.Program{ArenaBytes: 4*4096 + n, Segments: []gpu.Segment{{Name: "all", Hi: 3}}, Launches: []gpu.Launch{
		sum,
		{Kernel: "mul", In: []gpu.Operand{x, x}, Out: []gpu.Operand{y}},
		{Kernel: "add", In: []gpu.Operand{s, x}, Out: []gpu.Operand{z}, Deps: []int32{0}},
	}}, []gpu.Operand{x, s, y, z}
}

// onRanks loads the program for each rank.
func onRanks(t *testing.T, ranks []gpu.Communicator) ([]gpu.Loaded, []gpu.Operand) {
	t.Helper()
	p, operands := summed(t, len(ranks))
	var list []gpu.Loaded
	for _, c := range ranks {
		d := open(t, 1, "")
		if err := d.Join(c); err != nil {
			t.Fatal(err)
		}
		l, err := d.Load(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		list = append(list, l)
	}
	return list, operands
}

// TestCollectivesRunBeside has a collective wait for a launch that comes after it, and another launch wait for it.
func TestCollectivesRunBeside(t *testing.T) {
	list, o := onRanks(t, gputest.Ranks(2))
	for _, l := range list {
		ran := make(chan struct{}, 1)
		l := l.(*loaded)
		product := l.runs[1]
		l.runs[1] = func() {
			product()
			ran <- struct{}{}
		}
		sum := l.queue.run[0]
		l.queue.run[0] = func() error {
			select {
			case <-ran:
				return sum()
			case <-time.After(20 * time.Second):
				return errors.New("nothing ran beside the collective")
			}
		}
	}
	var wg sync.WaitGroup
	for r, l := range list {
		x := make([]float32, 1000)
		for i := range x {
			x[i] = float32(i + 1000*r)
		}
		if err := l.CopyIn(o[0], gpu.Float32Bytes(x, gpu.F32)); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range 2 {
				if err := l.Run(0, 3, true); err != nil {
					t.Error(err)
					return
				}
			}
			z := make([]byte, 4000)
			if err := l.CopyOut(z, o[3]); err != nil {
				t.Error(err)
			}
			for i, z := range gpu.BytesFloat32(z, gpu.F32) {
				if want := float32(i+i+1000) + x[i]; z != want {
					t.Errorf("rank %d: element %d is %v, not %v", r, i, z, want)
					break
				}
			}
			timings, _ := l.Sync()
			var order []int
			for _, x := range timings {
				order = append(order, x.Launch)
			}
			if !slices.Equal(order, []int{0, 1, 2, 0, 1, 2}) {
				t.Errorf("rank %d: timings of launches %v", r, order)
			}
		})
	}
	wg.Wait()
}

// empty moves nothing, for two ranks, this one the first.
type empty struct{}

func (empty) Rank() int                          { return 0 }
func (empty) Size() int                          { return 2 }
func (empty) Name() string                       { return "nothing" }
func (empty) Exchange(send, recv [][]byte) error { return nil }
func (empty) Broadcast(int, []byte) error        { return nil }
func (empty) Abort(error)                        {}
func (empty) Close() error                       { return nil }

func TestCollectivesAllocateNothing(t *testing.T) {
	list, _ := onRanks(t, []gpu.Communicator{empty{}, empty{}})
	if n := testing.AllocsPerRun(20, func() {
		if err := list[0].Run(0, 3, false); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a run allocates %v times", n)
	}
}

// TestFailedCollectives has a rank end while another waits for it, by a failure and by Stop.
func TestFailedCollectives(t *testing.T) {
	for _, stop := range []bool{false, true} {
		ranks := gputest.Ranks(2)
		list, _ := onRanks(t, ranks)
		time.AfterFunc(20*time.Millisecond, func() {
			if stop {
				list[0].Stop()
			} else {
				ranks[1].Abort(errors.New("no room"))
			}
		})
		for range 2 {
			err := list[0].Run(0, 3, false)
			if stop && !errors.Is(err, gpu.ErrStopped) {
				t.Errorf("after Stop: %v", err)
			}
			if want := "rank 0: all_reduce layers.0: rank 1 ended\nno room"; !stop && (err == nil || !strings.HasPrefix(err.Error(), want)) {
				t.Errorf("%v, not %s", err, want)
			}
		}
		if err := list[1].Run(0, 3, false); err == nil {
			t.Error("the other rank's run succeeded")
		}
	}
}
