package gpu

import "fmt"

// Communicator joins the processes that run a program together: ranks 0 to Size-1, each with a device of its own. It moves
// bytes and computes nothing: what is added up over ranks is added by the devices, in the order of ranks, so that the
// result does not depend on the engine that moves the bytes.
//
// All ranks call the same operations in the same order, each from one goroutine at a time. An operation returns when its
// buffers may be used again. After an error no more operations succeed.
type Communicator interface {
	Rank() int
	Size() int
	// Name says what moves the bytes, such as "Open MPI 4.1.4".
	Name() string
	// Exchange sends send[r] to rank r and receives recv[r] from it, for each r. Lengths agree in pairs and may be 0; ranks that
	// have nothing for each other do not wait for each other. A rank's own part is copied, or left alone where both are the
	// same bytes.
	Exchange(send, recv [][]byte) error
	// Broadcast gives all ranks the bytes of rank root. b has the same length everywhere.
	Broadcast(root int, b []byte) error
	// Abort ends the work of all ranks because of an error of this one: operations under way and to come return errors.
	// Any goroutine may call it at any time.
	Abort(error)
	// Close ends a communicator whose ranks have all done their work; no rank waits for another after it.
	Close() error
}

// Watched is a Communicator that notices, while no operation is under way, that ranks are gone. A device that moves bytes by
// other means, such as NCCL, would wait for them for ever.
type Watched interface {
	Communicator
	// Failed is closed once no more operations succeed, and Ended then says why.
	Failed() <-chan struct{}
	Ended() error
}

// CollectivePiece is the number of elements that a collective kernel moves at a time, which bounds its scratch.
const CollectivePiece = 1 << 20

// Share is the part of n elements that rank r of size adds up: [lo, hi). Shares begin at multiples of 64 elements.
func Share(n, r, size int) (lo, hi int) {
	each := (n/size + 64) / 64 * 64
	return min(n, r*each), min(n, (r+1)*each)
}

// CheckRanks returns why a program whose collectives are for a number of ranks cannot run with this communicator, which is nil
// on a device that is alone.
func CheckRanks(p *Program, c Communicator) error {
	for i, l := range p.Launches {
		if k := Lookup(l.Kernel); k == nil || !k.Collective {
			continue
		}
		have := 1
		if c != nil {
			have = c.Size()
		}
		if l.Attrs.Ranks != have {
			return fmt.Errorf("launch %d (%s %s) is for %d ranks, and there are %d", i, l.Kernel, l.Name, l.Attrs.Ranks, have)
		}
	}
	return nil
}
