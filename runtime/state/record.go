package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Status of a block.
const (
	Running = "running"
	Done    = "done"
	Failed  = "failed"
)

// Block is what is known of one block.
type Block struct {
	Status  string            `json:"status"`
	Recipe  string            `json:"recipe"`              // of the configuration and inputs that made it
	Content string            `json:"content,omitempty"`   // of what it made, once done
	Earlier string            `json:"earlier,omitempty"`   // until then, of what the same recipe made before, which is made again
	Device  string            `json:"device,omitempty"`    // the kind of processor that made it, once done
	Attrs   map[string]string `json:"attributes"`          // as evaluated, for saying what changed
	Secrets map[string]string `json:"sensitive,omitempty"` // seals of the sensitive attributes
	Inputs  map[string]string `json:"inputs"`              // address → id
	Dir     string            `json:"dir,omitempty"`       // relative to the state's folder
	Step    int               `json:"step,omitempty"`
	Steps   int               `json:"steps,omitempty"`
	Values  map[string]any    `json:"values,omitempty"` // exports
	Memory  *Memory           `json:"memory,omitempty"`
	Import  *Import           `json:"import,omitempty"` // where its result comes from; nil if it was made here
	Course  *Course           `json:"course,omitempty"` // nil of a block that does not run in steps
	Ranks   []int             `json:"ranks,omitempty"`  // how many trained it together, one number after the other; nil for one alone throughout
	Error   string            `json:"error,omitempty"`  // why it failed, or if it is done, why nothing goes on from it
	// Triggers are what the triggers of the block were, by name.
	Triggers map[string]string `json:"triggers,omitempty"`
	// Protected says that the configuration had prevent_destroy when it was last applied.
	Protected bool      `json:"prevent_destroy,omitempty"`
	Updated   time.Time `json:"updated"`
	Started   time.Time `json:"started,omitzero"`
	// Trace is the traceparent (W3C Trace Context) of the block's root span; one that has not ended was cut off.
	Trace      string `json:"trace,omitempty"`
	TraceEnded bool   `json:"trace_ended,omitempty"`
	// Job is the job in which the block runs or waits; nil for none.
	Job *Job `json:"job,omitempty"`
}

// Job is a job of a cluster that makes the result of a block. The next apply finds it by its id.
type Job struct {
	ID        string    `json:"id"`
	Executor  string    `json:"executor"`        // its address
	Tries     int       `json:"tries,omitempty"` // jobs before it that ended without a result
	Submitted time.Time `json:"submitted"`
}

// RanksText says how many ranks trained a block; "" for one alone.
func (b *Block) RanksText() string {
	words := make([]string, len(b.Ranks))
	for i, n := range b.Ranks {
		words[i] = fmt.Sprint(n)
	}
	return strings.Join(words, ", then ")
}

// TrainedBy returns how many ranks trained a block, if so many go on from where those before were; going says that it goes
// on from there, and does not start.
func TrainedBy(before []int, going bool, n int) []int {
	n = max(n, 1)
	if !going {
		before = []int{n}
	} else if len(before) == 0 {
		before = []int{1}
	}
	if before[len(before)-1] != n {
		before = append(slices.Clone(before), n)
	}
	if len(before) == 1 && before[0] == 1 {
		return nil
	}
	return before
}

// Unsent is the span of a block whose process was killed. A run without traces, which cannot send it, keeps it for the next
// one that can.
type Unsent struct {
	Address string    `json:"address"`
	Trace   string    `json:"trace"` // traceparent
	Began   time.Time `json:"began"`
	Last    time.Time `json:"last"`            // when the block last wrote something
	Step    int       `json:"step,omitempty"`  // the last that it saved
	Steps   int       `json:"steps,omitempty"` // that it was to do
}

// Course is what runs have in common that differ in their length, and how one of them goes about it.
type Course struct {
	ID   string          `json:"id"`   // hash of the recipe without the length and the schedule
	Pace json.RawMessage `json:"pace"` // the length and the schedule, as the kind of block writes them
}

// Import says where the result of a block comes from that was not made here.
type Import struct {
	ID    string `json:"id"`    // as the import block named it
	Files string `json:"files"` // hash of the files
}

// Memory compares plan and run.
type Memory struct {
	Planned  int64            `json:"planned_bytes"`
	Measured int64            `json:"measured_bytes"`
	Vanilla  int64            `json:"vanilla_bytes"`
	ByKind   map[string]int64 `json:"by_kind"`
}

// Source is what remote data were when a run last looked at them.
type Source struct {
	Key      string    `json:"key"` // a hash of what was asked for
	Identity string    `json:"identity"`
	Rows     int64     `json:"rows"`
	Files    []string  `json:"files"` // of the hub at their commits; without keys
	Seen     time.Time `json:"seen"`
}

// Saw notes what remote data were; nil changes nothing.
func (s *State) Saw(block string, d *Source) {
	if d == nil {
		return
	}
	if s.Sources == nil {
		s.Sources = map[string]*Source{}
	}
	s.Sources[block] = d
}

// Output is a value of an output block.
type Output struct {
	Value       any             `json:"value"`          // whole numbers beyond 2^53 as json.Number
	Type        json.RawMessage `json:"type,omitempty"` // as Terraform writes types
	Description string          `json:"description,omitempty"`
	Sensitive   bool            `json:"sensitive,omitempty"` // its value is not kept
	Seal        string          `json:"seal,omitempty"`      // of a sensitive one
}

// UnmarshalJSON reads an output with the digits of its numbers.
func (o *Output) UnmarshalJSON(b []byte) error {
	type plain Output
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode((*plain)(o)); err != nil {
		return err
	}
	o.Value = numbers(o.Value)
	return nil
}

// numbers turns numbers into float64 where that holds them.
func numbers(v any) any {
	switch x := v.(type) {
	case json.Number:
		f, err := x.Float64()
		if err != nil || math.Abs(f) >= 1<<53 && !strings.ContainsAny(x.String(), ".eE") {
			return x
		}
		return f
	case []any:
		for i := range x {
			x[i] = numbers(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = numbers(x[k])
		}
	}
	return v
}
