// Package ranks is what the processes that run together tell each other beside what their devices exchange.
package ranks

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"stepflow/gpu"
)

// Report is what a rank has to say; its zero where all is well.
type Report struct {
	Rank int
	Code uint8  // 0 where all is well; of several reports the one with the highest counts
	Text string // why
}

// maxText bounds what is taken of a text, in bytes.
const maxText = 16 << 10

// Agree has all ranks tell whether they can go on, and gives all of them the same report: that with the highest code, of the lowest
// rank. All ranks call it.
func Agree(c gpu.Communicator, code uint8, text string) (Report, error) {
	if len(text) > maxText {
		text = text[:maxText]
	}
	head := binary.LittleEndian.AppendUint32([]byte{code, 0, 0, 0}, uint32(len(text)))
	heads, err := All(c, head)
	if err != nil {
		return Report{}, err
	}
	worst := Report{}
	for r, h := range heads {
		if h[0] > worst.Code {
			worst = Report{Rank: r, Code: h[0]}
		}
	}
	if worst.Code == 0 {
		return worst, nil
	}
	b := []byte(text)
	if worst.Rank != c.Rank() {
		n := binary.LittleEndian.Uint32(heads[worst.Rank][4:])
		if n > maxText {
			return worst, fmt.Errorf("rank %d sends a text of %d bytes", worst.Rank, n)
		}
		b = make([]byte, n)
	}
	if err := c.Broadcast(worst.Rank, b); err != nil {
		return worst, err
	}
	worst.Text = string(b)
	return worst, nil
}

// All gives every rank what each has, which is of the same length everywhere.
func All(c gpu.Communicator, mine []byte) ([][]byte, error) {
	send, all := make([][]byte, c.Size()), make([][]byte, c.Size())
	for r := range all {
		send[r], all[r] = mine, make([]byte, len(mine))
	}
	return all, c.Exchange(send, all)
}

// Collectives hashes what a program exchanges with other ranks: each operation with its root and its operand, in order.
func Collectives(p *gpu.Program) []byte {
	h := sha256.New()
	for _, s := range p.Segments {
		for _, l := range p.Launches[s.Lo:s.Hi] {
			if k := gpu.Lookup(l.Kernel); k != nil && k.Collective {
				fmt.Fprintf(h, "%s %s %s %d of %d %v\n", s.Name, l.Kernel, l.Name, l.Attrs.Root, l.Attrs.Ranks, l.In[0].Type)
			}
		}
	}
	return h.Sum(nil)
}

// ErrUnlike says that ranks are not about to run the same.
var ErrUnlike = errors.New("ranks differ")

// Same returns an error, on all ranks, unless all have the same bytes.
func Same(c gpu.Communicator, what string, mine []byte) error {
	all, err := All(c, mine)
	if err != nil {
		return err
	}
	for r, b := range all {
		if !bytes.Equal(b, all[0]) {
			return fmt.Errorf("%w: %s of rank %d is not that of rank 0: start all of them with the same files, variables and devices",
				ErrUnlike, what, r)
		}
	}
	return nil
}
