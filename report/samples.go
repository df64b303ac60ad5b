package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"stepflow/foreign"
	"stepflow/runtime/blocks"
	"stepflow/runtime/state"
)

// Bounds of what is read of such files: of a line in bytes, of a file in metrics, of those of a run together in
// documents.
const (
	maxSample    = 16 << 20
	maxMetrics   = 64
	maxDocuments = 2 << 20
)

// sample is a line of the file, without what pairs do not need.
type sample struct {
	Task     string              `json:"task"`
	Document *int                `json:"document"`
	Hash     string              `json:"hash"`
	Prompt   string              `json:"prompt"`
	Gold     json.RawMessage     `json:"gold"`
	Metrics  map[string]*float64 `json:"metrics"`
}

// sampled are the documents of an evaluation, by task.
type sampled struct {
	tasks   map[string]*measured
	metrics int
	count   int    // of documents
	lost    string // what of the file could not be read; "" if all could

	size    int64 // of the file that was read, and when it was written
	written time.Time
}

// measured are the documents of a task, in the order of the file.
type measured struct {
	documents []document
	values    map[string][]float64 // by metric, of each document; NaN where it has none
}

// document is what tells one from another.
type document struct {
	id     uint64 // of its number, its fields and its right answers
	prompt uint64 // of what the model was asked; 0 where the file does not say
}

// samples reads what came of each document of an evaluation, unless it was read before.
func (r *Reader) samples(run *Run, address string, s *state.Block) (*sampled, error) {
	if !filepath.IsLocal(s.Dir) {
		return nil, nil
	}
	path := filepath.Join(run.Dir, s.Dir, blocks.SamplesFile)
	f, err := foreign.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		delete(r.evaluated, address)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	old, left := r.evaluated[address], maxDocuments
	if old != nil && old.size == st.Size() && old.written.Equal(st.ModTime()) {
		return old, nil
	}
	for name, x := range r.evaluated {
		if name != address {
			left -= x.count
		}
	}
	x, err := readSamples(f, left)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	x.size, x.written = st.Size(), st.ModTime()
	r.evaluated[address] = x
	return x, nil
}

// readSamples reads at most so many documents. Lines that are damaged are left out and counted.
func readSamples(from io.Reader, most int) (*sampled, error) {
	x := &sampled{tasks: map[string]*measured{}}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxSample)
	line, damaged, first := 0, 0, 0
	for lines.Scan() {
		line++
		if x.count >= most {
			x.lost = fmt.Sprintf("the lines from %d on are not read: the report takes %d documents of a run", line, maxDocuments)
			break
		}
		if !x.add(lines.Bytes()) {
			if damaged++; damaged == 1 {
				first = line
			}
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		x.lost = fmt.Sprintf("line %d is longer than %d MiB, and the file is not read from there on", line+1, maxSample>>20)
	case err != nil:
		return nil, err
	}
	if damaged > 0 {
		x.lost = fmt.Sprintf("%d of %d lines are damaged, the first is line %d", damaged, line, first)
	}
	return x, nil
}

// add adds a line; false if it is damaged.
func (x *sampled) add(line []byte) bool {
	var s sample
	if json.Unmarshal(line, &s) != nil || s.Task == "" || s.Document == nil {
		return false
	}
	t := x.tasks[s.Task]
	if t == nil {
		t = &measured{values: map[string][]float64{}}
		x.tasks[s.Task] = t
	}
	n := len(t.documents)
	for name, v := range s.Metrics {
		list, known := t.values[name]
		if !known {
			if x.metrics++; x.metrics > maxMetrics*len(x.tasks) {
				return false
			}
			list = make([]float64, 0, cap(t.documents))
		}
		for len(list) < n {
			list = append(list, math.NaN())
		}
		value := math.NaN()
		if v != nil && math.Abs(*v) < math.MaxFloat32 { // of others a sum is not finite
			value = *v
		}
		t.values[name] = append(list, value)
	}
	d := document{id: sum(fmt.Sprint(*s.Document), s.Hash, string(s.Gold))}
	if s.Prompt != "" {
		d.prompt = sum(s.Prompt)
	}
	t.documents = append(t.documents, d)
	x.count++
	return true
}

// sum is a hash of texts.
func sum(texts ...string) uint64 {
	h := fnv.New64a()
	for _, t := range texts {
		fmt.Fprintf(h, "%d %s", len(t), t)
	}
	return h.Sum64()
}

// column returns the values of a metric, one a document; nil if some have none.
func (m *measured) column(metric string) []float64 {
	list := m.values[metric]
	if len(list) != len(m.documents) {
		return nil
	}
	for _, v := range list {
		if math.IsNaN(v) {
			return nil
		}
	}
	return list
}
