// Package metrics writes the numbers of a training run: metrics.jsonl, a line a step and a line for each evaluation
// between steps, and TensorBoard event files.
package metrics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"time"

	"stepflow/runtime/durable"
)

// Step is one optimizer step.
type Step struct {
	Step         int              `json:"step"`
	Time         int64            `json:"time_unix_ms,omitempty"` // when it was written; older versions left it out
	Tokens       int64            `json:"tokens"`                 // of the stage, this step included
	FLOPs        int64            `json:"flops"`                  // of the stage, this step included
	Loss         float64          `json:"loss"`                   // nats a token
	LearningRate float64          `json:"learning_rate"`
	GradNorm     float64          `json:"grad_norm"`
	Seconds      float64          `json:"seconds"`
	TokensPerSec float64          `json:"tokens_per_second"`
	MFU          float64          `json:"mfu,omitempty"` // against the device's measured peak
	DataWait     float64          `json:"data_wait_seconds"`
	Epoch        int64            `json:"epoch"`
	Sources      map[string]int64 `json:"sources,omitempty"`            // tokens each source of a mixture has given so far
	MergeError   float64          `json:"merge_error,omitempty"`        // after this step: share of the adapters' product that rounding kept out of the weights
	Skipped      bool             `json:"skipped,omitempty"`            // not finite: no update was made
	HeldOut      int64            `json:"held_out_documents,omitempty"` // so far, each time one was read that an evaluation measures
}

// Scalar is a number of a step under the tag that Hugging Face's Trainer gives it, as TensorBoard and other trackers show it.
type Scalar struct {
	Tag   string
	Value float64
}

// Scalars are the numbers of a step that trackers show. The first is the loss.
func (s *Step) Scalars() []Scalar {
	return []Scalar{{"train/loss", s.Loss}, {"train/learning_rate", s.LearningRate}, {"train/grad_norm", s.GradNorm},
		{"train/epoch", float64(s.Epoch)}, {"train/num_input_tokens_seen", float64(s.Tokens)},
		{"train/tokens_per_second", s.TokensPerSec}, {"train/mfu", s.MFU}}
}

// FileName is the file of a stage's steps.
const FileName = "metrics.jsonl"

// Writer appends steps and evaluations to the files of a stage.
type Writer struct {
	Last  Step            // before what is written; its zero where there is none
	Made  map[string]bool // names of the evaluations that were made after the step that it continues from
	jsonl *os.File
	tb    *events
}

// Follow reads the metrics of a stage up to a step, and writes nothing: Last and Made are those of Open.
func Follow(dir string, afterStep int) (*Writer, error) {
	w, _, err := read(dir, afterStep)
	return w, err
}

// read reads the metrics up to a step, and the lines of these.
func read(dir string, afterStep int) (w *Writer, kept []byte, err error) {
	w = &Writer{Made: map[string]bool{}}
	var unwritable error
	keep := func(step int, x any) {
		if step <= afterStep && unwritable == nil {
			var b []byte
			b, unwritable = encode(x)
			kept = append(kept, b...)
		}
	}
	err = new(Tail).ReadAll(filepath.Join(dir, FileName), func() {}, func(s *Step) {
		if keep(s.Step, s); s.Step <= afterStep {
			w.Last = *s
		}
	}, func(e *Evaluation) {
		if keep(e.Step, e); e.Step == afterStep {
			w.Made[e.Name] = true
		}
	})
	return w, kept, errors.Join(unwritable, err)
}

// Open continues the metrics of a stage after a step: later lines, of a run that was cut off, are
// dropped, and a new event file tells TensorBoard to do the same.
func Open(dir string, afterStep int) (*Writer, error) {
	if err := durable.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, FileName)
	w, kept, err := read(dir, afterStep)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(path, kept); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	w.jsonl = f
	if w.tb, err = newEvents(dir, time.Now().UnixNano()); err == nil {
		err = w.tb.restart(afterStep + 1)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return w, nil
}

// WriteEvaluation writes an evaluation's loss and perplexity as TensorBoard events, with the tags of Hugging Face's
// Trainer, at the step its model had reached.
func WriteEvaluation(dir string, step int, loss, perplexity float64) error {
	return WriteScores(dir, step, []Scalar{{"eval/loss", loss}, {"eval/perplexity", perplexity}})
}

// WriteScores writes scores of an evaluation as TensorBoard events, at the step its model had reached. It replaces what an
// evaluation before left there.
func WriteScores(dir string, step int, list []Scalar) error {
	if err := durable.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	e, err := newEvents(dir, 0)
	if err != nil {
		return err
	}
	var errs []error
	for _, x := range list {
		errs = append(errs, e.scalar(step, x.Tag, x.Value))
	}
	return errors.Join(append(errs, e.file.Close())...)
}

// Write appends a step to both files, at the time of now.
func (w *Writer) Write(s Step) error {
	s.Time = time.Now().UnixMilli()
	return w.write(s.Step, s, s.Scalars())
}

// WriteEvaluation appends an evaluation to both files, at the time of now.
func (w *Writer) WriteEvaluation(e Evaluation) error {
	e.Time = time.Now().UnixMilli()
	return w.write(e.Step, e, e.Scalars())
}

// write appends a line to metrics.jsonl, and numbers to the events.
func (w *Writer) write(step int, line any, numbers []Scalar) error {
	b, err := encode(line)
	if err != nil {
		return err
	}
	if _, err := w.jsonl.Write(b); err != nil {
		return err
	}
	for _, x := range numbers {
		if err := w.tb.scalar(step, x.Tag, x.Value); err != nil {
			return err
		}
	}
	return nil
}

// Sync makes the steps written so far durable. TensorBoard's events are for looking at, and are not synced.
func (w *Writer) Sync() error {
	if w.jsonl == nil { // of Follow
		return nil
	}
	if err := w.jsonl.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", w.jsonl.Name(), err)
	}
	return nil
}

// Close closes the files.
func (w *Writer) Close() error {
	if w == nil || w.jsonl == nil { // of Follow
		return nil
	}
	return errors.Join(w.jsonl.Close(), w.tb.file.Close())
}

// events is an event file of TensorBoard.
type events struct{ file *os.File }

func newEvents(dir string, id int64) (*events, error) {
	path := filepath.Join(dir, fmt.Sprintf("events.out.tfevents.%d.stepflow", id))
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // a new file: no link is followed
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	e := &events{f}
	return e, e.event(0, func(b []byte) []byte { return field(b, 3, []byte("brain.Event:2")) })
}

// restart tells TensorBoard to drop the steps from one on that other files of the folder have: Event{wall_time: 1, step: 2,
// session_log: 7{status: 1, START}}.
func (e *events) restart(step int) error {
	return e.event(step, func(b []byte) []byte { return field(b, 7, []byte{1 << 3, 1}) })
}

// scalar writes Event{wall_time: 1, step: 2, summary: 5{value: 1{tag: 1, simple_value: 2}}}
// (tensorflow/core/util/event.proto).
func (e *events) scalar(step int, tag string, v float64) error {
	value := field(nil, 1, []byte(tag))
	value = append(value, 2<<3|5)
	value = binary.LittleEndian.AppendUint32(value, math.Float32bits(float32(v)))
	return e.event(step, func(b []byte) []byte { return field(b, 5, field(nil, 1, value)) })
}

func (e *events) event(step int, what func([]byte) []byte) error {
	b := []byte{1<<3 | 1}
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(time.Now().UnixNano())/1e9))
	b = append(b, 2<<3)
	b = binary.AppendUvarint(b, uint64(step))
	b = what(b)
	// TFRecord: length, masked CRC of the length, data, masked CRC of the data.
	rec := binary.LittleEndian.AppendUint64(nil, uint64(len(b)))
	rec = binary.LittleEndian.AppendUint32(rec, masked(rec))
	rec = append(rec, b...)
	rec = binary.LittleEndian.AppendUint32(rec, masked(b))
	_, err := e.file.Write(rec)
	return err
}

func field(b []byte, n int, data []byte) []byte {
	b = append(b, byte(n<<3|2))
	b = binary.AppendUvarint(b, uint64(len(data)))
	return append(b, data...)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func masked(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
