package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/foreign"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/exportdir"
	"stepflow/runtime/state"
	"stepflow/runtime/train"
)

// Export is a planned export block.
type Export struct {
	Stage     *Stage // nil for one that is deferred
	Path      string
	ShardSize int64
	Forecast  Forecast
	Keeps     string // what the user put into the folder, as text: it stays

	given  string // the path as configured
	at     hcl.Range
	folder *exportdir.Folder
	holds  *exportdir.Content
}

func (p *planner) export(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	e, diags := p.exportFolder(a, d)
	if diags.HasErrors() {
		return nil, diags
	}
	ref, _, _ := d.Ref("model")
	e.Stage = p.use(a, ref).Stage
	var err error
	if e.ShardSize, err = dsl.ParseBytes(d.Str("max_shard_size")); err != nil {
		return nil, problem(d, "max_shard_size", "Invalid value", err)
	}
	a.hashed["max_shard_size"] = fmt.Sprint(e.ShardSize)
	return map[string]cty.Value{"path": cty.StringVal(e.given)}, nil // also from another working directory
}

// exportFolder looks at the folder that an export goes to, also while its model is not known yet: what is wrong with it
// is told before anything is trained.
func (p *planner) exportFolder(a *Action, d *dsl.Decoded) (*Export, hcl.Diagnostics) {
	e := &Export{given: d.Str("path"), at: *d.Error("path", "", "").Subject}
	e.Path = p.relative(e.given)
	var err error
	if e.folder, err = exportdir.Open(e.Path, p.hashes); err == nil {
		e.holds, err = e.folder.Look()
	}
	if err == nil {
		err = p.exportOverlaps(e)
	}
	if err == nil {
		err = e.folder.Refuse(e.holds)
	}
	if err != nil {
		return nil, problem(d, "path", "Folder in use", err)
	}
	e.Keeps = exportdir.List(e.holds.Others)
	a.Export = e
	return e, nil
}

// laterExport looks at the folder of an export that is planned later, if its path is known.
func (p *planner) laterExport(a *Action, d *dsl.Decoded) hcl.Diagnostics {
	if a.block.Kind.Name != "export" || !d.Known("path") {
		return nil
	}
	e, diags := p.exportFolder(a, d)
	if diags.HasErrors() {
		return diags
	}
	a.Replaces = e.replaces(p.state, "")
	a.writable()
	return nil
}

// writable warns of an export to a folder that this process may not write to: somebody else may apply the plan.
func (a *Action) writable() {
	if err := a.Export.folder.Writable(); err != nil {
		a.Warnings = append(a.Warnings, fmt.Sprintf("apply would refuse this: %v", err))
	}
}

// exportOverlaps refuses folders that hold the pipeline or its state, or lie in the state.
func (p *planner) exportOverlaps(e *Export) error {
	for _, x := range []struct{ path, what string }{{p.cfg.Dir, "the pipeline"}, {p.stateDir, "the state"}} {
		real, err := durable.Resolve(x.path)
		switch {
		case err != nil:
			return err
		case within(real, e.folder.Real):
			return fmt.Errorf("%s holds %s (%s): choose a folder for the export alone", e.Path, x.what, x.path)
		case x.what == "the state" && within(e.folder.Real, real):
			return fmt.Errorf("%s lies in the folder of the state, %s: choose another path", e.Path, x.path)
		}
	}
	return nil
}

// within reports whether path is dir or lies in it; both are without links.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// exportConflicts finds exports that write to one folder, or to one that others read.
func (p *planner) exportConflicts(actions []*Action) (diags hcl.Diagnostics) {
	refuse := func(a *Action, format string, args ...any) {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Folder in use", Subject: a.Export.at.Ptr(), Detail: a.Addr.String() + fmt.Sprintf(format, args...)})
	}
	var exports []*Action
	for _, a := range actions {
		if a.Export == nil {
			continue
		}
		for _, other := range exports {
			mine, theirs := a.Export.folder, other.Export.folder
			place := fmt.Sprintf("%s (%s:%d)", other.Addr, other.Export.at.Filename, other.Export.at.Start.Line)
			switch {
			case sameFolder(mine.Real, theirs.Real):
				refuse(a, " and %s write to one folder, %s. Give each its own path.", place, a.Export.Path)
			case within(mine.Real, theirs.Real):
				refuse(a, " writes to %s, inside %s of %s. Give each a path outside the other's.", a.Export.Path, other.Export.Path, place)
			case within(theirs.Real, mine.Real):
				refuse(a, " writes to %s, and %s inside it to %s. Give each a path outside the other's.", a.Export.Path, place, other.Export.Path)
			}
		}
		exports = append(exports, a)
		for _, reader := range actions {
			if path := reader.reads(a.Export.folder.Real, p.cfg.Dir); path != "" {
				refuse(a, " writes to %s, where %s reads %s. Choose another path.", a.Export.Path, reader.Addr, path)
			}
		}
	}
	return diags
}

// sameFolder reports whether two paths without links name one folder, also where upper case counts as lower.
func sameFolder(a, b string) bool {
	if strings.EqualFold(a, b) {
		x, err := os.Stat(a)
		y, err2 := os.Stat(b)
		return err != nil || err2 != nil || os.SameFile(x, y) // what is not there yet may be one folder on some systems
	}
	return false
}

// reads returns a file of the action's that lies in a folder, or would once an export is written there; empty for none.
func (a *Action) reads(dir, base string) string {
	inside := func(path string) bool {
		real, err := durable.Resolve(path)
		return err == nil && within(real, dir)
	}
	switch {
	case a.Token != nil && a.Token.path != "" && inside(a.Token.path):
		return a.Token.path
	case a.model != nil && a.model.Folder != "" && inside(a.model.Folder):
		return a.model.Folder
	case a.Data != nil:
		for _, f := range a.Data.Files {
			if !strings.Contains(f, "://") && inside(f) {
				return f
			}
		}
		for _, pattern := range a.Data.Source.Patterns {
			if strings.Contains(pattern, "://") {
				continue
			}
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(base, pattern)
			}
			pattern, err := filepath.Abs(pattern)
			if err != nil {
				continue
			}
			for _, name := range exportdir.Names() {
				if ok, _ := filepath.Match(pattern, filepath.Join(dir, name)); ok {
					return pattern
				}
			}
		}
	}
	return ""
}

// check returns why the folder does not hold what this recipe exports; nil if it does.
func (e *Export) check(recipe string) error {
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

// replaces says what an export that is to run puts another model in the place of, if this state did not export that one;
// empty if nothing is lost. An export of the same recipe has the same bytes.
func (e *Export) replaces(st *state.State, recipe string) string {
	c := e.holds
	switch {
	case c.Manifest == nil:
		return ""
	case !c.Listed && len(c.Unlisted) > 0:
		return fmt.Sprintf("%s, which an earlier stepflow exported without a list of its files: %s", e.Path, exportdir.List(c.Unlisted))
	case c.Listed && c.Manifest.Recipe != recipe && !st.HasExported(c.Manifest.Recipe):
		return fmt.Sprintf("the model in %s, which %s of another state exported", e.Path, foreign.Shown(c.Manifest.Stage))
	}
	return ""
}

// export writes a stage's result as a Hugging Face folder, in the place of what an export wrote there before.
func (r *runner) export(ctx context.Context, a *Action, entry *state.Block) error {
	e := a.Export
	dir, err := r.contentDir(e.Stage.Addr)
	if err != nil {
		return err
	}
	tok, err := r.tokenizer(e.Stage.Tokenizer)
	if err != nil {
		return err
	}
	parts, err := exportParts(e, tok)
	if err != nil {
		return err
	}
	f, err := checkpoint.Open(filepath.Join(dir, checkpoint.ModelFile))
	if err != nil {
		return err
	}
	defer f.Close()
	var flaw train.Flaw
	shards, err := shards(ctx, f, e, &flaw)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(e.folder.Real, 0o777); err != nil {
		return err
	}
	unlock, err := state.LockFolder(e.folder.Real)
	if err != nil {
		return err
	}
	defer unlock()
	m := exportdir.Manifest{Stage: e.Stage.Addr.String(), Recipe: a.Recipe}
	began := time.Now()
	if err := e.folder.Write(m, append(parts, shards...)); err != nil {
		return err
	}
	r.took(rateDisk, float64(e.Forecast.Written), time.Since(began))
	r.dir.State.Exported(e.folder.Real, a.Recipe)
	if flaw.Found() {
		r.running.Warn(ctx, "of the weights exported, %s", flaw.String())
	}
	// The state keeps a small folder whose manifest says what was exported.
	where := e.given
	if a.hidden["path"] {
		where = dsl.Hidden
	}
	record, err := json.Marshal(map[string]string{"path": where, "recipe": a.Recipe})
	if err != nil {
		return err
	}
	entry.Dir = filepath.Join(a.Dir(), "export")
	entry.Values = nil
	if !a.hidden["path"] {
		entry.Values = map[string]any{"path": where} // as configured: a folder that is moved holds the same
	}
	return r.writeContent(a, entry, checkpoint.Bytes("export.json", record))
}

// exportBegun is the value, in the state's entry of an export that has not ended, of the folder it goes to.
const exportBegun = "folder"

// recoverExports ends or removes what killed runs left in the folders of exports: those of this plan, and those that the
// state says were written to when a run ended, whose paths may have changed since.
func (r *runner) recoverExports() {
	folders := map[string]bool{}
	for _, a := range r.plan.Actions {
		if a.Export != nil && !a.skip {
			folders[a.Export.folder.Real] = true
		}
	}
	for _, b := range r.dir.State.Blocks {
		if path, ok := b.Values[exportBegun].(string); ok && b.Status != state.Done {
			folders[path] = true
		}
	}
	for path := range folders {
		if f, err := exportdir.Open(path, r.pl.hashes); err == nil {
			if _, err := os.Stat(f.Real); err != nil {
				continue
			}
			if unlock, err := state.LockFolder(f.Real); err == nil {
				f.Recover() // what is in its way is told when the folder is exported to
				unlock()
			}
		}
	}
}
