package ranks

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"stepflow/gpu"
)

// Most is how many bytes a message takes at most. A longer one is an error on all ranks: what is sent is bounded by the
// state of a pipeline, and a length beyond it means that ranks are not at the same place.
const Most = 256 << 20

// tooLong is the length that says that rank 0 has no message, because it could not be written or is too long.
const tooLong = -1

// Tell sends a message of rank 0 to all others, which Hear it.
func Tell(c gpu.Communicator, v any) error {
	text, err := json.Marshal(v)
	if err == nil && len(text) > Most {
		err = fmt.Errorf("a message of %d bytes to the other ranks is longer than %d", len(text), Most)
	}
	n := int64(len(text))
	if err != nil {
		n = tooLong
	}
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(n))
	if e := c.Broadcast(0, length[:]); e != nil || err != nil {
		return errors.Join(err, e)
	}
	return c.Broadcast(0, text)
}

// Hear waits for a message of rank 0, on the others.
func Hear(c gpu.Communicator, v any) error {
	var length [8]byte
	if err := c.Broadcast(0, length[:]); err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint64(length[:]))
	if n == tooLong {
		return errors.New("rank 0 could not write a message to the other ranks")
	}
	if n < 0 || n > Most {
		return fmt.Errorf("rank 0 sends a message of %d bytes, and %d is the most: the ranks are not at the same place", n, Most)
	}
	text := make([]byte, n)
	if err := c.Broadcast(0, text); err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("a message of rank 0: %w", err)
	}
	return nil
}

// Gather gives every rank what all ranks have, in the order of ranks.
func Gather[T any](c gpu.Communicator, mine T) ([]T, error) {
	text, err := json.Marshal(mine)
	if err != nil {
		return nil, err
	}
	texts, err := GatherBytes(c, text)
	if err != nil {
		return nil, err
	}
	all := make([]T, len(texts))
	for r, text := range texts {
		if err := json.Unmarshal(text, &all[r]); err != nil {
			return nil, fmt.Errorf("a message of rank %d: %w", r, err)
		}
	}
	return all, nil
}

// GatherBytes gives every rank the bytes of all ranks, in the order of ranks.
func GatherBytes(c gpu.Communicator, mine []byte) ([][]byte, error) {
	size := c.Size()
	if len(mine) > Most {
		return nil, fmt.Errorf("%d bytes for the other ranks are more than %d", len(mine), Most)
	}
	length := make([]byte, 8)
	binary.LittleEndian.PutUint64(length, uint64(len(mine)))
	lengths := make([]byte, 8*size)
	if err := exchange(c, length, func(r int) []byte { return lengths[8*r : 8*r+8] }); err != nil {
		return nil, err
	}
	all := make([][]byte, size)
	for r := range all {
		n := binary.LittleEndian.Uint64(lengths[8*r:])
		if n > Most {
			return nil, fmt.Errorf("rank %d sends %d bytes, and %d is the most: the ranks are not at the same place", r, n, Most)
		}
		all[r] = make([]byte, n)
	}
	return all, exchange(c, mine, func(r int) []byte { return all[r] })
}

// exchange sends the same bytes to all ranks.
func exchange(c gpu.Communicator, mine []byte, recv func(rank int) []byte) error {
	from, to := make([][]byte, c.Size()), make([][]byte, c.Size())
	for r := range from {
		from[r], to[r] = mine, recv(r)
	}
	return c.Exchange(from, to)
}

// jointError is an error with which all ranks end at the same place.
type jointError struct{ error }

func (e jointError) Unwrap() error { return e.error }

// Joint marks it for IsJoint.
func (jointError) Joint() {}

// Joint marks an error with which all ranks end at the same place, such as an interrupt that they agreed on: they go on
// together after it. Any other error ends the work of all ranks.
func Joint(err error) error {
	if err == nil {
		return nil
	}
	return jointError{err}
}

// IsJoint reports whether all ranks end with an error at the same place.
func IsJoint(err error) bool {
	var j interface{ Joint() }
	return errors.As(err, &j)
}

// Part is the part [lo, hi) of n things that a rank does: parts differ by one at most.
func Part(n, rank, size int) (lo, hi int) { return n * rank / size, n * (rank + 1) / size }
