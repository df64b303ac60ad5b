package arch

import (
	"fmt"
	"math"
	"slices"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// LayerNorm scaling (Sun et al. 2025, arXiv 2502.05795, eq. 9) multiplies the output of both norms of layer l = 1, 2, … by
// 1/sqrt(l), so that the variance of the residual stream does not grow with depth as it does with norms before the branches.
//
// The factor multiplies the gain before the norm reads it, rounded to the type of the weights. So a plain model whose
// gains are these products computes the same, bit for bit, in fp32 and in bf16: that is what Fold makes.
var (
	layerNormScaling = Field{
		Name: "layernorm_scaling", own: true,
		Doc: "Multiplies the output of the norms before attention and feed-forward layer by 1/sqrt(l) in layer l = 1, 2, … " +
			"(LayerNorm scaling, arXiv 2502.05795). A layer keeps its factor when a stage grows, and a new layer gets the factor of " +
			"its place. Exports fold the factors into the gains",
		at: func(c *Config) any { return &c.LayerNormScaling },
	}.defaultTo(false)
	layerNormDepths = Field{
		Name: "layernorm_depths", own: true, Min: at(1), Max: at(maxLayers), defaultText: "1, 2, 3 and so on",
		Doc:   "The l of each layer, for weights of a model that has grown",
		at:    func(c *Config) any { return &c.LayerNormDepths },
		check: checkLayerNormDepths,
	}
)

func checkLayerNormDepths(c Config) (what, do string) {
	n := len(c.LayerNormDepths)
	switch {
	case n == 0:
		return "", ""
	case !c.LayerNormScaling:
		return "layernorm_depths is given, and layernorm_scaling is false", "Set layernorm_scaling = true, or leave it out."
	case n != c.NumHiddenLayers:
		return fmt.Sprintf("layernorm_depths has %d numbers for %d layers", n, c.NumHiddenLayers),
			"Give as many numbers as there are layers, or none."
	}
	if i := slices.IndexFunc(c.LayerNormDepths, func(l int) bool { return l < 1 || l > maxLayers }); i >= 0 {
		return fmt.Sprintf("layernorm_depths has a %d", c.LayerNormDepths[i]),
			fmt.Sprintf("Give whole numbers from 1 to %d.", maxLayers)
	}
	return "", ""
}

// depth is the l of layer i.
func (c Config) depth(i int) int {
	if i < len(c.LayerNormDepths) {
		return c.LayerNormDepths[i]
	}
	return i + 1
}

// plainDepths leaves out the numbers of layers where they are 1, 2, 3, …
func (c *Config) plainDepths() {
	if len(c.LayerNormDepths) != c.NumHiddenLayers {
		return
	}
	for i, l := range c.LayerNormDepths {
		if l != i+1 {
			return
		}
	}
	c.LayerNormDepths = nil
}

// growDepths sets the depths of the layers of a larger model: a layer that is kept keeps its depth, and the depth of a new layer is
// its place.
func (c *Config) growDepths(small Config, like []int, kept func(i int) bool) {
	c.LayerNormDepths = nil
	if !c.LayerNormScaling {
		return
	}
	for i, j := range like {
		l := i + 1
		if kept(i) {
			l = small.depth(j)
		}
		c.LayerNormDepths = append(c.LayerNormDepths, l)
	}
}

// factor is what layer i multiplies its norms by.
func (c Config) factor(i int) float64 {
	if !c.LayerNormScaling {
		return 1
	}
	return 1 / math.Sqrt(float64(c.depth(i)))
}

// scaled is the gain of a norm of layer i, as the norm reads it.
func (m Model) scaled(g *graph.Graph, gain graph.Value, i int) graph.Value {
	if f := m.factor(i); f != 1 {
		return g.Op1("scale", gpu.Attrs{Alpha: f}, gain)
	}
	return gain
}

// Folded is the model whose gains hold the factors of LayerNorm scaling: Fold makes its weights.
func (m Model) Folded() Model {
	m.LayerNormScaling, m.LayerNormDepths = false, nil
	return m
}

// Folds reports whether Fold changes the parameter.
func (m Model) Folds(p ops.Param) bool {
	if p.Layer < 0 || m.factor(p.Layer) == 1 {
		return false
	}
	prefix := LayerPrefix(p.Layer)
	return p.Name == prefix+inputNorm+".weight" || p.Name == prefix+attentionNorm+".weight"
}

// Fold turns values of a parameter into those of the folded model, in the type of the weights, as the kernel "scale" does.
func (m Model) Fold(p ops.Param, v []float32, dtype gpu.DType) {
	if !m.Folds(p) {
		return
	}
	f := float32(m.factor(p.Layer))
	for i := range v {
		if v[i] *= f; dtype == gpu.BF16 {
			v[i] = gpu.FromBF16(gpu.ToBF16(v[i]))
		}
	}
}
