package main

import (
	"embed"
	"strings"
)

// shells holds the scripts of completion, by the name of the shell. They call stepflow with completeWord and the words
// of the command line up to the one to complete.
//
//go:embed shells
var shells embed.FS

func completionCommand() command {
	return command{name: "completion", args: "bash|zsh|fish", most: 1,
		short: "Prints a completion script for a shell.",
		synopsis: "Prints a completion script for a shell. It completes commands, flags, addresses of the pipeline and of " +
			"its state, names of variables and outputs, and files.",
		example: "source <(stepflow completion bash)\n" +
			"stepflow completion zsh > ~/.zsh/completions/_stepflow\n" +
			"stepflow completion fish > ~/.config/fish/completions/stepflow.fish",
		run: func(a *app, args []string) int {
			script, err := shells.ReadFile("shells/" + strings.Join(args, ""))
			if err != nil {
				return a.misuse("stepflow completion: name a shell: bash, zsh or fish")
			}
			a.raw(string(script))
			return exitOK
		}}
}
