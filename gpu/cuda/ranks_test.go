//go:build cuda

package cuda

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gorgonia.org/cu"

	"stepflow/gpu/gputest"
	meeting "stepflow/gpu/group" // the package has another group
)

// Alone, a card needs no NCCL.
func TestCardRankAlone(t *testing.T) {
	t.Setenv("STEPFLOW_NCCL_LIBRARY", "/nowhere/libnccl.so.2")
	open := oneCard(t)
	t.Run("1 rank", func(t *testing.T) { gputest.RunRank(t, gputest.Ranks(1)[0], open) })
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	var wg sync.WaitGroup
	for r := range ranks {
		wg.Go(func() {
			c := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.run", "^TestCardRankOfProcesses$")
			c.Env = append(os.Environ(), "TEST_ADDRESS="+address, fmt.Sprint("TEST_RANK=", r), fmt.Sprint("TEST_RANKS=", ranks))
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
	g, err := meeting.Open(t.Context(), meeting.World{Rank: rank, Size: size, Launcher: "the test", Address: os.Getenv("TEST_ADDRESS"), Key: "key"},
		meeting.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	gputest.RunRank(t, g, oneCardOf(t, rank))
}
