package main

import (
	"fmt"
	"strings"

	"stepflow/runtime/apply"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
)

var driftSymbols = map[plan.DriftKind]struct {
	symbol string
	color  color
}{
	plan.DataChanged: {"~", yellow}, plan.ResultGone: {"-", red}, plan.ResultFound: {"+", green},
}

// drift writes what plan -refresh-only shows.
func (v *planView) drift(p *plan.Plan) {
	if !p.Changes() {
		v.line("No changes. Data and results are as the state records them.")
		return
	}
	for _, d := range p.Drift {
		v.addrs = max(v.addrs, len(d.Address))
	}
	v.moves(p)
	for _, d := range p.Drift {
		k := driftSymbols[d.Kind]
		v.line("%s %-*s  %s  %s", v.paint(k.color, k.symbol), v.addrs, d.Address,
			v.paint(k.color, fmt.Sprintf("%-7s", d.Kind)), d.Why)
	}
	var what []string
	if n := len(p.Moves); n > 0 {
		what = append(what, words.Plural(n, "moved block"))
	}
	if n := len(p.Drift); n > 0 {
		what = append(what, words.Plural(n, "difference")+" from the state")
	}
	v.line("\n%s. Nothing is run: apply -refresh-only records this, apply runs what it leads to.",
		strings.Join(what, " and "))
}

// driftJSON is the same for machines.
func driftJSON(p *plan.Plan) map[string]any {
	return map[string]any{"format_version": "1.0", "type": "refresh", "drift": append([]plan.Drift{}, p.Drift...),
		"moves": movesJSON(p.Moves), "changes": p.Changes()}
}

// refresh records in the state how it differs from data and results.
func (a *app) refresh(p *plan.Plan) int {
	a.interrupt.hold("Interrupted: ending. Once more stops at once.")
	access, err := a.access("apply -refresh-only", p.StateDir)
	if err == nil {
		err = apply.Refresh(a.ctx, p, access)
	}
	if err != nil {
		return a.fail(err)
	}
	if p.Changes() && !a.json {
		fmt.Fprintln(a.stdout, a.paint(green, "The state records this now. What results were made from stays in it."))
	}
	return exitOK
}
