package export

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/foreign"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/durable"
	"stepflow/runtime/exportdir"
	"stepflow/runtime/state"
)

func sound(_ addr.Addr, d *dsl.Decoded) hcl.Diagnostics {
	if d.Known("path") && d.Str("path") == "" {
		return hcl.Diagnostics{d.Error("path", "Invalid value", "path is empty: name a folder, such as \"out/model\".")}
	}
	return blocks.SoundHome(d, "path")
}

func plan(_ context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	e, diags := look(p, d)
	if diags.HasErrors() {
		return nil, diags
	}
	ref, _, _ := d.Ref("model")
	e.Stage = p.Use(ref).(*stage.Stage)
	e.form = forms[p.Addr.Type](e)
	if diags := e.form.plan(p, d); diags.HasErrors() {
		return nil, diags
	}
	if diags := e.planCard(p, d); diags.HasErrors() {
		return nil, diags
	}
	return map[string]cty.Value{"path": cty.StringVal(e.given)}, nil // also from another working directory
}

// look checks the folder of an export. It needs no model, so that errors are reported before anything is trained.
func look(p *blocks.Planned, d *dsl.Decoded) (*Export, hcl.Diagnostics) {
	e := &Export{given: d.Str("path"), at: *d.Error("path", "", "").Subject, addr: p.Addr, world: p.World}
	var err error
	if e.Path, err = p.World.ExportPath(e.given); err == nil {
		e.folder, err = exportdir.Open(e.Path, p.World.Files)
	}
	if err == nil {
		e.holds, err = e.folder.Look()
	}
	if err == nil {
		err = e.overlaps()
	}
	if err == nil {
		err = e.folder.Refuse(e.holds)
	}
	if err != nil {
		return nil, blocks.Problem(d, "path", "Folder in use", err)
	}
	e.keeps = exportdir.List(e.holds.Others)
	p.Block = e
	return e, nil
}

// early checks the folder of a deferred export, if its path is known.
func early(_ context.Context, p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	if !d.Known("path") {
		return nil
	}
	_, diags := look(p, d)
	return diags
}

// overlaps refuses a folder that holds the pipeline or its state, or is inside the state.
func (e *Export) overlaps() error {
	for _, x := range []struct{ path, what string }{{e.world.Dir, "the pipeline"}, {e.world.StateDir, "the state"}} {
		real, err := durable.Resolve(x.path)
		switch {
		case err != nil:
			return err
		case durable.Within(real, e.folder.Real):
			return fmt.Errorf("%s holds %s (%s): choose a folder for the export alone", e.Path, x.what, x.path)
		case x.what == "the state" && durable.Within(e.folder.Real, real):
			return fmt.Errorf("%s is inside the folder of the state, %s: choose another path", e.Path, x.path)
		}
	}
	return nil
}

// Beside refuses a folder that an export before this one writes to, or that a block reads from.
func (e *Export) Beside(mine *blocks.Planned, all []*blocks.Planned) (_ []string, diags hcl.Diagnostics) {
	refuse := func(format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Folder in use", Subject: e.at.Ptr(),
			Detail: mine.Addr.String() + fmt.Sprintf(format, args...)})
	}
	for _, p := range all {
		if p == mine {
			break
		}
		other, ok := p.Block.(*Export)
		if !ok {
			continue
		}
		place := fmt.Sprintf("%s (%s)", p.Addr, dsl.FileLine(other.at))
		switch ours, theirs := e.folder.Real, other.folder.Real; {
		case sameFolder(ours, theirs):
			refuse(" and %s write to one folder, %s. Give each its own path.", place, e.Path)
		case durable.Within(ours, theirs):
			refuse(" writes to %s, inside %s of %s. Give each a path outside the other's.", e.Path, other.Path, place)
		case durable.Within(theirs, ours):
			refuse(" writes to %s, and %s inside it to %s. Give each a path outside the other's.", e.Path, place, other.Path)
		}
	}
	if x, ok := e.form.(*adapterFolder); ok {
		if err := x.checkBase(all); err != nil {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Another base", Subject: e.at.Ptr(),
				Detail: fmt.Sprintf("base_model_name_or_path of %s is %q. %s.", mine.Addr, x.base, blocks.Sentence(err.Error()))})
		}
	}
	for _, p := range all {
		reader, ok := p.Block.(blocks.Reader)
		if !ok {
			continue
		}
		if path := reader.Reads(e.folder.Real, e.world.Dir); path != "" {
			refuse(" writes to %s, where %s reads %s. Choose another path.", e.Path, p.Addr, path)
		}
	}
	return nil, diags
}

// sameFolder reports whether two paths without links name one folder, also on file systems that ignore case.
func sameFolder(a, b string) bool {
	if strings.EqualFold(a, b) {
		x, err := os.Stat(a)
		y, err2 := os.Stat(b)
		return err != nil || err2 != nil || os.SameFile(x, y) // folders that do not exist yet may be one on some systems
	}
	return false
}

// Holds returns why the folder does not hold what this recipe exports; nil if it does.
func (e *Export) Holds(recipe string) error {
	switch c := e.holds; {
	case c.Manifest == nil:
		return fmt.Errorf("%s is gone", e.Path)
	case c.Cut:
		return fmt.Errorf("the last export to %s was cut off", e.Path)
	case c.Manifest.Recipe != recipe:
		return fmt.Errorf("%s was written by another run", e.Path)
	case !c.Listed:
		return fmt.Errorf("%s was written by an earlier stepflow, which kept no list of its files", e.Path)
	case len(c.Missing) > 0:
		return fmt.Errorf("%s lacks %s", e.Path, exportdir.List(c.Missing))
	}
	return nil
}

// Replaces returns the model that an export would replace and that this state did not export; "" for none. An export of
// the same recipe has the same bytes.
func (e *Export) Replaces(st *state.State, recipe string) string {
	c := e.holds
	switch {
	case c.Manifest == nil:
		return ""
	case !c.Listed && len(c.Unlisted) > 0:
		return fmt.Sprintf("%s, which an earlier stepflow exported without a list of its files: %s", e.Path,
			exportdir.List(c.Unlisted))
	case c.Listed && c.Manifest.Recipe != recipe && !st.HasExported(c.Manifest.Recipe):
		return fmt.Sprintf("the model in %s, which %s of another state exported", e.Path, foreign.Shown(c.Manifest.Stage))
	}
	return ""
}
