// Package model is the model block: an architecture with its sizes, and its weights if it is read from a folder.
package model

import (
	"context"
	"fmt"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/runtime/blocks"
	"stepflow/runtime/durable"
)

// Kind is the model block.
var Kind = blocks.Kind{Sound: sound, Plan: plan, Idle: map[string]string{"from": "the identity of the folder's " +
	"files is hashed"}}

// Model is a planned model block.
type Model struct {
	Addr addr.Addr
	arch.Model
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

// Reads returns the folder of the weights if it is inside folder; "" if not.
func (m *Model) Reads(folder, _ string) string {
	if m.Folder != "" && durable.LeadsInto(m.Folder, folder) {
		return m.Folder
	}
	return ""
}

func sound(a addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
	_, diags := given(a, d)
	return append(diags, blocks.SoundHome(d, "from")...)
}

func plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	m := &Model{Addr: p.Addr, Seed: uint64(d.Int("seed"))}
	p.Block = m
	told, diags := given(p.Addr, d)
	if from := d.Str("from"); from != "" {
		folder, err := folderOf(p.World, from)
		if err != nil {
			return nil, blocks.Problem(d, "from", "Remote model", err)
		}
		m.Folder = folder
		if diags = append(diags, m.read(ctx, p, told, d)...); diags.HasErrors() {
			return nil, diags
		}
	} else {
		m.Model = told
	}
	if diags.HasErrors() {
		return nil, diags
	}
	known := map[string]cty.Value{"layer_parameters": blocks.Number(m.LayerParams()),
		"num_parameters": blocks.Number(ops.Count(m.Declare(make([]string, m.NumHiddenLayers)), nil))}
	for _, f := range m.Arch.Fields {
		if !f.Silent(m.Config) {
			p.Hashed[f.Name] = f.Show(m.Config) // the same for a default, whether it is written out or not
		}
		if n, ok := f.Value(m.Config).(int); ok && f.Export {
			known[f.Name] = blocks.Number(n)
		}
	}
	return known, diags
}
