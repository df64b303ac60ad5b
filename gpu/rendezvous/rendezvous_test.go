package rendezvous_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"stepflow/gpu"
	"stepflow/gpu/rendezvous"
)

var _ gpu.Communicator = (*rendezvous.Comm)(nil)

// address is a free port of loopback.
func address(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// together opens n ranks at an address and calls f on each.
func together(t *testing.T, n int, f func(*rendezvous.Comm) error) {
	t.Helper()
	at := address(t)
	errs := make([]error, n)
	var wait sync.WaitGroup
	for r := range n {
		wait.Go(func() {
			c, err := rendezvous.Open(t.Context(), rendezvous.Options{Rank: r, Size: n, Address: at, Key: "k", Timeout: 20 * time.Second})
			if err == nil {
				err = f(c)
			}
			if err == nil {
				err = c.Close()
			}
			errs[r] = err
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

func TestExchangeAndBroadcast(t *testing.T) {
	for _, n := range []int{1, 2, 5} {
		together(t, n, func(c *rendezvous.Comm) error {
			part := func(from, to int) []byte { return bytes.Repeat([]byte{byte(16*from + to)}, 100*((from+2*to)%4)) }
			for range 20 {
				send, recv := make([][]byte, n), make([][]byte, n)
				for r := range n {
					send[r], recv[r] = part(c.Rank(), r), make([]byte, len(part(r, c.Rank())))
				}
				if err := c.Exchange(send, recv); err != nil {
					return err
				}
				for r := range n {
					if !bytes.Equal(recv[r], part(r, c.Rank())) {
						return fmt.Errorf("rank %d has other bytes of rank %d", c.Rank(), r)
					}
				}
				for root := range n {
					b := make([]byte, 1000)
					if c.Rank() == root {
						b = bytes.Repeat([]byte{byte(root + 1)}, 1000)
					}
					if err := c.Broadcast(root, b); err != nil {
						return err
					}
					if b[0] != byte(root+1) || b[999] != byte(root+1) {
						return fmt.Errorf("rank %d has other bytes of root %d", c.Rank(), root)
					}
				}
			}
			return nil
		})
	}
}

func TestAbortEndsWhoWaits(t *testing.T) {
	together(t, 3, func(c *rendezvous.Comm) error {
		if c.Rank() == 2 {
			c.Abort(errors.New("out of memory"))
			return nil
		}
		if err := c.Broadcast(2, make([]byte, 8)); err == nil {
			return fmt.Errorf("rank %d got something", c.Rank())
		}
		if err := c.Exchange(make([][]byte, 3), make([][]byte, 3)); err == nil {
			return fmt.Errorf("rank %d goes on after an error", c.Rank())
		}
		return nil
	})
}

func TestLengthsThatDiffer(t *testing.T) {
	together(t, 2, func(c *rendezvous.Comm) error {
		send, recv := make([][]byte, 2), make([][]byte, 2)
		if c.Rank() == 0 {
			recv[1] = make([]byte, 3)
		} else {
			send[0] = make([]byte, 4)
		}
		err := c.Exchange(send, recv)
		if err == nil || c.Rank() == 0 && err.Error() != "rank 1 sends 4 bytes to rank 0, which receives 3" {
			return fmt.Errorf("rank %d: %v", c.Rank(), err)
		}
		return nil
	})
}

// TestWhoIsTurnedAway wants strangers to keep no rank out, and ranks of another run to be refused.
func TestWhoIsTurnedAway(t *testing.T) {
	at := address(t)
	open := func(rank, size int, key string, timeout time.Duration) error {
		c, err := rendezvous.Open(t.Context(), rendezvous.Options{Rank: rank, Size: size, Address: at, Key: key, Timeout: timeout})
		if err == nil {
			c.Close()
		}
		return err
	}
	zero := make(chan error)
	go func() { zero <- open(0, 2, "k", 20*time.Second) }()
	for {
		c, err := net.Dial("tcp", at)
		if err == nil {
			fmt.Fprintf(c, "GET / HTTP/1.1\r\n\r\n")
			c.Close()
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := open(1, 3, "k", 20*time.Second); err == nil || !strings.Contains(err.Error(), "it is one of 3 ranks, and rank 0 one of 2") {
		t.Error(err)
	}
	if err := open(1, 2, "other", 200*time.Millisecond); err == nil || !strings.Contains(err.Error(), "was not taken in by rank 0") {
		t.Error(err)
	}
	if err := open(1, 2, "k", 20*time.Second); err != nil {
		t.Error(err)
	}
	if err := <-zero; err != nil {
		t.Error(err)
	}
}

func TestRanksThatDoNotCome(t *testing.T) {
	o := rendezvous.Options{Size: 4, Address: address(t), Timeout: 50 * time.Millisecond}
	_, err := rendezvous.Open(t.Context(), o)
	want := "rank 0 waited 50ms at " + o.Address + ", and these ranks did not come: 1, 2, 3"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.Rank, o.Timeout = 1, time.Hour
	if _, err := rendezvous.Open(ctx, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
