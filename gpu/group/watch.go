package group

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"stepflow/gpu/ranks"
)

// watch tells whether the other ranks are there. Engines do not: where a process is stopped, or a network is cut, an
// operation waits for ever. Each rank has a connection with rank 0 beside the engine, and both say now and then that they are
// there. Rank 0 watches all, the others rank 0; what rank 0 finds out it tells all.
//
// Silence is counted in ticks of one's own clock, and a process that was stopped itself had none, so that a job which is stopped
// as a whole goes on afterwards.
type watch struct {
	group    *Group
	lines    []*line
	timeout  time.Duration
	tick     time.Duration
	most     int32 // ticks of silence
	lost     func(rank int, err error)
	interupt func()
	over     chan struct{} // closed after the first loss
	ended    chan struct{} // closed when the watch ends
	once     sync.Once
}

// line is a connection with another rank. Messages are lines: a letter, and a text in JSON.
type line struct {
	member Member
	conn   net.Conn
	r      *bufio.Scanner
	mu     sync.Mutex // for writing
	silent atomic.Int32
	left   atomic.Bool   // it has done its work
	gone   chan struct{} // closed when nothing more comes
}

const (
	here        = "h"
	interrupted = "i"
	failed      = "f" // with why
	leaving     = "l"
)

// ticks is how often a rank says that it is there in the time after which it is given up.
const ticks = 6

// contact is how the others reach rank 0.
type contact struct {
	Addresses []string
	Key       string
}

// open connects the ranks with rank 0.
func open(ctx context.Context, g *Group, o Options) (*watch, error) {
	w := &watch{group: g, timeout: o.Timeout, tick: o.Timeout / ticks, most: ticks, lost: o.Lost, interupt: o.Interrupt,
		over: make(chan struct{}), ended: make(chan struct{})}
	var l net.Listener
	var c contact
	var err error
	if g.Rank() == 0 {
		if l, c, err = listen(o.Address); err != nil {
			return nil, fmt.Errorf("rank 0 listens for the other ranks' signs of life: %w", err)
		}
		defer l.Close()
	}
	contacts, err := ranks.Gather(g.comm, c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, meeting/5)
	defer cancel()
	if g.Rank() == 0 {
		err = w.accept(ctx, l, c.Key)
	} else {
		err = w.dial(ctx, contacts[0])
	}
	// An error of one is told to all, since the others would wait.
	text := ""
	if err != nil {
		text = err.Error()
	}
	all, shared := ranks.Gather(g.comm, text)
	if shared != nil {
		return nil, shared
	}
	for r, text := range all {
		if text != "" {
			return nil, fmt.Errorf("%s: %s. %s names an address at which rank 0 can be reached, %s=0 does without signs of life",
				g.Members[r], text, AddressVariable, TimeoutVariable)
		}
	}
	for _, x := range w.lines {
		go w.hear(x)
	}
	go w.beat()
	return w, nil
}

// TimeoutVariable and AddressVariable set Options of these names.
const (
	TimeoutVariable = "STEPFLOW_RANK_TIMEOUT"
	AddressVariable = "STEPFLOW_RANK_ADDRESS"
)

// listen opens a port of rank 0, and lists where others may reach it, what is most likely first.
func listen(address string) (net.Listener, contact, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, contact{}, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, contact{}, err
	}
	var hosts []string
	if address != "" {
		hosts = []string{address}
	} else {
		if name, err := os.Hostname(); err == nil {
			hosts = append(hosts, name)
		}
		list, _ := net.InterfaceAddrs()
		for _, a := range list {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() && !n.IP.IsLoopback() {
				hosts = append(hosts, n.IP.String())
			}
		}
		hosts = append(hosts, "127.0.0.1")
	}
	c := contact{Key: rand.Text()}
	for _, h := range hosts {
		c.Addresses = append(c.Addresses, net.JoinHostPort(h, port))
	}
	return l, c, nil
}

// accept takes a connection of each other rank.
func (w *watch) accept(ctx context.Context, l net.Listener, key string) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	came := make(chan *line)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				x := newLine(conn)
				conn.SetDeadline(time.Now().Add(10 * time.Second))
				var rank int
				if !x.r.Scan() {
					conn.Close()
					return
				}
				if n, _ := fmt.Sscanf(x.r.Text(), key+" %d", &rank); n != 1 || rank < 1 || rank >= w.group.Size() {
					conn.Close()
					return
				}
				conn.SetDeadline(time.Time{})
				x.member = w.group.Members[rank]
				select {
				case came <- x:
				case <-ctx.Done():
					conn.Close()
				}
			}()
		}
	}()
	lines := make([]*line, w.group.Size()-1)
	for missing := len(lines); missing > 0; {
		select {
		case x := <-came:
			if at := x.member.Rank - 1; lines[at] == nil {
				missing--
				lines[at] = x
			} else { // it tried another address
				lines[at].conn.Close()
				lines[at] = x
			}
		case <-ctx.Done():
			var list []string
			for i, x := range lines {
				if x == nil {
					list = append(list, w.group.Members[i+1].String())
				}
			}
			return fmt.Errorf("no connection beside %s came from %s", w.group.Name(), strings.Join(list, ", "))
		}
	}
	w.lines = lines
	for _, x := range lines {
		x.say(here, "")
	}
	return nil
}

// dial connects with rank 0 at the first address that answers.
func (w *watch) dial(ctx context.Context, c contact) error {
	addresses := c.Addresses
	if zero := w.group.Members[0]; zero.Host == w.group.Me().Host { // loopback first
		addresses = slices.Clone(addresses)
		slices.Reverse(addresses)
	}
	var errs []error
	for _, a := range addresses {
		d := net.Dialer{Timeout: 3 * time.Second}
		conn, err := d.DialContext(ctx, "tcp", a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		x := newLine(conn)
		x.member = w.group.Members[0]
		fmt.Fprintf(conn, "%s %d\n", c.Key, w.group.Rank())
		deadline, _ := ctx.Deadline()
		conn.SetReadDeadline(deadline)
		if !x.r.Scan() { // rank 0 answers when all have come, and whoever else listens there hangs up
			conn.Close()
			errs = append(errs, fmt.Errorf("%s hung up", a))
			continue
		}
		conn.SetReadDeadline(time.Time{})
		w.lines = []*line{x}
		return nil
	}
	return fmt.Errorf("no connection with rank 0 beside %s: %w", w.group.Name(), errors.Join(errs...))
}

func newLine(c net.Conn) *line {
	x := &line{conn: c, r: bufio.NewScanner(c), gone: make(chan struct{})}
	x.r.Buffer(nil, 1<<20)
	return x
}

// say sends a message; whether it arrives shows in what comes back.
func (x *line) say(kind, text string) bool {
	b, err := json.Marshal(text)
	if err != nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn.SetWriteDeadline(time.Now().Add(time.Second)) // a rank that is stopped does not read
	_, err = fmt.Fprintf(x.conn, "%s%s\n", kind, b)
	return err == nil
}

// beat says that this rank is there, and counts the silence of others.
func (w *watch) beat() {
	t := time.NewTicker(w.tick)
	defer t.Stop()
	for {
		select {
		case <-w.ended:
			return
		case <-t.C:
		}
		for _, x := range w.lines {
			go x.say(here, "")
			if n := x.silent.Add(1); n > w.most && !x.left.Load() {
				w.lose(x.member.Rank, fmt.Errorf("%s has not been heard of for %v: it is stopped, or cut off from the network",
					x.member, w.timeout))
			}
		}
	}
}

// hear takes in what another rank says.
func (w *watch) hear(x *line) {
	defer close(x.gone)
	for x.r.Scan() {
		x.silent.Store(0)
		s := x.r.Text()
		if s == "" {
			continue
		}
		var text string
		json.Unmarshal([]byte(s[1:]), &text)
		switch s[:1] {
		case interrupted:
			if w.interupt != nil {
				w.interupt()
			}
		case failed:
			w.lose(x.member.Rank, &toldError{text})
		case leaving:
			x.left.Store(true)
		}
	}
	select {
	case <-w.ended:
	default:
		if !x.left.Load() {
			w.lose(x.member.Rank, fmt.Errorf("%s ended without a word: it was killed, or its machine is gone", x.member))
		}
	}
}

// toldError is an error that another rank tells of.
type toldError struct{ text string }

func (e *toldError) Error() string { return e.text }

// lose ends the work together. Rank 0 tells the others.
func (w *watch) lose(rank int, err error) {
	if !w.group.end(err, false) {
		return
	}
	if w.lost != nil {
		by := rank
		if _, told := err.(*toldError); told && rank == 0 {
			by = -1
		}
		w.lost(by, err)
	}
	w.tell(err)
	close(w.over)
	w.group.comm.Abort(err)
}

// tell passes on why the work ends, also to a rank that was given up: it may only have been stopped.
func (w *watch) tell(err error) {
	var wait sync.WaitGroup
	for _, x := range w.lines {
		wait.Go(func() { x.say(failed, err.Error()) })
	}
	wait.Wait()
}

// failed tells the others that this rank has ended with an error.
func (w *watch) failed(err error) {
	w.tell(fmt.Errorf("%s ended with an error: %w", w.group.Me(), err))
	close(w.over)
}

func (w *watch) interrupted() bool { return w.lines[0].say(interrupted, "") }

// leave tells the others that this rank has done its work.
func (w *watch) leave() {
	if w == nil {
		return
	}
	for _, x := range w.lines {
		x.say(leaving, "")
	}
}

// parting is the time that other ranks give rank 0 to say what went wrong. A launcher ends all ranks when one has ended.
const parting = 3 * time.Second

func (w *watch) part() {
	if w == nil || w.group.Rank() == 0 {
		return
	}
	select {
	case <-w.lines[0].gone:
	case <-time.After(parting):
	}
}

// end ends the watch.
func (w *watch) end() {
	if w == nil {
		return
	}
	w.once.Do(func() {
		close(w.ended)
		for _, x := range w.lines {
			x.conn.Close()
		}
	})
}
