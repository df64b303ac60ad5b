package look

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"

	"stepflow/runtime/observe"
	"stepflow/runtime/program"
)

// chromeEvent is an event of Chrome's trace event format, which chrome://tracing and Perfetto open.
type chromeEvent struct {
	Name  string         `json:"name"`
	Cat   string         `json:"cat,omitempty"`
	Phase string         `json:"ph"` // X complete, C counter, M metadata
	TS    float64        `json:"ts"` // µs
	Dur   float64        `json:"dur,omitempty"`
	PID   int            `json:"pid"`
	TID   int            `json:"tid"`
	Args  map[string]any `json:"args,omitempty"`
}

// WriteChromeTrace writes the measured step in Chrome's trace event format: a track of segments, one of operations, and
// a counter of the arena's bytes in use.
func (p *Profile) WriteChromeTrace(w io.Writer) error {
	const pid, segments, operations = 1, 1, 2
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	meta := func(name string, tid int, value string) chromeEvent {
		return chromeEvent{Name: name, Phase: "M", PID: pid, TID: tid, Args: map[string]any{"name": value}}
	}
	events := []chromeEvent{meta("process_name", 0, fmt.Sprintf("%s on %s", p.Stage, p.Device)),
		meta("thread_name", segments, "segments"), meta("thread_name", operations, "operations")}
	for i, o := range p.Operations {
		l := o.Launch
		if i == 0 || p.Operations[i-1].Run != o.Run {
			end := o
			for _, x := range p.Operations[i:] {
				if x.Run == o.Run {
					end = x
				}
			}
			events = append(events, chromeEvent{Name: program.SegmentSpan(o.Segment), Cat: "segment", Phase: "X",
				TS: us(o.Start.Nanoseconds()), Dur: us((end.Start + end.Duration - o.Start).Nanoseconds()), PID: pid,
				TID: segments})
		}
		events = append(events,
			chromeEvent{Name: l.Kernel, Cat: l.Phase.String(), Phase: "X", TS: us(o.Start.Nanoseconds()),
				Dur: us(o.Duration.Nanoseconds()), PID: pid, TID: operations,
				Args: map[string]any{"name": l.Name, "layer": l.Layer, "shapes": observe.Shapes(l), "flops": l.FLOPs,
					"bytes": l.Bytes}},
			chromeEvent{Name: "device memory", Phase: "C", TS: us(o.Start.Nanoseconds()), PID: pid, TID: 0,
				Args: map[string]any{"bytes": o.Alive}})
	}
	return json.NewEncoder(w).Encode(map[string]any{"traceEvents": events, "displayTimeUnit": "ms",
		"otherData": map[string]any{"stage": p.Stage, "device": p.Device, "tokens": p.Tokens}})
}

// chromeTraceHead starts every trace that WriteChromeTrace writes.
const chromeTraceHead = `{"displayTimeUnit":"ms","otherData":{"device":"`

// IsChromeTrace reports whether WriteChromeTrace wrote a file, which may be gzipped.
func IsChromeTrace(r io.Reader) bool {
	b := bufio.NewReader(r)
	if magic, err := b.Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return false
		}
		b = bufio.NewReader(z)
	}
	head, err := b.Peek(len(chromeTraceHead))
	return err == nil && string(head) == chromeTraceHead
}
