package mpi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"
)

// What ranks tell each other beside operations: that they fail, that they live, and that they end.
const (
	kindFail byte = iota + 1
	kindBeat
	kindEnd
)

var le = binary.LittleEndian

// controlBytes is the size of such a message: its kind, its sender, and why.
const controlBytes = 1024

// beat is how often a rank tells the next that it lives.
const beat = time.Second

// control is the state of these messages.
type control struct {
	in, out  [controlBytes]byte
	hearing  [1]uint64 // the request that receives the next
	beating  [1]uint64 // the request of the last beat
	beats    bool      // whether it is under way
	heard    time.Time // of the rank before
	told     bool      // the others know of the error
	previous bool      // the rank before has ended its work
}

// listen receives the next message of any rank.
func (c *comm) listen() {
	err := c.check("MPI_Irecv", c.call(c.irecv, address(c.in[:]), controlBytes, c.bytes, uintptr(c.anySource), tagControl, c.world,
		uintptr(unsafe.Pointer(&c.hearing[0]))))
	if c.err == nil {
		c.err = err
	}
}

// hear takes in what has come. The lock is held.
func (c *comm) hear() {
	for c.err == nil {
		var come int32
		c.err = c.check("MPI_Test", c.call(c.test, uintptr(unsafe.Pointer(&c.hearing[0])), uintptr(unsafe.Pointer(&come)), c.noStatus))
		if c.err != nil || come == 0 {
			return
		}
		from, n := int(le.Uint32(c.in[1:])), int(le.Uint16(c.in[5:]))
		before := from == (c.rank+c.size-1)%c.size
		switch c.in[0] {
		case kindFail:
			c.err, c.told = fmt.Errorf("rank %d ended: %s", from, c.in[7:7+n]), true
			return
		case kindEnd:
			c.previous = c.previous || before
		}
		if before {
			c.heard = time.Now()
		}
		c.listen()
	}
}

// tell begins to send a message to a rank. The lock is held.
func (c *comm) tell(kind byte, why string, rank int, request *uint64) error {
	c.out[0] = kind
	le.PutUint32(c.out[1:], uint32(c.rank))
	le.PutUint16(c.out[5:], uint16(copy(c.out[7:], why)))
	return c.check("MPI_Isend", c.call(c.isend, address(c.out[:]), controlBytes, c.bytes, uintptr(rank), tagControl, c.world,
		uintptr(unsafe.Pointer(request))))
}

// sent reports whether a message has left.
func (c *comm) sentOff(request *uint64) bool {
	var gone int32
	return c.call(c.test, uintptr(unsafe.Pointer(request)), uintptr(unsafe.Pointer(&gone)), c.noStatus) != 0 || gone != 0
}

// watch tells the next rank that this one lives, and hears from the one before, until the communicator is closed. One that
// was killed, stopped or cut off is silent, and so a wait for it ends.
func (c *comm) watch() {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	c.mu.Lock()
	c.heard = time.Now()
	c.mu.Unlock()
	for last := time.Now(); ; last = time.Now() {
		select {
		case <-c.ended:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		c.hear()
		if c.err == nil && !c.beats {
			c.err = c.tell(kindBeat, "", (c.rank+1)%c.size, &c.beating[0])
			c.beats = true
		}
		if c.err == nil {
			c.beats = !c.sentOff(&c.beating[0])
		}
		// A process that was stopped itself hears first what came meanwhile.
		if silent := time.Since(c.heard); c.err == nil && silent > c.silence && !c.previous && time.Since(last) < 5*beat {
			c.err = fmt.Errorf("rank %d has been silent for %.0f s: it was killed or stopped, or the network is cut",
				(c.rank+c.size-1)%c.size, silent.Seconds())
			c.tellAll(c.err)
		}
		failed := c.err != nil
		c.mu.Unlock()
		if failed {
			return
		}
	}
}

// tellAll tells the others why this rank fails, and waits a moment until that has left. The lock is held.
func (c *comm) tellAll(err error) {
	if c.told || c.size == 1 {
		return
	}
	c.told = true
	if c.beats { // which lies in the same buffer
		for end := time.Now().Add(beat); !c.sentOff(&c.beating[0]) && time.Now().Before(end); {
			time.Sleep(arrival.least)
		}
	}
	requests := make([]uint64, c.size)
	for r := range requests {
		if r != c.rank && c.tell(kindFail, err.Error(), r, &requests[r]) != nil {
			return
		}
	}
	for end, r := time.Now().Add(beat), 0; r < c.size && time.Now().Before(end); {
		if r == c.rank || c.sentOff(&requests[r]) {
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
	select {
	case <-c.ended:
		return
	default:
	}
	if err == nil {
		err = errors.New("aborted")
	}
	if c.err == nil {
		c.err = fmt.Errorf("rank %d ended: %w", c.rank, err)
	}
	c.tellAll(err)
}

// patience is how long Close waits for MPI_Finalize, which waits for all ranks in some libraries.
var patience = 10 * time.Second

// Close ends MPI. After an error it leaves that to the end of the process, since MPI_Finalize would wait for ranks that are
// gone.
func (c *comm) Close() (err error) {
	c.closing.Do(func() {
		c.mu.Lock()
		failed := c.err != nil
		if !failed && c.size > 1 {
			err = c.end()
		}
		close(c.ended)
		if c.err == nil {
			c.err = errors.New("MPI has ended")
		}
		c.mu.Unlock()
		if failed {
			return
		}
		close(c.finalize)
		select {
		case e := <-c.finalized:
			err = errors.Join(err, e)
		case <-time.After(patience):
			err = errors.Join(err, fmt.Errorf("%s did not end within %v: another rank has not ended its work", c.version, patience))
		}
	})
	return err
}

// end completes what is under way. The lock is held.
func (c *comm) end() error {
	if c.beats {
		if err := c.check("MPI_Wait", c.call(c.wait, uintptr(unsafe.Pointer(&c.beating[0])), c.noStatus)); err != nil {
			return err
		}
	}
	if err := c.tell(kindEnd, "", (c.rank+1)%c.size, &c.beating[0]); err != nil {
		return err
	}
	return errors.Join(
		c.check("MPI_Wait", c.call(c.wait, uintptr(unsafe.Pointer(&c.beating[0])), c.noStatus)),
		c.check("MPI_Cancel", c.call(c.cancel, uintptr(unsafe.Pointer(&c.hearing[0])))),
		c.check("MPI_Wait", c.call(c.wait, uintptr(unsafe.Pointer(&c.hearing[0])), c.noStatus)))
}
