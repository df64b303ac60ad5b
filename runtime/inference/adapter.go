package inference

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"stepflow/foreign"
	"stepflow/gpu"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
)

// adapter is the adapters beside a model's weights, in PEFT's form.
type adapter struct {
	file  *checkpoint.File
	scale float64
}

// openAdapter opens the adapters in a folder; nil where there are none.
func openAdapter(folder string) (*adapter, error) {
	f, err := checkpoint.Open(filepath.Join(folder, checkpoint.AdapterFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	a := &adapter{file: f}
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
	a.scale = c.Spec().Scale()
	return a, nil
}

// Close closes the file.
func (a *adapter) Close() error {
	if a == nil {
		return nil
	}
	return a.file.Close()
}

// merge adds the product of the adapter of a weight to it: W + scale B A.
func (a *adapter) merge(name string, shape gpu.Shape, w []float32) error {
	module, ok := strings.CutSuffix(name, ".weight")
	at := checkpoint.AdapterPrefix + module
	down, there := a.file.Shape(at + ".lora_A.weight")
	if !ok || !there {
		return nil
	}
	up, _ := a.file.Shape(at + ".lora_B.weight")
	if len(down) != 2 || len(up) != 2 || len(shape) != 2 || down[0] != up[1] || up[0] != shape[0] || down[1] != shape[1] {
		return fmt.Errorf("the adapter of %s has matrices of %v and %v, which do not make %v", foreign.Shown(name), down, up, shape)
	}
	x, err := a.file.Float32(at + ".lora_A.weight")
	if err != nil {
		return err
	}
	y, err := a.file.Float32(at + ".lora_B.weight")
	if err != nil {
		return err
	}
	peft.AddProduct(w, y, x, a.scale, down[0], down[1])
	return nil
}
