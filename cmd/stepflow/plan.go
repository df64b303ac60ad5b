package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/all"
	"stepflow/runtime/plan"
	"stepflow/runtime/saved"
)

func validateCommand() command {
	return command{name: "validate", args: "[flags] [DIR]", most: 1, flags: common,
		short: "Checks a pipeline: syntax, types, references and sizes.",
		synopsis: "Checks a pipeline: syntax, names, references, types, and the values that are known. Every problem " +
			"of every file is shown at once. Variables need no value, and data and state are not read.",
		example: "stepflow validate pipelines/quickstart",
		run: func(a *app, args []string) int {
			in := a.inputs()
			in.Open = true
			cfg, diags := dsl.Load(dirArg(args), in)
			a.secrets = cfg.Secrets
			diags = append(diags, cfg.Validate(diags, all.Sound)...)
			a.diagnostics(diags, cfg.Files)
			errs, warns := 0, 0
			for _, d := range diags {
				if d.Severity == hcl.DiagError {
					errs++
				} else {
					warns++
				}
			}
			if a.json {
				a.line(map[string]any{"format_version": "1.0", "valid": errs == 0, "error_count": errs,
					"warning_count": warns})
			} else if errs == 0 {
				fmt.Fprintf(a.stdout, "The pipeline is valid: %s.\n", plural(len(cfg.Blocks), "block"))
			} else {
				fmt.Fprintf(a.stderr, "%s.\n", plural(errs, "error"))
			}
			if errs > 0 {
				return exitError
			}
			return exitOK
		}}
}

func planCommand() command {
	var detailed, explain bool
	var out string
	return command{name: "plan", args: "[flags] [DIR]", most: 1,
		short: "Shows what apply would do, and how much memory it takes.",
		synopsis: "Shows what apply would do, and what every stage takes: layers, parameters, bytes, tokens, FLOPs. " +
			"Nothing is run.",
		example: "stepflow plan pipelines/quickstart\n" +
			"stepflow plan -json -var size=680M -var method=step-2 pipelines/paper",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			f.BoolVar(&detailed, "detailed-exitcode", false,
				"exit with 0 if nothing changes, 2 if something is to run or an output changes, 1 on errors")
			f.StringVar(&out, "out", "",
				"save the plan to this file; apply FILE runs it, and refuses if anything changed")
			f.BoolVar(&explain, "explain", false, "show the configuration of every block, defaults included")
		},
		run: func(a *app, args []string) int {
			if out != "" {
				if err := saved.Check(out); err != nil {
					return a.fail(err)
				}
			}
			p, ok := a.plan(args, false)
			if !ok {
				return exitError
			}
			file := ""
			if out != "" {
				switch stream, err := saved.Save(p, out, a.options(args)); {
				case err != nil:
					return a.fail(err)
				case !stream:
					file = out
				}
			}
			if a.json {
				m := planJSON(p)
				if file != "" {
					m["saved"] = file
				}
				a.line(m)
			} else {
				a.printPlan(a.stdout, p, explain)
				if file != "" {
					fmt.Fprintf(a.stdout, "Saved the plan to %s. To run exactly this: stepflow apply %s\n",
						file, shellWord(file))
				}
			}
			if detailed && p.Changes() {
				return exitChanges
			}
			return exitOK
		}}
}

// shellWord is an argument as a shell takes it.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-+,:@%=") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

var verbs = map[plan.Verb]struct {
	symbol string
	color  color
}{
	plan.Run: {"+", green}, plan.Resume: {"~", yellow}, plan.Import: {"<", green}, plan.Same: {"=", green},
	plan.UpToDate: {" ", dim}, plan.Ready: {" ", dim}, plan.Deferred: {"?", cyan},
}

// printPlan prints a plan: what is lost, each block, outputs, and sums.
func (a *app) printPlan(w io.Writer, p *plan.Plan, explain bool) {
	for _, l := range p.Losses() {
		verb := "throws away"
		if l.May {
			verb = "may throw away"
		}
		fmt.Fprintf(w, "%s %s %s %d trained steps (%s, in %s): %s\n",
			a.paint(red, "!"), l.Block, verb, l.Steps, l.Takes(), l.Folder, l.Why)
	}
	width := 0
	for _, x := range p.Actions {
		if x.Replaces != "" {
			fmt.Fprintf(w, "%s %s replaces %s\n", a.paint(red, "!"), x.Addr, x.Replaces)
		}
		width = max(width, len(x.Addr.String()))
	}
	for _, o := range p.Orphans {
		width = max(width, len(o.Addr))
	}
	printMoves(w, p)
	for _, x := range p.Actions {
		a.printAction(w, x, width, explain)
	}
	a.printOrphans(w, p, width)
	changes := p.OutputChanges()
	for _, c := range changes {
		k := changeSymbols[c.Change]
		fmt.Fprintf(w, "%s output.%s = %s\n", a.paint(k.color, k.symbol), c.Name, outputText(c))
	}
	printSums(w, p, changes)
}

// printAction prints what is to become of a block, with addresses in a column of a width.
func (a *app) printAction(w io.Writer, x *plan.Action, width int, explain bool) {
	v, why := verbs[x.Verb], x.Why
	if x.Verb == plan.Ready {
		why = a.secrets.Redact(x.Block.Summary())
	}
	verb := a.paint(v.color, fmt.Sprintf("%-10s", x.Verb))
	line := fmt.Sprintf("%s %-*s  %s  %s", a.paint(v.color, v.symbol), width, x.Addr, verb, why)
	fmt.Fprintln(w, strings.TrimRight(line, " "))
	for _, warn := range x.Warnings {
		fmt.Fprintf(w, "      %s %s\n", a.paint(yellow, "warning:"), warn)
	}
	if len(x.Removes) > 0 {
		fmt.Fprintf(w, "    %s removes     its checkpoints at %s, more than keep\n",
			a.paint(red, "-"), plan.StepList(x.Removes))
	}
	if b, ok := x.Block.(blocks.Detailed); ok {
		for _, l := range b.Details(x.Verb == plan.Run, x.Verb == plan.UpToDate) {
			fmt.Fprintf(w, "      %-11s %s\n", l.About, l.Text)
		}
	}
	if explain {
		for _, n := range slices.Sorted(maps.Keys(x.Attrs)) {
			fmt.Fprintf(w, "      %s = %s\n", n, x.Attrs[n])
		}
	}
}

// printSums prints how much a plan changes.
func printSums(w io.Writer, p *plan.Plan, changes []plan.OutputChange) {
	counts, moved, removed := map[plan.Verb]int{}, movedAlone(p), 0
	for _, x := range p.Actions {
		counts[x.Verb]++
		removed += len(x.Removes)
		if x.Moved != "" {
			moved++
		}
	}
	fmt.Fprint(w, "\nPlan: ")
	if n := counts[plan.Import]; n > 0 {
		fmt.Fprintf(w, "%d to import, ", n)
	}
	fmt.Fprintf(w, "%d to run, %d to resume, %d deferred, %d up to date",
		counts[plan.Run], counts[plan.Resume], counts[plan.Deferred], counts[plan.UpToDate])
	if n := counts[plan.Same]; n > 0 {
		fmt.Fprintf(w, ", %d the same as others", n)
	}
	if moved > 0 {
		fmt.Fprintf(w, ", %d moved", moved)
	}
	if removed > 0 {
		fmt.Fprintf(w, ", %s to remove", plural(removed, "checkpoint"))
	}
	fmt.Fprintf(w, "%s.\n", orphanSums(p))
	outputs := map[plan.Change]int{}
	for _, c := range changes {
		outputs[c.Change]++
	}
	if outputs[plan.NoOp] < len(changes) {
		fmt.Fprintf(w, "Outputs: %d to add, %d to change, %d to remove.\n",
			outputs[plan.Create], outputs[plan.Update], outputs[plan.Delete])
	}
	if t := p.TraceBudget(); t.Steps > 0 {
		fmt.Fprintf(w, "Traced, where OTEL_* ask for it: %s, one in %d, the first and last of each stage, and slow "+
			"ones; %d spans, at most %d.\n", plural(t.Steps, "step"), t.Every, t.Spans, t.MaxSpans)
	}
}

var changeSymbols = map[plan.Change]struct {
	symbol string
	color  color
}{
	plan.Create: {"+", green}, plan.Update: {"~", yellow}, plan.Delete: {"-", red}, plan.NoOp: {" ", dim},
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

// forecastOf is what a block takes that is to run; nil for one that is not.
func forecastOf(x *plan.Action) *blocks.Forecast {
	if f, ok := x.Block.(blocks.Forecaster); ok && (x.Verb == plan.Run || x.Verb == plan.Resume) {
		return f.Takes()
	}
	return nil
}

// planJSON is the plan for machines.
func planJSON(p *plan.Plan) map[string]any {
	var actions []map[string]any
	for _, x := range p.Actions {
		m := map[string]any{"address": x.Addr.String(), "reason": x.Why, "recipe": x.Recipe,
			"action": strings.ReplaceAll(string(x.Verb), " ", "_")}
		for name, v := range attributesJSON(x) {
			m[name] = v
		}
		if x.FromStep > 0 {
			m["from_step"] = x.FromStep
		}
		if len(x.Losses) > 0 {
			steps := 0
			for _, l := range x.Losses {
				steps += l.Steps
			}
			m["discards_steps"], m["losses"] = steps, x.Losses
		}
		if x.Moved != "" {
			m["moved_from"] = x.Moved
		}
		if b, ok := x.Block.(blocks.Importable); ok && x.Verb == plan.Import {
			m["importing"] = map[string]string{"id": b.Import().ID}
		}
		if len(x.Removes) > 0 {
			m["removes_checkpoints"] = x.Removes
		}
		if x.Replaces != "" {
			m["replaces"] = x.Replaces
		}
		if len(x.Warnings) > 0 {
			m["warnings"] = x.Warnings
		}
		if b, ok := x.Block.(blocks.Counted); ok {
			maps.Copy(m, b.Numbers())
		}
		if f := forecastOf(x); f != nil {
			m["forecast"] = f
		}
		actions = append(actions, m)
	}
	changes := map[string]any{}
	for _, c := range p.OutputChanges() {
		changes[c.Name] = changeJSON(c)
	}
	return map[string]any{"format_version": "1.0", "type": "plan", "device": p.Caps.Kind, "actions": actions,
		"moves": movesJSON(p.Moves), "orphans": append([]*plan.Orphan{}, p.Orphans...), "outputs": outputsJSON(p),
		"output_changes": changes, "changes": p.Changes(), "trace": p.TraceBudget()}
}

// attributesJSON are a block's attributes with their values, by dotted name; apart from them the names of those that
// are known only after other blocks have run, and of those that are sensitive.
func attributesJSON(x *plan.Action) map[string]any {
	values, unknown, sensitive := map[string]any{}, map[string]any{}, map[string]bool{}
	for n, v := range x.Values {
		if v.IsMarked() {
			sensitive[n] = true
			continue
		}
		known, u := dsl.Plain(v)
		if u != true {
			values[n] = known
		}
		if u != false {
			unknown[n] = u
		}
	}
	return map[string]any{"attributes": values, "after_unknown": unknown, "after_sensitive": sensitive}
}

// outputsJSON are the outputs as Terraform writes them: value, type and whether they are sensitive. A value that is
// known only after a run is left out, and after_unknown says so.
func outputsJSON(p *plan.Plan) map[string]any {
	out := map[string]any{}
	for n, v := range p.Outputs {
		m := map[string]any{"sensitive": p.OutputDoc[n].Sensitive, "type": dsl.TypeJSON(v)}
		value, unknown := dsl.Plain(v)
		switch {
		case p.OutputDoc[n].Sensitive:
			m["type"], m["value"] = dsl.HiddenType(v), nil
		case unknown != true:
			m["value"] = value
		}
		if unknown != false {
			m["after_unknown"] = unknown
		}
		out[n] = m
	}
	return out
}

// changeJSON is a change of an output as Terraform writes one.
func changeJSON(c plan.OutputChange) map[string]any {
	m := map[string]any{"actions": []plan.Change{c.Change}, "sensitive": c.Sensitive,
		"before": nil, "after": nil, "after_unknown": false}
	if c.Change == plan.Delete {
		m["before"] = c.Before.Value
		return m
	}
	value, unknown := dsl.Plain(c.After)
	m["after_unknown"] = unknown
	if !c.Sensitive {
		m["before"], m["after"] = c.Before.Value, value
	}
	return m
}
