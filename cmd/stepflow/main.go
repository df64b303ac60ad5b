package main

import (
	"context"
	"os"
)

func main() { os.Exit(process()) }

// process is the whole process: it listens to signals, and its output may fail.
func process() int {
	ctx, cancel := context.WithCancel(context.Background())
	stdout, stderr := &output{file: os.Stdout, plain: !isTerminal(os.Stdout), interrupted: ctx.Done()},
		&output{file: os.Stderr, plain: !isTerminal(os.Stderr), interrupted: ctx.Done()}
	return run(signals(ctx, cancel, stderr), os.Args[1:], os.Environ(), os.Stdin, stdout, stderr)
}
