package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"stepflow/gpu"
	"stepflow/gpu/group"
)

// openRanks makes the process one of several ranks, where a launcher started it as one.
func (a *app) openRanks() error {
	w, err := group.FromEnvironment(os.Getenv)
	if err != nil || w.Size == 1 {
		return err
	}
	kind, _, err := a.which()
	if err != nil {
		return err
	}
	if kind == "cuda" { // another program goes on from here, which opens its own
		if _, err := a.openDevice(); err != nil {
			return err
		}
	} else if !w.MPI && os.Getenv(slowVariable) == "" {
		return fmt.Errorf("RANK and WORLD_SIZE start ranks without MPI, which is for cards: on the CPU, MPI moves what the ranks "+
			"exchange. Start them with mpirun or srun, or give -ranks on one machine. %s=1 sends all of it through rank 0, which is slow",
			slowVariable)
	}
	timeout, err := rankTimeout()
	if err != nil {
		return err
	}
	a.ranks, err = group.Open(a.ctx, w, group.Options{MPI: openMPI, Timeout: timeout, Address: os.Getenv(group.AddressVariable),
		Lost: a.rankLost, Interrupt: a.interrupt.signal})
	if err == nil && a.opened != nil {
		err = a.opened.Join(a.ranks)
	}
	return err
}

// slowVariable allows collectives of the CPU over TCP, for tests and where there is no MPI.
const slowVariable = "STEPFLOW_RANKS_TCP"

// rankTimeout reads after what time a rank that is silent is given up.
func rankTimeout() (time.Duration, error) {
	s := os.Getenv(group.TimeoutVariable)
	if s == "" || s == "0" {
		return map[string]time.Duration{"": time.Minute}[s], nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return 0, fmt.Errorf("%s is %q; it takes a duration of at least 1s, such as 30s, or 0 to watch no rank", group.TimeoutVariable, s)
	}
	return d, nil
}

// rankLost ends the run when a rank is lost. What runs gets errors of its exchanges; what exchanges nothing is cancelled; and what
// does not end by itself is ended.
func (a *app) rankLost(err error) {
	a.cancel()
	time.AfterFunc(lostMoment, func() {
		os.Exit(a.fail(err))
	})
}

// lostMoment is how long a process may take to end after a rank was lost.
const lostMoment = 20 * time.Second

// closeRanks ends this rank's part in the run with an exit code.
func (a *app) closeRanks(code int) int {
	if a.ranks == nil {
		return code
	}
	if code != exitOK && a.ranks.Lost() == nil {
		a.ranks.Abort(cmp.Or(a.failed, errors.New("see what it printed")))
	}
	if err := a.ranks.Close(); err != nil && code == exitOK {
		return a.fail(err)
	}
	return code
}

// deviceThreads is the number of threads of the CPU device: what -threads says, or else the processors that the ranks of this
// machine share.
func (a *app) deviceThreads() int {
	if a.threads > 0 || a.ranks == nil {
		return a.threads
	}
	n := runtime.GOMAXPROCS(0)
	if n < runtime.NumCPU() || a.ranks.Local() == 1 { // the launcher bound this process to some
		return n
	}
	return max(1, n/a.ranks.Local())
}

// openMPI opens MPI's communicator.
func openMPI() (gpu.Communicator, error) {
	return nil, errors.New("there is no MPI in this build")
}
