package checkpoint

import (
	"fmt"
	"strings"

	"stepflow/gpu"
)

// AddComposed adds to the tensors of a folder the weights that adapters beside them take the place of, as zeros, to which the caller
// adds the adapters.
func (d *Folder) AddComposed(adapters *File) {
	for _, name := range adapters.Names() {
		module, ok := strings.CutSuffix(name, AdapterValues)
		down, _ := adapters.Shape(module + AdapterDown)
		up, _ := adapters.Shape(module + AdapterUp)
		weight := strings.TrimPrefix(module, AdapterPrefix) + ".weight"
		if !ok || len(down) != 2 || len(up) != 2 || d.tensor[weight] != nil {
			continue
		}
		if d.zeros == nil {
			d.zeros = map[string]zero{}
		}
		d.zeros[weight] = zero{gpu.Shape{up[0], down[1]}, adapters.DType(module + AdapterDown)}
	}
}

// zero is a tensor of zeros that is in no file.
type zero struct {
	shape gpu.Shape
	dtype string
}

// Int32 reads a tensor of whole numbers.
func (s *File) Int32(name string) ([]int32, error) {
	raw, dtype, err := s.Raw(name)
	if err != nil {
		return nil, err
	}
	if dtype != dtypeNames[gpu.I32] {
		return nil, fmt.Errorf("tensor %s of %s is %s, not %s", name, s.path, dtype, dtypeNames[gpu.I32])
	}
	return gpu.BytesInt32(raw), nil
}
