//go:build cuda

package cuda

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gorgonia.org/cu"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
)

// Alone, a card needs no NCCL.
func TestCardRankAlone(t *testing.T) {
	t.Setenv("STEPFLOW_NCCL_LIBRARY", "/nowhere/libnccl.so.2")
	gputest.RunRank(t, gputest.Ranks(1)[0], oneCard(t))
}

// The collectives of up to four processes, each with a card of its own, or with an emulated one.
func TestCardRanks(t *testing.T) {
	n, err := cu.NumDevices()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := cu.GetDevice(0); err == nil {
		if name, _ := d.Name(); strings.HasPrefix(name, "emulated card") {
			n = 3
		}
	}
	if n = min(n, 4); n < 2 {
		t.Skip("there is one card: NCCL takes one for each rank")
	}
	for _, ranks := range slices.Compact([]int{2, n}) {
		t.Run(fmt.Sprint(ranks, " ranks"), func(t *testing.T) { processes(t, ranks) })
	}
}

// processes runs this test's program once a rank.
func processes(t *testing.T, ranks int) {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	dir := t.TempDir()
	var wg sync.WaitGroup
	for r := range ranks {
		wg.Go(func() {
			c := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.run", "^TestCardRankOfProcesses$")
			c.Env = append(os.Environ(), "TEST_FOLDER="+dir, fmt.Sprint("TEST_RANK=", r), fmt.Sprint("TEST_RANKS=", ranks))
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("rank %d of %d: %v: %s", r, ranks, err, out)
			}
		})
	}
	wg.Wait()
}

// TestCardRankOfProcesses is what each of the processes runs.
func TestCardRankOfProcesses(t *testing.T) {
	rank, err := strconv.Atoi(os.Getenv("TEST_RANK"))
	if err != nil {
		t.Skip("it is run by TestCardRanks")
	}
	size, _ := strconv.Atoi(os.Getenv("TEST_RANKS"))
	c, err := gputest.Folder(os.Getenv("TEST_FOLDER"), rank, size)
	if err != nil {
		t.Fatal(err)
	}
	gputest.RunRank(t, c, func() gpu.Device {
		n, err := cu.NumDevices()
		if err != nil {
			t.Fatal(err)
		}
		driver, err := OpenCard(min(rank, n-1))
		if err != nil {
			t.Fatal(err)
		}
		d, err := Open(driver)
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}
