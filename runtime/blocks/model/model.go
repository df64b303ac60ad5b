// Package model is the model block: an architecture with its sizes, and where they come from a folder, its weights.
package model

import (
	"context"
	"fmt"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/ops"
	"stepflow/ops/llama"
	"stepflow/runtime/blocks"
	"stepflow/runtime/durable"
)

// Kind is the model block.
var Kind = blocks.Kind{Sound: sound, Plan: plan, Idle: map[string]string{"from": "the identity of the folder's files is hashed"}}

// Model is a planned model block.
type Model struct {
	Addr   addr.Addr
	Config llama.Config
	Seed   uint64
	Folder string // weights to start from; empty for none
	hash   string // of the folder's files
}

var (
	_ blocks.Block  = (*Model)(nil)
	_ blocks.Reader = (*Model)(nil)
)

// Identity writes the hash of the files that weights are read from.
func (m *Model) Identity(w io.Writer) { fmt.Fprintf(w, "weights %s\n", m.hash) }

// Summary is empty.
func (*Model) Summary() string { return "" }

// Reads returns the folder of the weights, if it lies in a folder.
func (m *Model) Reads(folder, _ string) string {
	if m.Folder != "" && durable.LeadsInto(m.Folder, folder) {
		return m.Folder
	}
	return ""
}

func sound(a addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
	_, diags := givenConfig(a, d)
	return append(diags, blocks.SoundHome(d, "from")...)
}

func plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	m := &Model{Addr: p.Addr, Seed: uint64(d.Int("seed"))}
	p.Block = m
	given, diags := givenConfig(p.Addr, d)
	if from := d.Str("from"); from != "" {
		folder, err := folderOf(p.World, from)
		if err != nil {
			return nil, blocks.Problem(d, "from", "Remote model", err)
		}
		m.Folder = folder
		if diags = append(diags, m.read(ctx, p, given, d)...); diags.HasErrors() {
			return nil, diags
		}
	} else {
		m.Config = given
	}
	if diags.HasErrors() {
		return nil, diags
	}
	c := m.Config
	for _, f := range llama.Fields { // a default counts the same whether it is written out or not
		p.Hashed[f.Name] = f.Show(c)
	}
	total := ops.Count(llama.Declare(c, make([]string, c.NumHiddenLayers)), nil)
	return map[string]cty.Value{"vocab_size": blocks.Number(c.VocabSize), "hidden_size": blocks.Number(c.HiddenSize),
		"intermediate_size": blocks.Number(c.IntermediateSize), "num_hidden_layers": blocks.Number(c.NumHiddenLayers),
		"max_position_embeddings": blocks.Number(c.MaxPositionEmbeddings), "num_parameters": blocks.Number(total),
		"layer_parameters": blocks.Number(llama.LayerParams(c))}, nil
}

// givenConfig is the configuration that a model block gives, with defaults and checked where it is not read from a folder and its
// sizes are known.
func givenConfig(a addr.Addr, d *dsl.Decoded) (given llama.Config, diags hcl.Diagnostics) {
	var names []string // of what is given
	partial := false
	for _, f := range llama.Fields {
		if !d.Has(f.Name) {
			continue
		}
		names = append(names, f.Name)
		if !d.Known(f.Name) {
			if f.Name == "vocab_size" { // most often the tokenizer's; nothing else depends on it
				given.VocabSize = 1
			} else {
				partial = true
			}
			continue
		}
		switch x := f.At(&given).(type) {
		case *int:
			*x = d.Int(f.Name)
		case *float64:
			*x = d.Float(f.Name)
		case *string:
			*x = d.Str(f.Name)
		case *bool:
			*x = d.Bool(f.Name)
		case **llama.RopeScaling:
			var err error
			if *x, err = ropeScaling(d.Value(f.Name)); err != nil {
				diags = append(diags, d.Error(f.Name, "Invalid value", blocks.Sentence(err.Error())+"."))
			}
		}
	}
	if d.Has("from") {
		if d.Given("seed") {
			diags = append(diags, d.Error("seed", "No first weights", "seed makes first weights, and from takes weights that are there: leave one of them out."))
		}
		return given, diags
	}
	for _, f := range llama.Fields {
		if f.Needed && !d.Has(f.Name) {
			diags = append(diags, d.Error(f.Name, "Missing attribute", fmt.Sprintf("%s needs %s, unless it is read by from.", a, f.Name)))
		}
	}
	if diags.HasErrors() || partial {
		return given, diags
	}
	given.Fill(names...)
	for _, x := range given.Check() {
		diags = append(diags, d.Error(x.Attribute, "Impossible model", blocks.Sentence(x.What)+". "+x.Do))
	}
	return given, diags
}

// ropeScaling reads the attribute in which a pipeline gives what config.json has under the same name.
func ropeScaling(v cty.Value) (*llama.RopeScaling, error) {
	b, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return nil, err
	}
	return llama.ParseRopeScaling(b)
}
