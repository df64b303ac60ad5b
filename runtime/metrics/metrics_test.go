package metrics

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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
	if list, err := Read(path); err != nil || len(list) != 6 || !math.IsNaN(list[5].Loss) || !math.IsInf(list[5].GradNorm, 1) || list[4].Loss != 5 {
		t.Errorf("%+v %v", list, err)
	}
	if want := []byte(`"loss":null,"learning_rate":0,"grad_norm":null,"tokens_per_second":0,"not_finite":{"grad_norm":"Infinity","loss":"NaN"},"crc32c"`); !bytes.Contains(b, want) {
		t.Errorf("%s lacks %s", b, want)
	}
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

// TestEvents checks the framing of TensorBoard's records, and that the second says from which step on others are dropped.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, 5)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Step{Step: 6, Loss: 2.5}); err != nil {
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
		restart := []byte{2 << 3, 6, 7<<3 | 2, 2, 1 << 3, 1} // step 6, a session's log of status START
		if is := bytes.HasSuffix(b[12:12+size], restart); is != (n == 1) {
			t.Errorf("record %d tells of a restart: %v", n, is)
		}
		b = b[16+size:]
		n++
	}
	if n != 9 { // the version, the restart and seven scalars
		t.Errorf("%d records", n)
	}
}

// TestEveryFlippedBitIsNoticed flips each bit of a line in turn: its step is given as it was written, or left out, and
// the others are there.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	dir := t.TempDir()
	w, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 3; i++ {
		if err := w.Write(Step{Step: i, Tokens: int64(i) * 512, Loss: 4.25, LearningRate: 1e-3}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	whole, err := Read(path)
	if err != nil || len(whole) != 3 {
		t.Fatal(whole, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := len(b) / 3
	for bit := range line * 8 {
		c := bytes.Clone(b)
		c[line+bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, c, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path)
		if err != nil || len(got) == 0 || len(got) > 3 {
			t.Fatalf("bit %d: %d steps, %v", bit, len(got), err)
		}
		for _, s := range got {
			if s.Step < 1 || s.Step > 3 || !reflect.DeepEqual(s, whole[s.Step-1]) {
				t.Fatalf("bit %d of %q: %+v", bit, b[line:2*line], s)
			}
		}
	}
}

// TestEvaluationsAmongSteps: lines of evaluations are read apart from those of steps, go when a run goes on from an older step,
// and stay when it goes on from theirs; a damaged one is left out.
func TestEvaluationsAmongSteps(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	want := func(steps int, evaluations ...string) {
		t.Helper()
		s, err := Read(path)
		list, bad := Evaluations(path)
		var got []string
		for _, e := range list {
			got = append(got, fmt.Sprintf("%s%d%v", e.Name, e.Step, e.Values["loss"]))
		}
		if err != nil || bad != nil || len(s) != steps || !slices.Equal(got, evaluations) {
			t.Errorf("%d steps and %v; %v %v", len(s), got, err, bad)
		}
	}
	w, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if i > 0 {
			err = w.Write(Step{Step: i, Loss: 2})
		}
		for _, name := range []string{"a", "b"} {
			if err == nil && (i%2 == 0 || name == "a") {
				loss := float64(i)
				if i == 4 && name == "b" {
					loss = math.NaN()
				}
				err = w.WriteEvaluation(Evaluation{Name: name, Step: i, Tokens: 7, Seconds: 0.5, Measured: 3,
					Values: map[string]float64{"loss": loss}})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want(4, "a00", "b00", "a11", "a22", "b22", "a33", "a44", "b4NaN")
	if w, err = Open(dir, 3); err != nil || w.Last.Step != 3 || !maps.Equal(w.Made, map[string]bool{"a": true}) {
		t.Fatalf("%+v %v", w, err)
	}
	w.Close()
	want(3, "a00", "b00", "a11", "a22", "b22", "a33")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte(`"loss":1}`), []byte(`"loss":9}`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	want(3, "a00", "b00", "a22", "b22", "a33")
	events, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	if err != nil || len(events) == 0 {
		t.Fatal(events, err)
	}
	if b, err = os.ReadFile(events[0]); err != nil || !bytes.Contains(b, []byte("eval/b_loss")) {
		t.Errorf("TensorBoard's events do not hold the evaluations; %v", err)
	}
}
