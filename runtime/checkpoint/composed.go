package checkpoint

import (
	"fmt"
	"strings"

	"stepflow/gpu"
)

// Suffixes of the tensors of an adapter that takes the place of a weight.
const (
	suffixDown   = ".lora_A.weight"
	suffixUp     = ".lora_B.weight"
	suffixValues = ".sparse_value"
)

// AddComposed adds to the tensors of a folder the weights that adapters beside it take the place of, as zeros: the adapters are
// the caller's to add.
func (d *Folder) AddComposed(adapters *File) {
	for _, name := range adapters.Names() {
		module, ok := strings.CutSuffix(name, suffixValues)
		down, _ := adapters.Shape(module + suffixDown)
		up, _ := adapters.Shape(module + suffixUp)
		weight := strings.TrimPrefix(module, AdapterPrefix) + ".weight"
		if !ok || len(down) != 2 || len(up) != 2 || d.tensor[weight] != nil {
			continue
		}
		if d.zeros == nil {
			d.zeros = map[string]zero{}
		}
		d.zeros[weight] = zero{gpu.Shape{up[0], down[1]}, adapters.DType(module + suffixDown)}
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
