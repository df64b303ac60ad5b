package main

import "strings"

// grid is a table as text: columns of one width each, two spaces apart.
type grid struct {
	rows    int // below the head
	columns []gridColumn
}

type gridColumn struct {
	cells []string // the head first
	right bool     // aligned to the right
	width int
}

// column adds a column.
func (g *grid) column(head string, right bool, cell func(row int) string) {
	c := gridColumn{cells: []string{head}, right: right}
	for i := range g.rows {
		c.cells = append(c.cells, cell(i))
	}
	for _, s := range c.cells {
		c.width = max(c.width, visible(s))
	}
	g.columns = append(g.columns, c)
}

// text writes the table. What does not fit into so many columns of the terminal goes on below, after the first column
// again, which says whose rows these are; 0 for any width.
func (g *grid) text(width int) string {
	var b strings.Builder
	for at := 1; at <= len(g.columns); {
		end, used := at, g.columns[0].width
		for end < len(g.columns) && (end == at || width == 0 || used+2+g.columns[end].width <= width) {
			used += 2 + g.columns[end].width
			end++
		}
		if at > 1 {
			b.WriteByte('\n')
		}
		for row := range g.columns[0].cells {
			line := g.columns[0].at(row)
			for _, c := range g.columns[at:end] {
				line += "  " + c.at(row)
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
		if at = end; at == len(g.columns) {
			break
		}
	}
	return b.String()
}

// at returns a cell with the spaces around it.
func (c *gridColumn) at(row int) string {
	s := c.cells[row]
	space := strings.Repeat(" ", c.width-visible(s))
	if c.right {
		return space + s
	}
	return s + space
}
