package lsp

// definition returns where what is at a place is declared.
func (s *session) definition(p positionParams) ([]Location, error) {
	x, err := s.spotAt(p)
	if err != nil {
		return nil, err
	}
	t := s.target(x)
	if n := x.name(); t == nil && n != nil { // a value that a block offers
		t = &target{x.dir(), n.addr, n.at}
	}
	if t != nil {
		if d := s.declared(t.dir, t.addr); d != nil {
			return []Location{d.location()}, nil
		}
	}
	return nil, nil
}

// references lists where something is used.
func (s *session) references(p referenceParams) ([]Location, error) {
	x, err := s.spotAt(p.positionParams)
	if err != nil {
		return nil, err
	}
	t := s.target(x)
	if t == nil {
		return nil, nil
	}
	var list []Location
	for _, u := range s.everywhere(t) {
		if !u.declared || p.Context.IncludeDeclaration {
			list = append(list, u.location())
		}
	}
	return list, nil
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
	for _, p := range x.parts {
		for i := range p.names {
			if u := &p.names[i]; u.addr == n.addr {
				list = append(list, DocumentHighlight{x.rangeOf(p, u.at)})
			}
		}
	}
	return list, nil
}
