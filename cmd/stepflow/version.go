package main

import (
	"fmt"
	"runtime/debug"
)

func versionCommand() command {
	return command{name: "version", short: "Prints the version.", synopsis: "Prints the version.", run: func(a *app, _ []string) int {
		fmt.Fprintf(a.stdout, "stepflow %s\n", version())
		return exitOK
	}}
}

// version is the module's version, or the commit it was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		v := info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
				return "devel " + s.Value[:min(12, len(s.Value))]
			}
		}
		if v != "" && v != "(devel)" {
			return v
		}
	}
	return "devel"
}
