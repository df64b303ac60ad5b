package main

func reportCommand() command {
	return command{name: "report", synopsis: "x", run: func(a *app, args []string) int { return exitOK }}
}
