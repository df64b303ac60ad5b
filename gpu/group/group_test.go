package group

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"stepflow/gpu/ranks"
)

// join opens n ranks in this process, over TCP. lost gets what each is told of a loss.
func join(t *testing.T, n int, timeout time.Duration) (list []*Group, lost []chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	list, errs := make([]*Group, n), make([]error, n)
	var wait sync.WaitGroup
	for r := range n {
		told := make(chan error, 1)
		lost = append(lost, told)
		wait.Go(func() {
			list[r], errs[r] = Open(t.Context(), World{Rank: r, Size: n, Address: at, Launcher: "a test"},
				Options{Timeout: timeout, Lost: func(_ int, err error) { told <- err }, Address: "127.0.0.1"})
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return list, lost
}

// all calls f on all ranks at once.
func all(list []*Group, f func(*Group) error) error {
	errs := make([]error, len(list))
	var wait sync.WaitGroup
	for i, g := range list {
		wait.Go(func() { errs[i] = f(g) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func TestRanksThatEndTogetherLoseNobody(t *testing.T) {
	list, lost := join(t, 3, 20*time.Second)
	err := all(list, func(g *Group) error {
		got, err := ranks.Gather(g, fmt.Sprint("of rank ", g.Rank()))
		if err == nil && strings.Join(got, ", ") != "of rank 0, of rank 1, of rank 2" {
			err = fmt.Errorf("rank %d got %v", g.Rank(), got)
		}
		return errors.Join(err, g.Close())
	})
	if err != nil {
		t.Error(err)
	}
	for r, c := range lost {
		select {
		case err := <-c:
			t.Errorf("rank %d lost one: %v", r, err)
		default:
		}
	}
}

// TestARankThatFails wants all others to learn why, wherever they are.
func TestARankThatFails(t *testing.T) {
	list, lost := join(t, 3, 20*time.Second)
	list[2].Abort(errors.New("no memory is left"))
	want := list[2].Me().String() + " ended with an error: no memory is left"
	for r, g := range list[:2] {
		if err := <-lost[r]; err.Error() != want {
			t.Errorf("rank %d was told %q, want %q", r, err, want)
		}
		if err := g.Broadcast(2, make([]byte, 1)); err == nil || err.Error() != want {
			t.Errorf("an operation of rank %d gives %v", r, err)
		}
	}
	for _, g := range list {
		g.Close()
	}
}

// TestARankThatGoesSilent cuts a rank off: it neither says anything nor hangs up.
func TestARankThatGoesSilent(t *testing.T) {
	list, lost := join(t, 3, 300*time.Millisecond)
	close(list[1].watch.ended) // it says and hears nothing any more
	want := list[1].Me().String() + " has not been heard of for 300ms: it is stopped, or cut off from the network"
	for _, r := range []int{0, 2} {
		if err := <-lost[r]; err.Error() != want {
			t.Errorf("rank %d was told %q, want %q", r, err, want)
		}
	}
}

// TestARankThatIsKilled closes its connections, as the system does for a process that ends.
func TestARankThatIsKilled(t *testing.T) {
	list, lost := join(t, 3, 20*time.Second)
	list[0].watch.end()
	want := list[0].Me().String() + " ended without a word: it was killed, or its machine is gone"
	for _, r := range []int{1, 2} {
		if err := <-lost[r]; err.Error() != want {
			t.Errorf("rank %d was told %q, want %q", r, err, want)
		}
	}
}

func TestWorlds(t *testing.T) {
	for _, x := range []struct{ env, want string }{
		{"", "0/1"},
		{"OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_LOCAL_RANK=1 SLURM_STEP_NUM_TASKS=1 SLURM_PROCID=0 SLURM_STEP_ID=0",
			"2/4 local 1 mpi by mpirun of Open MPI"},
		{"SLURM_STEP_NUM_TASKS=3 SLURM_PROCID=2 SLURM_LOCALID=0 SLURM_STEP_ID=1", "2/3 local 0 mpi by srun"},
		{"SLURM_STEP_NUM_TASKS=3 SLURM_PROCID=0", "0/1"}, // a batch script
		{"PMI_SIZE=2 PMI_RANK=1 MPI_LOCALRANKID=1", "1/2 local 1 mpi by mpiexec of MPICH"},
		{"OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=0", "0/1"},
		{"RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 MASTER_ADDR=node1 MASTER_PORT=29500",
			"1/2 local 1 at node1:29500 by the variables RANK and WORLD_SIZE"},
		{"RANK=1 WORLD_SIZE=2 MASTER_ADDR=::1 MASTER_PORT=29500 TORCHELASTIC_USE_AGENT_STORE=True",
			"1/2 local 0 at [::1]:29501 by the variables RANK and WORLD_SIZE"},
		{"RANK=7", "0/1"}, // whatever that is
		{"RANK=1 WORLD_SIZE=2", "RANK and WORLD_SIZE are set, and MASTER_ADDR is not: it names the host of rank 0"},
		{"RANK=1 WORLD_SIZE=2 MASTER_ADDR=a", `MASTER_PORT is "", and should be the number of a port at which rank 0 can listen`},
		{"RANK=2 WORLD_SIZE=2", "RANK is 2 and WORLD_SIZE is 2: ranks count from 0"},
		{"RANK=x WORLD_SIZE=2", `RANK is "x", and should be a number`},
	} {
		env := map[string]string{}
		for _, s := range strings.Fields(x.env) {
			name, value, _ := strings.Cut(s, "=")
			env[name] = value
		}
		w, err := FromEnvironment(func(name string) string { return env[name] })
		got := fmt.Sprintf("%d/%d", w.Rank, w.Size)
		switch {
		case err != nil:
			got = err.Error()
		case w.Size > 1 && w.MPI:
			got += fmt.Sprintf(" local %d mpi by %s", w.LocalRank, w.Launcher)
		case w.Size > 1:
			got += fmt.Sprintf(" local %d at %s by %s", w.LocalRank, w.Address, w.Launcher)
		}
		if got != x.want {
			t.Errorf("%s:\n%s, want\n%s", x.env, got, x.want)
		}
	}
}
