// Package ops is the vocabulary of a model: its parameters. Architectures declare them, adapters
// add to them, growth maps them, optimizers keep state for them and checkpoints store them.
package ops

import (
	"hash/fnv"
	"math/rand/v2"

	"stepflow/gpu"
)

// Kind says what a parameter is; weight decay, freezing and adapters go by it.
type Kind uint8

const (
	KindInvalid   Kind = iota
	KindEmbedding      // token embeddings [vocab, hidden]
	KindHead           // output projection [vocab, hidden]
	KindLinear         // projection [out, in]
	KindBias           // [out]
	KindNorm           // gain [hidden]
	KindLoraA          // [r, in]
	KindLoraB          // [out, r]
	KindSparse         // [n]: some elements of a projection
)

func (k Kind) String() string {
	return [...]string{"invalid", "embedding", "head", "linear", "bias", "norm", "lora_A", "lora_B", "sparse"}[k]
}

// IsAdapter reports whether the parameter belongs to an adapter.
func (k Kind) IsAdapter() bool { return k == KindLoraA || k == KindLoraB || k == KindSparse }

// Param is one tensor of a model.
type Param struct {
	ID    string    // stable when layers interleave, such as seed.3/mlp.up_proj.weight
	Name  string    // Hugging Face name at its present place, such as model.layers.7.mlp.up_proj.weight
	Shape gpu.Shape // [out, in] for linear weights
	Layer int       // present index of its layer; -1 outside the layers
	Kind  Kind
	Tied  bool // embeddings that give the logits too
}

// Elems is the number of elements.
func (p Param) Elems() int64 { return int64(p.Shape.Elems()) }

// Count adds up the elements of the parameters for which keep is true; nil keeps all.
func Count(params []Param, keep func(Param) bool) (n int64) {
	for _, p := range params {
		if keep == nil || keep(p) {
			n += p.Elems()
		}
	}
	return n
}

// InLayers reports whether p belongs to a layer, not to embeddings, head or final norm.
func InLayers(p Param) bool { return p.Layer >= 0 }

// Rand is a generator that depends on a seed and a name.
func Rand(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}
