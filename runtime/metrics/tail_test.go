package metrics

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestTail reads a file that grows, and ones that took its place because the run went on from an older step.
func TestTail(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	var r Tail
	want := func(n int) {
		t.Helper()
		if got, err := r.Read(path); err != nil || len(got) != n || n > 0 && got[n-1].Step != n {
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
	if got, _ := r.Read(path); got[1].Tokens != 1234567 {
		t.Errorf("step 2 is that of the file before: %+v", got[1])
	}
}
