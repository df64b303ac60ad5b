package main

import (
	"fmt"
	"strings"

	"stepflow/runtime/apply"
	"stepflow/runtime/plan"
)

var driftSymbols = map[plan.DriftKind]struct {
	symbol string
	color  color
}{
	plan.DataChanged: {"~", yellow}, plan.ResultGone: {"-", red}, plan.ResultFound: {"+", green},
}

// driftText is what plan -refresh-only shows.
func driftText(drifts []plan.Drift, paint func(color, string) string) string {
	if len(drifts) == 0 {
		return "No changes. Data and results are as the state records them.\n"
	}
	width := 0
	for _, d := range drifts {
		width = max(width, len(d.Address))
	}
	var b strings.Builder
	for _, d := range drifts {
		k := driftSymbols[d.Kind]
		fmt.Fprintf(&b, "%s %-*s  %s  %s\n", paint(k.color, k.symbol), width, d.Address,
			paint(k.color, fmt.Sprintf("%-7s", d.Kind)), d.Why)
	}
	fmt.Fprintf(&b, "\n%s from the state. Nothing is run: apply -refresh-only records this, apply runs what it "+
		"leads to.\n", plural(len(drifts), "difference"))
	return b.String()
}

// driftJSON is the same for machines.
func driftJSON(p *plan.Plan) map[string]any {
	return map[string]any{"format_version": "1.0", "type": "refresh", "drift": append([]plan.Drift{}, p.Drift...),
		"changes": p.Changes()}
}

// refresh records in the state how it differs from data and results.
func (a *app) refresh(p *plan.Plan) int {
	a.interrupt.hold("Interrupted: ending. Once more stops at once.")
	if err := apply.Refresh(p); err != nil {
		return a.fail(err)
	}
	if p.Changes() && !a.json {
		fmt.Fprintln(a.stdout, a.paint(green, "The state records this now. What results were made from stays in it."))
	}
	return exitOK
}
