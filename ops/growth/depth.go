package growth

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"stepflow/ops"
)

// Source is one term of a new layer: a layer of the smaller model and its weight in the sum.
type Source struct {
	Layer  int
	Weight float64
}

// Layer is one layer of the larger model.
type Layer struct {
	ID   string
	Old  int      // its index in the smaller model; -1 if it is new
	Like int      // the layer of the smaller model whose kind it has, such as one that rotates nothing; -1 for that of its place
	From []Source // of a new layer; none where it starts as a fresh model's layers do

	aligned *alignment // of the first source with the second one; nil for none
}

// inserted is a new layer and the index of the old layer that it stands above; -1 for none.
type inserted struct {
	above int
	from  []Source
	// aligned says that the first source is brought into the order of the second one.
	aligned bool
}

// momentRules say what becomes of the optimizer states of old parameters, and of new ones that are made of old ones.
var momentRules = map[string]struct{ old, made StateRule }{
	"kept":   {StateKept, StateZero},
	"zeroed": {StateZero, StateZero},
	"mapped": {StateKept, StateMapped},
}

// depth makes an operator that adds layers and changes nothing else. place returns, from the bottom up, the layers that
// are added to n layers.
func depth(place func(s Spec, n int) ([]inserted, error)) func(Spec, Model) (Map, error) {
	return func(s Spec, m Model) (Map, error) {
		if s.Layers < 1 {
			return Map{}, fmt.Errorf("grows by %d layers: add at least 1", s.Layers)
		}
		if len(m.Layers) == 0 && s.Method != "random" {
			return Map{}, fmt.Errorf("a model without layers has none to make new ones of: grow \"random\" makes layers of none")
		}
		added, err := place(s, len(m.Layers))
		if err != nil {
			return Map{}, err
		}
		if slices.ContainsFunc(added, func(x inserted) bool { return x.aligned }) {
			if err := m.tooMany(); err != nil {
				return Map{}, err
			}
		}
		return m.deepen(added, s)
	}
}

// Continue returns the map of a model that stays as it is.
func Continue(m Model) (Map, error) { return m.deepen(nil, Spec{}) }

// deepen returns the map that puts new layers between the old ones. Where the function is preserved, what ends a residual
// branch of a new layer is zero: the layer passes its input on, and what is zero still receives gradient (Wu et al. 2024,
// LLaMA Pro).
func (m Model) deepen(added []inserted, s Spec) (Map, error) {
	if s.Moments == "" {
		s.Moments = "kept"
	}
	moments, ok := momentRules[s.Moments]
	if !ok {
		return Map{}, fmt.Errorf("no rule for moments %q; there are %s", s.Moments,
			strings.Join(slices.Sorted(maps.Keys(momentRules)), ", "))
	}
	layers := m.insert(added)
	ids := make([]string, len(layers))
	for i, l := range layers {
		ids[i] = l.ID
	}
	config := Config{"num_hidden_layers": len(layers)}
	params := m.Declare(config, ids)
	rules := make(map[string]Rule, len(params))
	for _, p := range params {
		switch {
		case !ops.InLayers(p) || layers[p.Layer].Old >= 0:
			rules[p.ID] = Rule{Terms: Keep(p.ID).Terms, State: moments.old}
		case s.FunctionPreserving && m.ResidualOutput != nil && m.ResidualOutput(p):
			rules[p.ID] = Rule{State: StateZero}
		case len(layers[p.Layer].From) == 0:
			rules[p.ID] = Rule{Fresh: true, State: StateZero}
		default:
			rules[p.ID] = Rule{Terms: m.terms(p, layers[p.Layer]), State: moments.made}
		}
	}
	grown, err := NewMap(m.Params, params, rules)
	if err != nil {
		return Map{}, err
	}
	grown.Config, grown.Layers, grown.init = config, layers, m.Init
	return grown, nil
}

// terms are those of a parameter of a new layer: the parameters of the same name in the layers it is made of.
func (m Model) terms(p ops.Param, l Layer) (terms []Term) {
	name := strings.TrimPrefix(p.ID, l.ID)
	for _, f := range l.From {
		terms = append(terms, Term{From: m.Layers[f.Layer] + name, Weight: f.Weight})
	}
	if l.aligned != nil {
		terms[0].order = l.aligned
	}
	return terms
}

// insert lists the old layers with the added ones between them.
func (m Model) insert(added []inserted) []Layer {
	layers := make([]Layer, 0, len(m.Layers)+len(added))
	made := 0
	for i := -1; i < len(m.Layers); i++ {
		if i >= 0 {
			layers = append(layers, Layer{ID: m.Layers[i], Old: i, Like: i})
		}
		for ; made < len(added) && added[made].above == i; made++ {
			x := Layer{ID: fmt.Sprintf("%s.%d", m.Prefix, made), Old: -1, Like: -1, From: added[made].from}
			if len(x.From) > 0 {
				x.Like = x.From[0].Layer
			}
			if added[made].aligned {
				x.aligned = m.align(x.From[0].Layer, x.From[1].Layer)
			}
			layers = append(layers, x)
		}
	}
	return layers
}
