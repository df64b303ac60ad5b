package rendezvous

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// hello is what a rank says to rank 0, in a line of JSON. The answer is a line too: empty, or why rank 0 does not want it.
type hello struct {
	Stepflow   int // version of what follows
	Rank, Size int
	Key        string
}

const version = 1

// manners is the time for a hello and its answer, and for a connection that is not answered.
const manners = 10 * time.Second

// meet waits at rank 0 until all others have come.
func meet(ctx context.Context, o Options) ([]*peer, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", listening(o.Address))
	if err != nil {
		return nil, fmt.Errorf("rank 0 listens for the other ranks: %w", err)
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	came := make(chan *peer)
	go accept(ctx, l, o, came)
	peers := make([]*peer, o.Size-1)
	for missing := len(peers); missing > 0; {
		select {
		case p := <-came:
			if peers[p.rank-1] != nil {
				p.answer("another process is rank " + fmt.Sprint(p.rank) + " already")
				p.conn.Close()
				continue
			}
			peers[p.rank-1] = p
			missing--
		case <-ctx.Done():
			for _, p := range peers {
				if p != nil {
					p.conn.Close()
				}
			}
			return nil, absent(ctx, o, peers)
		}
	}
	for _, p := range peers { // all are there: now each may begin
		if err := p.answer(""); err != nil {
			return nil, err
		}
		p.conn.SetDeadline(time.Time{})
	}
	return peers, nil
}

// listening is where rank 0 listens: on all interfaces, or on loopback alone where the others look for it there.
func listening(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return address
	}
	return net.JoinHostPort("", port)
}

// absent says which ranks did not come in time.
func absent(ctx context.Context, o Options, peers []*peer) error {
	if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var list []string
	for i, p := range peers {
		if p == nil {
			list = append(list, fmt.Sprint(i+1))
		}
	}
	const shown = 8
	if n := len(list); n > shown {
		list = append(list[:shown], fmt.Sprintf("and %d more", n-shown))
	}
	return fmt.Errorf("rank 0 waited %v at %s, and these ranks did not come: %s", o.Timeout, o.Address, strings.Join(list, ", "))
}

// accept reads the hello of each connection, and turns away who has no place here.
func accept(ctx context.Context, l net.Listener, o Options, came chan<- *peer) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			conn.SetDeadline(time.Now().Add(manners))
			p := newPeer(0, conn)
			var h hello
			line, err := limited(p.r)
			if err != nil || json.Unmarshal([]byte(line), &h) != nil || h.Key != o.Key {
				conn.Close() // of somebody else
				return
			}
			why := ""
			switch {
			case h.Stepflow != version:
				why = "it is of another version of stepflow"
			case h.Size != o.Size:
				why = fmt.Sprintf("it is one of %d ranks, and rank 0 one of %d", h.Size, o.Size)
			case h.Rank < 1 || h.Rank >= o.Size:
				why = fmt.Sprintf("it is rank %d of %d", h.Rank, o.Size)
			}
			if why != "" {
				p.answer(why)
				conn.Close()
				return
			}
			p.rank = h.Rank
			deadline, _ := ctx.Deadline()
			conn.SetDeadline(deadline.Add(manners))
			select {
			case came <- p:
			case <-ctx.Done():
				conn.Close()
			}
		}()
	}
}

// limited reads a line that is not long.
func limited(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if err == nil && len(line) > 1<<12 {
		err = bufio.ErrBufferFull
	}
	return strings.TrimSuffix(string(line), "\n"), err
}

func (p *peer) answer(text string) error {
	p.w.WriteString(text + "\n")
	return p.said(p.w.Flush())
}

// refused is rank 0's answer to a process that it does not want.
type refused string

func (r refused) Error() string { return "rank 0 does not take this process: " + string(r) }

// join connects to rank 0, which may not be there yet, or still be that of an earlier run.
func join(ctx context.Context, o Options) ([]*peer, error) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		p, err := greet(ctx, o)
		var no refused
		switch {
		case err == nil:
			return []*peer{p}, nil
		case errors.As(err, &no):
			return nil, fmt.Errorf("%s: %w", o.Address, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, fmt.Errorf("rank %d was not taken in by rank 0 at %s within %v: %w", o.Rank, o.Address, o.Timeout, err)
			}
			return nil, ctx.Err()
		}
	}
}

// greet says hello to rank 0, and waits until all ranks have come.
func greet(ctx context.Context, o Options) (*peer, error) {
	d := net.Dialer{Timeout: manners}
	conn, err := d.DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	p := newPeer(0, conn)
	text, err := json.Marshal(hello{Stepflow: version, Rank: o.Rank, Size: o.Size, Key: o.Key})
	if err == nil {
		err = p.answer(string(text))
	}
	var why string
	if err == nil {
		why, err = limited(p.r)
	}
	if err == nil && why != "" {
		err = refused(why)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, p.said(err)
	}
	return p, nil
}
