package metrics

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestResumeCutsBack(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 5; i++ {
		if err := w.Write(Step{Step: i, Loss: float64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Write(Step{Step: 6, Loss: math.NaN(), GradNorm: math.Inf(1), Skipped: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "metrics.jsonl")
	b, _ := os.ReadFile(path)
	if err := os.WriteFile(path, append(b, `{"step":7,"lo`...), 0o644); err != nil { // cut off by a crash
		t.Fatal(err)
	}
	if w, err = Open(dir, 3); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Step{Step: 4, Loss: 40}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	steps, err := Read(path)
	if err != nil || len(steps) != 4 || steps[2].Loss != 3 || steps[3].Loss != 40 {
		t.Errorf("%+v %v", steps, err)
	}
}

// TestEvents checks the framing of TensorBoard's records.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Step{Step: 1, Loss: 2.5}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for len(b) > 0 {
		size := binary.LittleEndian.Uint64(b)
		if binary.LittleEndian.Uint32(b[8:]) != masked(b[:8]) || binary.LittleEndian.Uint32(b[12+size:]) != masked(b[12:12+size]) {
			t.Fatal("a checksum is wrong")
		}
		b = b[16+size:]
		n++
	}
	if n != 8 { // the version and seven scalars
		t.Errorf("%d records", n)
	}
}
