package report

import (
	"cmp"
	"fmt"
	"slices"
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
	ID     string  `json:"id"`
	Label  string  `json:"label"`
	Sub    string  `json:"sub"`
	Status string  `json:"status"`
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
	W      float64 `json:"w"`
	H      float64 `json:"h"`
	group  string  // nodes of a group stand behind those of the groups before
}

// Edge is a line from a box to another, as a path of SVG.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
	Path string `json:"path"`
}

const boxW, boxH, gapX, gapY = 190, 42, 44, 14

// abreast is how many boxes a row of a drawing from the top down has; more go on in rows below.
const abreast = 8

// layered places nodes, given in an order in which every edge leads forward: the column of a node is one behind its
// last predecessor's, and in a column nodes stand by the mean place of their predecessors (Sugiyama et al. 1981). down
// lays columns out as rows, and breaks long ones.
func layered(nodes []Node, edges [][2]int, down bool) *Layout {
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
		n.W, n.H = boxW, boxH
		if down {
			n.X = (place[i]+float64(widest-1)/2)*(boxW+gapY) + 4
			n.Y = float64(row[i])*(boxH+gapX/2) + 4
		} else {
			n.X = float64(rank[i])*(boxW+gapX) + 4
			n.Y = (place[i]+float64(tallest-1)/2)*(boxH+gapY) + 4
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

// blockLayout draws the pipeline.
func blockLayout(blocks []*Block) *Layout {
	index := map[string]int{}
	var nodes []Node
	var edges [][2]int
	for i, b := range blocks {
		index[b.Address] = i
		sub := b.Status
		if b.Stage != nil {
			sub = fmt.Sprintf("%d layers · %s", len(b.Stage.Layers), b.Status)
		}
		nodes = append(nodes, Node{ID: b.Address, Label: b.Address, Sub: sub, Status: b.Status})
		for _, in := range b.Inputs {
			if j, ok := index[in]; ok {
				edges = append(edges, [2]int{j, i})
			}
		}
	}
	return layered(nodes, edges, false)
}
