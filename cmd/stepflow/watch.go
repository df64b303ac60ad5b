package main

import (
	"flag"
	"fmt"

	"stepflow/report"
)

func watchCommand() command {
	var once, untilEnd bool
	return command{name: "watch", args: "[flags] [DIR]", most: 1,
		short: "Shows a run in the terminal while it goes on.",
		synopsis: "Shows a running or finished run in a terminal. DIR is the pipeline's folder or the state's; it " +
			"only reads there, so it can come and go. If the output is not a terminal, or TERM is dumb, it prints once.",
		example: "stepflow watch pipelines/quickstart",
		flags: func(a *app, f *flag.FlagSet) {
			f.BoolVar(&once, "once", false, "print once and end")
			f.BoolVar(&untilEnd, "until-end", false, "end when the run does")
			f.StringVar(&a.stateDir, "state-dir", "",
				"folder of state, checkpoints and caches (default: .stepflow in DIR)")
		},
		run: func(a *app, args []string) int {
			dir := dirArg(args)
			if a.stateDir != "" {
				dir = a.stateDir
			}
			r := report.NewReader(dir)
			if once || !a.moves() {
				run, err := r.Read()
				if err != nil {
					return a.fail(err)
				}
				fmt.Fprint(a.stdout, report.Dashboard(run, 100, a.colors()))
				return exitOK
			}
			if err := report.Watch(a.ctx, r, untilEnd); err != nil {
				return a.fail(err)
			}
			return exitOK
		}}
}
