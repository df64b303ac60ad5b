package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Evaluation is what an evaluation between the steps of a stage gave: a line of its own among those of the steps.
type Evaluation struct {
	Name     string             // of the evaluation
	Step     int                // after which it was made; 0 before the first
	Time     int64              // when it was written, in milliseconds
	Tokens   int64              // that the stage had trained on
	FLOPs    int64              // of the stage's steps so far, without evaluations
	Seconds  float64            // that it took
	Measured int64              // tokens
	Values   map[string]float64 // by name, such as loss, or hellaswag.acc of a task
	Higher   []string           // names of values that are better when higher, in order; of others lower is better
}

// evaluationJSON is an evaluation in which values may be null; not_finite has the words for those.
type evaluationJSON struct {
	Name      string              `json:"evaluation"` // first: lines are told apart by it
	Step      int                 `json:"step"`
	Time      int64               `json:"time_unix_ms"`
	Tokens    int64               `json:"tokens"`
	FLOPs     int64               `json:"flops"`
	Seconds   float64             `json:"seconds"`
	Measured  int64               `json:"measured_tokens"`
	Values    map[string]*float64 `json:"values"`
	NotFinite map[string]string   `json:"not_finite,omitempty"`
	Higher    []string            `json:"higher_is_better,omitempty"`
}

// evaluationStart begins the line of an evaluation, and no line of a step.
var evaluationStart = []byte(`{"evaluation":`)

// MarshalJSON writes null for a value that is not finite, and its word into not_finite.
func (e Evaluation) MarshalJSON() ([]byte, error) {
	x := evaluationJSON{Name: e.Name, Step: e.Step, Time: e.Time, Tokens: e.Tokens, FLOPs: e.FLOPs, Seconds: e.Seconds,
		Measured: e.Measured, Values: map[string]*float64{}, NotFinite: map[string]string{}, Higher: e.Higher}
	for name, v := range e.Values {
		if x.Values[name] = &v; !Finite(v) {
			x.Values[name], x.NotFinite[name] = nil, Word(v)
		}
	}
	return json.Marshal(x)
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (e *Evaluation) UnmarshalJSON(b []byte) error {
	var x evaluationJSON
	if err := json.Unmarshal(b, &x); err != nil {
		return err
	}
	*e = Evaluation{Name: x.Name, Step: x.Step, Time: x.Time, Tokens: x.Tokens, FLOPs: x.FLOPs, Seconds: x.Seconds,
		Measured: x.Measured, Values: map[string]float64{}, Higher: x.Higher}
	for name, v := range x.Values {
		if v != nil {
			e.Values[name] = *v
		} else if w, ok := ofWord(x.NotFinite[name]); ok {
			e.Values[name] = w
		}
	}
	return nil
}

// decode reads a line of an evaluation. It reports false for a damaged one.
func (e *Evaluation) decode(line []byte) bool {
	line = bytes.TrimSuffix(line, []byte("\n"))
	at := len(line) - 1 - sumLength
	return at > 0 && bytes.HasPrefix(line[at:], []byte(sumStart)) && holds(line[:at], line[at:]) &&
		json.Unmarshal(line, e) == nil
}

// Scalars are the values that trackers show, under the tags that Hugging Face's Trainer gives those of a data set that
// has a name.
func (e *Evaluation) Scalars() (list []Scalar) {
	for _, name := range slices.Sorted(maps.Keys(e.Values)) {
		list = append(list, Scalar{"eval/" + e.Name + "_" + name, e.Values[name]})
	}
	return list
}

// Brief are the values to show where there is little room: the loss, or of each task its first metric.
func (e *Evaluation) Brief() (list []Scalar) {
	if loss, ok := e.Values["loss"]; ok {
		return []Scalar{{e.Name, loss}}
	}
	last := ""
	for _, name := range slices.Sorted(maps.Keys(e.Values)) {
		if task := taskOf(name); task != last {
			list, last = append(list, Scalar{e.Name + " " + name, e.Values[name]}), task
		}
	}
	return list
}

// taskOf is the task that a value such as gsm8k.exact_match,strict-match is of; "" for a value without one. A filter, which
// comes last, may have dots too.
func taskOf(value string) string {
	name, _, _ := strings.Cut(value, ",")
	return name[:max(strings.LastIndexByte(name, '.'), 0)]
}

// StderrName is the name under which the standard error of a value of a task stands. A filter comes last, as
// lm-evaluation-harness has it: exact_match_stderr,strict-match.
func StderrName(value string) string {
	name, filter, filtered := strings.Cut(value, ",")
	if filtered {
		return name + "_stderr," + filter
	}
	return name + "_stderr"
}

// IsStderr reports whether a value is the standard error of another.
func (e *Evaluation) IsStderr(value string) bool {
	before, filter, is := strings.Cut(value, "_stderr")
	_, has := e.Values[before+filter]
	return is && has && StderrName(before+filter) == value
}

// Text lists the values.
func (e *Evaluation) Text() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(e.Values)) {
		list = append(list, fmt.Sprintf("%s %.6g", name, e.Values[name]))
	}
	return strings.Join(list, ", ")
}

// Numbers are the values, for what takes values of any type.
func (e *Evaluation) Numbers() map[string]any {
	m := map[string]any{}
	for name, v := range e.Values {
		m[name] = v
	}
	return m
}

// Evaluations reads those of a metrics.jsonl; no file has none. Lines that are damaged or were cut off are left out.
func Evaluations(path string) (list []Evaluation, err error) {
	err = new(Tail).ReadAll(path, func() {}, func(*Step) {}, func(e *Evaluation) { list = append(list, *e) })
	return list, err
}
