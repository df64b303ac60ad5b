package dsl

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"stepflow/dsl/addr"
)

// Move is a moved block: what was at one address is at another.
type Move struct {
	From, To addr.Addr // without keys: all instances
	Range    hcl.Range
}

// movedKind is the row of Meta for moved blocks.
var movedKind = Kind{Name: "moved", NoLabel: true,
	Doc: "Says that a block, or an instance, has another address now, so that what the state records of it moves with " +
		"it: its results and checkpoints, also those of other settings, and its history. A pipeline may have several, " +
		"and they may be chained.",
	Attrs: []Attr{
		{Name: "from", Address: true, Required: true,
			Doc: "The address before, such as `stage.old` or `stage.grid[0]`. The pipeline no longer has it."},
		{Name: "to", Address: true, Required: true,
			Doc: "The address now, of the same kind and type. If neither has a key, all instances move."},
	}}

// addMoved reads a moved block.
func (m *module) addMoved(b *hclsyntax.Block) hcl.Diagnostics {
	c := m.config
	diags := checkMeta(b, &movedKind)
	if diags.HasErrors() {
		return diags
	}
	x := &Move{Range: b.DefRange()}
	var from, to *hcl.Diagnostic
	x.From, from = readAddress(b.Body.Attributes["from"], true)
	x.To, to = readAddress(b.Body.Attributes["to"], true)
	for _, d := range []*hcl.Diagnostic{from, to} {
		if d != nil {
			diags = append(diags, d)
		}
	}
	switch {
	case diags.HasErrors():
		return diags
	case x.From == x.To:
		return append(diags, failure(x.Range, "Redundant move", "%s moves to itself. Remove this block.", x.From))
	case x.From.Kind != x.To.Kind || x.From.Type != x.To.Type:
		return append(diags, failure(x.Range, "Move to another type", "%s cannot become %s: what one made is not a result "+
			"of the other. Only the name and the key may differ.", x.From, x.To))
	}
	x.From, x.To = x.From.In(m.path), x.To.In(m.path)
	c.Moved = append(c.Moved, x)
	return diags
}

// whole reports whether the move is of a block with all its instances.
func (m *Move) whole() bool { return addr.Whole(m.From, m.To) }

// overlap reports whether an address of one move and an address of another can be the same instance.
func overlap(m *Move, a addr.Addr, n *Move, b addr.Addr) bool {
	return a == b || a.Block() == b.Block() && (m.whole() || n.whole())
}

// leads reports whether m goes on from where n leads: from the same address, or from inside it, or with it.
func leads(n, m *Move) bool {
	to, from := n.To, m.From
	return overlap(n, to, m, from) || n != m && to.Block() != from.Block() && (to.IsModule() || from.IsModule()) &&
		(to.Covers(from) || from.Covers(to))
}

// still returns where a block or a module is declared, though a move says that it is no longer there; nil if it is gone.
func (c *Config) still(m *Move) *hcl.Range {
	if m.From.IsModule() {
		x := c.callOf(m.From)
		if x != nil && (m.whole() || !x.repeated()) || c.moduleOf(m.From.Module) != nil {
			return &x.rng
		}
		return nil
	}
	if b := c.byAddr[m.From]; b != nil && (m.whole() || b.Count == nil && b.ForEach == nil) {
		return &b.DeclRange
	}
	return nil
}

// declared returns where a block or a module is declared; nil if it is not.
func (c *Config) declared(a addr.Addr) *hcl.Range {
	if a.IsModule() {
		if x := c.callOf(a); x != nil && (a == a.Block() || c.moduleOf(a.Module) != nil) {
			return &x.rng
		}
		return nil
	}
	if b := c.byAddr[a]; b != nil {
		return &b.DeclRange
	}
	return nil
}

// checkMoved reports moves that contradict each other or the blocks that are there, and puts a move before those that
// go on from where it leads.
func (c *Config) checkMoved() (diags hcl.Diagnostics) {
	for i, m := range c.Moved {
		if at := c.still(m); at != nil {
			diags = append(diags, failure(m.Range, "Moved block still exists", "%s is declared at %s, so it cannot have "+
				"moved to %s. Rename that block, or remove this one.", m.From, place(*at), m.To))
		}
		for _, n := range c.Moved[:i] {
			same, what := "", ""
			switch {
			case overlap(m, m.From, n, n.From):
				same, what = m.From.String(), "moves twice"
			case overlap(m, m.To, n, n.To):
				same, what = m.To.String(), "is where two blocks move to"
			default:
				continue
			}
			diags = append(diags, failure(m.Range, "Ambiguous moves", "%s %s: here, and at %s. Remove one of the two.",
				same, what, place(n.Range)))
		}
	}
	if diags.HasErrors() {
		return diags
	}
	return c.sortMoved()
}

// sortMoved puts a move before those that go on from where it leads.
func (c *Config) sortMoved() (diags hcl.Diagnostics) {
	const (
		open = iota + 1
		done
	)
	state := map[*Move]int{}
	var order []*Move
	var visit func(m *Move)
	visit = func(m *Move) {
		state[m] = open
		for _, n := range c.Moved {
			if !leads(n, m) {
				continue
			}
			switch state[n] {
			case open:
				diags = append(diags, failure(n.Range, "Moves in a circle", "%s moves to %s, from where moves lead back to "+
					"it. Remove one of them; results change places by themselves, as they are found by their recipe.",
					n.From, n.To))
			case 0:
				visit(n)
			}
		}
		state[m] = done
		order = append(order, m)
	}
	for _, m := range c.Moved {
		if state[m] == 0 {
			visit(m)
		}
	}
	c.Moved = order
	return diags
}
