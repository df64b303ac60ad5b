package graph

import (
	"cmp"
	"slices"
	"strings"

	"stepflow/gpu"
)

// arrangement is an order of the leaves in which those that are joined are neighbours.
type arrangement struct {
	g         *Graph
	alignment int64
	place     map[*leaf]neighbour
	joined    map[neighbours]*leaf
}

// neighbour is the place of a leaf in a row of neighbours.
type neighbour struct {
	row *[]*leaf
	at  int
}

// neighbours are n leaves of a row, from first on.
type neighbours struct {
	first *leaf
	n     int
}

func newArrangement(g *Graph, alignment int64) *arrangement {
	return &arrangement{g: g, alignment: alignment, place: map[*leaf]neighbour{}, joined: map[neighbours]*leaf{}}
}

// before compares leaves by their order in the arena.
func (a *arrangement) before(x, y *leaf) int {
	first := func(l *leaf) (number, at int) {
		if p, ok := a.place[l]; ok {
			return (*p.row)[0].number, p.at
		}
		return l.number, 0
	}
	nx, ax := first(x)
	ny, ay := first(y)
	if nx != ny {
		return nx - ny
	}
	return ax - ay
}

// can reports whether leaves may be one: they have the same role, element type and width of rows, and all but the last
// fill whole units of the arena's alignment, so that nothing lies between them. Those that are neighbours already must
// be so in this order.
func (a *arrangement) can(list []*leaf) bool {
	first := list[0].node.types[0]
	at, known := a.place[list[0]]
	for i, l := range list {
		t := l.node.types[0]
		if l.role != list[0].role || t.DType != first.DType || !t.Shape[1:].Equal(first.Shape[1:]) ||
			slices.Contains(list[:i], l) || i < len(list)-1 && t.Bytes()%max(a.alignment, 1) != 0 {
			return false
		}
		if x, ok := a.place[l]; ok != known || ok && (x.row != at.row || x.at != at.at+i) {
			return false
		}
	}
	return true
}

// join makes one leaf of several that can be neighbours: their rows one after the other.
func (a *arrangement) join(list []*leaf) *leaf {
	key := neighbours{list[0], len(list)}
	if l := a.joined[key]; l != nil {
		return l
	}
	if _, known := a.place[list[0]]; !known {
		row := slices.Clone(list)
		for i, l := range row {
			a.place[l] = neighbour{&row, i}
		}
	}
	var names []string
	first := list[0].node.types[0]
	t := gpu.Type{Shape: slices.Clone(first.Shape), DType: first.DType}
	t.Shape[0] = 0
	for _, l := range list {
		names = append(names, l.name)
		t.Shape[0] += l.node.types[0].Shape[0]
	}
	l := &leaf{name: strings.Join(names, "|"), role: list[0].role, parts: slices.Clone(list)}
	l.node = &node{types: []gpu.Type{t}, leaf: l, layer: -1, name: l.name, segment: -1}
	a.joined[key] = l
	a.g.joined = append(a.g.joined, l)
	return l
}

// settle gives the graph's leaves their order: neighbours follow the first of them.
func (a *arrangement) settle() {
	leaves := make([]*leaf, 0, len(a.g.leaves))
	for _, l := range a.g.leaves {
		p, ok := a.place[l]
		switch {
		case !ok:
			leaves = append(leaves, l)
		case p.at == 0:
			leaves = append(leaves, *p.row...)
		}
	}
	a.g.leaves = leaves
	for i, l := range leaves {
		l.number = i
	}
	for i, l := range a.g.joined {
		l.number = len(leaves) + i
	}
	a.sortZeros()
}

// sortZeros gives launches that follow each other and clear leaves the order of the leaves: a card clears neighbours in
// one call.
func (a *arrangement) sortZeros() {
	nodes := a.g.nodes
	clears := func(n *node) *leaf {
		if n.kernel != "zero" {
			return nil
		}
		return wholeLeaf(n.in[0])
	}
	for lo := 0; lo < len(nodes); lo++ {
		hi := lo
		for hi < len(nodes) && nodes[hi].segment == nodes[lo].segment && clears(nodes[hi]) != nil {
			hi++
		}
		slices.SortStableFunc(nodes[lo:hi], func(x, y *node) int {
			p, q := clears(x), clears(y)
			return cmp.Or(cmp.Compare(p.role, q.role), cmp.Compare(p.number, q.number))
		})
		lo = max(lo, hi-1)
	}
}
