package forward

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/foreign"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
)

// Adapter is the adapters beside a model's weights, in PEFT's form. A nil one adds nothing.
type Adapter struct {
	file     *checkpoint.File
	scale    float64
	composes bool // they take the place of weights
}

// maxConfig bounds an adapter_config.json.
const maxConfig = 1 << 20

// OpenAdapter opens the adapters in a folder; nil where there are none.
func OpenAdapter(folder string) (*Adapter, error) {
	f, err := checkpoint.Open(filepath.Join(folder, checkpoint.AdapterFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	a := &Adapter{file: f}
	path := filepath.Join(folder, checkpoint.AdapterConfigFile)
	b, err := foreign.ReadFile(path, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s holds adapters, and no %s, which says how they are added: let the stage write another checkpoint",
			folder, checkpoint.AdapterConfigFile)
	}
	var c peft.Config
	if err == nil {
		if err = foreign.Unmarshal(b, &c); err == nil {
			err = c.Check()
		}
		if err != nil {
			err = fmt.Errorf("reading %s: %w", path, err)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	spec := c.Spec()
	a.scale, a.composes = spec.Scale(), spec.Composes()
	return a, nil
}

// Close closes the file.
func (a *Adapter) Close() error {
	if a == nil {
		return nil
	}
	return a.file.Close()
}

// Merge adds the adapter of a weight to its elements v, which begin with element from: W + scale B A, and values at some places.
func (a *Adapter) Merge(name string, shape gpu.Shape, from int, v []float32) error {
	module, ok := strings.CutSuffix(name, ".weight")
	if a == nil || !ok || len(v) == 0 {
		return nil
	}
	at := checkpoint.AdapterPrefix + module
	down, there := a.file.Shape(at + checkpoint.AdapterDown)
	if !there {
		return nil
	}
	up, _ := a.file.Shape(at + checkpoint.AdapterUp)
	if len(down) != 2 || len(up) != 2 || len(shape) != 2 || down[0] != up[1] || up[0] != shape[0] || down[1] != shape[1] {
		return fmt.Errorf("the adapter of %s has matrices of %v and %v, which do not make %v", foreign.Shown(name), down, up, shape)
	}
	x, err := a.file.Float32(at + checkpoint.AdapterDown)
	if err != nil {
		return err
	}
	y, err := a.file.Float32(at + checkpoint.AdapterUp)
	if err != nil {
		return err
	}
	r, in := down[0], down[1]
	lo, hi := from/in, (from+len(v)+in-1)/in
	if from%in == 0 && len(v)%in == 0 {
		peft.AddProduct(v, y[lo*r:hi*r], x, a.scale, r, in)
	} else {
		rows := make([]float32, (hi-lo)*in)
		copy(rows[from-lo*in:], v)
		peft.AddProduct(rows, y[lo*r:hi*r], x, a.scale, r, in)
		copy(v, rows[from-lo*in:])
	}
	if a.composes {
		return a.addValues(at, shape, from, v)
	}
	return nil
}

// addValues adds the values of the adapter named at to elements v of its weight, which begin with element from.
func (a *Adapter) addValues(at string, shape gpu.Shape, from int, v []float32) error {
	values, err := a.file.Float32(at + checkpoint.AdapterValues)
	if err != nil {
		return err
	}
	places, err := a.file.Int32(at + checkpoint.AdapterPlaces)
	if err != nil {
		return err
	}
	x := peft.Adapter{Target: ops.Param{Name: strings.TrimPrefix(at, checkpoint.AdapterPrefix) + ".weight", Shape: shape},
		Values: ops.Param{Name: at + checkpoint.AdapterValues, Shape: gpu.Shape{len(values)}}}
	if err := peft.CheckPlaces(x, places); err != nil {
		return err
	}
	first, _ := slices.BinarySearch(places, int32(from))
	for k := first; k < len(places) && int(places[k]) < from+len(v); k++ {
		v[int(places[k])-from] += values[k]
	}
	return nil
}

// Folder is the weights of a model in a folder, adapters beside them merged.
type Folder struct {
	*checkpoint.Folder
	Adapter *Adapter // nil for none
}

// OpenFolder opens the weights in a folder.
func OpenFolder(folder string) (*Folder, error) {
	f, err := checkpoint.OpenFolder(folder)
	if err != nil {
		return nil, err
	}
	a, err := OpenAdapter(folder)
	if err != nil {
		f.Close()
		return nil, err
	}
	if a != nil {
		f.AddComposed(a.file)
	}
	return &Folder{f, a}, nil
}

// Close closes the files.
func (f *Folder) Close() error { return errors.Join(f.Adapter.Close(), f.Folder.Close()) }

// Float32 reads a tensor, its adapter merged.
func (f *Folder) Float32(name string) ([]float32, error) {
	v, err := f.Folder.Float32(name)
	if err != nil {
		return nil, err
	}
	shape, _ := f.Shape(name)
	return v, f.Adapter.Merge(name, shape, 0, v)
}
