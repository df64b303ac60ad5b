package optim

import (
	"stepflow/gpu"
	"stepflow/ops"
)

// StateDTypes are the element types that moments are kept in, in the words of the language.
var StateDTypes = []string{"fp32", "bf16", "int8"}

// leastCoded is the number of elements of a tensor from which on its moments are codes, as min_8bit_size of
// bitsandbytes: gains and biases would save little.
const leastCoded = 4096

// narrow is the element type of a moment of p, where codes of 8 bits are of a type of their own. Embeddings have none: the
// gradient of a row is zero where its token is not in the batch, so that elements of one block differ by more than a map
// spans, and training with codes is not stable (Dettmers et al. 2022, section 2.3, which keep them in fp32 too).
func narrow(word string, p ops.Param, codes gpu.DType) gpu.DType {
	switch {
	case word == "bf16":
		return gpu.BF16
	case word == "int8" && p.Kind != ops.KindEmbedding && p.Elems() >= leastCoded:
		return codes
	}
	return gpu.F32
}

// moment is a state of zeros, one for each element of p, kept as a word of StateDTypes says.
func moment(name string, p ops.Param, word string, codes gpu.DType) State {
	d := narrow(word, p, codes)
	return State{Name: name, Type: gpu.Type{Shape: p.Shape, DType: d}, Dense: d != gpu.F32, Codes: codes}
}

// narrow reports whether a state of the slot is kept in fewer bytes than fp32.
func (s Slot) narrow(state string) bool {
	v := s.States[state]
	return v.Valid() && v.Type().DType != gpu.F32
}

// draws reports whether an update draws at random: a bf16 weight without a master, or a moment in bf16, is rounded
// stochastically.
func draws(weight bool, state string) bool { return weight || state == "bf16" }
