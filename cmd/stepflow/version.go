package main

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"

	"stepflow/runtime/blocks"
)

// Version is the release that this source belongs to: the newest version in CHANGELOG.md.
const Version = "0.3.0"

func init() { blocks.Version = Version }

// build says what a binary was built from.
type build struct {
	Version  string `json:"stepflow_version"`
	Commit   string `json:"commit,omitempty"`   // empty unless built from a checkout
	Modified bool   `json:"modified,omitempty"` // files of the checkout differed from the commit
	Platform string `json:"platform"`
	Go       string `json:"go_version"`
}

// buildOf takes the commit from the settings that the go command recorded.
func buildOf(settings []debug.BuildSetting) build {
	b := build{Version: Version, Platform: runtime.GOOS + "_" + runtime.GOARCH, Go: runtime.Version()}
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String is the version with the commit as semantic versioning's build metadata, such as 0.3.0+0123456789ab.modified.
func (b build) String() string {
	if b.Commit == "" {
		return b.Version
	}
	s := b.Version + "+" + b.Commit[:min(12, len(b.Commit))]
	if b.Modified {
		s += ".modified"
	}
	return s
}

// thisBuild is what the running binary was built from.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return buildOf(nil)
	}
	return buildOf(info.Settings)
}

// version is the running binary's version in one word, for reports and traces.
func version() string { return thisBuild().String() }

func versionCommand() command {
	return command{name: "version", args: "[-json]", short: "Prints the version.",
		synopsis: "Prints the version, and the commit if the binary was built from a checkout.",
		example:  "stepflow version -json",
		flags:    func(a *app, f *flag.FlagSet) { f.BoolVar(&a.json, "json", false, "write JSON for machines") },
		run: func(a *app, _ []string) int {
			b := thisBuild()
			if a.json {
				a.line(b)
				return exitOK
			}
			fmt.Fprintf(a.stdout, "stepflow %s\non %s, %s\n", b, b.Platform, b.Go)
			return exitOK
		}}
}
