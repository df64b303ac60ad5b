package ranks_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
	"stepflow/gpu/ranks"
)

// all runs something on each of n ranks, and returns the errors in their order.
func all(n int, f func(gpu.Communicator) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for r, c := range gputest.Ranks(n) {
		wg.Go(func() { errs[r] = f(c) })
	}
	wg.Wait()
	return errs
}

func TestMessages(t *testing.T) {
	for _, n := range []int{1, 2, 5} {
		for r, err := range all(n, func(c gpu.Communicator) error {
			for _, text := range []string{"", "one", strings.Repeat("long", 1<<16)} {
				heard := text
				if c.Rank() == 0 {
					if err := ranks.Tell(c, text); err != nil {
						return err
					}
				} else if err := ranks.Hear(c, &heard); err != nil {
					return err
				}
				if heard != text {
					return fmt.Errorf("heard %d bytes, told %d", len(heard), len(text))
				}
				mine := strings.Repeat(text, c.Rank())
				list, err := ranks.Gather(c, mine)
				if err != nil {
					return err
				}
				for r, x := range list {
					if x != strings.Repeat(text, r) {
						return fmt.Errorf("rank %d has %d bytes of rank %d", c.Rank(), len(x), r)
					}
				}
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("rank %d of %d: %v", r, n, err)
			}
		}
	}
}

func TestMessagesThatCannotBe(t *testing.T) {
	for r, err := range all(3, func(c gpu.Communicator) error {
		if c.Rank() == 0 {
			return ranks.Tell(c, func() {})
		}
		return ranks.Hear(c, new(string))
	}) {
		if err == nil {
			t.Errorf("rank %d got a function", r)
		}
	}
	for r, err := range all(2, func(c gpu.Communicator) error { // another operation than the one that is waited for
		if c.Rank() == 0 {
			return c.Broadcast(0, []byte("nonsense"))
		}
		return ranks.Hear(c, new(string))
	}) {
		if r == 1 && (err == nil || !strings.Contains(err.Error(), "not at the same place")) {
			t.Errorf("rank 1 takes nonsense for a length: %v", err)
		}
	}
}

func TestAbortEndsThoseWhoWait(t *testing.T) {
	for r, err := range all(3, func(c gpu.Communicator) error {
		if c.Rank() == 2 {
			c.Abort(errors.New("out of memory"))
			return nil
		}
		_, err := ranks.Gather(c, 1)
		return err
	}) {
		if r < 2 && (err == nil || !strings.Contains(err.Error(), "rank 2 ended") || !strings.Contains(err.Error(), "out of memory")) {
			t.Errorf("rank %d: %v", r, err)
		}
	}
}

func TestJoint(t *testing.T) {
	base := errors.New("interrupted")
	if err := fmt.Errorf("stage.a: %w", ranks.Joint(base)); !ranks.IsJoint(err) || !errors.Is(err, base) || ranks.IsJoint(base) ||
		ranks.Joint(nil) != nil {
		t.Error("joint errors are told apart from others")
	}
}

func TestParts(t *testing.T) {
	for n := range 40 {
		for size := 1; size < 9; size++ {
			at := 0
			for r := range size {
				lo, hi := ranks.Part(n, r, size)
				if lo != at || hi-lo < n/size || hi-lo > n/size+1 {
					t.Fatalf("rank %d of %d does [%d, %d) of %d", r, size, lo, hi, n)
				}
				at = hi
			}
			if at != n {
				t.Fatalf("%d ranks do %d of %d", size, at, n)
			}
		}
	}
}
