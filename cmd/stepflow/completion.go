package main

import (
	"fmt"
	"strings"
)

func completionCommand() command {
	return command{name: "completion", args: "bash|zsh|fish", most: 1, short: "Prints a completion script for a shell.",
		synopsis: "Prints a completion script for a shell.", example: "source <(stepflow completion bash)",
		run: func(a *app, args []string) int {
			var names []string
			for _, c := range commands {
				names = append(names, c.name)
			}
			words := strings.Join(names, " ")
			switch strings.Join(args, " ") {
			case "bash":
				fmt.Fprintf(a.stdout, "_stepflow() {\n  local cur=${COMP_WORDS[COMP_CWORD]}\n"+
					"  if [ \"$COMP_CWORD\" = 1 ]; then COMPREPLY=($(compgen -W %q -- \"$cur\")); else "+
					"COMPREPLY=($(compgen -f -- \"$cur\")); fi\n}\ncomplete -o filenames -F _stepflow stepflow\n",
					words)
			case "zsh":
				fmt.Fprintf(a.stdout,
					"#compdef stepflow\n_stepflow() { if (( CURRENT == 2 )); then compadd %s; else _files; fi }\n"+
						"compdef _stepflow stepflow\n", words)
			case "fish":
				for _, c := range commands {
					fmt.Fprintf(a.stdout, "complete -c stepflow -n __fish_use_subcommand -a %s -d %q\n",
						c.name, c.short)
				}
			default:
				return a.misuse("stepflow completion: name a shell: bash, zsh or fish")
			}
			return exitOK
		}}
}
