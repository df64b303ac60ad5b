package main

import (
	"flag"
	"fmt"

	"stepflow/dsl"
	"stepflow/runtime/blocks/all"
	"stepflow/tracing"
)

func schemaCommand() command {
	var markdown, names bool
	return command{name: "schema", args: "[-json | -markdown | -tracing]",
		short: "Prints the language: blocks, attributes and functions.",
		synopsis: "Prints the language: every block, attribute and function. As JSON for editors, or as the " +
			"reference page; or the names of spans, attributes and metrics.", example: "stepflow schema -json",
		flags: func(a *app, f *flag.FlagSet) {
			f.BoolVar(&a.json, "json", false, "write JSON for machines")
			f.BoolVar(&markdown, "markdown", false, "write the reference page")
			f.BoolVar(&names, "tracing", false, "write the page of traces, metrics and logs")
		},
		run: func(a *app, _ []string) int {
			switch {
			case a.json:
				a.line(dsl.SchemaJSON())
			case names:
				fmt.Fprint(a.stdout, tracing.Page())
			default:
				fmt.Fprint(a.stdout, dsl.Reference(all.Identities()))
			}
			return exitOK
		}}
}
