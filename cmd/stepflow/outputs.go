package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"

	"stepflow/dsl"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
)

func outputCommand() command {
	var raw bool
	return command{name: "output", args: "[flags] [NAME]", most: 1,
		short: "Prints the outputs of the last apply.",
		flags: func(a *app, f *flag.FlagSet) {
			inspectFlags(a, f)
			f.BoolVar(&raw, "raw", false, "print a string, number or bool as it is: no quotes, no newline")
		},
		synopsis: "Prints the outputs of the last apply, or one of them.",
		example:  "stepflow output -dir pipelines/quickstart -raw perplexity",
		run: func(a *app, args []string) int {
			d, err := a.state()
			if err != nil {
				return a.fail(err)
			}
			switch {
			case raw && a.json:
				return a.fail(errors.New("-raw and -json exclude each other: -raw prints a text as it is, -json a " +
					"value with quotes"))
			case raw && len(args) == 0:
				return a.fail(errors.New("-raw prints one output: name it"))
			case len(args) == 1:
				o, ok := d.State.Outputs[args[0]]
				if !ok {
					names := slices.Sorted(maps.Keys(d.State.Outputs))
					return a.fail(fmt.Errorf("there is no output %q.%s%s", args[0], dsl.Suggest(args[0], names),
						aFolder(args[0])))
				}
				return a.printOutput(args[0], o, raw)
			case a.json:
				out := map[string]any{}
				for n, o := range d.State.Outputs {
					out[n] = outputJSON(o)
				}
				a.line(out)
				return exitOK
			}
			for _, n := range slices.Sorted(maps.Keys(d.State.Outputs)) {
				fmt.Fprintf(a.stdout, "%s = %s\n", n, plan.OutputText(d.State.Outputs[n]))
			}
			return exitOK
		}}
}

// printOutput prints one output: raw as it is, without a newline, as JSON, or in the language's syntax.
func (a *app) printOutput(name string, o state.Output, raw bool) int {
	if o.Sensitive {
		return a.fail(fmt.Errorf("output %q is sensitive, so its value is not kept: sensitive values are neither "+
			"printed nor stored", name))
	}
	switch {
	case a.json:
		a.line(o.Value)
	case !raw:
		fmt.Fprintln(a.stdout, plan.OutputText(o))
	default:
		switch o.Value.(type) {
		case string:
			a.raw(o.Value.(string))
		case float64, bool, json.Number:
			fmt.Fprint(a.stdout, plan.OutputText(o))
		default:
			return a.fail(fmt.Errorf("output %q is not a string, number or bool: -raw prints only these; use -json",
				name))
		}
	}
	return exitOK
}

// outputJSON is an output as Terraform writes it.
func outputJSON(o state.Output) map[string]any {
	m := map[string]any{"sensitive": o.Sensitive, "type": o.Type, "value": o.Value}
	if len(o.Type) == 0 {
		delete(m, "type") // of an older state
	}
	if o.Description != "" {
		m["description"] = o.Description
	}
	return m
}
