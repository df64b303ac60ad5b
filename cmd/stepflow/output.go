package main

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"
)

// output is the standard output or error. What becomes of it must not matter to a run: a reader that has gone, a full
// disk, a terminal that is not there any more end or thin out the output, and a reader that does not read holds up the
// program only until it is asked to end.
type output struct {
	file        *os.File
	interrupted <-chan struct{}

	mu    sync.Mutex
	stuck bool
	err   error // the first
}

// Write reports success always; failed has the error.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stuck {
		return len(p), nil
	}
	done := make(chan error, 1)
	text := bytes.Clone(p)
	go func() {
		_, err := o.file.Write(text)
		done <- err
	}()
	var err error
	select {
	case err = <-done:
	case <-o.interrupted:
		select {
		case err = <-done:
		case <-time.After(moment / 2):
			o.stuck = true
		}
	}
	if o.err == nil {
		o.err = err
	}
	return len(p), nil
}

// failed is the first error of writing.
func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func isTerminal(w io.Writer) bool {
	if o, ok := w.(*output); ok {
		w = o.file
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	if err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull) // a character device too
	return err != nil || !os.SameFile(st, null)
}
