package export

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
)

// result is what a stage made, with weights as other programs read them: LayerNorm scaling is folded into the gains.
type result struct {
	weights *checkpoint.File
	kept    *checkpoint.File // its adapters; nil where they were not opened
	adapter *forward.Adapter // what is to be merged, where the stage did not; nil for nothing
	dir     string
	stage   *stage.Stage
	folds   map[string]ops.Param // by name
}

// tensorFile is a file of tensors.
type tensorFile interface {
	Pieces(name string, f func(b []byte, from int) error) error
}

func openResult(dir string, s *stage.Stage) (*result, error) {
	f, err := checkpoint.Open(filepath.Join(dir, checkpoint.ModelFile))
	if err != nil {
		return nil, err
	}
	r := &result{weights: f, dir: dir, stage: s, folds: map[string]ops.Param{}}
	for _, p := range s.Params {
		if s.Model.Folds(p) {
			r.folds[p.Name] = p
		}
	}
	return r, nil
}

// Pieces reads the bytes of a weight as checkpoint.File.Pieces does.
func (r *result) Pieces(name string, f func(b []byte, from int) error) error {
	return r.weights.Pieces(name, func(b []byte, from int) error {
		b, _, err := r.made(name, int64(from), b, "", nil)
		if err != nil {
			return err
		}
		return f(b, from)
	})
}

// Elements returns n elements of a weight from element from on, row-major.
func (r *result) Elements(name string, from, n int64) ([]byte, string, error) {
	b, dtype, err := r.weights.Elements(name, from, n)
	return r.made(name, from, b, dtype, err)
}

// made makes of elements of a weight, from element from on, what is exported: its adapter merged, or its scale folded.
func (r *result) made(name string, from int64, b []byte, dtype string, err error) ([]byte, string, error) {
	if r.adapter == nil || err != nil {
		return r.folded(name, b, err), dtype, err
	}
	v := gpu.BytesFloat32(b, r.stage.DType)
	shape, _ := r.weights.Shape(name)
	err = r.adapter.Merge(name, shape, int(from), v)
	return r.folded(name, gpu.Float32Bytes(v, r.stage.DType), err), dtype, err
}

func (r *result) folded(name string, b []byte, err error) []byte {
	p, folds := r.folds[name]
	if !folds || err != nil {
		return b
	}
	v := gpu.BytesFloat32(b, r.stage.DType)
	r.stage.Model.Fold(p, v, r.stage.DType)
	return gpu.Float32Bytes(v, r.stage.DType)
}

// adapters opens the adapters that were merged into the weights, or are kept apart from them.
func (r *result) adapters() (*checkpoint.File, error) {
	path := filepath.Join(r.dir, checkpoint.AdaptersIn(r.stage.KeepApart))
	f, err := checkpoint.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: an earlier stepflow made this result, and dropped the adapters once they were merged. "+
			"apply with -replace trains the stage again", path)
	}
	r.kept = f
	return f, err
}

// Close closes the files.
func (r *result) Close() error {
	err := cmp.Or(r.adapter.Close(), r.weights.Close())
	if r.kept != nil {
		err = cmp.Or(r.kept.Close(), err)
	}
	return err
}
