package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/mattn/go-shellwords"
)

// changeDir goes into the folder that -chdir before the command names, and returns the arguments after it.
func changeDir(args []string) (rest []string, err error) {
	if len(args) == 0 {
		return args, nil
	}
	dir, ok := strings.CutPrefix("-"+strings.TrimLeft(args[0], "-"), "-chdir")
	if !ok || !strings.HasPrefix(args[0], "-") || dir != "" && dir[0] != '=' {
		return args, nil
	}
	if len(dir) < 2 {
		return nil, errors.New("-chdir needs a folder after an equals sign: stepflow -chdir=DIR plan")
	}
	if err := os.Chdir(dir[1:]); err != nil {
		return nil, fmt.Errorf("-chdir: %w", err)
	}
	return args[1:], nil
}

// argsVariable holds flags that every command gets before those of its command line. With _ and the name of a command
// after it, it holds flags of that command, which win over those for every command.
const argsVariable = "STEPFLOW_CLI_ARGS"

// environmentArgs returns the arguments that the environment gives a command, which are separated and quoted as in a
// shell. Nothing in them is expanded.
func environmentArgs(command string) (args []string, err error) {
	for _, name := range []string{argsVariable, argsVariable + "_" + command} {
		text := os.Getenv(name)
		words := shellwords.NewParser()
		list, err := words.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s holds %q, in which a quote is not closed", name, text)
		}
		if at := words.Position; at >= 0 && at < len(text) { // where it would end a command
			return nil, fmt.Errorf("%s holds %q: put what has %q in it between quotes", name, text, text[at])
		}
		args = append(args, list...)
	}
	return args, nil
}
