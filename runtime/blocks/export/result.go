package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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

// openResult opens the result of a stage in a folder.
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
		b, err := r.exported(name, int64(from), b)
		if err != nil {
			return err
		}
		return f(b, from)
	})
}

// Elements returns n elements of a weight from element from on, row-major.
func (r *result) Elements(name string, from, n int64) ([]byte, error) {
	b, _, err := r.weights.Elements(name, from, n)
	if err != nil {
		return nil, err
	}
	return r.exported(name, from, b)
}

// exported makes of elements of a weight, from element from on, what is exported: its adapter merged, or its scale folded.
func (r *result) exported(name string, from int64, b []byte) ([]byte, error) {
	p, folds := r.folds[name]
	if r.adapter == nil && !folds {
		return b, nil
	}
	v := gpu.BytesFloat32(b, r.stage.DType)
	shape, _ := r.weights.Shape(name)
	if err := r.adapter.Merge(name, shape, int(from), v); err != nil {
		return nil, err
	}
	if folds {
		r.stage.Model.Fold(p, v, r.stage.DType)
	}
	return gpu.Float32Bytes(v, r.stage.DType), nil
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

// tensorFile is a file of tensors.
type tensorFile interface {
	Pieces(name string, f func(b []byte, from int) error) error
}

// stored is a tensor that is written as it lies in a file, a piece at a time. from is its name there, and name the one by which flaw
// tells of values that are not finite.
func stored(ctx context.Context, f tensorFile, from, name string, t checkpoint.Tensor, flaw *forward.Flaw) checkpoint.Tensor {
	t.Stream = func(w io.Writer) error {
		return f.Pieces(from, func(b []byte, at int) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			flaw.LookInto(name, t.Shape, at, b, t.DType)
			_, err := w.Write(b)
			return err
		})
	}
	return t
}
