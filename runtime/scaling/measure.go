package scaling

import (
	"slices"
	"time"

	"stepflow/gpu"
)

// Names under which a state keeps what was measured of the link between ranks, as rates: messages and bytes a second.
const (
	MessageRate = "link messages"
	ByteRate    = "link bytes"
)

// Recorded is the link that a state's rates hold; ok is false if they hold none.
func Recorded(rates map[string]float64) (l Link, ok bool) {
	m, b := rates[MessageRate], rates[ByteRate]
	if m <= 0 || b <= 0 {
		return l, false
	}
	return Link{Name: "measured", Latency: 1 / m, Bandwidth: b}, true
}

// Sizes of the messages that are measured, and how much each is sent in all, at least leastTimes.
const (
	leastSize  = 1 << 10
	mostSize   = 1 << 24
	inAll      = 1 << 26
	leastTimes = 5
	mostTimes  = 200
)

// Measure has each rank exchange messages of several sizes with all others, and returns the median time of a message of each.
// All ranks call it.
func Measure(c gpu.Communicator) (list []Sample, err error) {
	others := c.Size() - 1
	if others < 1 {
		return nil, nil
	}
	buffer := make([]byte, mostSize)
	for size := leastSize; size <= mostSize; size *= 4 {
		times := min(mostTimes, max(leastTimes, inAll/size))
		send, recv := make([][]byte, c.Size()), make([][]byte, c.Size())
		for r := range send {
			if r != c.Rank() {
				send[r] = buffer[:size]
				recv[r] = make([]byte, size)
			}
		}
		took := make([]time.Duration, times)
		for i := range took {
			start := time.Now()
			if err := c.Exchange(send, recv); err != nil {
				return nil, err
			}
			took[i] = time.Since(start)
		}
		slices.Sort(took)
		list = append(list, Sample{Bytes: int64(size), Seconds: took[times/2].Seconds() / float64(others)})
	}
	return list, nil
}
