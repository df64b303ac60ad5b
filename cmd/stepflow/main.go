package main

import (
	"context"
	"io"
	"log"
	"os"
)

func main() { os.Exit(process()) }

// process is the whole process: it listens to signals, and its output may fail.
func process() int {
	ctx, cancel := context.WithCancel(context.Background())
	stdout, stderr := &output{file: os.Stdout, plain: !isTerminal(os.Stdout), interrupted: ctx.Done()},
		&output{file: os.Stderr, plain: !isTerminal(os.Stderr), interrupted: ctx.Done()}
	log.SetOutput(io.Discard) // net/http tells there of servers that break its rules, past what is drawn
	return run(signals(ctx, cancel, stderr), os.Args[1:], os.Environ(), os.Stdin, stdout, stderr)
}
