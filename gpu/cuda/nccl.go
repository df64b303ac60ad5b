package cuda

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"stepflow/gpu"
)

// oldestNCCL is the first version with all that is called: graphs of sends and receives, and texts of errors.
const oldestNCCL = 21400

// Codes of ncclResult_t and ncclDataType_t (nccl.h).
const (
	ncclSuccess    = 0
	ncclInProgress = 7
	ncclUint8      = 1
)

// ncclID is ncclUniqueId, which calls take by value.
type ncclID struct{ internal [128]byte }

// ncclLibrary is what is called of libnccl, as declared in nccl.h.
type ncclLibrary struct {
	path    string
	version int32

	getVersion  func(version *int32) int32
	getUniqueID func(id *ncclID) int32
	initRank    func(comm *uintptr, ranks int32, id ncclID, rank int32) int32
	send        func(from Pointer, count uintptr, dtype, peer int32, comm, stream uintptr) int32
	recv        func(to Pointer, count uintptr, dtype, peer int32, comm, stream uintptr) int32
	broadcast   func(from, to Pointer, count uintptr, dtype, root int32, comm, stream uintptr) int32
	groupStart  func() int32
	groupEnd    func() int32
	asyncError  func(comm uintptr, code *int32) int32
	abort       func(comm uintptr) int32
	destroy     func(comm uintptr) int32
	errorString func(code int32) string
	lastError   func(comm uintptr) string
}

// symbols names the functions, and where they go.
func (l *ncclLibrary) symbols() map[string]any {
	return map[string]any{"ncclGetVersion": &l.getVersion, "ncclGetUniqueId": &l.getUniqueID, "ncclCommInitRank": &l.initRank,
		"ncclSend": &l.send, "ncclRecv": &l.recv, "ncclBroadcast": &l.broadcast, "ncclGroupStart": &l.groupStart,
		"ncclGroupEnd": &l.groupEnd, "ncclCommGetAsyncError": &l.asyncError, "ncclCommAbort": &l.abort,
		"ncclCommDestroy": &l.destroy, "ncclGetErrorString": &l.errorString, "ncclGetLastError": &l.lastError}
}

func (l *ncclLibrary) String() string { return "NCCL " + ncclVersion(l.version) }

func ncclVersion(v int32) string { return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100) }

// findNCCL opens NCCL where it lies.
func findNCCL() (*ncclLibrary, error) {
	var l *ncclLibrary
	err := wanted{name: "NCCL", variable: "STEPFLOW_NCCL_LIBRARY", files: []string{"libnccl.so.2"},
		missing: "no NCCL can be loaded, which moves data between cards. It comes with PyTorch, from PyPI as nvidia-nccl-cu12 (for " +
			"drivers of CUDA 13 also as nvidia-nccl-cu13), and as the package libnccl2 of NVIDIA's repositories; name its file in " +
			"STEPFLOW_NCCL_LIBRARY. Tried were"}.find(func(path string) (err error) {
		l, err = openNCCL(path)
		return err
	})
	return l, err
}

// check asks for the version.
func (l *ncclLibrary) check() error {
	if code := l.getVersion(&l.version); code != ncclSuccess {
		return fmt.Errorf("%s does not tell its version (error %d)", l.path, code)
	}
	if l.version < oldestNCCL {
		return fmt.Errorf("%s is %v, and NCCL %s or later is needed", l.path, l, ncclVersion(oldestNCCL))
	}
	return nil
}

// failed is the error of a code. The text of the last error is not that of a communicator, which may be freed by now.
func (l *ncclLibrary) failed(doing string, code int32) error {
	if code == ncclSuccess {
		return nil
	}
	err := fmt.Errorf("%v: %s: %s (error %d)", l, doing, l.errorString(code), code)
	if why := l.lastError(0); why != "" {
		err = fmt.Errorf("%w: %s", err, why)
	}
	return err
}

// nccl is a communicator of NCCL's, one card a rank. After an error, NCCL's work on the card is ended at once and
// reads as if it had gone well: whoever waits for the card asks for the error then.
type nccl struct {
	lib        *ncclLibrary
	comm       uintptr
	group      gpu.Communicator // by which the ranks met
	rank, size int
	closing    chan struct{} // closed when the watch is to end
	watched    sync.WaitGroup

	mu    sync.Mutex
	users int // calls under way, which may not see comm freed
	idle  chan struct{}
	err   error
}

// How often a communicator is asked for errors of its own, and how long an abort waits for calls that only put work on a stream.
const (
	watchEvery = 100 * time.Millisecond
	abortAfter = time.Second
	endWithin  = 20 * time.Second
)

// hello is what ranks tell each other before they join: whether they can, their version of NCCL, the memory of their card.
const helloBytes = 1 + 4 + 8

// joinNCCL makes a communicator of the cards of all ranks, by way of c. It returns the least memory that a card has for
// programs, so that all ranks compile the same one.
func joinNCCL(driver Driver, c gpu.Communicator, memory int64) (*nccl, int64, error) {
	lib, missing := findNCCL()
	mine := make([]byte, helloBytes)
	binary.LittleEndian.PutUint64(mine[5:], uint64(memory))
	if missing == nil {
		mine[0] = 1
		binary.LittleEndian.PutUint32(mine[1:], uint32(lib.version))
	}
	send, got := make([][]byte, c.Size()), make([][]byte, c.Size())
	for r := range send {
		send[r], got[r] = mine, make([]byte, helloBytes)
	}
	if err := c.Exchange(send, got); err != nil {
		return nil, 0, errors.Join(missing, err)
	}
	if missing != nil {
		return nil, 0, missing
	}
	for r, b := range got {
		if b[0] == 0 {
			return nil, 0, fmt.Errorf("rank %d cannot load NCCL", r)
		}
		if v := int32(binary.LittleEndian.Uint32(b[1:])); v != lib.version {
			return nil, 0, fmt.Errorf("rank %d has NCCL %s and rank %d has %v: install the same on all machines, or name it in "+
				"STEPFLOW_NCCL_LIBRARY", r, ncclVersion(v), c.Rank(), lib)
		}
		memory = min(memory, int64(binary.LittleEndian.Uint64(b[5:])))
	}
	n := &nccl{lib: lib, group: c, rank: c.Rank(), size: c.Size(), closing: make(chan struct{})}
	return n, memory, n.join(driver, c)
}

// join passes the id on and waits for the other cards. The call that waits for them cannot be ended: where ranks are gone, it
// is left behind.
func (n *nccl) join(driver Driver, c gpu.Communicator) error {
	var id ncclID
	ok := make([]byte, 1+len(id.internal))
	var failed error
	if n.rank == 0 {
		failed = n.lib.failed("making an id", n.lib.getUniqueID(&id))
		if failed == nil {
			ok[0] = 1
			copy(ok[1:], id.internal[:])
		}
	}
	if err := c.Broadcast(0, ok); err != nil || failed != nil {
		return errors.Join(failed, err)
	}
	if ok[0] == 0 {
		return errors.New("NCCL does not start on rank 0")
	}
	copy(id.internal[:], ok[1:])
	joined := make(chan error, 1)
	go func() {
		joined <- driver.Submit(func(Stream) error {
			code := n.lib.initRank(&n.comm, int32(n.size), id, int32(n.rank))
			return n.lib.failed(fmt.Sprintf("joining %d cards", n.size), code)
		})
	}()
	gone, why := failedOf(c)
	select {
	case err := <-joined:
		if err != nil {
			return fmt.Errorf("%w. Each rank needs a card of its own (-device cuda:1, or CUDA_VISIBLE_DEVICES), and a driver as new as "+
				"NCCL's CUDA; NCCL_DEBUG=WARN tells more", err)
		}
	case <-gone:
		return fmt.Errorf("%w: %w", errAbandoned, why())
	}
	n.watched.Go(func() { n.watch(gone, why) })
	return nil
}

// errAbandoned says that a call of NCCL was left behind on the driver's thread.
var errAbandoned = errors.New("NCCL waits for ranks that do not come")

// failedOf is closed when a communicator notices that ranks are gone, and says why; it is nil where it does not notice.
func failedOf(c gpu.Communicator) (gone <-chan struct{}, why func() error) {
	if w, ok := c.(gpu.Watched); ok {
		return w.Failed(), w.Ended
	}
	return nil, nil
}

// watch ends NCCL's work when it has an error of its own, or other ranks are gone.
func (n *nccl) watch(gone <-chan struct{}, why func() error) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-n.closing:
			return
		case <-gone:
			n.fail(why())
			return
		case <-tick.C:
		}
		var async int32
		err := n.use(func() error { return n.lib.failed("asking for errors", n.lib.asyncError(n.comm, &async)) })
		if err == nil && async != ncclInProgress {
			err = n.lib.failed("moving data between cards", async)
		}
		if err != nil {
			n.fail(err)
			return
		}
	}
}

// use calls f, which calls NCCL, unless there was an error. Whatever ends it, the error returned is the first there was.
func (n *nccl) use(f func() error) error {
	n.mu.Lock()
	if n.err != nil {
		defer n.mu.Unlock()
		return n.err
	}
	n.users++
	n.mu.Unlock()
	err := f()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.users--; n.users == 0 && n.idle != nil {
		close(n.idle)
		n.idle = nil
	}
	if n.err != nil {
		return n.err
	}
	return err
}

// failed is the error after which nothing that NCCL moved is of use.
func (n *nccl) failed() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// fail ends all work of NCCL on the card, under way and to come. Calls under way put work on a stream and return; one that
// waits for another rank does not, and is what the abort ends.
func (n *nccl) fail(err error) {
	n.mu.Lock()
	if n.err != nil {
		n.mu.Unlock()
		return
	}
	n.err = err
	idle := make(chan struct{})
	if n.users == 0 {
		close(idle)
	} else {
		n.idle = idle
	}
	n.mu.Unlock()
	select {
	case <-idle:
	case <-time.After(abortAfter):
	}
	n.lib.abort(n.comm)
}

// close ends a communicator whose ranks have done their work.
func (n *nccl) close(driver Driver) error {
	close(n.closing)
	n.watched.Wait()
	ended := make(chan error, 1)
	go func() {
		ended <- driver.Submit(func(Stream) error {
			err := n.use(func() error { return n.lib.failed("ending", n.lib.destroy(n.comm)) })
			if n.failed() != nil {
				return nil // it was aborted, and that was told
			}
			return err
		})
	}()
	select {
	case err := <-ended:
		return err
	case <-time.After(endWithin):
		return errAbandoned
	}
}

// put puts a transfer on a stream. Groups belong to a thread.
func (n *nccl) put(t *Transfer, stream uintptr) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := n.use(func() error {
		if to := t.Broadcast; to.Bytes > 0 {
			return n.lib.failed("a broadcast",
				n.lib.broadcast(t.From, to.At, uintptr(to.Bytes), ncclUint8, int32(t.Root), n.comm, stream))
		}
		code := n.lib.groupStart()
		for _, p := range t.Send {
			if code == ncclSuccess {
				code = n.lib.send(p.At, uintptr(p.Bytes), ncclUint8, int32(p.Rank), n.comm, stream)
			}
		}
		for _, p := range t.Recv {
			if code == ncclSuccess {
				code = n.lib.recv(p.At, uintptr(p.Bytes), ncclUint8, int32(p.Rank), n.comm, stream)
			}
		}
		end := n.lib.groupEnd()
		if code == ncclSuccess {
			code = end
		}
		return n.lib.failed("an exchange", code)
	})
	if err != nil {
		n.fail(err)
	}
	return err
}
