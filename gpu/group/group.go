// Package group makes a process one of the ranks of a run: it finds out from the environment what started it, opens the
// communicator, compares what must be the same on all ranks, and watches whether the others are there.
package group

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"stepflow/gpu"
	"stepflow/gpu/ranks"
	"stepflow/gpu/rendezvous"
)

// Group is the ranks of a run, seen from one of them. It is their communicator, whose errors name the rank that was lost.
type Group struct {
	World
	Members []Member // by rank

	comm  gpu.Communicator
	watch *watch // nil for none

	mu     sync.Mutex
	over   error         // why the ranks cannot go on together
	failed chan struct{} // closed with it
	mine   bool          // because of this one
}

var _ gpu.Watched = (*Group)(nil)

// Member is a rank as others know it.
type Member struct {
	Rank int
	Host string
	PID  int
	CPUs string // that it may run on; "" if unknown
	Salt string // for hashes of values that may be secret: rank 0's is used
}

func (m Member) String() string {
	return fmt.Sprintf("rank %d (%s, process %d)", m.Rank, m.Host, m.PID)
}

// Options are what the ranks of a run share.
type Options struct {
	MPI       func() (gpu.Communicator, error) // opens MPI's
	Timeout   time.Duration                    // after which a rank that is silent is given up; 0 to watch none
	Address   string                           // host or address at which the others reach rank 0's watch; "" to find one
	Lost      func(rank int, err error)        // called once, if a rank is lost or has ended with an error; rank is -1 where rank 0 says so
	Interrupt func()                           // called on rank 0, where another rank got a signal to end
}

// meeting is the time that ranks have to come.
const meeting = 5 * time.Minute

// Open joins the other ranks of a world, and returns when all have come.
func Open(ctx context.Context, w World, o Options) (g *Group, err error) {
	g = &Group{World: w, failed: make(chan struct{})}
	if w.MPI {
		g.comm, err = o.MPI()
	} else {
		g.comm, err = rendezvous.Open(ctx, rendezvous.Options{Rank: w.Rank, Size: w.Size, Address: w.Address, Key: w.Key,
			Timeout: meeting})
	}
	if err != nil {
		return nil, err
	}
	if g.comm.Size() != w.Size || g.comm.Rank() != w.Rank {
		err := fmt.Errorf("%s started rank %d of %d, and to %s this is rank %d of %d: they do not know each other. Use the mpirun that "+
			"belongs to the library; with srun, one of the kinds of srun --mpi=list, such as --mpi=pmix",
			w.Launcher, w.Rank, w.Size, g.comm.Name(), g.comm.Rank(), g.comm.Size())
		g.comm.Abort(err)
		return nil, err
	}
	if err = g.introduce(); err == nil && o.Timeout > 0 {
		g.watch, err = open(ctx, g, o)
	}
	if err != nil {
		g.comm.Abort(err)
		return nil, err
	}
	return g, nil
}

// introduce has all ranks know each other.
func (g *Group) introduce() error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	list, err := ranks.Gather(g.comm, Member{Rank: g.Rank(), Host: host, PID: os.Getpid(), CPUs: AllowedCPUs(), Salt: rand.Text()})
	g.Members = list
	return err
}

// Rank, Size and Name are the communicator's.
func (g *Group) Rank() int    { return g.comm.Rank() }
func (g *Group) Size() int    { return g.comm.Size() }
func (g *Group) Name() string { return g.comm.Name() }

// Count is the number of ranks; 1 for a process alone.
func (g *Group) Count() int {
	if g == nil {
		return 1
	}
	return g.Size()
}

// Number is this rank; 0 for a process alone.
func (g *Group) Number() int {
	if g == nil {
		return 0
	}
	return g.Rank()
}

// Me is this rank.
func (g *Group) Me() Member { return g.Members[g.Rank()] }

// Beside is the number of ranks that run on the same processors of the same machine, with this one.
func (g *Group) Beside() (n int) {
	for _, m := range g.Members {
		if m.Host == g.Me().Host && m.CPUs == g.Me().CPUs {
			n++
		}
	}
	return n
}

// AllowedCPUs are the processors that this process may run on, as Linux writes them; "" elsewhere.
func AllowedCPUs() string {
	text, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(text), "Cpus_allowed_list:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// Watched reports whether ranks tell each other how they end.
func (g *Group) Watched() bool { return g != nil && g.watch != nil }

// Communicator is the group as a communicator; nil for a process alone.
func (g *Group) Communicator() gpu.Communicator {
	if g == nil {
		return nil
	}
	return g
}

// Exchange is the communicator's.
func (g *Group) Exchange(send, recv [][]byte) error { return g.why(g.comm.Exchange(send, recv)) }

// Broadcast is the communicator's.
func (g *Group) Broadcast(root int, b []byte) error { return g.why(g.comm.Broadcast(root, b)) }

// why replaces an error of the engine by what the watch knows of it, which may come a moment later.
func (g *Group) why(err error) error {
	if err == nil {
		return nil
	}
	if g.watch != nil && g.Ended() == nil {
		select {
		case <-g.watch.over:
		case <-time.After(time.Second):
		}
	}
	g.Abort(err)
	return cmp.Or(g.Ended(), err)
}

// Ended is why the ranks cannot go on together; nil as long as they can.
func (g *Group) Ended() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.over
}

// Failed is closed when the ranks cannot go on together.
func (g *Group) Failed() <-chan struct{} { return g.failed }

// Lost is Ended where that is because of another rank.
func (g *Group) Lost() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mine {
		return nil
	}
	return g.over
}

// end notes the first reason, and reports whether it is.
func (g *Group) end(err error, mine bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over != nil {
		return false
	}
	g.over, g.mine = err, mine
	close(g.failed)
	return true
}

// Abort ends the work of all ranks; the others learn why.
func (g *Group) Abort(err error) {
	if g.end(err, true) {
		if g.watch != nil {
			g.watch.failed(err)
		}
		g.comm.Abort(err)
	}
}

// Interrupted tells rank 0 that this one got a signal to end; it reports whether that could be.
func (g *Group) Interrupted() bool { return g.watch != nil && g.Rank() > 0 && g.watch.interrupted() }

// Close ends the work of a group whose ranks have all done theirs, or which cannot go on together.
func (g *Group) Close() (err error) {
	if g.Ended() == nil {
		g.watch.leave()
		err = g.comm.Close()
	} else {
		g.watch.part()
	}
	g.watch.end()
	return err
}
