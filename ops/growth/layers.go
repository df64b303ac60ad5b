package growth

import (
	"strings"

	"stepflow/ops"
)

// Grow returns the layers of the larger model. ids are the old layers' stable ids; name prefixes the new ones'.
func (s Spec) Grow(ids []string, name string) ([]Layer, error) {
	m, err := s.Map(Model{Layers: ids, Prefix: name, Declare: func(Config, []string) []ops.Param { return nil }})
	return m.Layers, err
}

// Value computes a parameter of a new layer; read returns the same parameter of an old layer.
func (s Spec) Value(p ops.Param, from []Source, read func(layer int) ([]float32, error)) ([]float32, error) {
	v := make([]float32, p.Shape.Elems())
	residual := strings.Contains(p.ID, "/self_attn.o_proj.") || strings.Contains(p.ID, "/mlp.down_proj.")
	if s.FunctionPreserving && residual {
		return v, nil
	}
	for _, f := range from {
		if f.Weight == 0 {
			continue
		}
		x, err := read(f.Layer)
		if err != nil {
			return nil, err
		}
		Term{Weight: f.Weight}.add(v, x, p.Shape.Cols(), p.Shape.Rows(), p.Shape.Cols())
	}
	return v, nil
}
