package main

import (
	"errors"

	"stepflow/lsp"
)

func lspCommand() command {
	return command{name: "lsp", short: "Serves editors: problems, completion, hover, rename.",
		synopsis: "Speaks the Language Server Protocol with an editor, on standard input and output: problems as validate " +
			"finds them, of texts that need not be saved; what names mean and where they are declared; completion, " +
			"renaming, formatting. Editors start it; see docs/editors.md. It ends with its input, or when the editor " +
			"says so.",
		example: "stepflow lsp",
		run: func(a *app, _ []string) int {
			clean, err := lsp.Serve(a.ctx, a.stdin, rawOutput{a}, lsp.Options{Env: a.env, Version: version()})
			switch {
			case err != nil:
				return a.fail(err)
			case a.ctx.Err() != nil:
				return exitInterrupted
			case !clean:
				return a.fail(errors.New("the editor ended the server without a shutdown request"))
			}
			return exitOK
		}}
}

// rawOutput is the standard output for a program that reads it, with every byte as it is.
type rawOutput struct{ app *app }

func (o rawOutput) Write(p []byte) (int, error) {
	o.app.raw(string(p))
	return len(p), nil
}
