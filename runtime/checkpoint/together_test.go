package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
)

// writeTogether writes a folder of tensors, tensor i by rank i mod n. broken is the rank whose tensors cannot be read; -1 for none.
func writeTogether(t *testing.T, dir string, n, broken int) (id string, errs []error) {
	t.Helper()
	errs = make([]error, n)
	var all sync.WaitGroup
	for r, c := range gputest.Ranks(n) {
		all.Go(func() {
			var tensors []Tensor
			for i := range 7 {
				shape := gpu.Shape{3, 5 + i}
				tensors = append(tensors, Tensor{Name: fmt.Sprintf("layers.%d", i), Shape: shape, DType: gpu.F32, Rank: i % n,
					Data: func() ([]byte, error) {
						switch {
						case i%n != r:
							return nil, fmt.Errorf("rank %d is asked for a tensor of rank %d", r, i%n)
						case r == broken:
							return nil, errors.New("the device is gone")
						}
						b := make([]byte, 4*shape.Elems())
						for j := range b {
							b[j] = byte(i*31 + j)
						}
						return b, nil
					}})
			}
			parts := []Part{Tensors("model.safetensors", tensors), Tensors("optimizer.safetensors", tensors[:3])}
			if r == 0 {
				parts = append(parts, Bytes("config.json", []byte("{}")))
			}
			agree := func(err error) error { // all fail where one does
				mine := []byte{0}
				if err != nil {
					mine[0] = 1
				}
				send, got := make([][]byte, n), make([][]byte, n)
				for i := range send {
					send[i], got[i] = mine, []byte{0}
				}
				if e := c.Exchange(send, got); e != nil {
					return e
				}
				for i, g := range got {
					if g[0] == 1 && err == nil {
						err = fmt.Errorf("rank %d failed", i)
					}
				}
				return err
			}
			made, err := WriteTogether(c, agree, dir, parts)
			if errs[r] = err; r == 0 {
				id = made
			}
		})
	}
	all.Wait()
	return id, errs
}

// TestWriteTogether: a folder has the same bytes however many ranks write it, and its manifest holds what lies there.
func TestWriteTogether(t *testing.T) {
	want := ""
	for _, n := range []int{1, 2, 3, 8} {
		dir := filepath.Join(t.TempDir(), "step")
		id, errs := writeTogether(t, dir, n, -1)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		checked, _, err := Check(dir)
		if err != nil || checked != id {
			t.Errorf("%d ranks: %s lies there, %s was written: %v", n, checked, id, err)
		}
		if want == "" {
			want = id
		}
		if id != want {
			t.Errorf("%d ranks write %s, one writes %s", n, id, want)
		}
	}
}

// TestWriteTogetherFails: where one rank cannot write, all fail, the folder that was there stays, and nothing lies beside it.
func TestWriteTogetherFails(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "step")
	before, errs := writeTogether(t, dir, 2, -1)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	_, errs = writeTogether(t, dir, 3, 2)
	for r, err := range errs {
		if err == nil || r == 2 && !strings.Contains(err.Error(), "the device is gone") {
			t.Errorf("rank %d: %v", r, err)
		}
	}
	if id, _, err := Check(dir); id != before || err != nil {
		t.Errorf("the folder before is %s now: %v", id, err)
	}
	if list, err := os.ReadDir(root); len(list) != 1 || err != nil {
		t.Errorf("there are %v: %v", list, err)
	}
}
