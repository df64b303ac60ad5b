package metrics

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"stepflow/foreign"
)

// Read reads a metrics.jsonl; none is empty. Lines that are damaged or were cut off are left out.
func Read(path string) (steps []Step, err error) {
	err = Each(path, func(s *Step) { steps = append(steps, *s) })
	return steps, err
}

// Each reads a metrics.jsonl as Read does, a step at a time. What add is given is valid until it returns.
func Each(path string, add func(*Step)) error { return new(Tail).Read(path, func() {}, add) }

// Bounds of what is read: of a line, and of a file at once, in bytes.
const (
	maxLine = 1 << 16
	maxRead = 4 << 30
)

// Tail reads a metrics.jsonl that grows: each time only what is new.
type Tail struct {
	file   os.FileInfo
	offset int64
}

// Read gives the steps that are new. It calls reset where the file took the place of the one before, as when a run goes
// on from an older step, or is gone: all that was given before no longer holds. What add is given is valid until it
// returns.
func (t *Tail) Read(path string, reset func(), add func(*Step)) error {
	return t.ReadAll(path, reset, add, nil)
}

// ReadAll is Read that gives evaluations too, in the order of the file; nil for none of them.
func (t *Tail) ReadAll(path string, reset func(), add func(*Step), evaluated func(*Evaluation)) error {
	f, err := foreign.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		*t = Tail{}
		reset()
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if t.file == nil || !os.SameFile(t.file, st) || st.Size() < t.offset {
		*t = Tail{file: st}
		reset()
	}
	if _, err := f.Seek(t.offset, io.SeekStart); err != nil {
		return err
	}
	if most := t.offset + maxRead; st.Size() > most {
		return fmt.Errorf("%s has %d bytes, and at most %d are read", foreign.Shown(path), st.Size(), most)
	}
	r := bufio.NewReaderSize(f, maxLine)
	var s Step
	for {
		line, err := r.ReadSlice('\n')
		for n := len(line); errors.Is(err, bufio.ErrBufferFull); n = len(line) { // of no step
			t.offset += int64(n)
			line, err = r.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) { // or a line that is being written
			return nil
		}
		if err != nil {
			return err
		}
		t.offset += int64(len(line))
		switch s = (Step{}); {
		case bytes.HasPrefix(line, evaluationStart):
			if e := (Evaluation{}); evaluated != nil && e.decode(line) {
				evaluated(&e)
			}
		case s.decode(line):
			add(&s)
		}
	}
}
