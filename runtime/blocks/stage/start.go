package stage

import (
	"fmt"
	"strconv"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/ops/arch"
	"stepflow/ops/growth"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/program"
)

// start finds what the stage starts from, and its layers, and returns the full model.
func (s *Stage) start(p *blocks.Planned, d *dsl.Decoded) (*model.Model, hcl.Diagnostics) {
	from, _, hasFrom := d.Ref("from")
	ref, _, hasModel := d.Ref("model")
	var m *model.Model
	if hasModel {
		m = p.Use(ref).(*model.Model)
	}
	grow := d.Block("grow")
	if !hasFrom {
		n := m.NumHiddenLayers
		if d.Has("layers") {
			n = d.Int("layers")
		}
		if m.Folder != "" && n != m.NumHiddenLayers {
			return nil, hcl.Diagnostics{d.Error("layers", "Another number of layers",
				fmt.Sprintf("The folder %s holds %d layers; a stage that starts from it has as many.", m.Folder,
					m.NumHiddenLayers))}
		}
		if diags := deeper(d, m.Model, n); diags.HasErrors() {
			return nil, diags
		}
		if n == 0 && len(m.NoRopeLayers)+len(m.LayerNormDepths) > 0 {
			return nil, hcl.Diagnostics{d.Error("layers", "Forgotten layers", fmt.Sprintf("%s lists what each of its layers is, and "+
				"a stage without layers passes none of it on to those that grow later. Start with at least one layer, or leave the "+
				"list out.", m.Addr))}
		}
		p.Hashed["layers"] = strconv.Itoa(n)
		s.Model, s.Seed, s.Init = m.WithLayers(n), m.Seed, m.Folder
		if len(m.NoRopeLayers) > 0 && n < m.NumHiddenLayers {
			p.Hashed["layers"] += fmt.Sprint(" of kinds ", s.Model.NoRopeLayers)
		}
		s.Layers = s.NewLayers(n)
		s.Params = s.Model.Declare(s.LayerIDs())
		s.Root = m
		s.tooDeep(m, p)
		return m, nil
	}
	up := p.Use(from).(*Stage)
	s.Before = up
	if up.KeepApart {
		return nil, hcl.Diagnostics{d.Error("from", "Adapters kept apart",
			fmt.Sprintf("%s keeps its adapters apart from its weights (merge = false), and a stage goes on from weights that hold all "+
				"that was learnt. Leave merge out there; export \"peft\" writes the adapters of a merged stage too.", from))}
	}
	s.Model, s.Seed = up.Model, up.Seed
	root := up.Root
	s.Root = root
	if m != nil && m != root {
		detail := fmt.Sprintf("%s was started from %s, this stage names %s. Leave model out.", from, root.Addr, m.Addr)
		if attr, same := arch.SameArchitecture(root.Model, m.Model); !same {
			detail = fmt.Sprintf("%s was started from %s, and %s of %s differs from it. Leave model out.", from, root.Addr,
				attr, m.Addr)
		}
		return nil, hcl.Diagnostics{d.Error("model", "Another model", detail)}
	}
	if s.DType != up.DType {
		return nil, hcl.Diagnostics{d.Error("precision", "Another precision",
			fmt.Sprintf("%s trains in %s; stages that continue each other share one precision.", from,
				program.Precision(up.DType)))}
	}
	diags := s.grow(up, grow)
	if !diags.HasErrors() {
		s.compareWith(root, p)
	}
	return root, diags
}

// grow makes the stage's model from that of the stage before, with new layers if the block has a grow block.
func (s *Stage) grow(up *Stage, block *dsl.Decoded) hcl.Diagnostics {
	if block == nil {
		if err := s.Continue(&up.Stage, nil); err != nil {
			return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Impossible stage",
				Detail: blocks.Sentence(err.Error()) + "."}}
		}
		return nil
	}
	if diags := deeper(block, s.Model, len(up.Layers)+block.Int("layers")); diags.HasErrors() {
		return diags
	}
	s.Grow = &growth.Spec{Method: block.Label, Layers: block.Int("layers"), Position: block.Str("position"),
		Mix: block.Float("mix"), FunctionPreserving: block.Bool("function_preserving"), Moments: block.Str("moments"),
		Seed: s.PeftSeed}
	if err := s.Continue(&up.Stage, s.Grow); err != nil {
		return hcl.Diagnostics{block.Error("layers", "Impossible growth", blocks.Sentence(err.Error())+".")}
	}
	return nil
}

// compareWith warns where the stage has grown to more layers than its model block has, or to as many that differ. The factors
// of LayerNorm scaling differ wherever layers do not grow on top.
func (s *Stage) compareWith(root *model.Model, p *blocks.Planned) {
	s.tooDeep(root, p)
	here, there := s.Model, root.Model
	here.LayerNormDepths, there.LayerNormDepths = nil, nil
	attr, same := arch.SameArchitecture(here, there)
	if s.Grow == nil || len(s.Layers) != root.NumHiddenLayers || same {
		return
	}
	p.Warn(fmt.Sprintf("the stage has as many layers as %s, and %s differs, %s here and %s there: an old layer keeps "+
		"what it is, a new one takes it from the layer that it is made of", root.Addr, attr, s.Model.Show(attr),
		root.Show(attr)))
}

// whole returns the full model that the stage is compared with: that of its model block. If that was read from a folder,
// where it is what to start from, the stage may be deeper, and is the full model itself.
func (s *Stage) whole(root *model.Model) arch.Model {
	if root.Folder != "" && len(s.Layers) > root.NumHiddenLayers {
		return s.Model
	}
	return root.Model
}

// tooDeep warns where the stage adds layers beyond those of its model block.
func (s *Stage) tooDeep(root *model.Model, p *blocks.Planned) {
	if root.Folder != "" {
		return
	}
	if n, most := len(s.Layers), root.NumHiddenLayers; n > most && (s.From == nil || n > len(s.From.Layers)) {
		p.Warn(fmt.Sprintf("the stage has %d layers, and num_hidden_layers of %s is %d: what the plan compares with is the "+
			"model of %d layers. If this is the size that you want, set num_hidden_layers = %d", n, root.Addr, most, most, n))
	}
}

// deeper returns the errors of a model with so many layers.
func deeper(d *dsl.Decoded, m arch.Model, layers int) (diags hcl.Diagnostics) {
	for _, x := range m.WithLayers(layers).Check() {
		diags = append(diags, d.Error("layers", "Impossible model",
			fmt.Sprintf("The stage would have %d layers: %s.", layers, x.What)))
	}
	return diags
}

// idle warns of new layers that add nothing and cannot learn to: what they add to the residual stream starts at zero, is
// frozen, and has no adapter.
func (s *Stage) idle(p *blocks.Planned, _ *dsl.Decoded) hcl.Diagnostics {
	if s.Grow == nil || !s.Grow.FunctionPreserving {
		return nil
	}
	moves := map[int]bool{} // the layers with an output that changes
	for _, x := range s.Params {
		if x.Layer >= 0 && s.Model.ResidualOutput(x) && !s.Frozen[x.ID] {
			moves[x.Layer] = true
		}
	}
	for _, a := range s.Adapters {
		if a.Target.Layer >= 0 && s.Model.ResidualOutput(a.Target) {
			moves[a.Target.Layer] = true
		}
	}
	n := 0
	for i, l := range s.Layers {
		if l.Old < 0 && !moves[i] {
			n++
		}
	}
	if n > 0 {
		p.Warn(fmt.Sprintf("new layers (%d) add nothing and cannot learn to: they start with zero outputs "+
			"(function_preserving), which are frozen and have no adapter. Freeze fewer of their tensors", n))
	}
	return nil
}
