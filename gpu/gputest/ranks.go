package gputest

import (
	"errors"
	"fmt"
	"sync"

	"stepflow/gpu"
)

// Ranks joins n goroutines of one process, as an engine joins processes: element r is rank r's.
func Ranks(n int) []gpu.Communicator {
	g := &group{size: n, arrived: map[int]*meeting{}, failed: make(chan struct{})}
	g.changed = sync.NewCond(&g.mu)
	list := make([]gpu.Communicator, n)
	for r := range list {
		list[r] = &member{group: g, rank: r}
	}
	return list
}

// group is the ranks of one process.
type group struct {
	size    int
	mu      sync.Mutex
	changed *sync.Cond
	arrived map[int]*meeting // operations under way, by their number
	err     error
	failed  chan struct{} // closed with err
}

// fail has all operations return an error, the first that was given.
func (g *group) fail(err error) {
	if g.err == nil {
		g.err = err
		close(g.failed)
	}
	g.changed.Broadcast()
}

// meeting is one operation: what each rank that has arrived sends.
type meeting struct {
	send [][][]byte
	in   int
	out  int
}

type member struct {
	*group
	rank, number int
}

func (m *member) Rank() int    { return m.rank }
func (m *member) Size() int    { return m.size }
func (m *member) Name() string { return "goroutines of one process" }

// Exchange waits until all ranks have come, copies, and waits until all have copied.
func (m *member) Exchange(send, recv [][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.number++
	x := m.arrived[m.number]
	if x == nil {
		x = &meeting{send: make([][][]byte, m.size)}
		m.arrived[m.number] = x
	}
	x.send[m.rank] = send
	x.in++
	m.changed.Broadcast()
	for m.err == nil && x.in < m.size {
		m.changed.Wait()
	}
	if m.err != nil {
		return m.err
	}
	for r := range recv {
		from := x.send[r][m.rank]
		if len(from) != len(recv[r]) {
			m.fail(fmt.Errorf("rank %d sends %d bytes to rank %d, which receives %d", r, len(from), m.rank, len(recv[r])))
			return m.err
		}
		copy(recv[r], from)
	}
	x.out++
	m.changed.Broadcast()
	for m.err == nil && x.out < m.size {
		m.changed.Wait()
	}
	delete(m.arrived, m.number)
	return m.err
}

// Broadcast is an exchange in which one rank sends.
func (m *member) Broadcast(root int, b []byte) error {
	send, recv := make([][]byte, m.size), make([][]byte, m.size)
	if m.rank == root {
		for r := range send {
			if r != root {
				send[r] = b
			}
		}
	} else {
		recv[root] = b
	}
	return m.Exchange(send, recv)
}

// Abort ends the operations of all ranks.
func (m *member) Abort(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail(errors.Join(fmt.Errorf("rank %d ended", m.rank), err))
}

// Failed is closed after an error of any rank.
func (m *member) Failed() <-chan struct{} { return m.failed }

func (m *member) Ended() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *member) Close() error { return nil }
