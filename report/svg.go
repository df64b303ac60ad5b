package report

import (
	"fmt"
	"html"
	"strings"

	"stepflow/runtime/look"
)

// SVG draws a graph as a file of its own: a pipeline's from left to right, a stage's operations from the top down. Its
// colours follow the viewer's preference.
func SVG(d *look.Drawing) string {
	var nodes []Node
	for _, n := range d.Nodes {
		nodes = append(nodes, Node{ID: n.ID, Label: n.Lines[0], Sub: strings.Join(n.Lines[1:], " · "), group: n.Group})
	}
	l := layered(nodes, d.Edges, fileBox, len(d.Nodes) > 0 && d.Nodes[0].Group != "")
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="%s">
<style>text{font:12px system-ui,sans-serif;fill:#1c2126;text-anchor:middle}.s{font-size:10px;fill:#56606b}rect{fill:#fff;stroke:#56606b}path{fill:none;stroke:#8a939d}
@media (prefers-color-scheme:dark){text{fill:#e6e9ec}.s{fill:#a3adb8}rect{fill:#1c2025;stroke:#a3adb8}}</style>
`, l.Width, l.Height, l.Width, l.Height, html.EscapeString(d.Name))
	for _, e := range l.Edges {
		fmt.Fprintf(&b, "<path d=\"%s\"/>\n", e.Path)
	}
	for _, n := range l.Nodes {
		fmt.Fprintf(&b, "<g><title>%s</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%.0f\" height=\"%.0f\" "+
			"rx=\"6\"/><text x=\"%.1f\" y=\"%.1f\">%s</text><text class=\"s\" x=\"%.1f\" y=\"%.1f\">%s</text></g>\n",
			html.EscapeString(n.Label+" · "+n.Sub), n.X, n.Y, n.W, n.H, n.X+n.W/2, n.Y+18,
			html.EscapeString(clip(n.Label, 28)), n.X+n.W/2, n.Y+33, html.EscapeString(clip(n.Sub, 32)))
	}
	return b.String() + "</svg>\n"
}

// clip shortens a text from its start: ends of addresses tell more.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return "…" + string(r[len(r)-n+1:])
	}
	return s
}
