package mpi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"
)

// control is how a rank that fails tells the others, who ask for it while they wait: a message of the rank and why.
type control struct {
	in, out [controlBytes]byte
	hearing [1]uint64 // the request that receives it
	telling []uint64  // the requests that send it
	told    bool      // the others know of the error
}

// controlBytes is the size of such a message.
const controlBytes = 1024

var le = binary.LittleEndian

// listen receives the message of any rank.
func (c *comm) listen() error {
	return c.check("MPI_Irecv", c.call(c.irecv, address(c.in[:]), controlBytes, c.bytes, uintptr(c.anySource), tagControl, c.world,
		uintptr(unsafe.Pointer(&c.hearing[0]))))
}

// hear takes in what has come. The lock is held.
func (c *comm) hear() {
	c.err = c.check("MPI_Test", c.call(c.test, uintptr(unsafe.Pointer(&c.hearing[0])), c.answer(0), c.noStatus))
	if c.err == nil && c.answers[0] != 0 {
		from, n := le.Uint32(c.in[:]), int(le.Uint16(c.in[4:]))
		c.err, c.told = fmt.Errorf("rank %d ended: %s", from, c.in[6:6+min(n, controlBytes-6)]), true
	}
}

// patience is how long a rank that ends waits for others: for the message to leave, and for MPI_Finalize, which waits for all
// ranks in some libraries.
var patience = 10 * time.Second

// tellAll tells the others why this rank fails. The lock is held.
func (c *comm) tellAll(err error) {
	if c.told || c.size == 1 {
		return
	}
	c.told = true
	le.PutUint32(c.out[:], uint32(c.rank))
	le.PutUint16(c.out[4:], uint16(copy(c.out[6:], err.Error())))
	c.telling = make([]uint64, c.size)
	for r := range c.telling {
		if r != c.rank && c.call(c.isend, address(c.out[:]), controlBytes, c.bytes, uintptr(r), tagControl, c.world,
			uintptr(unsafe.Pointer(&c.telling[r]))) != 0 {
			return
		}
	}
	for r, end := 0, time.Now().Add(patience/10); r < c.size && time.Now().Before(end); {
		if r == c.rank || c.call(c.test, uintptr(unsafe.Pointer(&c.telling[r])), c.answer(0), c.noStatus) != 0 || c.answers[0] != 0 {
			r++
		} else {
			time.Sleep(arrival.least)
		}
	}
}

// Abort tells the others, whose operations return the reason too. It does not call MPI_Abort, which would end all processes
// on the spot, with what they are writing: they end themselves, and a launcher ends what is left when one of them exits with
// another code than 0.
func (c *comm) Abort(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if err == nil {
		err = errors.New("aborted")
	}
	if c.err == nil {
		c.err = fmt.Errorf("rank %d ended: %w", c.rank, err)
	}
	c.tellAll(err)
}

// Close ends MPI. After an error it leaves that to the end of the process, since MPI_Finalize would wait for ranks that are
// gone.
func (c *comm) Close() error {
	c.mu.Lock()
	if c.closed || c.err != nil {
		c.closed = true
		c.mu.Unlock()
		return nil
	}
	c.closed, c.err = true, errors.New("MPI has ended")
	var err error
	if c.size > 1 {
		err = errors.Join(
			c.check("MPI_Cancel", c.call(c.cancel, uintptr(unsafe.Pointer(&c.hearing[0])))),
			c.check("MPI_Wait", c.call(c.wait, uintptr(unsafe.Pointer(&c.hearing[0])), c.noStatus)))
	}
	c.mu.Unlock()
	close(c.finalize)
	select {
	case e := <-c.finalized:
		return errors.Join(err, e)
	case <-time.After(patience):
		return errors.Join(err, fmt.Errorf("%s did not end within %v: another rank has not ended its work", c.version, patience))
	}
}
