package main

import (
	"fmt"
	"strings"

	"stepflow/dsl"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/words"
)

// fates says how a plan shows what becomes of a block that the configuration no longer has.
var fates = map[plan.Fate]struct {
	symbol string
	color  color
	text   string // of a block with files
}{
	plan.Keep:    {" ", dim, "%s; kept: %s"},
	plan.Forget:  {".", yellow, "%s; its files stay: %s"},
	plan.Destroy: {"-", red, "%s; deletes %s"},
}

// orphans writes what becomes of the blocks of the state that the configuration no longer has.
func (v *planView) orphans(p *plan.Plan) {
	for _, o := range p.Orphans {
		k := fates[o.Fate]
		text := o.Why + "; it has no files"
		if len(o.Holds) > 0 {
			text = fmt.Sprintf(k.text, o.Why, held(o.Holds))
		}
		v.line("%s %-*s  %s  %s", v.paint(k.color, k.symbol), v.addrs, o.Addr,
			v.paint(k.color, fmt.Sprintf("%-10s", o.Fate)), text)
	}
}

// held says what folders hold.
func held(list []results.Holding) string {
	var parts []string
	for _, h := range list {
		what := dsl.FormatBytes(h.Bytes)
		if h.Steps > 0 {
			what = words.Plural(h.Steps, "trained step") + ", " + what
		}
		parts = append(parts, what+" in "+h.Folder)
	}
	return strings.Join(parts, "; ")
}

// orphanSums counts the blocks that the configuration no longer has, for the last line of a plan; "" for none.
func orphanSums(p *plan.Plan) (text string) {
	counts := map[plan.Fate]int{}
	for _, o := range p.Orphans {
		counts[o.Fate]++
	}
	for _, x := range []struct {
		fate plan.Fate
		text string
	}{
		{plan.Destroy, ", %d to destroy"}, {plan.Forget, ", %d to forget"},
		{plan.Keep, ", %d kept that the configuration lacks"},
	} {
		if n := counts[x.fate]; n > 0 {
			text += fmt.Sprintf(x.text, n)
		}
	}
	return text
}
