// Package rendezvous joins processes over plain TCP, without MPI: each connects to rank 0, which passes on what the others
// send to one another. It is for control messages and for ids by which a faster engine, such as NCCL, joins the same
// processes. Nothing is encrypted, as with the engines.
package rendezvous

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Options say who meets where.
type Options struct {
	Rank, Size int
	Address    string        // host:port at which rank 0 listens
	Key        string        // the same for all ranks of a run; who has another one is turned away
	Timeout    time.Duration // for all ranks to come
}

// Comm is a gpu.Communicator.
type Comm struct {
	rank, size int
	peers      []*peer // rank 0 has one for each other rank, the others have one for rank 0

	mu  sync.Mutex
	err error // after it nothing succeeds
}

// peer is a connection. Messages are a kind and their parts; a part is its length and its bytes.
type peer struct {
	rank int
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
}

const (
	exchange  = 'x' // a part for each rank, and back: one from each rank
	broadcast = 'b' // one part
)

func newPeer(rank int, c net.Conn) *peer {
	return &peer{rank: rank, conn: c, r: bufio.NewReaderSize(c, 1<<16), w: bufio.NewWriterSize(c, 1<<16)}
}

func (c *Comm) Rank() int    { return c.rank }
func (c *Comm) Size() int    { return c.size }
func (c *Comm) Name() string { return "TCP through rank 0" }

// Exchange is Communicator's.
func (c *Comm) Exchange(send, recv [][]byte) error {
	if len(send) != c.size || len(recv) != c.size {
		return c.fail(fmt.Errorf("an exchange of %d and %d parts between %d ranks", len(send), len(recv), c.size))
	}
	if len(send[c.rank]) != len(recv[c.rank]) {
		return c.fail(lengths(c.rank, c.rank, len(send[c.rank]), len(recv[c.rank])))
	}
	copy(recv[c.rank], send[c.rank])
	if c.rank != 0 {
		p := c.peers[0]
		return c.do(func() error {
			if err := p.write(exchange, without(send, c.rank)...); err != nil {
				return err
			}
			return p.read(exchange, c.rank, without(recv, c.rank))
		})
	}
	from := make([][][]byte, c.size) // what each rank sends
	from[0] = send
	return c.do(func() error {
		err := c.each(func(p *peer) (err error) {
			from[p.rank], err = p.readAny(exchange, c.size)
			return err
		})
		if err != nil {
			return err
		}
		for r := 1; r < c.size; r++ {
			if got := from[r][0]; len(got) != len(recv[r]) {
				return lengths(r, 0, len(got), len(recv[r]))
			}
			copy(recv[r], from[r][0])
		}
		return c.each(func(p *peer) error {
			parts := make([][]byte, c.size)
			for r := range parts {
				if r != p.rank {
					parts[r] = from[r][p.rank]
				}
			}
			return p.write(exchange, parts...)
		})
	})
}

// without replaces the part of a rank by an empty one.
func without(parts [][]byte, rank int) [][]byte {
	parts = slices.Clone(parts)
	parts[rank] = nil
	return parts
}

// Broadcast is Communicator's.
func (c *Comm) Broadcast(root int, b []byte) error {
	if root < 0 || root >= c.size {
		return c.fail(fmt.Errorf("a broadcast of rank %d of %d", root, c.size))
	}
	return c.do(func() error {
		if c.rank != 0 {
			if c.rank == root {
				return c.peers[0].write(broadcast, b)
			}
			return c.peers[0].read(broadcast, c.rank, [][]byte{b})
		}
		if root != 0 {
			if err := c.peers[root-1].read(broadcast, 0, [][]byte{b}); err != nil {
				return err
			}
		}
		return c.each(func(p *peer) error {
			if p.rank == root {
				return nil
			}
			return p.write(broadcast, b)
		})
	})
}

// do runs an operation, after whose error no other succeeds.
func (c *Comm) do(f func() error) error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return c.fail(err)
	}
	return nil
}

// each calls f for all peers at once.
func (c *Comm) each(f func(*peer) error) error {
	errs := make([]error, len(c.peers))
	var wait sync.WaitGroup
	for i, p := range c.peers {
		wait.Go(func() { errs[i] = f(p) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// fail ends the communicator: the others see closed connections. It returns the first error.
func (c *Comm) fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		c.hangUp()
	}
	return c.err
}

func (c *Comm) hangUp() (err error) {
	for _, p := range c.peers {
		err = errors.Join(err, p.conn.Close())
	}
	return err
}

// Abort is Communicator's.
func (c *Comm) Abort(err error) { c.fail(fmt.Errorf("rank %d ended: %w", c.rank, err)) }

// Close is Communicator's.
func (c *Comm) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil
	}
	c.err = errors.New("the communicator is closed")
	return c.hangUp()
}

// write sends a message.
func (p *peer) write(kind byte, parts ...[]byte) error {
	p.w.WriteByte(kind)
	for _, b := range parts {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(b)))
		p.w.Write(n[:])
		p.w.Write(b)
	}
	return p.said(p.w.Flush())
}

// said names the rank in an error of its connection.
func (p *peer) said(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return fmt.Errorf("rank %d has closed the connection", p.rank)
	}
	return fmt.Errorf("rank %d: %w", p.rank, err)
}

// kind reads the kind of a message, which all ranks agree on.
func (p *peer) kind(want byte) error {
	got, err := p.r.ReadByte()
	if err == nil && got != want {
		return fmt.Errorf("rank %d is at another operation: the ranks do not run the same", p.rank)
	}
	return p.said(err)
}

func (p *peer) length() (uint64, error) {
	var n [8]byte
	_, err := io.ReadFull(p.r, n[:])
	return binary.LittleEndian.Uint64(n[:]), p.said(err)
}

// read receives a message into parts, whose lengths it must have.
func (p *peer) read(kind byte, rank int, parts [][]byte) error {
	if err := p.kind(kind); err != nil {
		return err
	}
	for r, b := range parts {
		n, err := p.length()
		if err != nil {
			return err
		}
		if n != uint64(len(b)) {
			return lengths(r, rank, int(n), len(b))
		}
		if _, err := io.ReadFull(p.r, b); err != nil {
			return p.said(err)
		}
	}
	return nil
}

// most is the length of a part that rank 0 passes on. Kernels move fewer bytes at a time.
const most = 1 << 30

// readAny receives a message of a number of parts of any lengths.
func (p *peer) readAny(kind byte, parts int) ([][]byte, error) {
	if err := p.kind(kind); err != nil {
		return nil, err
	}
	list := make([][]byte, parts)
	for i := range list {
		n, err := p.length()
		if err != nil {
			return nil, err
		}
		if n > most {
			return nil, fmt.Errorf("rank %d sends %d bytes to rank %d at a time, more than %d", p.rank, n, i, most)
		}
		list[i] = make([]byte, n)
		if _, err := io.ReadFull(p.r, list[i]); err != nil {
			return nil, p.said(err)
		}
	}
	return list, nil
}

func lengths(from, to, sent, want int) error {
	return fmt.Errorf("rank %d sends %d bytes to rank %d, which receives %d", from, sent, to, want)
}

// Open meets the other ranks, and returns when all have come.
func Open(ctx context.Context, o Options) (*Comm, error) {
	if o.Size < 1 || o.Rank < 0 || o.Rank >= o.Size {
		return nil, fmt.Errorf("rank %d of %d ranks", o.Rank, o.Size)
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c := &Comm{rank: o.Rank, size: o.Size}
	var err error
	if o.Rank == 0 {
		c.peers, err = meet(ctx, o)
	} else {
		c.peers, err = join(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}
