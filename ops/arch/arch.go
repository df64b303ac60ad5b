// Package arch is the table of architectures: for each model_type of Hugging Face's config.json a row that says what
// its configuration holds and what its layers compute. A Model is a row with a configuration. It declares its
// parameters, builds its graph, and reads and writes config.json, under the names of Hugging Face's files.
//
// All rows are decoders of one kind: a residual stream, grouped-query attention with rotary positions, a SwiGLU
// feed-forward layer and RMSNorm. decoder.go builds them; what differs is data (Features and Fields). A new
// architecture is a file with its row.
package arch

import (
	"maps"
	"slices"
)

// Architecture is a row of the table.
type Architecture struct {
	Type     string  // model_type in config.json, and the label of the model block
	Class    string  // class of its language model in transformers
	Title    string  // its name in messages
	Doc      string  // for the reference page: what tells it apart, and where it is described
	Fields   []Field // of its config.json and of the model block; a default may follow from fields above it
	Features Features

	absent  map[string]string // values, in JSON, of keys that config.json leaves out; null is another value
	never   []string          // switches that transformers does not read there: only false is accepted
	neutral map[string]string // values, in JSON, that change nothing there, besides those of the table neutral
	window  *window           // nil where transformers does not read sliding_window
	written map[string]any    // what its config.json says besides Fields
	as      *Architecture     // another row that computes the same, by the settings that are accepted; nil for none
}

// Features are what the layers of an architecture have besides the numbers of its configuration.
type Features struct {
	QKVBias  bool   // q, k and v have biases, and o has none, whatever attention_bias says
	QKNorm   QKNorm // norms on q and k, before they are rotated
	PostNorm bool   // norms stand after attention and feed-forward layer instead of before them
}

// QKNorm says over which channels q and k are normalised.
type QKNorm uint8

const (
	NoQKNorm      QKNorm = iota
	QKNormPerHead        // over the channels of each head, with one gain [head_dim] for all heads
	QKNormWhole          // over all heads together, with a gain [heads·head_dim]
)

// table has the rows by model_type.
var table = map[string]*Architecture{}

// register adds a row.
func register(a *Architecture) *Architecture {
	if table[a.Type] != nil {
		panic("arch: two architectures of model_type " + a.Type)
	}
	table[a.Type] = a
	return a
}

// Lookup finds an architecture by its model_type; nil if there is none.
func Lookup(modelType string) *Architecture {
	if a := table[modelType]; a != nil && a.as == nil {
		return a
	}
	return nil
}

// All lists the architectures in order of their types.
func All() (list []*Architecture) {
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if a := Lookup(name); a != nil {
			list = append(list, a)
		}
	}
	return list
}

// Has reports whether the configuration has a field of this name.
func (a *Architecture) Has(name string) bool {
	return slices.ContainsFunc(a.Fields, func(f Field) bool { return f.Name == name })
}
