package program

import (
	"stepflow/ops"
	"stepflow/ops/growth"
)

// Continue lets the stage start from the result of another: with new layers as spec says, and without any if it is nil. It
// sets From, Growth, Layers, Params and Model.
func (s *Stage) Continue(from *Stage, spec *growth.Spec) (err error) {
	s.From = from
	small := growth.Model{Layers: from.LayerIDs(), Params: from.Params, Prefix: s.LayerPrefix(),
		ResidualOutput: from.Model.ResidualOutput, Parts: from.Model.Parts(),
		Init: func(p ops.Param) []float32 { return s.Model.Init(p, s.Seed) },
		Declare: func(changed growth.Config, layers []string) []ops.Param {
			return from.Model.With(changed).Declare(layers)
		}}
	if spec == nil {
		s.Growth, err = growth.Continue(small)
	} else {
		s.Growth, err = spec.Map(small)
	}
	if err != nil {
		return err
	}
	s.Layers, s.Params = s.Growth.Layers, s.Growth.Params
	kept := func(i int) bool { return s.Layers[i].Old >= 0 }
	s.Model = from.Model.Grown(growth.Alike(s.Layers), kept).With(s.Growth.Config)
	return nil
}

// Inherited reports whether a parameter is in a layer that came from the stage before.
func (s *Stage) Inherited(p ops.Param) bool { return p.Layer >= 0 && s.Layers[p.Layer].Old >= 0 }
