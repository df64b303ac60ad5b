package lsp

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"stepflow/dsl/addr"
)

// prepareRename returns the name at a place, if it can be renamed.
func (s *session) prepareRename(p positionParams) (*PrepareRename, error) {
	x, err := s.spotAt(p)
	if err != nil {
		return nil, err
	}
	n, _, err := s.renamed(x)
	if err != nil {
		return nil, err
	}
	return &PrepareRename{x.rangeOf(x.part, n.at), n.addr.Name}, nil
}

// renamed returns the name at a place that would be renamed, and where it is declared.
func (s *session) renamed(x *spot) (*name, *place, error) {
	n := x.name()
	switch {
	case n == nil:
		return nil, nil, refuse("Only blocks, variables and locals can be renamed, at their name.")
	case x.step(n) >= 0:
		return nil, nil, refuse("%s is a value that stepflow gives, so it keeps its name. Put the cursor on %s to rename the block.",
			x.part.text(n.steps[x.step(n)]), n.addr.Name)
	case !n.at.holds(x.at):
		return nil, nil, refuse("Put the cursor on %s: only the last part of %s is a name.", n.addr.Name, n.addr)
	}
	d := s.declared(x.dir(), n.addr)
	if d == nil {
		return nil, nil, refuse("%s is not declared here, so it cannot be renamed.", n.addr)
	}
	return n, d, nil
}

// rename gives a block, a variable or a local another name, wherever it is used in the folder. Of a block that runs, a
// moved block tells the state of it.
func (s *session) rename(p renameParams) (*WorkspaceEdit, error) {
	x, err := s.spotAt(p.positionParams)
	if err != nil {
		return nil, err
	}
	n, d, err := s.renamed(x)
	if err != nil {
		return nil, err
	}
	to := n.addr
	if to.Name = p.NewName; to == n.addr {
		return &WorkspaceEdit{map[string][]TextEdit{}}, nil
	}
	if err := s.checkName(x.dir(), n.addr, to); err != nil {
		return nil, err
	}
	runs := kindOf(n.addr) != nil && kindOf(n.addr).Runs
	edit := &WorkspaceEdit{map[string][]TextEdit{}}
	for _, u := range s.named(x.dir(), n.addr) {
		if !(runs && slices.Contains(history, u.in)) {
			edit.Changes[u.file.uri] = append(edit.Changes[u.file.uri], TextEdit{u.location().Range, to.Name})
		}
	}
	if runs {
		edit.Changes[d.file.uri] = append(edit.Changes[d.file.uri], moved(d, to))
	}
	return edit, nil
}

// history lists the blocks that hold addresses of blocks as they were.
var history = []string{"moved", "removed"}

// checkName refuses a name that is none, or taken.
func (s *session) checkName(dir string, from, to addr.Addr) error {
	if !hclsyntax.ValidIdentifier(to.Name) {
		return refuse("%q cannot be a name: it starts with a letter and has only letters, digits, _ and -.", to.Name)
	}
	if d := s.declared(dir, to); d != nil {
		return refuse("%s is already declared at %s. Choose another name.", to, d.place())
	}
	was := s.names(dir, func(n *name) bool { return n.addr == to && slices.Contains(history, n.in) })
	if len(was) > 0 {
		return refuse("The %s block at %s says what became of a %s, so no other block can have that name now. Choose another "+
			"name, or remove that block.", was[0].in, was[0].place(), to)
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
