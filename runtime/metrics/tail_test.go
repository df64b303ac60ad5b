package metrics

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"stepflow/foreign"
)

// TestTail reads a file that grows, and ones that took its place because the run went on from an older step.
func TestTail(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	var r Tail
	var got []Step
	want := func(n int) {
		t.Helper()
		err := r.Read(path, func() { got = nil }, func(s *Step) { got = append(got, *s) })
		if err != nil || len(got) != n || n > 0 && got[n-1].Step != n {
			t.Errorf("%d steps, want %d; %v", len(got), n, err)
		}
	}
	write := func(after, to int, tokens int64) {
		t.Helper()
		w, err := Open(dir, after)
		if err != nil {
			t.Fatal(err)
		}
		for i := after + 1; i <= to; i++ {
			if err := w.Write(Step{Step: i, Tokens: tokens}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want(0)
	write(0, 5, 8)
	want(5)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, `{"step":6,"to`)
	want(5)
	fmt.Fprintln(f, `kens":48}`)
	want(6)
	f.Close()
	write(0, 2, 8) // shorter
	want(2)
	write(1, 9, 1234567) // longer than what was read before, and other lines
	want(9)
	if got[1].Tokens != 1234567 {
		t.Errorf("step 2 is that of the file before: %+v", got[1])
	}
}

// TestStrangeFiles: what is in the place of the steps holds nothing up, and a line without an end takes no memory.
func TestStrangeFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); !errors.Is(err, foreign.ErrNotRegular) {
		t.Error(err)
	}
	os.Remove(path)
	first, err := encode(Step{Step: 1})
	if err != nil {
		t.Fatal(err)
	}
	second, err := encode(Step{Step: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, slices.Concat(first, make([]byte, 5*maxLine), []byte("\n"), second), 0o644); err != nil {
		t.Fatal(err)
	}
	var tail Tail
	var steps []Step
	again := func() error {
		return tail.Read(path, func() { steps = nil }, func(s *Step) { steps = append(steps, *s) })
	}
	if err := again(); err != nil || len(steps) != 2 || steps[1].Step != 2 {
		t.Error(steps, err)
	}
	if err := os.Truncate(path, tail.offset+maxRead+1); err != nil {
		t.Fatal(err)
	}
	if err := again(); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Error(err)
	}
}

// TestEventsFollowNoLink: the file of an evaluation's events has a name that can be guessed.
func TestEventsFollowNoLink(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine")
	if err := errors.Join(os.WriteFile(mine, []byte("mine"), 0o644), os.Symlink(mine, filepath.Join(dir, "events.out.tfevents.0.stepflow"))); err != nil {
		t.Fatal(err)
	}
	if err := WriteEvaluation(dir, 1, 2, 3); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(mine); err != nil || string(b) != "mine" {
		t.Errorf("%q %v", b, err)
	}
}
