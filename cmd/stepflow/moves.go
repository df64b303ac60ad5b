package main

import (
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
)

// movesJSON are moved entries of the state for machines.
func movesJSON(list []state.Move) []map[string]string {
	out := []map[string]string{}
	for _, m := range list {
		out = append(out, map[string]string{"from": m.From.String(), "to": m.To.String()})
	}
	return out
}

// moves writes which entries of the state have another address now.
func (v *planView) moves(p *plan.Plan) {
	for _, m := range p.Moves {
		v.line("# %s has moved to %s", m.From, m.To)
	}
}

// movedAlone counts the moved entries whose blocks take no result over: they run again, or have nothing to run.
func movedAlone(p *plan.Plan) (n int) {
	for _, m := range p.Moves {
		if a := p.Action(m.To); a == nil || a.Moved == "" {
			n++
		}
	}
	return n
}
