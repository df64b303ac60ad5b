package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
	"stepflow/tracing"
)

// planView writes a plan as text.
type planView struct {
	strings.Builder
	paint     func(color, string) string
	secrets   *dsl.Secrets
	verbose   bool // show also what does not change
	explain   bool // show the attributes of every block
	addrs     int  // width of the column of addresses
	unshown   map[addr.Addr]bool
	unchanged int                  // outputs that do not change and are not shown
	detailed  map[string]addr.Addr // by its details, the first instance with them
}

// printPlan prints a plan as text.
func (a *app) printPlan(p *plan.Plan, verbose, explain bool) {
	v := planView{paint: a.paint, secrets: a.secrets, verbose: verbose, explain: explain}
	fmt.Fprint(a.stdout, wrapped(v.text(p), a.columns()))
}

// plainPlan is the text of a plan without colours.
func (a *app) plainPlan(p *plan.Plan, verbose, explain bool) string {
	v := planView{paint: func(_ color, s string) string { return s }, secrets: a.secrets, verbose: verbose,
		explain: explain}
	return v.text(p)
}

var verbs = map[plan.Verb]struct {
	symbol string
	color  color
}{
	plan.Run: {"+", green}, plan.Resume: {"~", yellow}, plan.Extend: {"~", yellow}, plan.Import: {"<", green},
	plan.Same: {"=", green}, plan.UpToDate: {" ", dim}, plan.Ready: {" ", dim}, plan.Deferred: {"?", cyan},
}

var changeSymbols = map[plan.Change]struct {
	symbol string
	color  color
}{
	plan.Create: {"+", green}, plan.Update: {"~", yellow}, plan.Delete: {"-", red}, plan.NoOp: {" ", dim},
}

func (v *planView) line(format string, args ...any) {
	fmt.Fprintf(v, format, args...)
	v.WriteByte('\n')
}

// text is a plan: what is lost, each block, outputs, and sums.
func (v *planView) text(p *plan.Plan) string {
	if p.Select.RefreshOnly {
		v.drift(p)
		return v.String()
	}
	for _, l := range p.Losses() {
		verb := "throws away"
		if l.May {
			verb = "may throw away"
		}
		v.line("%s %s %s %d trained steps (%s, in %s): %s",
			v.paint(red, "!"), l.Block, verb, l.Steps, l.Takes(), l.Folder, l.Why)
	}
	v.hide(p)
	for _, x := range p.Actions {
		if x.Replaces != "" {
			v.line("%s %s replaces %s", v.paint(red, "!"), x.Addr, x.Replaces)
		}
		if !v.unshown[x.Addr] {
			v.addrs = max(v.addrs, len(x.Addr.String()))
		}
	}
	for _, o := range p.Orphans {
		v.addrs = max(v.addrs, len(o.Addr))
	}
	v.moves(p)
	for _, x := range p.Actions {
		if !v.unshown[x.Addr] {
			v.action(p, x)
		}
	}
	v.orphans(p)
	changes := p.OutputChanges()
	for _, c := range changes {
		if c.Change == plan.NoOp && !v.verbose {
			v.unchanged++
			continue
		}
		k := changeSymbols[c.Change]
		v.line("%s output.%s = %s", v.paint(k.color, k.symbol), c.Name, outputText(c))
	}
	v.hidden()
	v.sums(p, changes)
	return v.String()
}

// hide chooses the blocks that are not shown: those that are up to date and have nothing to say, and those without a
// run of their own that only blocks which are up to date refer to.
func (v *planView) hide(p *plan.Plan) {
	v.unshown, v.detailed = map[addr.Addr]bool{}, map[string]addr.Addr{}
	if v.verbose {
		return
	}
	inputs := map[string]bool{}      // of blocks that change
	referred := map[addr.Addr]bool{} // by blocks that do not
	for _, x := range slices.Backward(p.Actions) {
		quiet := (x.Why == "" || x.Away()) && len(x.Warnings) == 0 && len(x.Removes)+len(x.Ignored) == 0
		idle := x.Verb == plan.Ready && referred[x.Addr.Block()] && !inputs[x.Addr.String()]
		unchanged := x.Verb == plan.UpToDate || idle
		if unchanged && quiet {
			v.unshown[x.Addr] = true
		}
		if unchanged {
			for _, r := range x.Refs() {
				referred[r] = true
			}
			continue
		}
		for in := range x.Inputs {
			inputs[in] = true
		}
	}
}

// hidden says how much is not shown.
func (v *planView) hidden() {
	var what []string
	if n := len(v.unshown); n > 0 {
		what = append(what, words.Plural(n, "unchanged block"))
	}
	if v.unchanged > 0 {
		what = append(what, words.Plural(v.unchanged, "unchanged output"))
	}
	if len(what) > 0 {
		v.line("  (%s hidden: plan -verbose shows them)", strings.Join(what, " and "))
	}
}

// action writes what is to become of a block.
func (v *planView) action(p *plan.Plan, x *plan.Action) {
	k, why := verbs[x.Verb], x.Why
	if x.Verb == plan.Ready {
		why = v.secrets.Redact(x.Block.Summary())
	}
	verb := v.paint(k.color, fmt.Sprintf("%-10s", x.Verb))
	v.line("%s", strings.TrimRight(fmt.Sprintf("%s %-*s  %s  %s", v.paint(k.color, k.symbol), v.addrs, x.Addr, verb,
		why), " "))
	if x.Verb == plan.Same && !v.verbose {
		return // the other one says it
	}
	if x.Remote() && x.Verb != plan.UpToDate {
		v.line("      %-11s %s: sbatch %s", "runs on", x.On.Addr, v.secrets.Redact(x.Request(p.Caps.Kind).String()))
	}
	for _, warn := range x.Warnings {
		v.line("      %s %s", v.paint(yellow, "warning:"), warn)
	}
	for _, i := range x.Ignored {
		v.line("      %-11s %s", "ignored", i)
	}
	if len(x.Removes) > 0 {
		v.line("    %s removes     its checkpoints at %s, more than keep", v.paint(red, "-"), plan.StepList(x.Removes))
	}
	if v.explain { // first what the block says, then what comes of it
		for _, n := range slices.Sorted(maps.Keys(x.Attrs)) {
			v.line("      %s = %s", n, x.Attrs[n])
		}
	}
	if b, ok := x.Block.(blocks.Detailed); ok && (x.Verb != plan.UpToDate || v.verbose) {
		v.details(x.Addr, b.Details(x.Verb == plan.Run, x.Verb == plan.UpToDate))
	}
	if v.explain {
		v.takes(p, x)
	}
}

// details writes what is known of a block. If the same is known of an instance that was shown, it only names that one.
func (v *planView) details(a addr.Addr, lines []blocks.Line) {
	const few = 2
	key := fmt.Sprint(a.Kind, a.Type, a.Name, lines) // also of instances of a module
	if first, ok := v.detailed[key]; ok && len(lines) > few && !v.verbose {
		v.line("      %-11s those of %s", "figures", first)
		return
	}
	v.detailed[key] = a
	for _, l := range lines {
		v.line("      %-11s %s", l.About, l.Text)
	}
}

// sums writes how much a plan changes.
func (v *planView) sums(p *plan.Plan, changes []plan.OutputChange) {
	counts, moved, removed := map[plan.Verb]int{}, movedAlone(p), 0
	for _, x := range p.Actions {
		counts[x.Verb]++
		removed += len(x.Removes)
		if x.Moved != "" {
			moved++
		}
	}
	v.WriteString("\nPlan: ")
	if n := counts[plan.Import]; n > 0 {
		fmt.Fprintf(v, "%d to import, ", n)
	}
	if n := counts[plan.Extend]; n > 0 {
		fmt.Fprintf(v, "%d to extend, ", n)
	}
	fmt.Fprintf(v, "%d to run, %d to resume, %d deferred, %d up to date",
		counts[plan.Run], counts[plan.Resume], counts[plan.Deferred], counts[plan.UpToDate])
	if n := counts[plan.Same]; n > 0 {
		fmt.Fprintf(v, ", %d the same as others", n)
	}
	if moved > 0 {
		fmt.Fprintf(v, ", %d moved", moved)
	}
	if removed > 0 {
		fmt.Fprintf(v, ", %s to remove", words.Plural(removed, "checkpoint"))
	}
	v.WriteString(orphanSums(p))
	if n := len(p.LeftOut()); n > 0 {
		fmt.Fprintf(v, ", %d left out", n)
	}
	v.line(".")
	if once := p.Shared().String(); once != "" {
		v.line("%s", once)
	}
	outputs := map[plan.Change]int{}
	for _, c := range changes {
		outputs[c.Change]++
	}
	if outputs[plan.NoOp] < len(changes) {
		v.line("Outputs: %d to add, %d to change, %d to remove.",
			outputs[plan.Create], outputs[plan.Update], outputs[plan.Delete])
	}
	v.machine(p)
	if t := p.TraceBudget(); t.Steps > 0 && tracing.Asked() {
		v.line("Traced: %s, one in %d, the first and last of each stage, and slow "+
			"ones; %d spans, at most %d.", words.Plural(t.Steps, "step"), t.Every, t.Spans, t.MaxSpans)
	}
}

// outputText is an output's value, and where it changes what it was before.
func outputText(c plan.OutputChange) string {
	after := dsl.Hidden
	if !c.Sensitive && c.Change != plan.Delete {
		after = dsl.Show(c.After)
	}
	switch {
	case c.Change == plan.Delete:
		return plan.OutputText(c.Before)
	case c.Change == plan.Update && c.Sensitive:
		return after + ", changed"
	case c.Change == plan.Update:
		return plan.OutputText(c.Before) + " -> " + after
	}
	return after
}
