package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"stepflow/gpu/cuda"
	"stepflow/gpu/group"
	"stepflow/gpu/mpi"
	"stepflow/runtime/apply"
	"stepflow/runtime/plan"
	"stepflow/tracing"
)

// ranked adds the flags of commands that several processes may run together.
func ranked(a *app, f *flag.FlagSet) {
	f.IntVar(&a.wanted, "ranks", 0, "start this many processes on this machine, which train together; mpirun and srun start them on "+
		"several")
	f.BoolVar(&a.allowMixed, "allow-mixed", false, "let ranks run on processors or cards of different kinds, whose last bits may differ")
}

// asRanks runs a command: in this process alone, as one of several ranks that a launcher started, or in ranks that it starts
// itself.
func (a *app) asRanks(f func() int) int {
	w, err := group.FromEnvironment(os.Getenv)
	switch {
	case err != nil:
		return a.fail(err)
	case a.wanted < 0:
		return a.misuse("-ranks is at least 1, not %d", a.wanted)
	case w.Size > 1 && a.wanted > 0 && a.wanted != w.Size:
		return a.misuse("-ranks is %d, and %s has started %d processes: leave out -ranks, which starts processes itself", a.wanted,
			w.Launcher, w.Size)
	case w.Size == 1 && a.wanted > 1:
		return a.launch(a.wanted)
	case w.Size == 1:
		return f()
	}
	if err := a.joinRanks(w); err != nil {
		return a.launched.end(a.asked(a.fail(err)))
	}
	return a.launched.end(a.asked(a.leaveRanks(f())))
}

// joinRanks makes the process one of several ranks.
func (a *app) joinRanks(w group.World) (err error) {
	kind, _, err := a.which()
	if err != nil {
		return err
	}
	a.world = w
	if kind == "cuda" { // another program may go on from here, which joins them itself
		if _, err := a.openDevice(); err != nil {
			return err
		}
	}
	if err := a.reachLauncher(w.Rank); err != nil {
		return err
	}
	if kind != "cuda" && !w.MPI && os.Getenv(tcpVariable) == "" {
		return fmt.Errorf("RANK and WORLD_SIZE start ranks without MPI, which is for cards: on the CPU, MPI moves what the ranks "+
			"exchange. Start them with mpirun or srun, or give -ranks on one machine. %s=1 sends all of it through rank 0, which is slow",
			tcpVariable)
	}
	timeout, err := rankTimeout()
	if err != nil {
		return err
	}
	g, err := group.Open(a.ctx, w, group.Options{MPI: mpi.Open, Timeout: timeout, Address: os.Getenv(group.AddressVariable),
		Lost: a.rankLost, Interrupt: a.interrupt.signal})
	if err != nil {
		return err
	}
	a.ranks = g
	a.interrupt.atExit(func() { g.Abort(apply.ErrInterrupted) })
	if g.Rank() > 0 {
		a.interrupt.forward(func(os.Signal) bool { return g.Interrupted() })
	} else {
		a.interrupt.forward(oneSignal(g))
		a.tell("%d ranks, joined by %s.", g.Size(), g.Name())
	}
	if a.opened != nil {
		return a.opened.Join(g)
	}
	return nil
}

// oneSignal tells which signals of rank 0 are no wish of the user to end: a launcher that sees that one rank has ended ends all, and
// one that is asked to end asks all ranks, which tell rank 0.
func oneSignal(g *group.Group) func(os.Signal) bool {
	var before time.Time
	return func(os.Signal) bool {
		if time.Since(before) < time.Second {
			return true
		}
		time.Sleep(noticing)
		before = time.Now()
		return g.Lost() != nil
	}
}

// noticing is the time in which a rank is told of another that was killed.
const noticing = 200 * time.Millisecond

// tcpVariable allows collectives of the CPU over TCP, for tests and where there is no MPI.
const tcpVariable = "STEPFLOW_RANKS_TCP"

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
func (a *app) rankLost(rank int, err error) {
	if me := a.world.Rank; me == 0 || me == 1 && rank == 0 {
		a.print(err)
	}
	a.cancel()
	time.AfterFunc(lostMoment, func() { os.Exit(a.launched.end(exitError)) })
}

// lostMoment is how long a process may take to end after a rank was lost.
const lostMoment = 20 * time.Second

// leaveRanks ends this rank's part in the run with an exit code.
func (a *app) leaveRanks(code int) int {
	if code != exitOK && !a.together {
		a.ranks.Abort(cmp.Or(a.failed, errors.New("it has printed why")))
	}
	if err := a.ranks.Close(); err != nil && code == exitOK {
		return a.fail(err)
	}
	if a.ranks.Lost() != nil {
		return exitError
	}
	return code
}

// follow runs this rank's part of what rank 0 runs.
func (a *app) followRank(p *plan.Plan) int {
	trace, err := tracing.SetupRank(a.ctx, version(), slog.New(slog.NewTextHandler(a.stderr, nil)), a.world.Rank, a.world.LocalRank)
	if err != nil {
		return a.fail(err)
	}
	defer trace.Shutdown()
	device, err := a.openDevice()
	if err != nil {
		return a.fail(err)
	}
	defer device.Close()
	err = apply.Follow(a.ctx, p, apply.Options{Device: device, Comm: a.ranks, Trace: trace})
	a.together = a.ranks.Ended() == nil
	var ended *apply.EndedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &ended): // rank 0 says why
		return exitError
	}
	return a.fail(err)
}

// deviceThreads is the number of threads of the CPU device: what -threads says, or else this rank's share of the processors
// of its machine.
func (a *app) deviceThreads() int {
	if a.threads > 0 || a.ranks == nil {
		return a.threads
	}
	n := runtime.GOMAXPROCS(0)
	return max(1, n/a.ranks.Beside())
}

// beRank has a rank other than 0 write whole lines, with the rank before each, and nothing but problems. In JSON, all lines say
// the rank.
func (a *app) beRank() {
	w, err := group.FromEnvironment(os.Getenv)
	if err != nil || w.Size == 1 {
		return
	}
	if w.Rank == 0 {
		if o, ok := a.stdout.(*output); ok && w.MPI { // mpirun gives it a terminal of its own, and passes on what it writes there
			o.plain = true
		}
		return
	}
	host, _ := os.Hostname()
	a.host, a.world = host, w
	if a.json {
		a.mine = &rankOutput{to: a.stdout}
		a.stdout = a.mine
		return
	}
	a.mine = &rankOutput{to: a.stderr, prefix: rankPrefix(w.Rank, host)}
	a.stdout, a.stderr = io.Discard, a.mine
}

// cardOf is the card of this rank: the one that -device names, or else one for each rank of the machine. A launcher may show each
// rank its own card alone.
func (a *app) cardOf(card int) (int, error) {
	if a.world.Size <= 1 || strings.Contains(a.device, ":") {
		return card, nil
	}
	cards, err := cuda.Find()
	if err != nil || len(cards) == 1 { // opening it says what is wrong
		return card, nil
	}
	if n := a.world.LocalRank; n < len(cards) {
		return n, nil
	}
	return 0, fmt.Errorf("-device cuda: %d processes or more run on this machine, and it has %d cards: start one for each card",
		a.world.LocalRank+1, len(cards))
}

// rankPrefix stands before the lines of a rank other than 0.
func rankPrefix(rank int, host string) string { return fmt.Sprintf("[rank %d, %s] ", rank, host) }
