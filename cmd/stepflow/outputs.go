package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"

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
				a.showOutput(n, d.State.Outputs[n])
			}
			return exitOK
		}}
}

// showOutput prints an output with its name: as a table on a terminal, if it is one, else in the language's syntax.
func (a *app) showOutput(name string, o state.Output) {
	if g := objectGrid(o); g != nil && a.columns() > 0 {
		fmt.Fprintf(a.stdout, "%s =\n%s", name, g.text(a.columns()))
	} else {
		fmt.Fprintf(a.stdout, "%s = %s\n", name, plan.OutputText(o))
	}
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
		if g := objectGrid(o); g != nil && a.columns() > 0 {
			fmt.Fprint(a.stdout, g.text(a.columns()))
			break
		}
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

// objectGrid is an output as a table, if it is a map or a list of objects that have the same fields, none of which
// holds others; else nil.
func objectGrid(o state.Output) *grid {
	keys, objects := members(o.Value)
	if len(objects) == 0 || o.Sensitive {
		return nil
	}
	fields := slices.Sorted(maps.Keys(objects[0]))
	for _, x := range objects {
		if !slices.Equal(slices.Sorted(maps.Keys(x)), fields) {
			return nil
		}
		for _, v := range x {
			if list, objects := members(v); list != nil || objects != nil {
				return nil
			}
		}
	}
	g := &grid{rows: len(objects)}
	g.column("", false, func(i int) string { return "  " + keys[i] })
	for _, f := range fields {
		_, number := objects[0][f].(float64)
		g.column(f, number, func(i int) string {
			if text, ok := objects[i][f].(string); ok {
				return text
			}
			return plan.OutputText(state.Output{Value: objects[i][f]})
		})
	}
	return g
}

// members returns the keys of a map or a list, and its objects; no objects if one of its members is not an object.
func members(v any) (keys []string, objects []map[string]any) {
	add := func(key string, v any) bool {
		x, ok := v.(map[string]any)
		keys, objects = append(keys, key), append(objects, x)
		return ok && len(x) > 0
	}
	switch all := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(all)) {
			if !add(k, all[k]) {
				return keys, nil
			}
		}
	case []any:
		for i, x := range all {
			if !add(strconv.Itoa(i), x) {
				return keys, nil
			}
		}
	}
	return keys, objects
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
