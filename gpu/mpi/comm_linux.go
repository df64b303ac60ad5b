package mpi

import (
	"fmt"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// most is the bytes that one message carries at most. Longer buffers are sent in pieces: counts are of type int, and pieces
// that have come tell that others are under way.
var most = 2 << 20

// Tags of messages.
const (
	tagLength = iota + 1 // 8 bytes: how many will follow
	tagBytes
	tagControl
)

// comm is the world of MPI. Its operations never block inside the library: they ask again and again whether they are
// complete, so that they end when another rank has failed, and leave their processor to others while they wait.
type comm struct {
	*library
	rank, size int

	// mu is held for each call of the library, which is started for calls of one thread at a time.
	mu  sync.Mutex
	err error // after which no operation succeeds

	args    [8]uintptr // of the call under way
	answers [2]int32   // to it

	// Of the operation under way. They are kept, so that an operation allocates nothing.
	requests  []uint64 // the library's handles, of 4 or 8 bytes, close together
	pending   int
	indices   []int32
	sent, got []uint64 // lengths
	held      [2][][]byte
	whole     []byte
	length    uint64

	control

	closed    bool
	finalize  chan struct{}
	finalized chan error
}

func (c *comm) Rank() int    { return c.rank }
func (c *comm) Size() int    { return c.size }
func (c *comm) Name() string { return c.version }

// Exchange tells the others how much is coming, and sends it when they have come too. So a rank that is early waits for a few
// bytes, asleep most of the time, and data flow between ranks that look after them.
func (c *comm) Exchange(send, recv [][]byte) error {
	if len(send) != c.size || len(recv) != c.size {
		return fmt.Errorf("an exchange of %d and %d buffers among %d ranks", len(send), len(recv), c.size)
	}
	if own, to := send[c.rank], recv[c.rank]; len(own) != len(to) {
		return fmt.Errorf("rank %d keeps %d bytes and has room for %d", c.rank, len(own), len(to))
	} else if len(own) > 0 && &own[0] != &to[0] {
		copy(to, own)
	}
	if c.size == 1 {
		return c.failed()
	}
	// The library reads and writes these until they are complete; after an error perhaps longer.
	c.held = [2][][]byte{send, recv}
	if c.sent == nil {
		c.sent, c.got = make([]uint64, c.size), make([]uint64, c.size)
	}
	err := c.each(arrival, func(r int) error {
		if len(send[r])+len(recv[r]) == 0 { // nothing to agree on, and perhaps a thousand such ranks
			c.got[r] = 0
			return nil
		}
		c.sent[r] = uint64(len(send[r]))
		if err := c.post("MPI_Irecv", c.irecv, bytesOf(&c.got[r]), r, tagLength); err != nil {
			return err
		}
		return c.post("MPI_Isend", c.isend, bytesOf(&c.sent[r]), r, tagLength)
	})
	if err != nil {
		return err
	}
	err = c.each(transfer, func(r int) error {
		if c.got[r] != uint64(len(recv[r])) {
			return fmt.Errorf("rank %d sends %d bytes to rank %d, which expects %d: the ranks do not run the same program", r, c.got[r],
				c.rank, len(recv[r]))
		}
		if err := c.post("MPI_Irecv", c.irecv, recv[r], r, tagBytes); err != nil {
			return err
		}
		return c.post("MPI_Isend", c.isend, send[r], r, tagBytes)
	})
	c.held = [2][][]byte{}
	return err
}

// Broadcast first tells how much is coming, for which ranks wait that are early. Few bytes are broadcast by the library. Many are
// shared out among the others, who then give their parts to each other: the root sends each byte once, and libraries do not do
// better without blocking.
func (c *comm) Broadcast(root int, b []byte) error {
	if c.size == 1 {
		return c.failed()
	}
	c.length = uint64(len(b))
	if err := c.broadcastWhole(root, bytesOf(&c.length), arrival); err != nil {
		return err
	}
	if c.length != uint64(len(b)) {
		return c.fail(fmt.Errorf("rank %d broadcasts %d bytes, and rank %d expects %d: the ranks do not run the same program", root, c.length,
			c.rank, len(b)))
	}
	c.whole = b
	defer func() { c.whole = nil }()
	if len(b) < few {
		return c.broadcastWhole(root, b, transfer)
	}
	part := func(r int) []byte { // of the others, counted from the one after the root
		i, n := (r-root+c.size)%c.size-1, c.size-1
		return b[len(b)*i/n : len(b)*(i+1)/n]
	}
	err := c.each(transfer, func(r int) error {
		switch root {
		case c.rank:
			return c.post("MPI_Isend", c.isend, part(r), r, tagBytes)
		case r:
			return c.post("MPI_Irecv", c.irecv, part(c.rank), r, tagBytes)
		}
		return nil
	})
	if err != nil || c.rank == root {
		return err
	}
	return c.each(transfer, func(r int) error {
		if r == root {
			return nil
		}
		if err := c.post("MPI_Irecv", c.irecv, part(r), r, tagBytes); err != nil {
			return err
		}
		return c.post("MPI_Isend", c.isend, part(c.rank), r, tagBytes)
	})
}

// few is the bytes below which the library broadcasts.
const few = 32 << 10

// broadcastWhole has the library broadcast.
func (c *comm) broadcastWhole(root int, b []byte, w pace) error {
	c.mu.Lock()
	if len(b) > 0 && c.err == nil {
		c.err = c.check("MPI_Ibcast", c.call(c.ibcast, address(b), uintptr(len(b)), c.bytes, uintptr(root), c.world, c.request()))
	}
	c.mu.Unlock()
	return c.complete(w)
}

// fail makes an error that of the communicator.
func (c *comm) fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	return c.err
}

// each posts messages to and from all others, beginning with the next rank so that not all send to the same, and waits for
// them.
func (c *comm) each(w pace, post func(r int) error) error {
	c.mu.Lock()
	for i := 1; i < c.size && c.err == nil; i++ {
		c.err = post((c.rank + i) % c.size)
	}
	c.mu.Unlock()
	return c.complete(w)
}

// post begins to send or to receive.
func (c *comm) post(name string, f uintptr, b []byte, rank, tag int) error {
	for len(b) > 0 {
		n := min(len(b), most)
		if err := c.check(name, c.call(f, address(b), uintptr(n), c.bytes, uintptr(rank), uintptr(tag), c.world, c.request())); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// request is the address of one more request.
func (c *comm) request() uintptr {
	at := uintptr(c.pending) * c.handle
	for uintptr(8*len(c.requests)) < at+c.handle {
		c.requests = append(c.requests, 0)
	}
	if c.pending++; len(c.indices) < c.pending {
		c.indices = append(c.indices, 0)
	}
	return uintptr(unsafe.Pointer(&c.requests[0])) + at
}

// complete waits for all requests.
func (c *comm) complete(w pace) error {
	since := time.Now()
	for left := c.pending; ; {
		c.mu.Lock()
		if c.err == nil && left > 0 {
			c.err = c.check("MPI_Testsome", c.call(c.testsome, uintptr(c.pending), uintptr(unsafe.Pointer(&c.requests[0])),
				c.answer(0), uintptr(unsafe.Pointer(&c.indices[0])), c.noStatus))
			if done := int(c.answers[0]); c.err == nil && done > 0 {
				left -= done
				since = time.Now()
			}
		}
		if c.err == nil && left > 0 {
			c.hear()
		}
		err := c.err
		c.mu.Unlock()
		if err != nil || left == 0 {
			c.pending = 0
			return err
		}
		w.pass(time.Since(since))
	}
}

// failed is the error of the communicator.
func (c *comm) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// pace is how often a rank looks whether something has come. At first it only lets others of its processor run in between;
// later there are pauses of a part of the time that has passed already, so that they add little to it.
type pace struct {
	awake time.Duration
	part  time.Duration
	least time.Duration
	most  time.Duration
}

var (
	// arrival is for waiting until other ranks come, which may take hours.
	arrival = pace{awake: 500 * time.Microsecond, part: 32, least: 20 * time.Microsecond, most: time.Millisecond}
	// transfer is for bytes that are on their way, and that some transports move while someone looks.
	transfer = pace{awake: 5 * time.Millisecond, part: 1000, least: 20 * time.Microsecond, most: 100 * time.Microsecond}
)

// pass lets some time pass, when nothing has come for some.
func (p pace) pass(waited time.Duration) {
	if waited < p.awake {
		syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
		return
	}
	time.Sleep(min(max(waited/p.part, p.least), p.most))
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func bytesOf(x *uint64) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(x)), 8) }
