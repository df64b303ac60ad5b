package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"stepflow/cmd/stepflow/live"
	"stepflow/foreign"
)

// output is the standard output or error. What becomes of it must not matter to a run: a reader that has gone, a full
// disk, a terminal that is not there any more end or thin out the output, and a reader that does not read holds up the
// program only until it is asked to end.
type output struct {
	file        *os.File
	plain       bool // not a terminal: it takes text without colours
	interrupted <-chan struct{}
	foot        atomic.Pointer[live.Foot] // stays below the text; nil for nothing

	mu    sync.Mutex
	stuck bool
	err   error // the first
}

// Write writes text as it may be shown. It reports success always; failed has the error.
func (o *output) Write(p []byte) (int, error) {
	text := p
	if o.plain {
		text = styles.ReplaceAll(p, nil)
	}
	if f := o.foot.Load(); f != nil {
		f.Text(tamed(text))
	} else {
		o.raw(tamed(text))
	}
	return len(p), nil
}

// styles are the sequences by which this program, and the dashboard, colour text.
var styles = regexp.MustCompile("\x1b\\[(?:[0-3]|(?:1;)?3[0-7])?m")

// tamed is the last door before the terminal: what would act there, and is not of this program, stands as an escape,
// whoever wrote it: a server, a file of data, a planted state. A line may be begun again, as progress does.
func tamed(p []byte) []byte {
	const again, clear = "\r", "\x1b[K"
	s, ok := strings.CutPrefix(string(p), again)
	head, tail := "", ""
	if ok {
		head = again
		if s, ok = strings.CutPrefix(s, clear); ok {
			head += clear
		}
		if s, ok = strings.CutSuffix(s, clear); ok {
			tail = clear
		}
	}
	var b strings.Builder
	b.WriteString(head)
	last := 0
	for _, at := range styles.FindAllStringIndex(s, -1) {
		b.WriteString(foreign.ShownText(s[last:at[0]]) + s[at[0]:at[1]])
		last = at[1]
	}
	b.WriteString(foreign.ShownText(s[last:]) + tail)
	return []byte(b.String())
}

// raw writes bytes as they are.
func (o *output) raw(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stuck {
		return
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
}

// failed is the first error of writing.
func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// sameFile reports whether another output goes to the same terminal or file.
func (o *output) sameFile(other *output) bool {
	mine, err := o.file.Stat()
	its, err2 := other.file.Stat()
	return err == nil && err2 == nil && os.SameFile(mine, its)
}

func isTerminal(w io.Writer) bool {
	if o, ok := w.(*output); ok {
		if o.plain {
			return false
		}
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
