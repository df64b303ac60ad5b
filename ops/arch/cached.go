package arch

import (
	"stepflow/gpu"
	"stepflow/ops/graph"
)

// Cache is where the keys and values of earlier tokens of texts are kept. A row of a batch continues the text in its
// slot: its tokens attend to the first past tokens there, and to those before them in the row.
type Cache struct {
	Slot, Past graph.Value // [batch] i32
	// Count is how many tokens of a row are kept after the first past ones of its slot, [batch] i32; none where none are.
	Count graph.Value
	// Keys and Values are leaves [slots, capacity, kv_heads·head_dim], one a layer. Keys are kept as they are after norm
	// and rotation.
	Keys, Values []graph.Value
}

// KeptWidth is the number of columns of a layer's kept keys, and of its values.
func (m Model) KeptWidth() int { return m.NumKeyValueHeads * m.HeadDim }

// Keep adds the forward pass as far as it takes to keep the keys and values of the tokens.
func (m Model) Keep(g *graph.Graph, weight func(name string) graph.Value, in Inputs, linear graph.Projection) {
	m.hidden(g, weight, in, linear)
}

// Score adds the forward pass and returns, for each target [batch, seq], its loss as Loss gives it, and 1 where it is the
// first of the likeliest tokens, else 0.
func (m Model) Score(g *graph.Graph, weight func(name string) graph.Value, in Inputs, targets graph.Value, chunk int,
	linear graph.Projection) (nll, greedy graph.Value) {
	x := m.hidden(g, weight, in, linear)
	g.At(-1, module(LMHead))
	out := g.Op("linear_score", m.head(weight, chunk), x, weight(m.Head()), targets)
	return out[0], out[1]
}

// attend is attention to what the cache keeps and to the row itself. It then keeps the row's keys and values.
func (c *Cache) attend(l layer, q, k, v graph.Value) graph.Value {
	keys, values := c.Keys[l.index], c.Values[l.index]
	a := l.g.Op1("attention_cached", gpu.Attrs{Heads: l.NumAttentionHeads, KVHeads: l.NumKeyValueHeads}, q, k, v, keys, values,
		c.Slot, c.Past)
	if c.Count.Valid() {
		for _, x := range []struct{ cache, row graph.Value }{{keys, k}, {values, v}} {
			l.g.Update(x.cache, l.g.Op1("cache_write", gpu.Attrs{}, x.row, x.cache, c.Slot, c.Past, c.Count))
		}
	}
	return a
}
