package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/runtime/state"
)

// Layout is a drawn graph: boxes in columns by how far they are from the start, and the edges between them.
type Layout struct {
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
	Nodes  []Node  `json:"nodes"`
	Edges  []Edge  `json:"edges"`
}

// Node is a box.
type Node struct {
	ID      string   `json:"id"`
	Over    string   `json:"over,omitempty"` // above the label
	Label   string   `json:"label"`
	Sub     string   `json:"sub"`
	Status  string   `json:"status"`
	Members []string `json:"members,omitempty"` // addresses of the blocks that the box stands for, where these are several
	X       float64  `json:"x"`
	Y       float64  `json:"y"`
	W       float64  `json:"w"`
	H       float64  `json:"h"`
	group   string   // nodes of a group stand behind those of the groups before
}

// Edge is a line from a box to another, as a path of SVG.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
	Path string `json:"path"`
}

// box is the size of boxes.
type box struct{ w, h float64 }

// Boxes of a drawing in a file, and of a page, where a run of usual length fits the width.
var (
	fileBox = box{190, 42}
	pageBox = box{142, 58}
)

const gapX, gapY = 44, 14

// abreast is how many boxes a row of a drawing from the top down has; more go on in rows below.
const abreast = 8

// layered places nodes, given in an order in which every edge leads forward: the column of a node is one behind its
// last predecessor's, and in a column nodes stand by the mean place of their predecessors (Sugiyama et al. 1981). down
// lays columns out as rows, and breaks long ones.
func layered(nodes []Node, edges [][2]int, box box, down bool) *Layout {
	before := make([][]int, len(nodes))
	for _, e := range edges {
		before[e[1]] = append(before[e[1]], e[0])
	}
	rank, columns := ranked(nodes, before)
	row, place := placed(columns, before, down)
	tallest := 0
	for _, c := range columns {
		tallest = max(tallest, len(c))
	}
	widest := min(tallest, abreast)
	l := &Layout{Edges: []Edge{}}
	for i := range nodes {
		n := &nodes[i]
		n.W, n.H = box.w, box.h
		if down {
			n.X = (place[i]+float64(widest-1)/2)*(box.w+gapY) + 4
			n.Y = float64(row[i])*(box.h+gapX/2) + 4
		} else {
			n.X = float64(rank[i])*(box.w+gapX) + 4
			n.Y = (place[i]+float64(tallest-1)/2)*(box.h+gapY) + 4
		}
		l.Width, l.Height = max(l.Width, n.X+n.W+4), max(l.Height, n.Y+n.H+4)
	}
	l.Nodes = nodes
	for _, e := range edges {
		a, b := &nodes[e[0]], &nodes[e[1]]
		l.Edges = append(l.Edges, Edge{a.ID, b.ID, curve(a, b, down)})
	}
	return l
}

// ranked gives the column of each node, and the nodes of each column.
func ranked(nodes []Node, before [][]int) (rank []int, columns [][]int) {
	rank = make([]int, len(nodes))
	base := 0
	for i := range nodes {
		if i > 0 && nodes[i].group != nodes[i-1].group {
			base = len(columns)
		}
		rank[i] = base
		for _, b := range before[i] {
			rank[i] = max(rank[i], rank[b]+1)
		}
		for len(columns) <= rank[i] {
			columns = append(columns, nil)
		}
		columns[rank[i]] = append(columns[rank[i]], i)
	}
	return rank, columns
}

// placed orders the nodes of each column. place is that of a node in its column, 0 the middle; row is its row in a
// drawing from the top down.
func placed(columns, before [][]int, down bool) (row []int, place []float64) {
	row, place = make([]int, len(before)), make([]float64, len(before))
	rows := 0
	for _, c := range columns {
		want := map[int]float64{}
		for j, i := range c {
			sum := 0.0
			for _, b := range before[i] {
				sum += place[b]
			}
			want[i] = float64(j) - float64(len(c)-1)/2
			if n := len(before[i]); n > 0 {
				want[i] = sum / float64(n)
			}
		}
		slices.SortStableFunc(c, func(a, b int) int { return cmp.Compare(want[a], want[b]) })
		for j, i := range c {
			place[i] = float64(j) - float64(len(c)-1)/2
			if down && len(c) > abreast {
				place[i] = float64(j%abreast) - float64(abreast-1)/2
			}
			row[i] = rows + j/abreast
		}
		rows += (len(c) + abreast - 1) / abreast
	}
	return row, place
}

// curve is the path of an edge.
func curve(a, b *Node, down bool) string {
	const path = "M%.1f,%.1f C%.1f,%.1f %.1f,%.1f %.1f,%.1f"
	if down {
		x1, y1, x2, y2 := a.X+a.W/2, a.Y+a.H, b.X+b.W/2, b.Y
		return fmt.Sprintf(path, x1, y1, x1, y1+gapX/2, x2, y2-gapX/2, x2, y2)
	}
	x1, y1, x2, y2 := a.X+a.W, a.Y+a.H/2, b.X, b.Y+b.H/2
	return fmt.Sprintf(path, x1, y1, x1+gapX, y1, x2-gapX, y2, x2, y2)
}

// How many boxes a pipeline is drawn with, one for each block. Of more blocks, the instances of one share a box; and if
// that is not enough, all of a kind.
const mostBoxes = 60

// blockLayout draws the pipeline.
func blockLayout(blocks []*Block) *Layout {
	itself := func(b *Block) string { return b.Address }
	for _, name := range []func(*Block) string{itself, func(b *Block) string { return unkeyed(b.Address) }} {
		if nodes, edges := boxes(blocks, name); len(nodes) <= mostBoxes {
			return layered(nodes, edges, pageBox, false)
		}
	}
	nodes, edges := boxes(blocks, func(b *Block) string { return strings.TrimSuffix(b.Kind+"."+b.Type, ".") })
	return layered(nodes, edges, pageBox, false)
}

// boxes makes a box for all blocks of a name. Edges that would lead back are left out: between boxes of many blocks there
// may be such.
func boxes(blocks []*Block, name func(*Block) string) (nodes []Node, edges [][2]int) {
	index, box := map[string]int{}, make([]int, len(blocks))
	var members [][]*Block
	for i, b := range blocks {
		n := name(b)
		at, is := index[n]
		if !is {
			at = len(nodes)
			index[n] = at
			over, label := cutName(n)
			nodes, members = append(nodes, Node{ID: n, Over: over, Label: label}), append(members, nil)
		}
		box[i], members[at] = at, append(members[at], b)
	}
	for i := range nodes {
		nodes[i].state(members[i])
	}
	block, drawn := map[string]int{}, map[[2]int]bool{}
	for i, b := range blocks {
		block[b.Address] = i
		for _, in := range b.Inputs {
			j, is := block[in]
			e := [2]int{box[j], box[i]}
			if is && e[0] < e[1] && !drawn[e] {
				drawn[e] = true
				edges = append(edges, e)
			}
		}
	}
	return nodes, edges
}

// state says how far the blocks of a box are.
func (n *Node) state(blocks []*Block) {
	if b := blocks[0]; len(blocks) == 1 {
		n.Status, n.Sub = b.Status, b.Status
		if b.Stage != nil {
			n.Sub = fmt.Sprintf("%d layers · %s", len(b.Stage.Layers), b.Status)
		}
		return
	}
	count := map[string]int{}
	for _, b := range blocks {
		count[b.Status]++
		n.Members = append(n.Members, b.Address)
	}
	n.Label += fmt.Sprintf(" × %d", len(blocks))
	parts := []string{}
	for _, s := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%d %s", count[s], s))
	}
	n.Status, n.Sub = blocks[0].Status, strings.Join(parts, ", ")
	for _, s := range []string{"interrupted", state.Running, state.Failed} { // the worst is what the box shows
		if count[s] > 0 {
			n.Status = s
		}
	}
}

// cutName cuts an address before its last part, the name of a block.
func cutName(address string) (over, name string) {
	x, err := addr.Parse(address)
	if err != nil {
		return "", address
	}
	name = x.Name
	if x.Key != "" {
		name += "[" + x.Key + "]"
	}
	return strings.TrimSuffix(strings.TrimSuffix(address, name), "."), name
}
