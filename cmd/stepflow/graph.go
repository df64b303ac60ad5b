package main

import (
	"flag"
	"fmt"

	"stepflow/report"
	"stepflow/runtime/look"
)

// graphFormats are what graph writes.
var graphFormats = map[string]func(*look.Drawing) string{
	"dot": (*look.Drawing).DOT, "mermaid": (*look.Drawing).Mermaid, "svg": report.SVG,
}

func graphCommand() command {
	var stage string
	format := "dot"
	return command{name: "graph", args: "[flags] [DIR]", most: 1,
		short: "Prints the graph of the pipeline.",
		synopsis: "Writes the pipeline's graph in DOT, Mermaid or SVG. With -stage NAME: the operations of one " +
			"training step of that stage.",
		example: "stepflow graph -format svg pipelines/quickstart > pipeline.svg\n" +
			"stepflow graph -stage final pipelines/quickstart | dot -Tsvg > step.svg",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			f.StringVar(&stage, "stage", "", "draw the operations of this stage's training step")
			f.StringVar(&format, "format", format, "dot, mermaid or svg")
		},
		run: func(a *app, args []string) int {
			write := graphFormats[format]
			if write == nil {
				return a.misuse("stepflow graph: -format is dot, mermaid or svg, not %q", format)
			}
			p, ok := a.plan(args, false)
			if !ok {
				return exitError
			}
			d := look.Draw(p)
			if stage != "" {
				x, err := pickStage(p, []string{stage})
				if err != nil {
					return a.fail(err)
				}
				d = look.DrawStage(x)
			}
			fmt.Fprint(a.stdout, write(d))
			return exitOK
		}}
}
