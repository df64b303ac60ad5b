package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/program"
	"stepflow/runtime/state"
	"stepflow/runtime/train"
)

// Imported is where the weights of a stage come from that does not train.
type Imported struct {
	state.Import
	Folder  string // "" if only the state knows the checkpoint
	Moments string // why no state of the optimizer comes with it; "" if one does

	err error // why it cannot be imported again
}

// String describes the import in a plan.
func (x *Imported) String() string {
	switch {
	case x.Folder == "":
		return "from " + x.ID
	case x.Moments == "":
		return fmt.Sprintf("from %s, with the state of its optimizer", x.Folder)
	}
	return fmt.Sprintf("from %s, without a state of its optimizer: %s", x.Folder, x.Moments)
}

// Import returns where the result comes from; nil if the stage trains.
func (s *Stage) Import() *state.Import {
	if s.Imported == nil {
		return nil
	}
	x := s.Imported.Import
	return &x
}

// imports finds out whether the stage is imported: its import block says so, or the state, which remembers it.
func (s *Stage) imports(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	block := p.World.Import(p.Addr)
	var kept *state.Import
	if old := p.World.State.Blocks[p.Addr.String()]; old != nil {
		kept = old.Import
	}
	if block == nil && kept == nil {
		return nil
	}
	if s.From != nil {
		return hcl.Diagnostics{d.Error("from", "Import of a continued stage", fmt.Sprintf("%s is imported, so it continues "+
			"no stage. Give its model and its layers instead.", p.Addr))}
	}
	for _, attr := range []string{"data", "optimizer"} { // they make nothing of what is imported
		if ref, _, ok := d.Block("train").Ref(attr); ok {
			delete(p.Inputs, ref.String())
		}
	}
	if ref, _, ok := d.Ref("model"); ok { // identifyImport writes what matters of it
		delete(p.Inputs, ref.String())
	}
	if block == nil {
		s.Imported = &Imported{Import: *kept, err: fmt.Errorf("it was imported from %s, and no import block says so any "+
			"more: write that block again, or to train the stage let go of it with \"stepflow state rm %s\"",
			kept.ID, p.Addr.Word())}
		return nil
	}
	return s.readImport(ctx, p, block, kept)
}

// readImport reads the folder that an import block names. If it is not there, what was imported before stays.
func (s *Stage) readImport(ctx context.Context, p *blocks.Planned, block *dsl.Import,
	kept *state.Import) hcl.Diagnostics {
	problem := func(err error) hcl.Diagnostics {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Impossible import", Subject: block.Range.Ptr(),
			Detail: fmt.Sprintf("%s cannot be imported: %v.", p.Addr, err)}}
	}
	c, err := model.ReadCheckpoint(ctx, p.World, block.ID, s.Model, train.MomentFiles...)
	switch {
	case errors.Is(err, fs.ErrNotExist) && kept != nil:
		if kept.ID != block.ID { // on another machine the same may lie elsewhere
			p.Warn(fmt.Sprintf("%v; what was imported from %s stays", err, kept.ID))
		}
		s.Imported = &Imported{Import: *kept, err: fmt.Errorf("it has to be imported again: %w", err)}
		return nil
	case err != nil:
		return problem(err)
	}
	s.Init = c.Folder
	s.Imported = &Imported{Import: state.Import{ID: block.ID, Files: c.Files}, Folder: c.Folder}
	if _, s.Imported.Moments, err = train.Moments(c.Folder, len(s.Layers)); err != nil {
		return problem(err)
	}
	for _, n := range c.Notes {
		p.Warn(n)
	}
	p.Warn((&model.Model{Addr: p.Addr, Folder: c.Folder}).OtherTokens(s.Tokenizer))
	return nil
}

// identifyImport writes what decides the bits of the result beside the files.
func (s *Stage) identifyImport(w io.Writer) {
	fmt.Fprintf(w, "%s %s\n", s.Model.Arch.Type, program.Precision(s.DType))
	for _, f := range s.Model.Arch.Fields {
		fmt.Fprintf(w, "%s %s\n", f.Name, f.Show(s.Model.Config))
	}
}

// bringIn makes the stage's result of the files that are imported.
func (s *Stage) bringIn(ctx context.Context, r *blocks.Run, tok *bpe.Tokenizer) error {
	x, err := train.OpenImported(&s.Stage, s.Imported.Folder, r.Recipe)
	if err != nil {
		return err
	}
	defer x.Close()
	parts, err := x.Parts(ctx)
	if err != nil {
		return err
	}
	config, err := s.configParts(tok)
	if err != nil {
		return err
	}
	r.Entry.Values = map[string]any{"loss": nil, "held_out_documents": nil} // only training tells them
	return r.Write("imported", append(parts, config...)...)
}
