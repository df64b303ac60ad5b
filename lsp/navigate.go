package lsp

import "stepflow/dsl/addr"

// definition returns where what is at a place is declared.
func (s *session) definition(p positionParams) ([]Location, error) {
	x, err := s.spotAt(p)
	if err != nil {
		return nil, err
	}
	n := x.name()
	if n == nil {
		return nil, nil
	}
	if d := s.declared(x.dir(), n.addr); d != nil {
		return []Location{d.location()}, nil
	}
	return nil, nil
}

// references lists where something is used.
func (s *session) references(p referenceParams) ([]Location, error) {
	x, err := s.spotAt(p.positionParams)
	if err != nil {
		return nil, err
	}
	n := x.name()
	if n == nil {
		return nil, nil
	}
	var list []Location
	for _, u := range s.named(x.dir(), n.addr) {
		if !u.declared || p.Context.IncludeDeclaration {
			list = append(list, u.location())
		}
	}
	return list, nil
}

// named lists where something is declared or used in a folder.
func (s *session) named(dir string, a addr.Addr) []place {
	return s.names(dir, func(n *name) bool { return n.addr == a })
}

// highlight lists where something is declared or used in the document.
func (s *session) highlight(p positionParams) ([]DocumentHighlight, error) {
	x, err := s.spotAt(p)
	if err != nil {
		return nil, err
	}
	n := x.name()
	if n == nil {
		return nil, nil
	}
	var list []DocumentHighlight
	for _, u := range s.named(x.dir(), n.addr) {
		if u.file == x.file {
			list = append(list, DocumentHighlight{u.location().Range})
		}
	}
	return list, nil
}
