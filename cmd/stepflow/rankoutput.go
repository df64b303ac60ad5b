package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// rankOutput is what a rank other than 0 writes: whole lines, each with the rank before it.
type rankOutput struct {
	to     io.Writer
	prefix string

	mu   sync.Mutex
	part []byte        // of a line
	held *bytes.Buffer // whole lines that may not be written; nil where they are
}

func (o *rankOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.part = append(o.part, p...)
	for {
		i := bytes.IndexByte(o.part, '\n')
		if i < 0 {
			return len(p), nil
		}
		if line := o.part[:i+1]; o.held != nil {
			o.held.Write(line)
		} else {
			fmt.Fprintf(o.to, "%s%s", o.prefix, line)
		}
		o.part = o.part[i+1:]
	}
}

// hold keeps what is written from now on until release, which returns it.
func (o *rankOutput) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = new(bytes.Buffer)
}

func (o *rankOutput) release() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.held.String()
	o.held = nil
	return text
}

// tee keeps what rank 0 writes, beside writing it.
type tee struct {
	io.Writer
	kept bytes.Buffer
}

func (t *tee) Write(p []byte) (int, error) {
	t.kept.Write(p)
	return t.Writer.Write(p)
}
