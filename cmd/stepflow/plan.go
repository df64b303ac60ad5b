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
	"stepflow/runtime"
	"stepflow/runtime/train"
)

func validateCommand() command {
	return command{name: "validate", args: "[flags] [DIR]", most: 1, flags: common,
		short:    "Checks a pipeline: syntax, types, references and sizes.",
		synopsis: "Checks a pipeline: syntax, names, references, types, and the values that are known. Every problem of every file is shown at once. Variables need no value, and data and state are not read.",
		example:  "stepflow validate pipelines/quickstart",
		run: func(a *app, args []string) int {
			in := a.inputs()
			in.Open = true
			cfg, diags := dsl.Load(dirArg(args), in)
			a.secrets = cfg.Secrets
			diags = append(diags, cfg.Validate(diags, runtime.Sound)...)
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
				a.line(map[string]any{"format_version": "1.0", "valid": errs == 0, "error_count": errs, "warning_count": warns})
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
		short:    "Shows what apply would do, and how much memory it takes.",
		synopsis: "Shows what apply would do, and what every stage takes: layers, parameters, bytes, tokens, FLOPs. Nothing is run.",
		example:  "stepflow plan pipelines/quickstart\nstepflow plan -json -var size=680M -var method=step-2 pipelines/paper",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			f.BoolVar(&detailed, "detailed-exitcode", false, "exit with 0 if nothing changes, 2 if something is to run or an output changes, 1 on errors")
			f.StringVar(&out, "out", "", "save the plan to this file; apply FILE runs it, and refuses if anything changed")
			f.BoolVar(&explain, "explain", false, "show the configuration of every block, defaults included")
		},
		run: func(a *app, args []string) int {
			if out != "" {
				if err := runtime.CheckSaved(out); err != nil {
					return a.fail(err)
				}
			}
			p, ok := a.plan(args, false)
			if !ok {
				return exitError
			}
			saved := ""
			if out != "" {
				switch stream, err := p.Save(out, a.options(args)); {
				case err != nil:
					return a.fail(err)
				case !stream:
					saved = out
				}
			}
			if a.json {
				m := planJSON(p)
				if saved != "" {
					m["saved"] = saved
				}
				a.line(m)
			} else {
				a.printPlan(a.stdout, p, explain)
				if saved != "" {
					fmt.Fprintf(a.stdout, "Saved the plan to %s. To run exactly this: stepflow apply %s\n", saved, shellWord(saved))
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

var verbs = map[runtime.Verb]struct {
	symbol string
	color  color
}{runtime.Run: {"+", green}, runtime.Resume: {"~", yellow}, runtime.Same: {"=", green}, runtime.UpToDate: {" ", dim}, runtime.Ready: {" ", dim}, runtime.Deferred: {"?", cyan}}

func (a *app) printPlan(w io.Writer, p *runtime.Plan, explain bool) {
	for _, l := range p.Losses() {
		verb := "throws away"
		if l.May {
			verb = "may throw away"
		}
		fmt.Fprintf(w, "%s %s %s %d trained steps (%s, in %s): %s\n", a.paint(red, "!"), l.Block, verb, l.Steps, l.Takes(), l.Folder, l.Why)
	}
	for _, x := range p.Actions {
		if x.Replaces != "" {
			fmt.Fprintf(w, "%s %s replaces %s\n", a.paint(red, "!"), x.Addr, x.Replaces)
		}
	}
	width := 0
	for _, x := range p.Actions {
		width = max(width, len(x.Addr.String()))
	}
	counts, moved, removed := map[runtime.Verb]int{}, 0, 0
	for _, x := range p.Actions {
		counts[x.Verb]++
		if x.Moved != "" {
			moved++
		}
		v := verbs[x.Verb]
		why := x.Why
		if x.Verb == runtime.Ready {
			why = a.secrets.Redact(summary(x))
		}
		fmt.Fprintf(w, "%s\n", strings.TrimRight(fmt.Sprintf("%s %-*s  %s  %s", a.paint(v.color, v.symbol), width, x.Addr, a.paint(v.color, fmt.Sprintf("%-10s", x.Verb)), why), " "))
		for _, warn := range x.Warnings {
			fmt.Fprintf(w, "      %s %s\n", a.paint(yellow, "warning:"), warn)
		}
		if n := len(x.Removes); n > 0 {
			removed += n
			fmt.Fprintf(w, "    %s removes     its checkpoints at %s, more than keep\n", a.paint(red, "-"), runtime.StepList(x.Removes))
		}
		if x.Stage != nil {
			a.printStage(w, x.Stage)
		}
		if x.Verb == runtime.Run && x.Evaluate != nil {
			a.printEvaluation(w, x.Evaluate)
		}
		if x.Verb == runtime.Run && x.Export != nil && x.Export.Stage != nil {
			f := x.Export.Forecast
			fmt.Fprintf(w, "      writes      %s%s\n", dsl.FormatBytes(f.Written), takes(f, "B/s", "the last export"))
		}
		if x.Export != nil && x.Verb != runtime.UpToDate && x.Export.Keeps != "" {
			fmt.Fprintf(w, "      keeps       %s, which no export wrote\n", x.Export.Keeps)
		}
		if explain {
			for _, n := range slices.Sorted(maps.Keys(x.Attrs)) {
				fmt.Fprintf(w, "      %s = %s\n", n, x.Attrs[n])
			}
		}
	}
	changes := p.OutputChanges()
	outputs := map[runtime.Change]int{}
	for _, c := range changes {
		outputs[c.Change]++
		k := changeSymbols[c.Change]
		fmt.Fprintf(w, "%s output.%s = %s\n", a.paint(k.color, k.symbol), c.Name, outputText(c))
	}
	fmt.Fprintf(w, "\nPlan: %d to run, %d to resume, %d deferred, %d up to date", counts[runtime.Run], counts[runtime.Resume], counts[runtime.Deferred], counts[runtime.UpToDate])
	if n := counts[runtime.Same]; n > 0 {
		fmt.Fprintf(w, ", %d the same as others", n)
	}
	if moved > 0 {
		fmt.Fprintf(w, ", %d moved", moved)
	}
	if removed > 0 {
		fmt.Fprintf(w, ", %s to remove", plural(removed, "checkpoint"))
	}
	fmt.Fprintln(w, ".")
	if outputs[runtime.NoOp] < len(changes) {
		fmt.Fprintf(w, "Outputs: %d to add, %d to change, %d to remove.\n", outputs[runtime.Create], outputs[runtime.Update], outputs[runtime.Delete])
	}
	if t := p.TraceBudget(); t.Steps > 0 {
		fmt.Fprintf(w, "Traced, where OTEL_* ask for it: %s, one in %d, the first and last of each stage, and slow ones; %d spans, at most %d.\n", plural(t.Steps, "step"), t.Every, t.Spans, t.MaxSpans)
	}
}

var changeSymbols = map[runtime.Change]struct {
	symbol string
	color  color
}{runtime.Create: {"+", green}, runtime.Update: {"~", yellow}, runtime.Delete: {"-", red}, runtime.NoOp: {" ", dim}}

// outputText is an output's value, and where it changes what it was before.
func outputText(c runtime.OutputChange) string {
	after := dsl.Hidden
	if !c.Sensitive && c.Change != runtime.Delete {
		after = dsl.Show(c.After)
	}
	switch {
	case c.Change == runtime.Delete:
		return runtime.OutputText(c.Before)
	case c.Change == runtime.Update && c.Sensitive:
		return after + ", changed"
	case c.Change == runtime.Update:
		return runtime.OutputText(c.Before) + " -> " + after
	}
	return after
}

// summary is what there is to say of a block of configuration.
func summary(x *runtime.Action) string {
	switch {
	case x.Data != nil && x.Data.Unseen != "":
		return strings.Join(x.Data.Source.Shown(), ", ") // the warning says why
	case x.Data != nil && x.Data.Rows == 0:
		return plural(len(x.Data.Files), "file")
	case x.Data != nil:
		s := fmt.Sprintf("%s in %s", plural(int(x.Data.Rows), "row"), plural(len(x.Data.Files), "file"))
		switch n := x.Data.Copies; {
		case n < 0:
			s += ", without copies, which the run counts"
		case x.Data.Source.Deduplicate:
			s += fmt.Sprintf(", %d of them copies of others, left out", n)
		}
		return s
	case x.Token != nil:
		return fmt.Sprintf("%d tokens", x.Token.VocabSize)
	case x.Memory != nil:
		m := x.Memory
		return fmt.Sprintf("layers %v: model states %s at most, vanilla %s (%.2f %% less; layers alone %.2f %%)", m.Layers, dsl.FormatBytes(m.Peak), dsl.FormatBytes(m.Vanilla), 100*m.Saving, 100*m.LayersSaving)
	}
	return ""
}

func (a *app) printStage(w io.Writer, s *runtime.Stage) {
	f := s.Figures
	grown := ""
	if s.Grow != nil {
		grown = fmt.Sprintf(" (%d new by %s, %s)", s.Grow.Layers, s.Grow.Method, s.Grow.Position)
	}
	fmt.Fprintf(w, "      layers      %d%s\n", f.Layers, grown)
	fmt.Fprintf(w, "      parameters  %s trainable, %s frozen, %s in adapters\n", count(float64(f.Trainable)), count(float64(f.Frozen)), count(float64(f.Adapter)))
	fmt.Fprintf(w, "      tokens      %s in %s of %d; %sFLOP, %sFLOP a step\n", count(float64(f.Tokens)), plural(f.Steps, "step"), s.StepTokens(), count(f.FLOPs), count(float64(f.StepFLOPs)))
	if f.DataTokens > 0 {
		fmt.Fprintf(w, "      data        %s tokens in %s, %s; %.2f passes in all\n", count(float64(f.DataTokens)), s.Data.Addr, f.DataHow, f.Epochs)
	}
	if s.AutoMicro {
		fmt.Fprintf(w, "      micro-batch %s of %d at a time, the most that fit\n", plural(s.Micro, "sequence"), s.Batch)
	}
	if s.Chunk < s.Micro*s.Seq {
		fmt.Fprintf(w, "      logits      of %d tokens at a time\n", s.Chunk)
	}
	if s.MergesRounded() {
		how := "are rounded stochastically"
		if f.Remainders > 0 {
			how = "keep what rounding leaves over in " + dsl.FormatBytes(f.Remainders)
		}
		fmt.Fprintf(w, "      merges      into bf16 weights %s\n", how)
	}
	if f.RecomputeFLOPs > 0 {
		fmt.Fprintf(w, "      recompute   %s in the backward pass, %sFLOP a step on top (%.1f %%)\n", plural(s.Recompute, "layer"), count(float64(f.RecomputeFLOPs)), 100*float64(f.RecomputeFLOPs)/float64(f.StepFLOPs))
	}
	fmt.Fprintf(w, "      memory      %s\n", bytesByKind(f.ByKind))
	if f.States != f.PaperStates {
		var more []string
		if f.WideGradients > 0 {
			more = append(more, fmt.Sprintf("gradients of %s parameters are added up in fp32, %s more", count(float64(f.WideGradients)), dsl.FormatBytes(2*f.WideGradients)))
		}
		if f.Remainders > 0 {
			more = append(more, "remainders of merges take "+dsl.FormatBytes(f.Remainders)+" more")
		}
		fmt.Fprintf(w, "      the paper   counts %s of states; here %s\n", dsl.FormatBytes(f.PaperStates), strings.Join(more, ", "))
	}
	fmt.Fprintf(w, "      peak        %s (%d bytes), %s %s; arena %.2f %% above its lower bound\n", dsl.FormatBytes(f.Peak), f.Peak, percentLess(f.Peak, s.Vanilla.Peak), dsl.FormatBytes(s.Vanilla.Peak), 100*(float64(f.Peak)/float64(f.LowerBound)-1))
	if t := takes(s.Forecast, "FLOP/s", "the last stage like it"); t != "" {
		fmt.Fprintf(w, "      time        %s\n", t[2:])
	}
	fmt.Fprintf(w, "      states      %s, %s %s; checkpoint %s, at most %s on disk\n", dsl.FormatBytes(f.States), percentLess(f.States, s.Vanilla.States), dsl.FormatBytes(s.Vanilla.States), dsl.FormatBytes(f.CheckpointSize), dsl.FormatBytes(f.Disk))
}

// forecastOf is what a block takes that is to run; nil for one that is not.
func forecastOf(x *runtime.Action) *runtime.Forecast {
	switch {
	case x.Verb != runtime.Run && x.Verb != runtime.Resume:
		return nil
	case x.Stage != nil:
		return &x.Stage.Forecast
	case x.Evaluate != nil:
		return &x.Evaluate.Forecast
	case x.Export != nil:
		return &x.Export.Forecast
	}
	return nil
}

// bytesByKind lists what device memory is used for.
func bytesByKind(kinds map[string]int64) string {
	var parts []string
	for _, k := range train.ByteKinds {
		if kinds[k] > 0 {
			parts = append(parts, k+" "+dsl.FormatBytes(kinds[k]))
		}
	}
	return strings.Join(parts, ", ")
}

// takes says how long something takes, and how that is known; "" where it is not.
func takes(f runtime.Forecast, unit, of string) string {
	switch {
	case f.Seconds == 0, f.Seconds < 0.01 && f.Least: // it may take longer than any time so short
		return ""
	case f.Seconds < 0.01:
		return "; less than 10ms"
	case f.Least:
		return fmt.Sprintf("; at least %s, at the %s%s of a large product", duration(f.Seconds), count(f.Rate), unit)
	}
	return fmt.Sprintf("; about %s, at the %s%s of %s", duration(f.Seconds), count(f.Rate), unit, of)
}

// printEvaluation shows what an evaluation that is to run takes.
func (a *app) printEvaluation(w io.Writer, e *runtime.Evaluation) {
	f, win := e.Forecast, e.Windows
	if e.Data != nil {
		text := fmt.Sprintf("windows of %d tokens", win.Length)
		if win.Stride > 0 {
			text += fmt.Sprintf(", sliding by %d", win.Stride)
		}
		if e.Usual {
			text += fmt.Sprintf(": the model takes %d, and published figures are mostly of windows of %d; sequence_length sets it", e.Model.MaxPositionEmbeddings, win.Length)
		}
		if e.Fits < e.Most {
			text += fmt.Sprintf("; %d at a time, the most of %d that fit", e.Fits, e.Most)
		}
		fmt.Fprintf(w, "      context     %s\n", text)
	}
	switch {
	case f.Tokens == 0 && e.Data == nil: // without prompts
	case f.Tokens == 0:
		fmt.Fprintf(w, "      takes       an unknown time: how many tokens there are is known when the data are read\n")
	case e.Data != nil:
		fmt.Fprintf(w, "      takes       %s tokens, %s; %sFLOP%s\n", count(float64(f.Tokens)), f.How, count(f.FLOPs), takes(f, "FLOP/s", "the last one like it"))
	default:
		fmt.Fprintf(w, "      takes       at most %s; %sFLOP%s\n", plural(int(f.Tokens), "new token"), count(f.FLOPs), takes(f, "FLOP/s", "the last one like it"))
	}
	if f.Peak > 0 {
		fmt.Fprintf(w, "      memory      %s\n      peak        %s (%d bytes)\n", bytesByKind(f.ByKind), dsl.FormatBytes(f.Peak), f.Peak)
	}
}

// planJSON is the plan for machines.
func planJSON(p *runtime.Plan) map[string]any {
	var actions []map[string]any
	for _, x := range p.Actions {
		m := map[string]any{"address": x.Addr.String(), "action": strings.ReplaceAll(string(x.Verb), " ", "_"), "reason": x.Why, "recipe": x.Recipe}
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
		if len(x.Removes) > 0 {
			m["removes_checkpoints"] = x.Removes
		}
		if x.Replaces != "" {
			m["replaces"] = x.Replaces
		}
		if len(x.Warnings) > 0 {
			m["warnings"] = x.Warnings
		}
		if x.Stage != nil {
			m["stage"], m["vanilla"] = x.Stage.Figures, x.Stage.Vanilla
			m["layers"], m["program"] = x.Stage.LayerIDs(), x.Stage.Program.Hash()
		}
		if x.Memory != nil {
			m["memory_plan"] = x.Memory
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
	return map[string]any{"format_version": "1.0", "type": "plan", "device": p.Caps.Kind, "actions": actions, "outputs": outputsJSON(p), "output_changes": changes, "changes": p.Changes(), "trace": p.TraceBudget()}
}

// attributesJSON are a block's attributes with their values, by dotted name; apart from them the names of those that are known only
// after other blocks have run, and of those that are sensitive.
func attributesJSON(x *runtime.Action) map[string]any {
	values, unknown, sensitive := map[string]any{}, map[string]any{}, map[string]bool{}
	for n, v := range x.Values {
		if v.IsMarked() {
			sensitive[n] = true
			continue
		}
		known, u := runtime.Plain(v)
		if u != true {
			values[n] = known
		}
		if u != false {
			unknown[n] = u
		}
	}
	return map[string]any{"attributes": values, "after_unknown": unknown, "after_sensitive": sensitive}
}

// outputsJSON are the outputs as Terraform writes them: value, type and whether they are sensitive. A value that is known only after
// a run is left out, and after_unknown says so.
func outputsJSON(p *runtime.Plan) map[string]any {
	out := map[string]any{}
	for n, v := range p.Outputs {
		m := map[string]any{"sensitive": p.OutputDoc[n].Sensitive, "type": runtime.TypeJSON(v)}
		value, unknown := runtime.Plain(v)
		switch {
		case p.OutputDoc[n].Sensitive:
			m["type"], m["value"] = runtime.HiddenType(v), nil
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
func changeJSON(c runtime.OutputChange) map[string]any {
	m := map[string]any{"actions": []runtime.Change{c.Change}, "before": nil, "after": nil, "after_unknown": false, "sensitive": c.Sensitive}
	if c.Change == runtime.Delete {
		m["before"] = c.Before.Value
		return m
	}
	value, unknown := runtime.Plain(c.After)
	m["after_unknown"] = unknown
	if !c.Sensitive {
		m["before"], m["after"] = c.Before.Value, value
	}
	return m
}
