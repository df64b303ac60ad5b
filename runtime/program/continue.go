package program

import (
	"slices"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
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

// Shapes finds the shape of a state that is kept of the stage before, by its buffer's name.
type Shapes func(buffer string) (gpu.Shape, bool)

// Lacks reports whether a state of a parameter cannot be taken over from the parameters that it is made of.
func (s *Stage) Lacks(p ops.Param, x optim.State, has Shapes) bool {
	kept := s.Growth.KeepsState(p)
	return slices.ContainsFunc(s.Growth.Rules[p.ID].Terms, func(t growth.Term) bool {
		shape, ok := has(x.Buffer(t.From))
		// What is kept may be of another rank; what is mapped has the axes of the weight.
		return !ok || kept && !shape.Equal(x.Type.Shape) || !kept && x.Axes != nil
	})
}

// BeginAgain reports whether the moments of a parameter begin again, since a part of what the optimizer keeps of it, besides a
// copy of the weight, is not there.
func (s *Stage) BeginAgain(p ops.Param, has Shapes) bool {
	return slices.ContainsFunc(s.States(p), func(x optim.State) bool { return !x.Copy && s.Lacks(p, x, has) })
}

// BeginningAgain counts the parameters whose moments begin again although they were updated before: as often as updates says.
func (s *Stage) BeginningAgain(updates map[string]int64, has Shapes) (n int) {
	for _, p := range s.Params {
		if !s.Frozen[p.ID] && s.Growth.Updates(p, updates) > 0 && s.BeginAgain(p, has) {
			n++
		}
	}
	return n
}

// Ends returns what a stage ends with of its optimizer: the updates of each parameter, and the shapes of states. It knows nothing
// of states that are imported.
func (s *Stage) Ends() (updates map[string]int64, has Shapes) {
	updates = map[string]int64{}
	shapes := map[string]gpu.Shape{}
	for _, p := range s.Params {
		if s.Frozen[p.ID] || s.Composed[p.ID] {
			continue
		}
		updates[p.ID] = int64(s.Steps)
		for _, x := range s.States(p) {
			shapes[x.Buffer(p.ID)] = x.Type.Shape
		}
	}
	return updates, func(name string) (gpu.Shape, bool) { shape, ok := shapes[name]; return shape, ok }
}
