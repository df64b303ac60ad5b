package look

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/plan"
	"stepflow/runtime/program"
)

// Drawing is a graph to be drawn: nodes in an order in which every edge leads forward.
type Drawing struct {
	Name  string
	Nodes []DrawnNode
	Edges [][2]int // indices of nodes, from and to
}

// DrawnNode is a node of a Drawing: its lines of text, and its group, empty for none.
type DrawnNode struct {
	ID    string
	Lines []string
	Group string
}

// Draw returns the pipeline's graph: a node for each block, and an edge from each block to those made from it.
func Draw(p *plan.Plan) *Drawing {
	d := &Drawing{Name: "pipeline"}
	index := map[string]int{}
	for i, a := range p.Actions {
		n := DrawnNode{ID: a.Addr.String(), Lines: []string{a.Addr.String()}}
		if s, ok := a.Block.(blocks.Stepped); ok {
			n.Lines = append(n.Lines, s.Summary())
		}
		n.Lines = append(n.Lines, string(a.Verb))
		d.Nodes = append(d.Nodes, n)
		index[n.ID] = i
		for _, in := range slices.Sorted(maps.Keys(a.Inputs)) {
			if j, ok := index[in]; ok {
				d.Edges = append(d.Edges, [2]int{j, i})
			}
		}
	}
	return d
}

// DrawStage returns the operations of one training step of a stage, with their dependencies.
func DrawStage(s *stage.Stage) *Drawing {
	d := &Drawing{Name: s.Addr.String()}
	for _, name := range s.Segments() {
		seg, _ := s.Program.Segment(name)
		base := len(d.Nodes)
		for i := seg.Lo; i < seg.Hi; i++ {
			l := &s.Program.Launches[i]
			for _, dep := range l.Deps {
				d.Edges = append(d.Edges, [2]int{base + int(dep), len(d.Nodes)})
			}
			d.Nodes = append(d.Nodes, DrawnNode{ID: fmt.Sprintf("n%d", i),
				Lines: []string{l.Kernel, l.Name, l.Out[0].Type.String()}, Group: program.SegmentSpan(name)})
		}
	}
	return d
}

// grouped calls f for each group of nodes, in order.
func (d *Drawing) grouped(f func(group string, nodes []int)) {
	for lo := 0; lo < len(d.Nodes); {
		hi := lo
		var list []int
		for hi < len(d.Nodes) && d.Nodes[hi].Group == d.Nodes[lo].Group {
			list = append(list, hi)
			hi++
		}
		f(d.Nodes[lo].Group, list)
		lo = hi
	}
}

// DOT writes the graph in Graphviz's language.
func (d *Drawing) DOT() string {
	var b strings.Builder
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ")
	fmt.Fprintf(&b, "digraph \"%s\" {\n  rankdir = LR\n  node [shape = box, fontname = \"sans-serif\"]\n",
		quote.Replace(d.Name))
	d.grouped(func(group string, nodes []int) {
		in := "  "
		if group != "" {
			fmt.Fprintf(&b, "  subgraph \"cluster_%s\" {\n    label = \"%s\"\n", group, group)
			in = "    "
		}
		for _, i := range nodes {
			var lines []string
			for _, l := range d.Nodes[i].Lines {
				lines = append(lines, quote.Replace(l))
			}
			fmt.Fprintf(&b, "%s\"%s\" [label = \"%s\"]\n", in, quote.Replace(d.Nodes[i].ID), strings.Join(lines, `\n`))
		}
		if group != "" {
			b.WriteString("  }\n")
		}
	})
	for _, e := range d.Edges {
		fmt.Fprintf(&b, "  \"%s\" -> \"%s\"\n", quote.Replace(d.Nodes[e[0]].ID), quote.Replace(d.Nodes[e[1]].ID))
	}
	return b.String() + "}\n"
}

// Mermaid writes the graph in Mermaid's language, which Markdown viewers draw.
func (d *Drawing) Mermaid() string {
	var b strings.Builder
	quote := strings.NewReplacer("&", "#amp;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "\n", " ", "`", "#96;")
	b.WriteString("flowchart LR\n")
	d.grouped(func(group string, nodes []int) {
		in := "  "
		if group != "" {
			fmt.Fprintf(&b, "  subgraph %s\n", group)
			in = "    "
		}
		for _, i := range nodes {
			var lines []string
			for _, l := range d.Nodes[i].Lines {
				lines = append(lines, quote.Replace(l))
			}
			fmt.Fprintf(&b, "%sb%d[\"%s\"]\n", in, i, strings.Join(lines, "<br/>"))
		}
		if group != "" {
			b.WriteString("  end\n")
		}
	})
	for _, e := range d.Edges {
		fmt.Fprintf(&b, "  b%d --> b%d\n", e[0], e[1])
	}
	return b.String()
}
