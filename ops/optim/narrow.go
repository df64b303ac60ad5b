package optim

import (
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// StateDTypes are the element types that moments are kept in, in the words of the language.
var StateDTypes = []string{"fp32", "bf16", "int8"}

// leastCoded is the number of elements of a tensor from which on its moments are codes, as min_8bit_size of
// bitsandbytes: gains and biases would save little.
const leastCoded = 4096

// narrow is the element type of a moment of p with so many elements, where codes of 8 bits are of a type of
// their own. Embeddings have none: the gradient of a row is zero where its token is not in the batch, so that elements of one
// block differ by more than a map spans, and training with codes is not stable (Dettmers et al. 2022, section 2.3, which keep
// them in fp32 too).
func narrow(word string, p ops.Param, elems int64, codes gpu.DType) gpu.DType {
	switch {
	case word == "bf16":
		return gpu.BF16
	case word == "int8" && p.Kind != ops.KindEmbedding && elems >= leastCoded:
		return codes
	}
	return gpu.F32
}

// moment is a state of zeros, one for each element of p, kept as a word of StateDTypes says.
func moment(name string, p ops.Param, word string, codes gpu.DType) State {
	return State{Name: name, Type: gpu.Type{Shape: p.Shape}}.kept(p, word, codes)
}

// kept is the state, of p, kept as a word of StateDTypes says.
func (s State) kept(p ops.Param, word string, codes gpu.DType) State {
	s.Type.DType, s.Codes = narrow(word, p, int64(s.Type.Shape.Elems()), codes), codes
	s.Dense = s.Type.DType != gpu.F32
	return s
}

// narrow reports whether a state of the slot is kept in fewer bytes than fp32.
func (s Slot) narrow(state string) bool {
	v := s.States[state]
	return v.Valid() && v.Type().DType != gpu.F32
}

// mean updates a moving average of coef x in a state, however it is kept, and returns it in fp32; with nesterov, one decay
// ahead. If coef is not finite it stays as it is.
func (s Slot) mean(g *graph.Graph, state string, x, coef graph.Value, beta float64, nesterov bool) graph.Value {
	m, a := s.States[state], gpu.Attrs{Beta1: beta}
	if s.narrow(state) {
		if a.Beta2 = 1; nesterov {
			a.Beta2 = beta
		}
		out := g.Op("ema_narrow", a, m, x, coef, s.Hyper)
		g.Update(m, out[0])
		return out[1]
	}
	mean := g.Op1("ema", a, m, x, coef)
	g.Update(m, mean)
	if nesterov {
		return g.Op1("ema", a, mean, x, coef)
	}
	return mean
}

// draws reports whether an update draws at random: a bf16 weight without a master, or a moment in bf16, is rounded
// stochastically.
func draws(weight bool, state string) bool { return weight || state == "bf16" }
