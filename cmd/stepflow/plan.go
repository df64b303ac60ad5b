package main

import (
	"flag"
	"fmt"
	"maps"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/all"
	"stepflow/runtime/plan"
	"stepflow/runtime/saved"
	"stepflow/runtime/scaling"
	"stepflow/runtime/trial"
	"stepflow/runtime/words"
)

func validateCommand() command {
	var tests string
	return command{name: "validate", args: "[flags] [DIR]", most: 1,
		short: "Checks a pipeline: syntax, types, references and sizes.",
		synopsis: "Checks a pipeline and its test files: syntax, names, references, types, and the values that are " +
			"known. Every problem of every file is shown at once. Variables need no value, and data and state are not " +
			"read.",
		example: "stepflow validate pipelines/quickstart",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			testDirectory(f, &tests)
		},
		run: func(a *app, args []string) int {
			in := a.inputs()
			in.Open = true
			cfg, diags := dsl.Load(dirArg(args), in)
			a.secrets = cfg.Secrets
			diags = append(diags, cfg.Validate(diags, all.Sound)...)
			diags = append(diags, checkTests(cfg, dirArg(args), tests)...)
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
				fmt.Fprintf(a.stdout, "The pipeline is valid: %s.\n", words.Plural(len(cfg.Blocks), "block"))
			} else {
				fmt.Fprintf(a.stderr, "%s.\n", words.Plural(errs, "error"))
			}
			if errs > 0 {
				return exitError
			}
			return exitOK
		}}
}

// checkTests checks the test files of a pipeline.
func checkTests(cfg *dsl.Config, path, folder string) (diags hcl.Diagnostics) {
	files, err := dsl.TestFiles(path, folder)
	if err != nil { // then there is no pipeline either
		return nil
	}
	for _, f := range files {
		t, d := trial.Read(cfg, f)
		maps.Copy(cfg.Files, t.Files)
		diags = append(diags, d...)
	}
	return diags
}

func planCommand() command {
	var detailed, explain, verbose bool
	var out, link, speed string
	var ranks int
	return command{name: "plan", args: "[flags] [DIR]", most: 1,
		short: "Shows what apply would do, and how much memory it takes.",
		synopsis: "Shows what apply would do, and what every stage takes: layers, parameters, bytes, tokens, FLOPs. " +
			"What does not change is counted, not shown. Nothing is run.",
		example: "stepflow plan pipelines/quickstart\n" +
			"stepflow plan -json -var size=680M -var method=step-2 pipelines/paper",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			selecting(a, f)
			f.BoolVar(&detailed, "detailed-exitcode", false,
				"exit with 0 if nothing changes, 2 if something is to run or an output changes, 1 on errors")
			f.StringVar(&out, "out", "",
				"save the plan to this file; apply FILE runs it, and refuses if anything changed")
			f.BoolVar(&verbose, "verbose", false, "show also blocks and outputs that do not change")
			f.BoolVar(&explain, "explain", false,
				"show every block with its configuration, defaults included")
			f.IntVar(&ranks, "ranks", 0, "show what each of so many ranks takes and sends, which need not be there, with each shard")
			f.StringVar(&link, "link", "", "with -ranks: what they send through, as latency=5us,bandwidth=25GB/s, or one of "+
				strings.Join(scaling.LinkNames(), ", ")+" (default: what bench -ranks has measured)")
			f.StringVar(&speed, "speed", "", "with -ranks: how fast a device is, as flops=400TFLOP/s,bandwidth=3TB/s (default: what the "+
				"plan's times are by)")
		},
		run: func(a *app, args []string) int {
			if out != "" {
				if err := saved.Check(out); err != nil {
					return a.fail(err)
				}
			}
			i, err := imagine(ranks, link, speed)
			switch {
			case err != nil:
				return a.fail(err)
			case ranks < 0:
				return a.misuse("stepflow plan: -ranks is at least 1, not %d", ranks)
			case ranks > 0 && out != "":
				return a.misuse("stepflow plan: -ranks shows what ranks would take, and -out saves what apply runs: give one of them")
			case ranks == 0 && link+speed != "":
				return a.misuse("stepflow plan: -link and -speed are about several ranks: give -ranks N too")
			}
			a.lifecycle, a.imagined = true, ranks
			p, ok := a.plan(args, a.selection.RefreshOnly)
			if !ok {
				return exitError
			}
			var onRanks []*scaled
			if ranks > 0 {
				if onRanks, err = a.scale(p, &i); err != nil {
					return a.fail(err)
				}
			}
			file := ""
			if out != "" {
				text := a.plainPlan(p, verbose || explain, explain)
				switch stream, err := saved.Save(p, out, a.places(), a.options(args), text, planJSON(p)); {
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
				if ranks > 0 {
					m["on_ranks"] = map[string]any{"ranks": ranks, "link": i.link, "stages": onRanks}
				}
				a.line(m)
			} else {
				a.printPlan(p, verbose || explain, explain)
				if ranks > 0 {
					fmt.Fprint(a.stdout, scaledText(onRanks, i))
				}
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

// forecastOf is what a block takes that is to run; nil for one that is not.
func forecastOf(x *plan.Action) *blocks.Forecast {
	if f, ok := x.Block.(blocks.Forecaster); ok && x.Verb.Works() && x.Verb != plan.Import {
		return f.Takes()
	}
	return nil
}

// planJSON is the plan for machines.
func planJSON(p *plan.Plan) map[string]any {
	if p.Select.RefreshOnly {
		return driftJSON(p)
	}
	var actions []map[string]any
	for _, x := range p.Actions {
		actions = append(actions, actionJSON(p, x))
	}
	changes := map[string]any{}
	for _, c := range p.OutputChanges() {
		changes[c.Name] = changeJSON(c)
	}
	m := map[string]any{"format_version": "1.0", "type": "plan", "device": p.Caps.Kind, "actions": actions,
		"outputs": outputsJSON(p), "output_changes": changes, "changes": p.Changes(), "trace": p.TraceBudget(),
		"moves": movesJSON(p.Moves), "orphans": append([]*plan.Orphan{}, p.Orphans...),
		"complete": len(p.LeftOut()) == 0}
	addMachine(m, p)
	if left := p.LeftOut(); len(left) > 0 {
		m["left_out"] = left
	}
	if s := p.Shared(); s.Same+s.Extended > 0 {
		m["shared"] = s
	}
	return m
}

// actionJSON is what is to become of a block, for machines.
func actionJSON(p *plan.Plan, x *plan.Action) map[string]any {
	m := map[string]any{"address": x.Addr.String(), "reason": x.Why, "recipe": x.Recipe,
		"action": strings.ReplaceAll(string(x.Verb), " ", "_")}
	for name, v := range attributesJSON(x) {
		m[name] = v
	}
	if x.FromStep > 0 {
		m["from_step"] = x.FromStep
	}
	if x.Remote() && x.Verb != plan.UpToDate {
		m["executor"], m["request"] = x.On.Addr.String(), p.Config.Secrets.Redact(x.Request(p.Caps.Kind).String())
	}
	if len(x.Losses) > 0 {
		steps := 0
		for _, l := range x.Losses {
			steps += l.Steps
		}
		m["discards_steps"], m["losses"] = steps, x.Losses
	}
	if x.Verb == plan.Same {
		m["same_as"] = x.After.String()
	}
	if from := x.Origin(); from != "" {
		m["extends"] = from
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
	if len(x.Ignored) > 0 {
		m["ignored_changes"] = x.Ignored
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
	if list := p.Rooms(x); len(list) > 0 {
		m["disk"] = list
	}
	if list := x.Phases(); len(list) > 0 {
		m["host_memory"] = list
	}
	return m
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
