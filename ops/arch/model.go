package arch

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"stepflow/ops"
)

// Config is the part of config.json that fixes a model of any architecture, and the vocabulary of Field. Which fields
// an architecture has is in its row; the others are zero.
type Config struct {
	VocabSize             int
	HiddenSize            int
	IntermediateSize      int
	NumHiddenLayers       int
	NumAttentionHeads     int
	NumKeyValueHeads      int
	HeadDim               int
	HiddenAct             string
	MaxPositionEmbeddings int
	RMSNormEps            float64
	RopeTheta             float64
	RopeScaling           *RopeScaling // nil for none
	InitializerRange      float64
	TieWordEmbeddings     bool
	AttentionBias         bool
	MLPBias               bool
	NoRopeLayerInterval   int   // 0 where all layers rotate q and k
	NoRopeLayers          []int // 1 for a layer that does, 0 for one that does not; empty where the interval says it

	LayerNormScaling bool
	LayerNormDepths  []int // the l of each layer in its factor 1/sqrt(l); empty for 1, 2, 3, …

	// SlidingWindow is the window of attention in an imported model where MaxPositionEmbeddings was lowered to it.
	SlidingWindow int
}

// Model is an architecture with its configuration.
type Model struct {
	Arch *Architecture
	Config
}

// Fill sets fields that hold zero to the architecture's defaults, but for those that were given, and writes in one
// way what may be written in several.
func (m *Model) Fill(given ...string) {
	for _, f := range m.Arch.Fields {
		if v := reflect.ValueOf(f.at(&m.Config)).Elem(); f.def != nil && v.IsZero() && !slices.Contains(given, f.Name) {
			v.Set(reflect.ValueOf(f.def(&m.Config)))
		}
	}
	m.plain()
}

// plain leaves out settings that change nothing.
func (c *Config) plain() {
	if c.RopeScaling != nil && c.RopeScaling.RopeType == "default" {
		c.RopeScaling = nil
	}
	c.plainRope()
	c.plainDepths()
}

// Longest says in words how long a sequence may be, and why.
func (m Model) Longest() string {
	if m.SlidingWindow > 0 {
		return fmt.Sprintf("sliding_window %d (in the model that was trained, attention sees no further back; "+
			"here it would)", m.SlidingWindow)
	}
	return fmt.Sprintf("max_position_embeddings %d", m.MaxPositionEmbeddings)
}

// CheckLists returns what is wrong with lists as they are written, before Fill leaves out what is beyond the layers.
func (m Model) CheckLists() (ps []Problem) {
	if len(m.NoRopeLayers) > m.NumHiddenLayers {
		what, do := checkNoRopeLayers(m.Config)
		ps = append(ps, Problem{noRopeLayers.Name, what, do})
	}
	return ps
}

// Problem is what is wrong with one attribute of a configuration.
type Problem struct{ Attribute, What, Do string }

// Check lists everything that makes the configuration impossible.
func (m Model) Check() (ps []Problem) {
	sound := true // a layer can be computed with; only their number may be absurd
	for _, f := range m.Arch.Fields {
		if what, do := f.checkRange(m.Config); what != "" {
			ps = append(ps, Problem{f.Name, what, do})
			sound = sound && f.Name == numHiddenLayers.Name && m.NumHiddenLayers >= 0
		}
	}
	if !sound {
		return ps
	}
	for _, f := range m.Arch.Fields {
		if f.check == nil {
			continue
		}
		if what, do := f.check(m.Config); what != "" {
			ps = append(ps, Problem{f.Name, what, do})
		}
	}
	if n, most := m.Params(), 1e15; len(ps) == 0 && n > most {
		ps = append(ps, Problem{hiddenSize.Name, fmt.Sprintf("the model has %.3g parameters", n),
			fmt.Sprintf("A model has at most %g parameters: choose smaller sizes.", most)})
	}
	return ps
}

// Params is the number of parameters, in floating point: it does not overflow however many layers there are.
func (m Model) Params() float64 {
	rest := ops.Count(m.Declare(nil), nil)
	return float64(rest) + float64(m.NumHiddenLayers)*float64(m.LayerParams())
}

// LayerParams counts the parameters of one layer.
func (m Model) LayerParams() int64 { return ops.Count(m.Declare([]string{"x"}), ops.InLayers) }

// SameArchitecture reports whether weights of one model fit the other, their number of layers apart, and mean the
// same there; it names the first difference.
func SameArchitecture(a, b Model) (attribute string, same bool) {
	if a.Arch != b.Arch {
		return "model_type", false
	}
	for _, f := range a.Arch.Fields {
		if !f.Free && !f.Same(a.Config, b.Config) {
			return f.Name, false
		}
	}
	return "", true
}

// Show is an attribute of the model for a message.
func (m Model) Show(attribute string) string {
	i := slices.IndexFunc(m.Arch.Fields, func(f Field) bool { return f.Name == attribute })
	if i < 0 {
		return m.Arch.Type // SameArchitecture names model_type too
	}
	if text := m.Arch.Fields[i].Show(m.Config); text != "null" {
		return text
	}
	return "its default"
}

// As is the model as one of another architecture, as Mistral is a Llama, and reports whether it is one: layers are built
// alike, and all that its configuration may say has a place there.
func (m Model) As(a *Architecture) (Model, bool) {
	if a.Features != m.Arch.Features {
		return Model{}, false
	}
	for _, f := range m.Arch.Fields {
		if !a.Has(f.Name) {
			return Model{}, false
		}
	}
	for _, f := range a.Fields { // what m does not have must have a value there that changes nothing
		if what, _ := f.checkRange(m.Config); what != "" && !m.Arch.Has(f.Name) {
			return Model{}, false
		}
	}
	return Model{a, m.Config}, true
}

// With is the model with other values of whole numbers, by the names of their fields, such as hidden_size in a wider
// model. Check says what is wrong with the values; it panics where the architecture has no such field.
func (m Model) With(changed map[string]int) Model {
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		if name == numHiddenLayers.Name {
			m = m.WithLayers(changed[name])
			continue
		}
		i := slices.IndexFunc(m.Arch.Fields, func(f Field) bool { return f.Name == name })
		if i < 0 {
			panic("arch: " + m.Arch.Title + " has no " + name)
		}
		*m.Arch.Fields[i].at(&m.Config).(*int) = changed[name]
	}
	return m
}

// Widened is the model whose parameters have the shapes that they take where rows and columns of the hidden,
// intermediate and vocabulary sizes are stored as widen says. Heads keep theirs: attention reads them one by one.
func (m Model) Widened(widen func(n int) int) Model {
	m.HiddenSize, m.IntermediateSize, m.VocabSize = widen(m.HiddenSize), widen(m.IntermediateSize), widen(m.VocabSize)
	return m
}

// WithLayers is the model with another number of layers, by the rules of its architecture. Where NoRopeLayers lists the
// kinds of layers, fewer layers are of the first kinds of the list, as in transformers; more are spread over it.
func (m Model) WithLayers(n int) Model {
	if len(m.NoRopeLayers) == 0 && len(m.LayerNormDepths) == 0 {
		m.NumHiddenLayers = n
		return m
	}
	from := make([]int, max(n, 0))
	for i := range from {
		if from[i] = i; n > m.NumHiddenLayers {
			from[i] = (2*i + 1) * m.NumHiddenLayers / (2 * n)
		}
	}
	return m.Grown(from, func(int) bool { return n <= m.NumHiddenLayers })
}

// Grown is m with other layers: layer i is of the kind of layer from[i] of m, or of the kind that belongs to its place if from[i]
// is -1, and kept reports whether it is layer from[i] itself. It differs from a model with as many layers where an
// architecture decides by a layer's place what it computes: a trained layer goes on computing what it did.
func (m Model) Grown(from []int, kept func(i int) bool) Model {
	c := m.Config
	c.NumHiddenLayers = len(from)
	c.growDepths(m.Config, from, kept)
	if m.Arch.Has(noRopeLayers.Name) {
		c.NoRopeLayers = make([]int, len(from))
		for i, j := range from {
			if j < 0 && m.rotatesAt(i) || j >= 0 && m.Rotates(j) {
				c.NoRopeLayers[i] = 1
			}
		}
	}
	c.plain()
	return Model{m.Arch, c}
}

// Key identifies what the program of the model depends on. Two models of one key differ at most in what Constants
// holds.
func (m Model) Key() string {
	m.RopeScaling = nil
	return fmt.Sprintf("%s %#v", m.Arch.Type, m.Config)
}
