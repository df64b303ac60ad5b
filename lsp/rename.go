package lsp

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"stepflow/dsl"
	"stepflow/dsl/addr"
)

// prepareRename returns the name at a place, if it can be renamed.
func (s *session) prepareRename(p positionParams) (*PrepareRename, error) {
	x, err := s.spotAt(p)
	if err != nil {
		return nil, err
	}
	t, _, err := s.renamed(x)
	if err != nil {
		return nil, err
	}
	return &PrepareRename{x.rangeOf(x.part, t.at), t.addr.Name}, nil
}

// renamed returns what is named at a place and would be renamed, and where it is declared.
func (s *session) renamed(x *spot) (*target, *place, error) {
	t := s.target(x)
	if t == nil {
		if n := x.name(); n != nil {
			return nil, nil, refuse("%s is a value that stepflow gives, so it keeps its name. Put the cursor on %s to rename "+
				"the block.", x.part.text(n.steps[x.step(n)]), n.addr.Name)
		}
		return nil, nil, refuse("Only blocks, variables and locals can be renamed, at their name.")
	}
	if !t.at.holds(x.at) {
		return nil, nil, refuse("Put the cursor on %s: only the last part of %s is a name.", t.addr.Name, t.addr)
	}
	d := s.declared(t.dir, t.addr)
	if d == nil {
		return nil, nil, refuse("%s is not declared here, so it cannot be renamed.", t.addr)
	}
	return t, d, nil
}

// rename gives a block, a variable or a local another name, wherever it is used. Of a block that runs, and of a module,
// a moved block tells the state of it.
func (s *session) rename(p renameParams) (*WorkspaceEdit, error) {
	x, err := s.spotAt(p.positionParams)
	if err != nil {
		return nil, err
	}
	t, d, err := s.renamed(x)
	if err != nil {
		return nil, err
	}
	to := t.addr
	if to.Name = p.NewName; to == t.addr {
		return &WorkspaceEdit{map[string][]TextEdit{}}, nil
	}
	if err := s.checkName(t.dir, to); err != nil {
		return nil, err
	}
	k := dsl.KindOf(t.addr.Kind)
	recorded := t.addr.Kind == "module" || k != nil && k.Runs
	edit := &WorkspaceEdit{map[string][]TextEdit{}}
	for _, u := range s.everywhere(t) {
		if !(recorded && slices.Contains(history, u.in)) {
			edit.Changes[u.file.uri] = append(edit.Changes[u.file.uri], TextEdit{u.location().Range, to.Name})
		}
	}
	if recorded {
		edit.Changes[d.file.uri] = append(edit.Changes[d.file.uri], moved(d, to))
	}
	return edit, nil
}

// history lists the blocks that hold addresses of blocks as they were.
var history = []string{"moved", "removed"}

// checkName refuses a name that is none, or taken.
func (s *session) checkName(dir string, to addr.Addr) error {
	if !hclsyntax.ValidIdentifier(to.Name) {
		return refuse("%q cannot be a name: it starts with a letter and has only letters, digits, _ and -.", to.Name)
	}
	if d := s.declared(dir, to); d != nil {
		return refuse("%s is already declared at %s. Choose another name.", to, d.place())
	}
	was := s.names(dir, func(n *name) bool { return n.addr == to && slices.Contains(history, n.in) })
	if len(was) > 0 {
		return refuse("The %s block at %s says what became of a %s, so no other block can have that name now. Choose "+
			"another name, or remove that block.", was[0].in, was[0].place(), to)
	}
	return nil
}

// place writes where a name is, for a message.
func (p *place) place() string {
	return fmt.Sprintf("%s:%d", filepath.Base(p.file.path), p.location().Range.Start.Line+1)
}

// moved returns the insertion of a moved block after a declaration.
func moved(d *place, to addr.Addr) TextEdit {
	nl := "\n"
	if strings.Contains(d.part.text(d.whole), "\r\n") {
		nl = "\r\n"
	}
	line := d.file.rangeOf(d.part, d.whole).End.Line
	at := d.file.text.position(d.file.text.line(line).end)
	text := strings.Join([]string{"", "", "moved {", "  from = " + d.addr.String(), "  to   = " + to.String(), "}"}, nl)
	return TextEdit{Range{at, at}, text}
}
