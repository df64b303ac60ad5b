package state

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/dsl/addr"
)

// Move is an entry of the state that has another address now.
type Move struct{ From, To addr.Addr }

func (m Move) String() string { return m.From.String() + " to " + m.To.String() }

// Moving lists the entries that move if what is at one address goes to another: as addr.Moved says, without keys all
// instances, and all that is in a module.
func (s *State) Moving(from, to addr.Addr) (list []Move) {
	found, start := map[addr.Addr]addr.Addr{}, from.String()
	see := func(name string) {
		if !strings.HasPrefix(name, start) { // most of them
			return
		}
		x, err := addr.Parse(name)
		if y, ok := addr.Moved(x, from, to); err == nil && ok {
			found[x] = y
		}
	}
	for n := range s.Blocks {
		see(n)
	}
	for n := range s.Sources {
		see(n)
	}
	for x, y := range found {
		list = append(list, Move{x, y})
	}
	slices.SortFunc(list, func(a, b Move) int { return strings.Compare(a.String(), b.String()) })
	return list
}

// Has reports whether the state has an entry of an address.
func (s *State) Has(a addr.Addr) bool {
	return s.Blocks[a.String()] != nil || s.Sources[a.String()] != nil
}

// Rename gives entries their new addresses. The files of a block are where they were: Relocated says that they have
// moved too.
func (s *State) Rename(m Move) {
	from, to := m.From.String(), m.To.String()
	if b := s.Blocks[from]; b != nil {
		delete(s.Blocks, from)
		s.Blocks[to] = b
	}
	if d := s.Sources[from]; d != nil {
		delete(s.Sources, from)
		if s.Sources[to] == nil { // else the run has looked again
			s.Sources[to] = d
		}
	}
}

// Relocated notes that the files of a renamed block are in the folder of its new address.
func (s *State) Relocated(m Move) {
	b := s.Blocks[m.To.String()]
	if b == nil {
		return
	}
	before := filepath.Join(BlocksName, m.From.Dir()) + string(filepath.Separator)
	if leaf, ok := strings.CutPrefix(b.Dir, before); ok {
		b.Dir = filepath.Join(BlocksName, m.To.Dir(), leaf)
	}
}

// Copy returns a state whose entries can be renamed without changing s.
func (s *State) Copy() *State {
	c := *s
	c.Blocks, c.Sources = maps.Clone(s.Blocks), maps.Clone(s.Sources)
	return &c
}
