//go:build linux

package mpi

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/gputest"
)

// asRank is the environment variable that makes a test run as one of the ranks.
const asRank = "STEPFLOW_MPI_TEST"

// under runs a test of this binary as ranks of mpirun and returns what they print.
func under(t testing.TB, ranks int, run string, env ...string) (string, error) {
	t.Helper()
	mpirun := os.Getenv("STEPFLOW_MPIRUN")
	if mpirun == "" {
		mpirun = "mpirun"
	}
	if _, err := exec.LookPath(mpirun); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v: these tests need an MPI, such as Debian's openmpi-bin", err)
	}
	args := []string{"-n", strconv.Itoa(ranks)}
	if version, _ := exec.Command(mpirun, "--version").Output(); bytes.Contains(version, []byte("Open MPI")) {
		args = append(args, "--allow-run-as-root", "--oversubscribe")
	}
	c := exec.Command(mpirun, append(args, os.Args[0], run, "-test.v=true", "-test.timeout=2m")...)
	c.Env = append(append(os.Environ(), asRank+"=1"), env...)
	out, err := c.CombinedOutput()
	return string(out), err
}

// joined opens the communicator of a rank.
func joined(t *testing.T) gpu.Communicator {
	t.Helper()
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func closed(t *testing.T, c gpu.Communicator) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	fmt.Printf("rank %d of %d has ended: %s\n", c.Rank(), c.Size(), c.Name())
}

// TestRanks moves bytes between 2, 3 and 4 processes, and runs the collectives of the CPU device over them.
func TestRanks(t *testing.T) {
	if os.Getenv(asRank) == "" {
		for _, n := range []int{2, 3, 4} {
			out, err := under(t, n, "-test.run=^TestRanks$")
			if err != nil {
				t.Fatalf("%d ranks: %v\n%s", n, err, out)
			}
			for r := range n {
				if want := fmt.Sprintf("rank %d of %d has ended", r, n); strings.Count(out, want) != 1 {
					t.Errorf("%d ranks: it does not say once %q:\n%s", n, want, out)
				}
			}
			if want := os.Getenv("STEPFLOW_MPI_WANT"); !strings.Contains(out, "has ended: "+want) {
				t.Errorf("they do not run %q:\n%s", want, out)
			}
		}
		return
	}
	c := joined(t)
	if _, err := Open(); err == nil {
		t.Error("MPI was opened a second time")
	}
	sleeps(t, c)
	exchanges(t, c)
	broadcasts(t, c)
	send, recv, whole := [][]byte{{1}, {2}, {3}, {4}}, [][]byte{{0}, {0}, {0}, {0}}, make([]byte, 1<<16)
	if n := testing.AllocsPerRun(10, func() {
		if err := errors.Join(c.Exchange(send[:c.Size()], recv[:c.Size()]), c.Broadcast(0, whole)); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("rank %d: an exchange and a broadcast allocate %v times", c.Rank(), n)
	}
	gputest.RunRank(t, c, func() gpu.Device {
		d, err := cpu.Open(1, "")
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
	closed(t, c)
	if err := c.Broadcast(0, make([]byte, 1)); err == nil {
		t.Error("a broadcast after the end succeeded")
	}
	if err := c.Close(); err != nil {
		t.Error("a second Close:", err)
	}
}

// sleeps has rank 0 wait for the others, which it does without using its processor all the time.
func sleeps(t *testing.T, c gpu.Communicator) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	const long = 400 * time.Millisecond
	before := used()
	if c.Rank() != 0 {
		time.Sleep(long)
	}
	together(t, c)
	if n := used() - before; n > long/2 {
		t.Errorf("rank %d used its processor for %v while it waited for %v", c.Rank(), n, long)
	}
}

// together returns when all ranks have called it.
func together(t *testing.T, c gpu.Communicator) {
	t.Helper()
	send, recv := make([][]byte, c.Size()), make([][]byte, c.Size())
	for r := range send {
		send[r], recv[r] = []byte{1}, []byte{0}
	}
	if err := c.Exchange(send, recv); err != nil {
		t.Fatal(err)
	}
}

// message is what rank from sends to rank to in round i.
func message(i, from, to, n int) []byte {
	b := make([]byte, n)
	s := rand.NewPCG(uint64(i), uint64(from<<16|to))
	for at := 0; at < n; at += 8 {
		x := s.Uint64()
		for j := at; j < min(n, at+8); j++ {
			b[j], x = byte(x), x>>8
		}
	}
	return b
}

func exchanges(t *testing.T, c gpu.Communicator) {
	rnd := rand.New(rand.NewPCG(uint64(c.Size()), 1)) // the same on all ranks
	kinds := []int{0, 1, 100, 5000, 300_000, 2 << 20}
	for i := range 40 {
		lengths := make([]int, c.Size()*c.Size())
		for j := range lengths {
			if lengths[j] = kinds[rnd.IntN(len(kinds))]; lengths[j] > 1 {
				lengths[j] = rnd.IntN(lengths[j])
			}
		}
		if i == 0 {
			clear(lengths)
		}
		if i == 39 && c.Size() == 2 {
			lengths[1], lengths[c.Size()] = 65<<20+3, 64<<20+1 // between ranks 0 and 1
		}
		func() {
			if i == 38 { // as if counts had fewer bits
				defer func(was int) { most = was }(most)
				most = 20_000
			}
			send, recv, want := make([][]byte, c.Size()), make([][]byte, c.Size()), make([][]byte, c.Size())
			for r := range send {
				out, in := lengths[c.Rank()*c.Size()+r], lengths[r*c.Size()+c.Rank()]
				send[r], want[r], recv[r] = message(i, c.Rank(), r, out), message(i, r, c.Rank(), in), make([]byte, in)
			}
			if i%2 == 1 {
				recv[c.Rank()] = send[c.Rank()]
			}
			if err := c.Exchange(send, recv); err != nil {
				t.Fatal(err)
			}
			for r := range recv {
				if !bytes.Equal(recv[r], want[r]) {
					t.Fatalf("round %d: rank %d received other bytes from rank %d, of %d", i, c.Rank(), r, len(want[r]))
				}
			}
		}()
	}
}

func broadcasts(t *testing.T, c gpu.Communicator) {
	for i, n := range []int{0, 1, 4096, 100_001, 9 << 20} {
		for root := range c.Size() {
			want := message(i, root, 0, n)
			b := make([]byte, n)
			if c.Rank() == root {
				copy(b, want)
			}
			if err := c.Broadcast(root, b); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, want) {
				t.Fatalf("rank %d has other bytes of rank %d, of %d", c.Rank(), root, n)
			}
		}
	}
}

// TestFailures has a rank fail while another waits for it, in each way that a rank can fail.
func TestFailures(t *testing.T) {
	const why = "there is no room for the logits"
	kinds := map[string]string{
		"abort":     "rank 0 knows: rank 1 ended: " + why,
		"own":       "rank 0 knows: rank 0 ended: interrupted", // from another goroutine of the rank that waits
		"lengths":   "rank 0 knows: .*the ranks do not run the same program",
		"broadcast": "rank 0 knows: .*rank . broadcasts . bytes, and rank . expects .: the ranks do not run the same program",
	}
	if os.Getenv(asRank) == "" {
		for kind, want := range kinds {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				out, err := under(t, 2, "-test.run=^TestFailures$", "KIND="+kind)
				if err == nil || !regexp.MustCompile(want).MatchString(out) {
					t.Errorf("%v, and rank 0 does not say %q:\n%s", err, want, out)
				}
			})
		}
		return
	}
	c := joined(t)
	kind := os.Getenv("KIND")
	n := 1
	if c.Rank() == 1 {
		switch kind {
		case "lengths", "broadcast":
			n = 2
		case "abort":
			time.Sleep(200 * time.Millisecond)
			c.Abort(errors.New(why))
		case "own":
			select {} // until mpirun ends it
		}
	} else if kind == "own" {
		time.AfterFunc(200*time.Millisecond, func() { c.Abort(errors.New("interrupted")) })
	}
	b := [][]byte{make([]byte, n), make([]byte, n)}
	var err error
	if kind == "broadcast" {
		if err = c.Broadcast(1, b[0]); c.Rank() == 1 { // which sends before it knows
			err = c.Broadcast(0, b[0])
		}
	} else {
		err = c.Exchange(b, [][]byte{make([]byte, n), make([]byte, n)})
	}
	if err == nil {
		t.Error("an exchange with a rank that failed succeeded")
	}
	if again := c.Exchange(b, b); again == nil {
		t.Error("the exchange after it succeeded")
	}
	fmt.Printf("rank %d knows: %v\n", c.Rank(), err)
	c.Abort(err)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if c.Rank() == 0 || kind == "abort" {
		time.Sleep(300 * time.Millisecond) // so that the other can say what it knows
	}
	os.Exit(1)
}

// TestNoLibrary asks for what there is none of.
func TestNoLibrary(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"/nowhere/libmpi.so", "the MPI library that STEPFLOW_MPI_LIBRARY names cannot be used"},
		{"libm.so.6", "it has no MPI_"},
	} {
		t.Setenv(Library, c.path)
		if _, err := load(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
	defer func(a, b []string) { openMPINames, mpichNames = a, b }(openMPINames, mpichNames)
	openMPINames, mpichNames = []string{"libmpi_none.so.40"}, nil
	t.Setenv(Library, "")
	_, err := load()
	if err == nil || !strings.Contains(err.Error(), "no MPI library was found (looked for libmpi_none.so.40). Install one: `apt install openmpi-bin`") {
		t.Error(err)
	}
}

func TestShortVersion(t *testing.T) {
	for text, want := range map[string]string{
		"Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022":  "Open MPI 4.1.4",
		"MPICH Version:      4.0.2\nMPICH Release date: Thu Apr  7 12:34:45 CDT 2022\nMPICH ABI:": "MPICH 4.0.2",
		"Intel(R) MPI Library 2021.8 for Linux* OS\n":                                             "Intel(R) MPI Library 2021.8",
		"MPI VERSION    : CRAY MPICH version 8.1.25.17 (ANL base 3.4a2)\n":                        "CRAY MPICH 8.1.25.17",
		"something else\nand more": "something else",
	} {
		if got := shortVersion(text); got != want {
			t.Errorf("%q is %q, not %q", text, got, want)
		}
	}
}
