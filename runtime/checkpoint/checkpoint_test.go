package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"stepflow/gpu"
)

func tensor(name string, d gpu.DType, v ...float32) Tensor {
	return Tensor{Name: name, Shape: gpu.Shape{len(v)}, DType: d, Data: func() ([]byte, error) { return gpu.Float32Bytes(v, d), nil }}
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	var b bytes.Buffer
	if err := writeTensors(&b, []Tensor{tensor("b", gpu.F32, 1, 2.5, -3), tensor("a", gpu.BF16, 1.5, -2)}); err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(b.Bytes()); n%8 != 0 {
		t.Errorf("the header has %d bytes, no multiple of 8", n)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !slices.Equal(f.Names(), []string{"a", "b"}) {
		t.Error(f.Names())
	}
	if v, err := f.Float32("b"); err != nil || !slices.Equal(v, []float32{1, 2.5, -3}) {
		t.Error(v, err)
	}
	if v, err := f.Float32("a"); err != nil || !slices.Equal(v, []float32{1.5, -2}) {
		t.Error(v, err)
	}
	if _, err := f.Float32("c"); err == nil {
		t.Error("a tensor that is not there is read")
	}
	if err := writeTensors(&b, []Tensor{tensor("a", gpu.F32, 1), tensor("a", gpu.F32, 2)}); err == nil {
		t.Error("two tensors of one name are written")
	}
}

func TestHalf(t *testing.T) {
	for h, want := range map[uint16]float32{0x3c00: 1, 0xc000: -2, 0x0001: 5.9604645e-8, 0x7bff: 65504, 0x8000: 0, 0x3555: 0.33325195} {
		if got := half(h); got != want {
			t.Errorf("%#x is %g, want %g", h, got, want)
		}
	}
	if !math.IsInf(float64(half(0x7c00)), 1) || half(0x7e00) == half(0x7e00) {
		t.Error("infinity and NaN")
	}
}

func TestSharedSamples(t *testing.T) {
	data := os.Getenv("STEPFLOW_TEST_DATA")
	if data == "" {
		t.Skip("STEPFLOW_TEST_DATA names no folder with models/")
	}
	f, err := OpenFolder(filepath.Join(data, "models", "stories260K-hf"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if s, ok := f.Shape("model.embed_tokens.weight"); !ok || !s.Equal(gpu.Shape{512, 64}) {
		t.Error(s, ok)
	}
}

func TestFolderIsWholeOrNotThere(t *testing.T) {
	root := t.TempDir()
	dir := StepDir(root, 7)
	id, err := Write(dir, []Part{Bytes("x.json", []byte("one")), Tensors("t.safetensors", []Tensor{tensor("a", gpu.F32, 1)})})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := Check(dir); err != nil || got != id {
		t.Error(got, err)
	}
	again, err := Write(StepDir(root, 9), []Part{Bytes("x.json", []byte("one")), Tensors("t.safetensors", []Tensor{tensor("a", gpu.F32, 1)})})
	if err != nil || again != id {
		t.Errorf("the same contents have the ids %s and %s", id, again)
	}
	broken := errors.New("broken")
	_, err = Write(dir, []Part{Bytes("x.json", []byte("two")), {Name: "t", Fill: Tensors("", []Tensor{{Name: "a", Data: func() ([]byte, error) { return nil, broken }}}).Fill}})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	if got, _, err := Check(dir); err != nil || got != id {
		t.Errorf("a failed write changed what was there: %s, %v", got, err)
	}
	for _, name := range []string{"step-00000011.tmp", "step-00000012.old", "step-13", "step-x"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(root, "step-00000014")); err != nil {
		t.Fatal(err)
	}
	if s, err := Steps(root); err != nil || !slices.Equal(s, []int{9, 7}) {
		t.Error(s, err)
	}
	for name, damage := range map[string]func() error{
		"flipped":        func() error { return os.WriteFile(filepath.Join(dir, "x.json"), []byte("onf"), 0o644) },
		"truncated":      func() error { return os.WriteFile(filepath.Join(dir, "x.json"), []byte("on"), 0o644) },
		"without an end": func() error { return os.Truncate(filepath.Join(dir, "x.json"), 1<<40) },
		"missing":        func() error { return os.Remove(filepath.Join(dir, "x.json")) },
		"manifest":       func() error { return os.WriteFile(filepath.Join(dir, ManifestName), []byte("{"), 0o644) },
		"none listed": func() error {
			return os.WriteFile(filepath.Join(dir, ManifestName), []byte(`{"version": 1, "files": {}}`), 0o644)
		},
		"unknown field": func() error { return replace(filepath.Join(dir, ManifestName), `"version"`, `"x": 1, "version"`) },
		"after the end": func() error {
			return replace(filepath.Join(dir, ManifestName), "{\n  \"version\"", "{} {\n  \"version\"")
		},
		"index not listed": func() error {
			return os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), []byte("{}"), 0o644)
		},
		"adapter not listed": func() error { return os.WriteFile(filepath.Join(dir, "adapter_model.safetensors"), nil, 0o644) },
		"link": func() error {
			return errors.Join(os.Rename(filepath.Join(dir, "x.json"), filepath.Join(root, "x")), os.Symlink(filepath.Join(root, "x"), filepath.Join(dir, "x.json")))
		},
		"folder": func() error {
			return errors.Join(os.Remove(filepath.Join(dir, "x.json")), os.Mkdir(filepath.Join(dir, "x.json"), 0o777))
		},
		"gone":   func() error { return os.RemoveAll(dir) },
		"a file": func() error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o644)) },
	} {
		if _, err := Write(dir, []Part{Bytes("x.json", []byte("one"))}); err != nil {
			t.Fatal(err)
		}
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Check(dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func replace(path, old, new string) error {
	b, err := os.ReadFile(path)
	if err == nil && !bytes.Contains(b, []byte(old)) {
		err = errors.New(path + " does not hold " + old)
	}
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(new), 1), 0o644)
	}
	return err
}

// TestWhatCannotBeReadIsNotDamaged lets each file fail in turn as disks, permissions and limits make them fail.
func TestWhatCannotBeReadIsNotDamaged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "result")
	if _, err := Write(dir, []Part{Bytes("x.json", []byte("one"))}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { BeforeRead = nil })
	for _, name := range []string{"x.json", ManifestName} {
		for _, cause := range []error{syscall.EACCES, syscall.EPERM, syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ESTALE} {
			BeforeRead = func(path string) error {
				if filepath.Base(path) == name {
					return &os.PathError{Op: "open", Path: path, Err: cause}
				}
				return nil
			}
			if _, _, err := Check(dir); errors.Is(err, ErrDamaged) || !errors.Is(err, cause) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	BeforeRead = nil
	if _, err := Steps(filepath.Join(dir, strings.Repeat("n", 300))); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("a folder that cannot be listed: %v", err)
	}
}

// TestKilledWhileReplacing leaves what a process leaves that is killed between the two renames.
func TestKilledWhileReplacing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "result")
	id, err := Write(dir, []Part{Bytes("x.json", []byte("one"))})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(dir, dir+oldSuffix), os.Mkdir(dir+tmpSuffix, 0o777)); err != nil {
		t.Fatal(err)
	}
	if err := Recover(dir); err != nil {
		t.Fatal(err)
	}
	if got, _, err := Check(dir); err != nil || got != id {
		t.Errorf("what was to be replaced: %s, %v", got, err)
	}
	left, err := filepath.Glob(dir + ".*")
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	with, err := Write(dir, []Part{Bytes("x.json", []byte("one")), Bytes(NoteName, []byte("{}"))})
	if err != nil || with != id {
		t.Errorf("a note changes the content from %s to %s, %v", id, with, err)
	}
}

func FuzzOpen(f *testing.F) {
	var b bytes.Buffer
	if err := writeTensors(&b, []Tensor{tensor("a", gpu.F32, 1, 2)}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	for _, c := range headers {
		f.Add(c.file)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			return
		}
		defer s.Close()
		for _, n := range s.Names() {
			if v, err := s.Float32(n); err == nil && 8*len(raw) < len(v) {
				t.Errorf("tensor %s has %d values in a file of %d bytes", n, len(v), len(raw))
			}
		}
	})
}
