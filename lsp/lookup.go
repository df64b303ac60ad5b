package lsp

import (
	"slices"

	"stepflow/dsl"
	"stepflow/dsl/addr"
)

// spot is a place in a file, with what is there.
type spot struct {
	*file
	part   part
	at     int     // in the part
	blocks []*item // around it, the outermost first
	item   *item   // of the innermost block, in which it is; nil between items
}

// spotAt returns what is at a place of an open file.
func (s *session) spotAt(p positionParams) (*spot, error) {
	f, err := s.document(p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	x := &spot{file: f}
	x.part, x.at = f.at(f.text.offset(p.Position))
	x.blocks, x.item = x.part.path(x.at)
	return x, nil
}

// heads returns the heads of the blocks around the place.
func (x *spot) heads() []dsl.Head { return heads(x.part.outline, x.blocks) }

// heads returns the heads of blocks of an outline.
func heads(o *outline, blocks []*item) (list []dsl.Head) {
	for _, b := range blocks {
		h := dsl.Head{Type: o.text(b.name)}
		for i := range b.labels {
			h.Labels = append(h.Labels, o.label(b, i))
		}
		list = append(list, h)
	}
	return list
}

// name returns the name at the place, declared or used; nil if there is none.
func (x *spot) name() *name {
	for i := range x.part.names {
		n := &x.part.names[i]
		if n.at.holds(x.at) || !n.declared && n.whole.holds(x.at) {
			return n
		}
	}
	return nil
}

// step returns which of what is read of a name is at the place; -1 if it is the name itself.
func (x *spot) step(n *name) int {
	return slices.IndexFunc(n.steps, func(s span) bool { return s.holds(x.at) })
}

// place is a name with the file that it is in.
type place struct {
	file *file
	part part
	*name
}

// location returns where the last part of the address is.
func (p *place) location() Location { return p.file.location(p.part, p.at) }

// names lists the names in the files of a folder that match.
func (s *session) names(dir string, match func(*name) bool) (list []place) {
	for _, f := range s.filesOf(dir) {
		for _, p := range f.parts {
			for i := range p.names {
				if match(&p.names[i]) {
					list = append(list, place{f, p, &p.names[i]})
				}
			}
		}
	}
	return list
}

// ofKind lists what is declared of a kind in the files of a folder.
func (s *session) ofKind(dir, kind string) []place {
	return s.names(dir, func(n *name) bool { return n.declared && n.addr.Kind == kind })
}

// declared returns where something is declared; nil if it is not.
func (s *session) declared(dir string, a addr.Addr) *place {
	list := s.names(dir, func(n *name) bool { return n.declared && n.addr == a })
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}
